"""What is to be judged, how often, by whom and at what cost: the settings as the pipeline knows them. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from podium.core.judge_budget import Limits
from podium.domain.judgment import CRITERIA

BEST = "auto"
"""The judge is chosen by the selector, per criterion."""
NOBODY = "none"
"""Rules alone, where a judge is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOrders:
    """Of one task."""

    enabled: bool = False
    sample: float = 0.1
    """Share of answers that are judged, picked by chance."""
    extra: float = 1.0
    """Share of the answers with a sign that are judged."""
    criteria: tuple[str, ...] = CRITERIA
    judge: str | None = None
    """``None``: rules alone; ``auto``; or a version."""
    forced: bool = False
    """Learn from a judge that nobody calibrated, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOrders:
    """Of all tasks."""

    default: TaskOrders = TaskOrders()
    by_task: Mapping[str, TaskOrders] = field(default_factory=lambda: MappingProxyType({}))
    limits: Limits = field(default_factory=Limits)
    waiting: int = 2_000
    """Answers that may wait to be judged."""
    looks_per_s: float = 20.0
    """Answers that are looked at for signs in a second, at most."""
    at_once: int = 4
    """Answers that are judged at the same time."""
    timeout_s: float = 60.0
    """Longest time one criterion of one answer may take."""
    keep: int = 100_000
    """Judgments kept at most."""
    may_judge_itself: bool = True
    """A version judges its own answers when no other model can."""

    def of(self, task: str) -> TaskOrders:
        """What is in force for a task."""
        return self.by_task.get(task, self.default)

    @property
    def any(self) -> bool:
        """Something is judged at all."""
        return self.default.enabled or any(one.enabled for one in self.by_task.values())
