"""From the sums of a rollout's two arms to one reading per metric.

Owns how the false alarms a plan allows are divided between its metrics, what ``worse`` and ``fine`` mean, and the words
for what was not measured. Must not remember anything or act.

The level is divided by ``WORTH`` between the guarded metrics (a union bound: all alarms together stay below the plan's).
Quality gets most: it is the metric whose losses are small against its spread, where a smaller level costs many requests.
A latency, an energy or a memory that is really worse is far off or hardly varies, and the boundary grows only with the
logarithm of the level: a tenth of the level costs them about half as many answers again, of few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from podium.core.sequential.boundary import critical, critical_at
from podium.core.sequential.means import Contrast, amount_bounds, clock, contrast, score_bounds
from podium.core.sequential.pairs import Pairs, pair_bounds
from podium.core.sequential.quantiles import Histogram, difference_bounds, rate_bounds
from podium.core.sequential.tallies import Tallies
from podium.domain.rollout import MORE_IS_BETTER, Metric, Reading, RolloutMode, RolloutPlan

Array = NDArray[np.float64]

WORTH: Mapping[Metric, float] = {
    Metric.QUALITY: 0.70,
    Metric.SUCCESS: 0.14,
    Metric.LATENCY: 0.10,
    Metric.ENERGY: 0.04,
    Metric.MEMORY: 0.02,
}
PAIR_SUMS = 6
QUANTILE = 0.95
_MOST_FACTOR, _FACTORS = 1e4, 145
_BOUNDS = "confidence sequence, normal mixture"
_METHODS = {
    Metric.SUCCESS: f"{_BOUNDS}; likelihood bounds of both means",
    Metric.QUALITY: f"{_BOUNDS}; likelihood bounds of both means",
    Metric.LATENCY: f"{_BOUNDS}; likelihood bounds of both quantiles",
    Metric.ENERGY: f"{_BOUNDS}; Student's bounds",
    Metric.MEMORY: f"{_BOUNDS}; Student's bounds",
}
_NOTHING = {
    Metric.SUCCESS: ("no request was sent yet", "no request was sent to the {arm} yet"),
    Metric.QUALITY: ("nobody scored an answer", "nobody scored an answer of the {arm}"),
    Metric.LATENCY: ("no request was answered yet", "the {arm} answered no request yet"),
    Metric.ENERGY: ("no energy counter is readable", "no energy was measured for the {arm}"),
    Metric.MEMORY: ("the memory of the instances is not measured", "the memory of the {arm} is not measured"),
}


@dataclass(slots=True)
class Evidence:
    """All that is remembered of both arms."""

    success: Tallies = field(default_factory=Tallies)
    quality: Tallies = field(default_factory=Tallies)
    energy: Tallies = field(default_factory=Tallies)
    memory: Tallies = field(default_factory=Tallies)
    latency: list[Histogram] = field(default_factory=lambda: [Histogram(), Histogram()])
    pairs: list[float] = field(default_factory=lambda: [0.0] * PAIR_SUMS)


@dataclass(frozen=True, slots=True)
class _View:
    """A metric at several multiples of the evidence. ``gap`` bounds candidate - baseline, ``margin`` bounds what must
    be above 0 to be fine. Arrays over the multiples.
    """

    baseline: float
    candidate: float
    lower: Array
    upper: Array
    margin: Array
    z: Array


def level_of(metric: Metric, plan: RolloutPlan) -> float:
    """The part of the plan's false alarms this metric may use; all of it for one that guards nothing."""
    if metric not in plan.limits:
        return plan.false_alarm
    return plan.false_alarm * WORTH[metric] / sum(WORTH[one] for one in plan.limits)


def readings(seen: Evidence, plan: RolloutPlan) -> dict[Metric, Reading]:
    """One for every metric."""
    return {metric: _reading(metric, seen, plan) for metric in Metric}


def needed(seen: Evidence, plan: RolloutPlan) -> dict[Metric, int]:
    """Further answers of the candidate until a guarded metric is decided, were both arms to go on as they did."""
    factors = np.geomspace(1.0, _MOST_FACTOR, _FACTORS)
    found = {}
    for metric, limit in plan.limits.items():
        counts = _counts(metric, seen)
        if not all(counts):
            continue
        # quantiles are solved for one multiple at a time
        steps = factors[::6] if metric is Metric.LATENCY else factors
        view = _view(metric, seen, level_of(metric, plan), limit, steps)
        decided = _worse(metric, view, limit) | (view.margin >= 0)
        if decided.any():
            found[metric] = math.ceil(counts[1] * (steps[int(decided.argmax())] - 1.0))
    return found


def _reading(metric: Metric, seen: Evidence, plan: RolloutPlan) -> Reading:
    counts = _counts(metric, seen)
    if not all(counts):
        arm = "baseline" if counts[1] else "candidate"
        nobody, one = _NOTHING[metric]
        words = one.format(arm=arm) if any(counts) else nobody
        if metric is Metric.LATENCY and plan.mode is RolloutMode.SHADOW:
            words = "not compared in the shadow, where answers wait behind all users"
        return Reading(metric=metric, baseline_n=counts[0], candidate_n=counts[1], missing=words)
    limit = plan.limits.get(metric)
    view = _view(metric, seen, level_of(metric, plan), 1.0 if limit is None else limit, np.ones(1))
    judged = limit is not None and bool(np.isfinite(view.z[0]))
    return Reading(
        metric=metric,
        baseline_n=counts[0],
        candidate_n=counts[1],
        baseline=view.baseline,
        candidate=view.candidate,
        lower=_number(view.lower[0], view.z[0]),
        upper=_number(view.upper[0], view.z[0]),
        worse=judged and limit is not None and bool(_worse(metric, view, limit)[0]),
        fine=judged and bool(view.margin[0] >= 0),
        method=_METHODS[metric] + (", joined with pairs" if metric is Metric.QUALITY and seen.pairs[0] else ""),
    )


def _worse(metric: Metric, view: _View, limit: float) -> NDArray[np.bool_]:
    if metric in MORE_IS_BETTER:
        return (view.upper < 0) & (view.candidate < limit * view.baseline)
    return (view.lower > 0) & (view.baseline < limit * view.candidate)


def _number(value: float, z: float) -> float | None:
    return float(value) if np.isfinite(value) and np.isfinite(z) else None


def _counts(metric: Metric, seen: Evidence) -> tuple[int, int]:
    match metric:
        case Metric.LATENCY:
            return seen.latency[0].n, seen.latency[1].n
        case Metric.QUALITY:
            pairs = round(seen.pairs[0])
            return seen.quality.counts[0] + pairs, seen.quality.counts[1] + pairs
        case Metric.SUCCESS | Metric.ENERGY | Metric.MEMORY:
            counts: list[int] = getattr(seen, metric.value).counts
            return counts[0], counts[1]


def _view(metric: Metric, seen: Evidence, level: float, limit: float, factors: Array) -> _View:
    match metric:
        case Metric.LATENCY:
            return _latency(seen.latency, level, limit, factors)
        case Metric.QUALITY:
            return _quality(seen, level, limit, factors)
        case Metric.SUCCESS:
            return _means(_contrast(seen.success, factors, bounded=True), score_bounds, level, limit)
        case Metric.ENERGY | Metric.MEMORY:
            tallies: Tallies = getattr(seen, metric.value)
            return _means(_contrast(tallies, factors, bounded=False), amount_bounds, level, limit, less=True)


def _contrast(tallies: Tallies, factors: Array, *, bounded: bool) -> Contrast:
    baseline, candidate = tallies.sums()
    scale = factors[:, None, None]
    return contrast(baseline * scale, candidate * scale, bounded=bounded)


def _means(
    seen: Contrast, bounds: Callable[..., tuple[Array, Array]], level: float, limit: float, *, less: bool = False
) -> _View:
    z = critical(level, seen.clock)
    lower, upper = bounds(seen, z)
    # where less is better, baseline >= limit * candidate says that candidate - baseline / limit is at most 0
    margin = -bounds(seen, z, 1.0 / limit)[1] if less else bounds(seen, z, limit)[0]
    return _View(float(seen.baseline[0]), float(seen.candidate[0]), lower, upper, margin, z)


def _quality(seen: Evidence, level: float, limit: float, factors: Array) -> _View:
    """Scores of separate prompts and of pairs, joined by the inverse of their variances."""
    alone = all(seen.quality.counts)
    n, x, y, xx, yy, xy = seen.pairs
    if not n:
        return _means(_contrast(seen.quality, factors, bounded=True), score_bounds, level, limit)
    pairs = Pairs(n * factors, x * factors, y * factors, xx * factors, yy * factors, xy * factors)
    if not alone:
        z = critical(level, np.asarray(pairs.n))
        _, lower, upper = pair_bounds(pairs, z)
        return _View(x / n, y / n, lower, upper, pair_bounds(pairs, z, limit)[1], z)
    split = _contrast(seen.quality, factors, bounded=True)
    z = critical(level, split.clock + np.asarray(pairs.n))
    joined = [_join(split, pairs, z, keep) for keep in (1.0, limit)]
    share = joined[0][2][0]
    return _View(
        float(split.baseline[0] * (1 - share) + x / n * share),
        float(split.candidate[0] * (1 - share) + y / n * share),
        joined[0][0],
        joined[0][1],
        joined[1][0],
        z,
    )


def _join(split: Contrast, pairs: Pairs, z: Array, keep: float) -> tuple[Array, Array, Array]:
    """Bounds from both sources, and the share of the pairs in the estimate."""
    gap_s = split.candidate - keep * split.baseline
    low_s, high_s = score_bounds(split, z, keep)
    gap_p, low_p, high_p = pair_bounds(pairs, z, keep)
    error_s = split.candidate_spread / split.candidate_n + keep**2 * split.baseline_spread / split.baseline_n
    n = np.asarray(pairs.n)
    square = (pairs.yy - 2 * keep * pairs.xy + keep**2 * pairs.xx) / n
    error_p = (np.maximum(square - gap_p**2, 0.0) + 1.0 / n) / n
    usable = (n > np.square(z)) & np.isfinite(z)
    share = np.where(usable, error_s / (error_s + error_p), 0.0)
    gap = gap_s * (1 - share) + gap_p * share
    lower = gap - np.hypot((1 - share) * (gap_s - low_s), np.where(usable, share * (gap_p - low_p), 0.0))
    upper = gap + np.hypot((1 - share) * (high_s - gap_s), np.where(usable, share * (high_p - gap_p), 0.0))
    return lower, upper, share


def _latency(arms: list[Histogram], level: float, limit: float, factors: Array) -> _View:
    baseline, candidate = arms
    z = np.array([critical_at(level, float(clock(baseline.n * f, candidate.n * f))) for f in factors.tolist()])
    rows = []
    for factor, one in zip(factors.tolist(), z.tolist(), strict=True):
        both = []
        for arm in arms:
            low, high = rate_bounds(QUANTILE, int(arm.n * factor), one)
            both.append(tuple(arm.values([low, QUANTILE, high])))
        (b, c) = both
        gap = difference_bounds((b[0], b[1], b[2]), (c[0], c[1], c[2]))
        margin = -difference_bounds((b[0], b[1], b[2]), (c[0], c[1], c[2]), limit)[1]
        rows.append((*gap, margin, b[1], c[1]))
    lower, upper, margins = (np.array([row[at] for row in rows]) for at in range(3))
    return _View(rows[0][3], rows[0][4], lower, upper, margins, z)
