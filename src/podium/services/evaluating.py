"""Off-policy evaluation by name: which targets there are, and one pass of a log through the estimators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from podium.core.evaluation import Evaluation, Evaluator, Logged, Target
from podium.core.policies import Policy
from podium.errors import InvalidRequest
from podium.services.replay import POLICIES, make

ALWAYS, COLUMN = "always:", "target"


@runtime_checkable
class Explicit(Protocol):
    """A policy that says the whole distribution it chooses from."""

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        """The probability of each of ``arms``, in their order."""
        ...


class Learning:
    """A policy that learns from the log as it goes: each row is judged by what it knew before.

    A policy without ``distribution`` has to put all but an even floor on one arm, as the product's own does; its
    choice at draw 0 then tells both.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        """See ``Target``."""
        if isinstance(self._policy, Explicit):
            return self._policy.distribution(task, arms)
        top = self._policy.choose(task, arms, 0.0)
        if len(arms) == 1 or top.propensity is None:
            return [1.0 if arm == top.arm else 0.0 for arm in arms]
        rest = (1.0 - top.propensity) / (len(arms) - 1)
        return [top.propensity if arm == top.arm else rest for arm in arms]

    def observe(self, task: str, arm: str, score: float, *, weight: float = 1.0) -> None:
        """See ``Target``."""
        self._policy.observe(task, arm, score, weight=weight)


class Always:
    """One model, whatever the task; rows that did not offer it are left out."""

    def __init__(self, model: str) -> None:
        self._model = model

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float] | None:
        """See ``Target``."""
        return [1.0 if arm == self._model else 0.0 for arm in arms] if self._model in arms else None

    def observe(self, task: str, arm: str, score: float, *, weight: float = 1.0) -> None:
        """Nothing to learn."""


class Stated:
    """What the log's own column says; rows without it are left out."""

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float] | None:
        """See ``Target``."""
        return None

    def observe(self, task: str, arm: str, score: float, *, weight: float = 1.0) -> None:
        """Nothing to learn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An evaluation, and how many rows it could not use."""

    evaluation: Evaluation
    left_out: int
    """Rows in which the target had no choice."""
    certain: int
    """Rows in which the log had none (propensity 1)."""


def target(name: str) -> Target:
    """The policy under evaluation by its name. Raises ``InvalidRequest`` that lists the names."""
    if name.startswith(ALWAYS) and len(name) > len(ALWAYS):
        return Always(name.removeprefix(ALWAYS))
    if name == COLUMN:
        return Stated()
    if name not in POLICIES:
        known = ", ".join(POLICIES)
        raise InvalidRequest(f"unknown policy {name!r}: use {ALWAYS}MODEL, {COLUMN}, or one of {known}", param="policy")
    return Learning(make(name))


def evaluate(rows: Iterable[Logged], name: str, *, warm_up: int = 0) -> Report:
    """One pass over a log. Raises ``InvalidRequest`` when there is no row to judge by."""
    stated = name == COLUMN
    evaluator = Evaluator(target(name), warm_up=warm_up)
    seen = 0
    for row in rows:
        seen += 1
        evaluator.add(row if stated or row.target is None else replace(row, target=None))
    if evaluator.evaluated == 0:
        raise InvalidRequest(f"nothing to evaluate {name} on: {_why(evaluator, seen, warm_up)}")
    return Report(evaluation=evaluator.result(), left_out=evaluator.left_out, certain=evaluator.certain)


def _why(evaluator: Evaluator, seen: int, warm_up: int) -> str:
    if seen == 0:
        return "no row has a reward"
    if evaluator.left_out == seen:
        return f"the policy has a choice in none of {seen} rows"
    if evaluator.certain:
        return f"the log explored nothing, {evaluator.certain} decisions had no alternative (propensity 1)"
    return f"all of {seen - evaluator.left_out} rows are for warming up (--warm-up {warm_up})"
