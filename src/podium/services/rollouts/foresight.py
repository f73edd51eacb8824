"""Says before a rollout starts what loss it will be able to see and when, from what is known of the task."""

from __future__ import annotations

import math
from collections.abc import Callable

from podium.core import history
from podium.core.sensitivity import detects
from podium.domain.knowledge import TaskKnowledge
from podium.domain.rollout import RolloutPlan
from podium.services.policy import Policy

MIN_SCORES = 10.0
"""Fewer scores say nothing about how much they spread or how often they come."""
REMEMBERED = 100
_HOUR_S = 3600.0


def foresight(policy: Policy, known: Callable[[str], TaskKnowledge]) -> Callable[[str, str, RolloutPlan], str]:
    """A function of (task, baseline, plan)."""
    said: dict[tuple[str, float | None, float | None, float | None], str] = {}

    def foresee(task: str, baseline: str, plan: RolloutPlan) -> str:
        evidence = policy.evidence(task, baseline)
        quality = None if evidence is None else history.mean_quality(evidence)
        about = known(task)
        given = (_rounded(quality, 3), _rounded(spread_of(about), 3), _rounded(scores_per_hour(about), 1))
        key = (repr(plan), *given)
        if key not in said:  # milliseconds each, and batches ask the same again and again
            if len(said) >= REMEMBERED:
                said.clear()
            said[key] = detects(plan, *given)
        return said[key]

    return foresee


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def spread_of(known: TaskKnowledge) -> float | None:
    """Standard deviation of the task's scores, whoever answered; ``None`` with too few of them."""
    score = known.score
    if score.n < MIN_SCORES:
        return None
    mean = score.total / score.n
    return math.sqrt(max(0.0, score.squares / score.n - mean * mean))


def scores_per_hour(known: TaskKnowledge) -> float | None:
    """Scored requests per hour since the task was first seen; ``None`` before an hour has passed. Old ones fade, so
    that a task with a long history gets scores at least this often.
    """
    if known.since is None or known.last_score_at is None or known.score.n < MIN_SCORES:
        return None
    hours = (known.last_score_at - known.since) / _HOUR_S
    return known.score.n / hours if hours >= 1.0 else None
