"""Puts evidence of a rollout into words with numbers. Pure; decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podium.domain.rollout import MORE_IS_BETTER, Metric, Reading, RolloutPlan

_NAMES = {
    Metric.SUCCESS: "success rate",
    Metric.QUALITY: "mean quality",
    Metric.LATENCY: "p95 latency",
    Metric.MEMORY: "peak memory",
    Metric.ENERGY: "energy per request",
}
_UNITS = {Metric.LATENCY: " ms", Metric.MEMORY: " MB", Metric.ENERGY: " mWh"}


def percent(share: float) -> str:
    """``0.1`` is ``10 %``."""
    return f"{share * 100:.4g} %"


def span(seconds: float) -> str:
    """A length of time in the largest unit that leaves a number of at least one: ``90 s``, ``2 h``."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def why_worse(readings: Iterable[Reading], plan: RolloutPlan) -> str:
    """Which metrics are worse: both values, the bounds of their difference, how many answers, and the test."""
    return "; ".join(_worse(reading, plan.limits.get(reading.metric)) for reading in readings)


def pairs(readings: Iterable[Reading]) -> str:
    """Both values of some metrics."""
    return "; ".join(_pair(reading) for reading in readings)


def standing(readings: Mapping[Metric, Reading], plan: RolloutPlan) -> str:
    """How every guarded metric stands now, and which ones nobody measured."""
    parts = []
    for metric in Metric:
        if metric not in plan.limits:
            continue
        reading = readings.get(metric)
        if reading is None or reading.candidate is None or reading.baseline is None:
            why = reading.missing if reading is not None else None
            parts.append(f"{metric} was not measured{f' ({why})' if why else ''}")
        else:
            certain = ", certain to be fine" if reading.fine else ""
            parts.append(f"{_pair(reading)} ({_counts(reading)}{certain})")
    return "; ".join(parts)


def better(readings: Mapping[Metric, Reading]) -> tuple[Metric, ...]:
    """Metrics in which the candidate is certain to be better: the whole interval is on its side of zero."""
    found = []
    for metric, reading in readings.items():
        if metric in MORE_IS_BETTER:
            sure = reading.lower is not None and reading.lower > 0
        else:
            sure = reading.upper is not None and reading.upper < 0
        if sure:
            found.append(metric)
    return tuple(found)


def _worse(reading: Reading, limit: float | None) -> str:
    bounds = ""
    if reading.lower is not None and reading.upper is not None:
        low, high = (_value(reading.metric, bound, signed=True) for bound in (reading.lower, reading.upper))
        bounds = f", difference between {low} and {high}"
    ratio = reading.ratio
    under = f", {ratio:.3g} of the old where {limit:g} is the limit" if ratio is not None and limit is not None else ""
    method = f", {reading.method}" if reading.method else ""
    return f"{_pair(reading)}{under} ({_counts(reading)}{bounds}{method})"


def _pair(reading: Reading) -> str:
    new, old = (_value(reading.metric, value) for value in (reading.candidate, reading.baseline))
    return f"{_NAMES[reading.metric]} {new} against {old}"


def _counts(reading: Reading) -> str:
    return f"{reading.candidate_n:,} against {reading.baseline_n:,} samples"


def _value(metric: Metric, value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "unknown"
    sign = "+" if signed else ""
    if metric in MORE_IS_BETTER:
        return f"{value:{sign}.3f}"
    return f"{value:{sign},.4g}{_UNITS[metric]}" if abs(value) < 1000 else f"{value:{sign},.0f}{_UNITS[metric]}"
