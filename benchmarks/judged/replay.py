"""Phase two: Podium's learner and its default policy, choosing among recorded answers, told of quality in different ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from judged.answers import Answer
from judged.scores import Given
from podium.core.bandit import Bandit
from podium.core.sampling import sureness, teaching_weight
from podium.domain.decision import Feedback
from podium.services.learner import Learner

Row = Sequence[Answer]
Teacher = Callable[[Answer], Given]


@dataclass(frozen=True)
class Played:
    """Mean true quality of what was chosen."""

    mean: float
    """Over the whole stream, learning included."""
    late: float
    """Over its second half."""


def stream(rows: Sequence[Row], length: int, seed: int) -> tuple[list[Row], list[float], list[float]]:
    """Requests drawn with replacement, as many of each task; with the draws of the policy and of the sample."""
    rng = np.random.default_rng([seed, 5])
    by: dict[str, list[Row]] = {}
    for row in rows:
        by.setdefault(row[0].task, []).append(row)
    tasks = sorted(by)
    asked = [by[tasks[at % len(tasks)]] for at in range(length)]
    chosen = [some[int(rng.integers(len(some)))] for some in asked]
    order = rng.permutation(length)
    return [chosen[at] for at in order], rng.random(length).tolist(), rng.random(length).tolist()


def play(rows: Sequence[Row], teacher: Teacher, *, source: str, sample: float, length: int, seed: int) -> Played:
    """One run: each request goes where the policy says, and a share of the answers is scored by ``teacher``."""
    requests, draws, luck = stream(rows, length, seed)
    models = [answer.model for answer in rows[0]]
    arms = [models[int(at)] for at in np.random.default_rng([seed, 7]).permutation(len(models))]  # ties go to the first
    bandit = Bandit()
    learner = Learner(lambda changed: None, lambda: arms, bandit)
    truths = np.empty(length)
    for at, row in enumerate(requests):
        answer = row[models.index(bandit.choose(row[0].task, arms, draws[at]).arm)]
        truths[at] = answer.truth
        if luck[at] >= sample:
            continue
        given = teacher(answer)
        if given.score is not None:
            weight = teaching_weight(sample, sample) * sureness(given.sd)
            learner.feedback(
                Feedback(
                    request_id=str(at), decision_id=str(at), task=answer.task, ref=answer.model,
                    score=given.score, at=float(at), source=source, weight=weight,
                )
            )  # fmt: skip
    return Played(float(truths.mean()), float(truths[length // 2 :].mean()))


def fixed(rows: Sequence[Row], seed: int, length: int) -> dict[str, float]:
    """What needs no learning: every model equally, the best single one, the best of each task (both by hindsight)."""
    requests, _, _ = stream(rows, length, seed)
    table = np.array([[answer.truth for answer in row] for row in requests])
    tasks = np.array([row[0].task for row in requests])
    best = sum(table[tasks == task].mean(axis=0).max() * (tasks == task).sum() for task in np.unique(tasks))
    return {
        "uniform": float(table.mean()),
        "best single": float(table.mean(axis=0).max()),
        "best per task": float(best / length),
    }
