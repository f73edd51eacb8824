"""Declarative rules (SWP-9): when a fact about this machine or a task crosses a line, a task is to be moved. Pure.

Owns what can be asked about, and when a rule fires: once each time its condition comes true (the first look counts as
coming true, for nobody looked before), after it held for ``for_s``, not within ``cooldown_s`` of the last time, and not
again before the fact went back past ``clear``. A fact that cannot be measured fires nothing, ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

MARGIN = 0.05
"""How far a fact goes back past its line before the rule may fire again, as a share of the line, unless told."""


class Subject(StrEnum):
    """Whom a metric is about."""

    MACHINE = "machine"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """What there is to know about a metric."""

    unit: str
    says: str
    subject: Subject = Subject.MACHINE
    counted: bool = False
    """A whole number: the line itself tells both sides apart."""
    devices: bool = False
    """``device`` says which one is meant."""


METRICS: Mapping[str, MetricFacts] = MappingProxyType(
    {
        "accelerators": MetricFacts(
            "devices",
            "accelerators found; `device` counts one kind (`cuda`, `rocm`, `metal`, `ane`, `vulkan`)",
            counted=True,
            devices=True,
        ),
        "memory_used": MetricFacts(
            "share", "memory in use by everything on this machine; `device`: `ram` (default), `cuda:0`, …", devices=True
        ),
        "memory_free_mb": MetricFacts(
            "MB", "memory that can still be allocated; `device`: `ram` (default), `cuda:0`, …", devices=True
        ),
        "memory_pressure": MetricFacts(
            "share", "of the last 10 s, the part in which something on this machine waited for memory (Linux)"
        ),
        "pool_memory_used": MetricFacts("share", "loaded models' part of the pool's memory budget"),
        "quality": MetricFacts("score", "mean score of the version that serves the task", Subject.TASK),
        "judge_score": MetricFacts("score", "the same, of scores by the judge only", Subject.TASK),
        "success": MetricFacts("share", "requests the version that serves the task answered", Subject.TASK),
        "latency_ms": MetricFacts("ms", "95th percentile of its answers", Subject.TASK),
        "energy_mwh": MetricFacts("mWh", "energy of the task's requests within `period`", Subject.TASK),
        "energy_mwh_per_request": MetricFacts("mWh", "the same, for each request that was measured", Subject.TASK),
        "cost_usd": MetricFacts("USD", "price of the task's requests within `period`", Subject.TASK),
        "cost_usd_per_request": MetricFacts("USD", "the same, for each request that has a price", Subject.TASK),
    }
)
SUMS: Mapping[str, str] = MappingProxyType(
    {
        "energy_mwh": "energy_mwh",
        "energy_mwh_per_request": "energy_mwh",
        "cost_usd": "cost_usd",
        "cost_usd_per_request": "cost_usd",
    }
)
"""Metrics that are read from sums over ``period``, and which sum."""
PERIODS: Mapping[str, float] = MappingProxyType({"hour": 3600.0, "day": 86400.0})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. Exactly one of ``above`` and ``below`` is set."""

    name: str
    task: str
    metric: str
    to: str | None = None
    """Version or model name; ``None``: the best other version, by the policy."""
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    device: str | None = None
    period: str = "day"
    for_s: float = 0.0
    cooldown_s: float = 300.0
    min_samples: int = 10
    immediate: bool = False
    enabled: bool = True

    @property
    def line(self) -> float:
        """Where the condition turns true."""
        return self.above if self.above is not None else self.below or 0.0

    @property
    def back(self) -> float:
        """Where the fact has gone back far enough."""
        if self.clear is not None:
            return self.clear
        if METRICS[self.metric].counted:
            return self.line
        margin = MARGIN * abs(self.line)
        return self.line - margin if self.above is not None else self.line + margin

    def holds(self, value: float) -> bool:
        """Whether the condition is true."""
        return value > self.line if self.above is not None else value < self.line

    def cleared(self, value: float) -> bool:
        """Whether the fact is back on the quiet side."""
        return not self.holds(value) and (value <= self.back if self.above is not None else value >= self.back)

    @property
    def each(self) -> bool:
        """Whether a sum is divided by the requests it is of."""
        return SUMS.get(self.metric) not in (None, self.metric)

    @property
    def condition(self) -> str:
        """In words."""
        what = self.metric if self.device is None else f"{self.metric} of {self.device}"
        if self.metric in SUMS:
            what = f"{what} over the last {self.period}" if self.each else f"{what} per {self.period}"
        side = "above" if self.above is not None else "below"
        return f"{what} {side} {self.line:g}" + (f" for {self.for_s:g} s" if self.for_s else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What a metric shows now. Without a value, ``missing`` says why."""

    value: float | None
    samples: int | None = None
    """Observations it rests on; ``None`` for a plain reading."""
    missing: str | None = None
    source: str = ""
    """Where it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """What a rule remembers. Times are of a clock that never goes back."""

    armed: bool = True
    holding_since: float | None = None
    fired_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a rule fires now, and why or why not. ``holds`` is ``None`` when that cannot be told."""

    fires: bool
    holds: bool | None
    why: str


def evaluate(rule: Rule, fact: Fact, state: RuleState, now: float) -> tuple[RuleState, Verdict]:
    """Look at a fact once. The state that comes back is still armed when the rule fires: ``fired`` says it was acted
    on, so that an order nobody could take yet is tried again.
    """
    if not rule.enabled:
        return replace(state, holding_since=None), Verdict(fires=False, holds=None, why="switched off")
    value = fact.value
    if value is None or not math.isfinite(value):
        why = f"unavailable: {fact.missing or 'no number'}"
        return replace(state, holding_since=None), Verdict(fires=False, holds=None, why=why)
    if fact.samples is not None and fact.samples < rule.min_samples:
        why = f"{fact.samples} of {rule.min_samples} samples"
        return replace(state, holding_since=None), Verdict(fires=False, holds=None, why=why)
    shown = f"{rule.metric} is {value:g}"
    if not rule.holds(value):
        armed = state.armed or rule.cleared(value)
        back = "" if armed else f"; it may fire again past {rule.back:g}"
        state = replace(state, armed=armed, holding_since=None)
        return state, Verdict(fires=False, holds=False, why=f"{shown}, not {rule.condition}{back}")
    since = now if state.holding_since is None else min(state.holding_since, now)
    state = replace(state, holding_since=since)
    why = f"{shown}: {rule.condition}"
    if not state.armed:
        return state, Verdict(fires=False, holds=True, why=f"{why}; it fired already and has not gone back since")
    if now - since < rule.for_s:
        return state, Verdict(fires=False, holds=True, why=f"{why}; {rule.for_s - (now - since):.0f} s to go")
    if state.fired_at is not None and now - state.fired_at < rule.cooldown_s:
        left = rule.cooldown_s - (now - state.fired_at)
        return state, Verdict(fires=False, holds=True, why=f"{why}; {left:.0f} s of the pause are left")
    return state, Verdict(fires=True, holds=True, why=why)


def fired(state: RuleState, now: float) -> RuleState:
    """It was acted on."""
    return RuleState(armed=False, holding_since=state.holding_since, fired_at=now)
