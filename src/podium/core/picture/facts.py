"""What can be read off a rollout: which step it is on, what comes next, which limit counts, what each metric shows.

Decides nothing: moves belong to ``core/rollout``, statistics to ``core/sequential``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from podium.core.rollout_plan import share_of
from podium.domain.rollout import (
    MORE_IS_BETTER,
    Metric,
    Reading,
    Rollout,
    RolloutMode,
    RolloutPlan,
    RolloutReport,
    RolloutState,
)

TITLES: Mapping[Metric, str] = MappingProxyType(
    {
        Metric.SUCCESS: "success (share of requests answered)",
        Metric.QUALITY: "quality (mean score, 0 to 1)",
        Metric.LATENCY: "latency (95th percentile, ms)",
        Metric.MEMORY: "memory (peak, MB)",
        Metric.ENERGY: "energy (mean per request, mWh)",
    }
)
_PREFERENCE = (Metric.QUALITY, Metric.SUCCESS, Metric.LATENCY, Metric.MEMORY, Metric.ENERGY)


class Verdict(StrEnum):
    """What one metric says at the plan's level."""

    WORSE = "worse"
    """It is certain that the candidate is worse, and its estimate is below the limit."""
    FINE = "fine"
    """It is certain that it does not fall below the limit."""
    OPEN = "open"
    """Not decided yet."""
    WATCHED = "watched"
    """It has no limit in this plan: reported, guards nothing."""
    MISSING = "missing"
    """There are no numbers; the reading says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """What has to happen before the share grows. Times are Unix seconds."""

    share: float | None
    """The candidate's share afterwards; ``None``: it is promoted."""
    not_before: float
    """The end of the present step; with ``early`` in the plan it may come sooner, once every metric is certain."""
    answers: int
    """Answers of the candidate still missing in the present step."""
    silence_at: float
    """When the step ends in a roll back if they are still missing then."""


def steps(plan: RolloutPlan) -> int:
    """Ramp steps of the canary, the one with all of the traffic included; 0 in mode ``shadow``."""
    match plan.mode:
        case RolloutMode.AB:
            return 1
        case RolloutMode.SHADOW:
            return 0
        case RolloutMode.GRADUAL:
            about = max(1, math.ceil((1 - plan.start_share) / plan.step_share))
            return next(step for step in (about, about + 1, about + 2) if share_of(plan, step) >= 1)


def answered(readings: Sequence[Reading]) -> int:
    """Requests the candidate answered; failed ones do not count."""
    success = next((one for one in readings if one.metric is Metric.SUCCESS), None)
    if success is None or success.candidate is None:
        return max((one.candidate_n for one in readings), default=0)
    return round(success.candidate * success.candidate_n)


def next_step(rollout: Rollout, answers: int) -> NextStep | None:
    """What the present ramp step waits for; ``None`` when no step grows by itself.

    ``answers``: requests the candidate answered in the whole rollout.
    """
    plan = rollout.plan
    if rollout.state is not RolloutState.CANARY or plan.mode is not RolloutMode.GRADUAL:
        return None
    return NextStep(
        share=None if rollout.share >= 1 else share_of(plan, rollout.step + 1),
        not_before=rollout.step_since + plan.step_s,
        answers=max(0, plan.min_samples - max(0, answers - rollout.step_samples)),
        silence_at=rollout.step_since + plan.silence_s,
    )


def limit_value(plan: RolloutPlan, metric: Metric, baseline: float | None) -> float | None:
    """The candidate's value at which it is at the limit, in the metric's unit; ``None`` without a limit."""
    ratio = plan.limits.get(metric)
    if ratio is None or baseline is None:
        return None
    if metric in MORE_IS_BETTER:
        return ratio * baseline
    return baseline / ratio if ratio > 0 else None


def difference(reading: Reading) -> float | None:
    """Candidate minus baseline, in the metric's unit."""
    if reading.baseline is None or reading.candidate is None:
        return None
    return reading.candidate - reading.baseline


def verdict(plan: RolloutPlan, reading: Reading) -> Verdict:
    """What the metric says now."""
    if reading.baseline is None or reading.candidate is None:
        return Verdict.MISSING
    if reading.metric not in plan.limits:
        return Verdict.WATCHED
    if reading.worse:
        return Verdict.WORSE
    return Verdict.FINE if reading.fine else Verdict.OPEN


def telling(report: RolloutReport) -> Metric | None:
    """The metric whose picture says why: the one that is worse, else quality, success, latency and so on by data."""
    drawn = {point.metric for point in report.trace if point.baseline is not None or point.candidate is not None}
    worse = {one.metric for one in report.readings if verdict(report.rollout.plan, one) is Verdict.WORSE}
    for chosen in (drawn & worse, drawn):
        for metric in _PREFERENCE:
            if metric in chosen:
                return metric
    return None
