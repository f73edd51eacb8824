"""The ``[autoswap]`` section, and what a task may set otherwise in ``[tasks.NAME.autoswap]``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated

from msgspec import Meta

from podium.core.autoswap import PRESETS, AutoSwapRules, Preset
from podium.domain.rollout import RolloutPlan

Fraction = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1, le=1000)]
_RULES = tuple(entry.name for entry in fields(AutoSwapRules) if entry.name not in {"enabled", "regression"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAutoSwap:
    """Rules of one task; what is unset is as in ``[autoswap]``."""

    enabled: Annotated[bool | None, Meta(description="Replace this task's version when it falls short")] = None
    preset: Annotated[
        Preset | None, Meta(description="conservative or aggressive; wins over single rules of `[autoswap]`")
    ] = None
    min_success: Annotated[Fraction | None, Meta(description="Lowest share of requests it must answer")] = None
    quality_ratio: Annotated[Share | None, Meta(description="Lowest share of the task's quality it must reach")] = None
    min_samples: Annotated[Count | None, Meta(description="Outcomes, or scores, before anything is said")] = None
    cooldown_s: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="Shortest time between two automatic swaps of a task")
    ] = None
    window: Annotated[Count | None, Meta(description="Newest outcomes, and newest scores, that count")] = None
    streak: Annotated[Count | None, Meta(description="Failures in a row that have it replaced at once")] = None
    hard_success: Annotated[
        Fraction | None, Meta(description="Share of answered requests below which it is replaced at once")
    ] = None
    regression: Annotated[
        bool | None, Meta(description="Replace it also when it became worse than it was itself, see docs/alerts.md")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoSwap:
    """Replacing a version that falls short on a task it is bound to, without being asked each time."""

    enabled: Annotated[
        bool, Meta(description="For all tasks that do not say otherwise; off: a binding is an order and is kept")
    ] = False
    preset: Annotated[
        Preset,
        Meta(description="conservative: 10 samples, 0.8 answered, 5 min apart; aggressive: 3, 0.9, 10 s"),
    ] = Preset.CONSERVATIVE
    min_success: Annotated[
        Fraction | None, Meta(description="Lowest share of requests it must answer; unset: 0.8 or 0.9 by preset")
    ] = None
    quality_ratio: Annotated[
        Share | None, Meta(description="Lowest share of the task's quality it must reach; unset: 0.9")
    ] = None
    min_samples: Annotated[
        Count | None, Meta(description="Outcomes, or scores, before anything is said; unset: 10 or 3 by preset")
    ] = None
    cooldown_s: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Shortest time between two automatic swaps of a task; unset: 300 or 10 by preset"),
    ] = None
    window: Annotated[
        Count | None, Meta(description="Newest outcomes, and newest scores, that count; unset: 50 or 20 by preset")
    ] = None
    streak: Annotated[
        Count | None, Meta(description="Failures in a row that have it replaced at once; unset: 5 or 3 by preset")
    ] = None
    hard_success: Annotated[
        Fraction | None,
        Meta(description="Share of answered requests below which it is replaced at once; unset: 0.4 or 0.45 by preset"),
    ] = None
    regression: Annotated[
        bool,
        Meta(description="Replace it also when it became worse than it was itself: an alert of a regression is open"),
    ] = False
    start_share: Annotated[Share, Meta(description="First share of traffic of a gradual swap ordered here")] = 0.1
    step_share: Annotated[Share, Meta(description="How much that share grows at each step")] = 0.1
    step_s: Annotated[Seconds, Meta(description="Shortest time between two steps")] = 3600.0

    def rules(self, task: TaskAutoSwap | None = None) -> AutoSwapRules:
        """What is in force for a task."""
        own = task or TaskAutoSwap()
        found = PRESETS[own.preset or self.preset]
        if own.preset is None:
            found = replace(found, **{name: value for name in _RULES if (value := getattr(self, name)) is not None})
        found = replace(found, **{name: value for name in _RULES if (value := getattr(own, name)) is not None})
        return replace(
            found,
            enabled=self.enabled if own.enabled is None else own.enabled,
            regression=self.regression if own.regression is None else own.regression,
        )

    def plan(self) -> RolloutPlan:
        """How a gradual swap goes that is ordered by a trigger, a rule, or because a task follows a model."""
        return RolloutPlan(start_share=self.start_share, step_share=self.step_share, step_s=self.step_s)

    def problems(self, task: TaskAutoSwap | None = None) -> Iterator[tuple[str, str]]:
        """(key, message) of rules that contradict each other."""
        rules = self.rules(task)
        for key in ("min_samples", "streak"):
            if getattr(rules, key) > rules.window:
                yield key, f"{getattr(rules, key)} is more than the window keeps ({rules.window}): it would never act"
