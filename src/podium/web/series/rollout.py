"""The curves of a rollout: both arms with the interval that decides, and the candidate's share of the traffic."""

from __future__ import annotations

from typing import Any

from podium.core.picture.curves import Curves, curves, value_range
from podium.domain.rollout import Metric, RolloutReport, RolloutState, TracePoint

UNITS = {Metric.SUCCESS: "%", Metric.LATENCY: "ms", Metric.MEMORY: "MB", Metric.ENERGY: "mWh"}
_SCALE = {Metric.SUCCESS: 100.0}
_MARKED = {
    RolloutState.PAUSED: "paused",
    RolloutState.PROMOTED: "promoted",
    RolloutState.ROLLED_BACK: "rolled back",
    RolloutState.ABORTED: "aborted",
    RolloutState.FAILED: "failed",
}
_FIGURES = 5
Json = dict[str, Any]


def arms(report: RolloutReport, metric: Metric, now: float) -> Json:
    """Both versions over time, the limit, and the range in which the candidate may really be; empty axes: no numbers."""
    found = curves(report, metric, now)
    if found is None:
        return _empty(report, now)
    unit, scale = UNITS.get(metric, ""), _SCALE.get(metric, 1.0)
    least, most = value_range(found)
    times = [point.at for point in found.points]
    points = list(found.points)
    if found.end > times[-1]:
        times.append(found.end)
        points.append(points[-1])
    bands = [_band(found, point, least, most) for point in points]
    early = [found.start] if found.start < times[0] else []  # both charts begin at the same time
    times = [*early, *times]

    def values(numbers: list[float | None]) -> list[float | None]:
        return [None for _ in early] + [None if number is None else _short(number * scale) for number in numbers]

    lines = [
        {"name": "old", "values": values([point.baseline for point in points]), "color": 1},
        {"name": "new", "values": values([point.candidate for point in points]), "color": 2},
        {"name": "new, at most", "values": values([high for _, high in bands]), "kind": "edge", "color": 2},
        {"name": "new, at least", "values": values([low for low, _ in bands]), "kind": "edge", "color": 2},
    ]
    if found.limit is not None:
        lines.append({"name": "limit", "values": values([found.limit] * len(points)), "color": 6})
    return {
        "x": [round(at, 2) for at in times],
        "lines": [{**line, "unit": unit} for line in lines],
        "bands": [[2, 3]],
        "marks": [
            {"at": step.at, "text": _MARKED[step.after]}
            for step in report.steps
            if step.after in _MARKED and step.before is not step.after
        ],
        "min": _short(least * scale),
        "max": _short(most * scale),
        "unit": unit,
    }


def share(report: RolloutReport, metric: Metric, now: float) -> Json:
    """The candidate's share of the traffic in per cent over the same time, as steps."""
    found = curves(report, metric, now)
    if found is None:
        return _empty(report, now)
    times, values = [found.start], [found.share(found.start)]
    for at, now_share in found.shares:
        if at <= found.start:
            values[-1] = now_share
            continue
        times += [at - 1e-3, at]
        values += [values[-1], now_share]
    times.append(found.end)
    values.append(values[-1])
    return {
        "x": [round(at, 3) for at in times],
        "lines": [
            {
                "name": "share of the new version",
                "values": [_short(100 * value) for value in values],
                "kind": "area",
                "color": 2,
                "unit": "%",
            }
        ],
        "min": 0,
        "max": 100,
        "unit": "%",
    }


def _empty(report: RolloutReport, now: float) -> Json:
    begun = report.rollout.requested_at
    line = {"name": "nothing measured yet", "values": [None, None], "color": 6}
    return {"x": [round(begun, 2), round(max(now, begun + 1), 2)], "lines": [line], "min": 0, "max": 1}


def _band(found: Curves, point: TracePoint, least: float, most: float) -> tuple[float | None, float | None]:
    """Cut at the edges of the picture, which says as much and is finite."""
    band = found.band(point)
    return (None, None) if band is None else (max(least, min(most, band[0])), max(least, min(most, band[1])))


def _short(value: float) -> float:
    return float(f"{value:.{_FIGURES}g}")
