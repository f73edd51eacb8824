"""How rollouts look in JSON. Times are Unix seconds; what could not be measured is null; no number is infinite."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from podium.core.picture import facts, passing, words
from podium.core.picture.facts import Verdict
from podium.domain.rollout import (
    Metric,
    Reading,
    Rollout,
    RolloutMode,
    RolloutPlan,
    RolloutReport,
    RolloutState,
    RolloutStep,
)


class View(BaseModel):
    """Base of the views."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class PlanView(View):
    """How a rollout goes: the fields of an order, with their defaults filled in."""

    mode: RolloutMode
    start_share: float
    step_share: float
    step_s: float
    early: bool
    min_samples: int
    silence_s: float
    shadow_s: float
    shadow_sample: float
    false_alarm: float
    limits: dict[Metric, float]
    strict: bool
    split: float
    max_s: float
    validate_first: bool = Field(alias="validate")


class CompatibilityView(View):
    """What would change; gaps block."""

    compatible: bool
    gaps: list[str]
    strict_gaps: list[str]
    warnings: list[str]
    latency_change_ms: float | None
    quality_change: float | None
    memory_change_mb: float | None
    energy_change_mwh: float | None = Field(description="Per request.")


class ValidationView(View):
    """What the validation set showed before traffic moved; bounds are of candidate minus baseline."""

    suite: str | None
    items: int
    baseline_score: float | None
    candidate_score: float | None
    lower: float | None
    upper: float | None
    baseline_latency_ms: float | None
    candidate_latency_ms: float | None
    missing: str | None


class RolloutView(View):
    """One rollout. ``step`` counts from 1 to ``ramp_steps``; ``open`` is false once it has ended."""

    id: str
    task: str
    baseline: str
    candidate: str
    state: RolloutState
    open: bool
    share: float
    step: int
    ramp_steps: int
    plan: PlanView
    requested_at: float
    by: str
    reason: str
    step_since: float
    step_samples: int
    paused_from: RolloutState | None
    paused_at: float | None
    concluded: bool
    finished_at: float | None
    ending: str | None
    compatibility: CompatibilityView | None
    validation: ValidationView | None
    batch: str | None
    notes: list[str]
    detects: str | None


class StepView(View):
    """One transition: when, from what to what, the candidate's share after it, and why."""

    rollout: str
    at: float
    before: RolloutState
    after: RolloutState
    share: float
    reason: str


class ReadingView(View):
    """One metric of both arms. ``lower`` and ``upper`` bound candidate minus baseline at all times at once;
    ``limit`` is the smallest ratio let pass, ``limit_value`` the candidate's value there.
    """

    metric: Metric
    baseline_n: int
    candidate_n: int
    baseline: float | None
    candidate: float | None
    difference: float | None
    lower: float | None
    upper: float | None
    ratio: float | None
    limit: float | None
    limit_value: float | None
    verdict: Verdict
    worse: bool
    fine: bool
    method: str
    missing: str | None


class NextView(View):
    """What the present ramp step waits for; ``share`` is null when promotion comes next."""

    share: float | None
    not_before: float
    answers: int
    silence_at: float


class PointView(View):
    """How one metric stood at one time; fields as in a reading."""

    at: float
    share: float
    metric: Metric
    baseline_n: int
    candidate_n: int
    baseline: float | None
    candidate: float | None
    lower: float | None
    upper: float | None


class DetailView(View):
    """A rollout with its history and evidence. ``needed``: answers of the candidate probably still needed by metric;
    ``stayed``: of the ``requests`` counted, those that went to the baseline because their conversation had begun there;
    ``traffic``: what is to be said of that, in words, or null.
    """

    rollout: RolloutView
    says: str
    next: NextView | None
    steps: list[StepView]
    readings: list[ReadingView]
    needed: dict[Metric, int]
    requests: int
    stayed: int
    traffic: str | None


class ReportView(DetailView):
    """The same with the curves; ``telling`` is the metric whose curve says why."""

    telling: Metric | None
    trace: list[PointView]


class RolloutsView(View):
    """A page of rollouts, newest first."""

    rollouts: list[RolloutView]


def rollout(item: Rollout) -> RolloutView:
    """A rollout as recorded."""
    return RolloutView(
        **_plain(item, RolloutView, leave={"plan", "compatibility", "validation", "open", "concluded"}),
        open=item.open,
        concluded=item.concluded,
        ramp_steps=facts.steps(item.plan),
        plan=plan(item.plan),
        compatibility=None
        if item.compatibility is None
        else CompatibilityView(**_plain(item.compatibility, CompatibilityView)),
        validation=None if item.validation is None else ValidationView(**_plain(item.validation, ValidationView)),
    )


def plan(item: RolloutPlan) -> PlanView:
    """A plan."""
    given = _plain(item, PlanView, leave={"limits"})
    return PlanView(**given, validate=item.validate, limits=dict(item.limits))


def step(item: RolloutStep) -> StepView:
    """One transition."""
    return StepView(**_plain(item, StepView))


def reading(item: Reading, by: RolloutPlan) -> ReadingView:
    """One metric against the limits of a plan."""
    return ReadingView(
        **_plain(item, ReadingView, leave={"ratio"}),
        difference=_number(facts.difference(item)),
        ratio=_number(item.ratio),
        limit=by.limits.get(item.metric),
        limit_value=_number(facts.limit_value(by, item.metric, item.baseline)),
        verdict=facts.verdict(by, item),
    )


def detail(report: RolloutReport, now: float) -> DetailView:
    """A rollout with its history and evidence at Unix time ``now``."""
    return DetailView(**_detail(report, now))


def full(report: RolloutReport, now: float) -> ReportView:
    """Everything, curves included."""
    trace = [PointView(**_plain(point, PointView)) for point in report.trace]
    return ReportView(**_detail(report, now), telling=facts.telling(report), trace=trace)


def _detail(report: RolloutReport, now: float) -> dict[str, Any]:
    item = report.rollout
    coming = facts.next_step(item, facts.answered(report.readings))
    return {
        "rollout": rollout(item),
        "says": ". ".join(part for part in (words.state(item), item.ending, words.awaits(report, now)) if part),
        "next": None if coming is None else NextView(**_plain(coming, NextView)),
        "steps": [step(one) for one in report.steps],
        "readings": [reading(one, item.plan) for one in report.readings],
        "needed": dict(report.needed),
        "requests": report.requests,
        "stayed": report.stayed,
        "traffic": passing.told(report, now) or None,
    }


def _plain(item: object, view: type[View], leave: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """Those fields of a value that its view has under the same name."""
    found = {name: getattr(item, name) for name in view.model_fields.keys() - leave if hasattr(item, name)}
    return {name: _number(value) if isinstance(value, float) else value for name, value in found.items()}


def _number(value: float | None) -> float | None:
    """JSON has no infinite numbers: a bound that is infinite is none."""
    return value if value is not None and math.isfinite(value) else None
