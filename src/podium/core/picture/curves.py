"""Turns the trace of a rollout into curves with their scales, ready to be drawn as text or SVG. Pure numbers."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from podium.core.picture.facts import limit_value
from podium.domain.rollout import Metric, RolloutReport, RolloutState, TracePoint

_BOUNDED = frozenset({Metric.SUCCESS, Metric.QUALITY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """One metric over time. ``points`` are oldest first, at least one; times are Unix seconds."""

    metric: Metric
    start: float
    end: float
    points: tuple[TracePoint, ...]
    shares: tuple[tuple[float, float], ...]
    """``(since, share)`` of the candidate, oldest first."""
    pauses: tuple[tuple[float, float], ...]
    limit: float | None
    """The candidate's value at which it is at the limit, by the latest baseline."""

    def at(self, time: float) -> TracePoint | None:
        """The latest point not after ``time``."""
        index = bisect.bisect_right(self.points, time, key=lambda point: point.at)
        return self.points[index - 1] if index else None

    def share(self, time: float) -> float:
        """The candidate's share then."""
        index = bisect.bisect_right(self.shares, time, key=lambda pair: pair[0])
        return self.shares[index - 1][1] if index else 0.0

    def band(self, point: TracePoint) -> tuple[float, float] | None:
        """Where the candidate may really be: the baseline plus the bounds of the difference."""
        if point.baseline is None or (point.lower is None and point.upper is None):
            return None
        low = -math.inf if point.lower is None else point.baseline + point.lower
        high = math.inf if point.upper is None else point.baseline + point.upper
        if self.metric in _BOUNDED:
            low, high = max(low, 0.0), min(high, 1.0)
        return max(low, 0.0), high


def curves(report: RolloutReport, metric: Metric, now: float) -> Curves | None:
    """The curves of one metric; ``None`` when nothing of it was measured."""
    points = tuple(
        point
        for point in map(_finite, sorted(report.trace, key=lambda point: point.at))
        if point.metric is metric and (point.baseline is not None or point.candidate is not None)
    )
    if not points:
        return None
    rollout = report.rollout
    end = max(points[-1].at, rollout.finished_at if rollout.finished_at is not None else now)
    start = min(points[0].at, min((step.at for step in report.steps), default=rollout.requested_at))
    last = next((point.baseline for point in reversed(points) if point.baseline is not None), None)
    return Curves(
        metric=metric,
        start=start,
        end=max(end, start + 1e-3),
        points=points,
        shares=_shares(report, points),
        pauses=_pauses(report, end),
        limit=limit_value(rollout.plan, metric, last),
    )


def value_range(curve: Curves) -> tuple[float, float]:
    """Lowest and highest value worth showing: both arms and the limit, and as much of the band as stays legible."""
    arms = [value for point in curve.points for value in (point.baseline, point.candidate) if value is not None]
    if curve.limit is not None:
        arms.append(curve.limit)
    bands = [band for point in curve.points if (band := curve.band(point)) is not None]
    return _widened(arms, bands, least=0.0, most=1.0 if curve.metric in _BOUNDED else None)


def difference_range(curve: Curves) -> tuple[float, float]:
    """The same for candidate minus baseline."""
    gaps = [0.0]
    bands = []
    for point in curve.points:
        if point.baseline is not None and point.candidate is not None:
            gaps.append(point.candidate - point.baseline)
        if point.lower is not None or point.upper is not None:
            low = -math.inf if point.lower is None else point.lower
            bands.append((low, math.inf if point.upper is None else point.upper))
    if (line := limit_difference(curve)) is not None:
        gaps.append(line)
    return _widened(gaps, bands, least=None, most=None)


def limit_difference(curve: Curves) -> float | None:
    """The limit as candidate minus baseline."""
    last = next((point.baseline for point in reversed(curve.points) if point.baseline is not None), None)
    return None if curve.limit is None or last is None else curve.limit - last


def ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    """At most about ``count`` round values (1, 2, 2.5 or 5 times a power of ten) in ``[low, high]``."""
    if not high > low:
        return (low,)
    raw = (high - low) / max(1, count)
    if raw < 1e-12 * max(abs(low), abs(high)):  # finer than the numbers themselves
        return (low,)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(index * step, 12) + 0.0 for index in range(first, last + 1))


_TIME_STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800,
)  # fmt: skip


def time_ticks(length_s: float, count: int) -> tuple[float, ...]:
    """Round offsets in seconds from the start, 0 included."""
    if length_s < 2:
        return ticks(0.0, length_s, count)
    step = next(
        (size for size in _TIME_STEPS if length_s / size <= count), math.ceil(length_s / count / 604800) * 604800
    )
    return tuple(float(step * index) for index in range(int(length_s / step + 1e-9) + 1))


def _shares(report: RolloutReport, points: Sequence[TracePoint]) -> tuple[tuple[float, float], ...]:
    """From the record of steps; from the trace where there is no record. While paused nothing reaches the candidate."""
    if report.steps:
        found = [
            (step.at, step.share if step.after in (RolloutState.CANARY, RolloutState.PROMOTED) else 0.0)
            for step in report.steps
        ]
    else:
        found = [(point.at, point.share) for point in points]
    kept: list[tuple[float, float]] = []
    for at, share in found:
        if not kept or kept[-1][1] != share:
            kept.append((at, share))
    return tuple(kept)


def _pauses(report: RolloutReport, end: float) -> tuple[tuple[float, float], ...]:
    found = []
    since: float | None = None
    for step in report.steps:
        if step.after is RolloutState.PAUSED and since is None:
            since = step.at
        elif step.after is not RolloutState.PAUSED and since is not None:
            found.append((since, step.at))
            since = None
    return (*found, (since, end)) if since is not None else tuple(found)


def _finite(point: TracePoint) -> TracePoint:
    """Bounds that are infinite are no bounds."""

    def kept(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    return replace(
        point,
        baseline=kept(point.baseline),
        candidate=kept(point.candidate),
        lower=kept(point.lower),
        upper=kept(point.upper),
    )


def _widened(
    arms: Sequence[float], bands: Sequence[tuple[float, float]], *, least: float | None, most: float | None
) -> tuple[float, float]:
    """A range that holds ``arms``, and the later half of the bands up to three times as wide, with a margin."""
    low, high = min(arms), max(arms)
    reach = max((high - low) * 3, 0.02 * max(abs(low), abs(high)), 1e-6)
    for band in bands[len(bands) // 2 :]:
        low = min(low, max(band[0], min(arms) - reach))
        high = max(high, min(band[1], max(arms) + reach))
    margin = max((high - low) * 0.06, 1e-6, 0.002 * max(abs(low), abs(high)))
    low, high = low - margin, high + margin
    if least is not None:
        low = max(low, min(least, *arms) - margin / 2)
    if most is not None:
        high = min(high, max(most, *arms) + margin / 2)
    return low, high
