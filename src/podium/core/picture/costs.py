"""Draws costs as SVG: how a figure is spread over answers of each version, and how it went over time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from podium.core.picture.canvas import Canvas, cut, width_of
from podium.core.picture.style import SHEET
from podium.domain.costing import CostProfile, Trend

_WIDTH, _EDGE, _LABEL, _ROW, _MARGIN = 860.0, 28.0, 250.0, 30.0, 96.0
_PLOT = 170.0
_MOST_ROWS, _MOST_TRENDS = 24, 12
UNITS = {
    "wall_ms": "time of an answer, ms",
    "wait_ms": "wait for a place, ms",
    "ttft_ms": "time to the first token, ms",
    "cpu_ms": "processor time, ms",
    "gpu_ms": "GPU time, ms",
    "peak_memory_mb": "most memory, MB",
    "mean_memory_mb": "mean memory, MB",
    "mapped_memory_mb": "mapped weights in memory, MB",
    "energy_mwh": "energy, mWh",
    "price_microusd": "price, millionths of a dollar",
    "input_tokens": "tokens of the prompt",
    "output_tokens": "tokens of the answer",
    "tokens_per_s": "tokens a second",
}


def titled(figure: str) -> str:
    """What a figure is, in words with its unit."""
    base = figure.removesuffix("_per_token")
    return UNITS.get(base, base) + ("" if base == figure else ", for each token")


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    """Both above 0: the scale is logarithmic."""

    def x(self, value: float) -> float:
        left, right = _EDGE + _LABEL, _WIDTH - _MARGIN
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return left + min(1.0, share) * (right - left)


def draw(profiles: Sequence[CostProfile], trends: Sequence[Trend], figure: str) -> str:
    """The SVG document: one row for each profile that has the figure (50, 95 and 99 % and mean), then the trends."""
    rows = [one for one in profiles if one.figures[figure].n][:_MOST_ROWS]
    curves = [one for one in trends if one.figure == figure and len(one.points) > 1][:_MOST_TRENDS]
    canvas = Canvas(_WIDTH)
    height = 112.0 + max(1, len(rows)) * _ROW + 34 + len(curves) * (_PLOT + 62)
    canvas.rect((0, 0), _WIDTH, height, "page")
    title = f"Costs: {titled(figure)}"
    canvas.text((_EDGE, 36), title, "h1 ink")
    if rows:
        canvas.text(
            (_EDGE, 58), "bar: from the median to the 95th percentile; line: to the 99th; dot: mean", "dim small"
        )
    if not rows and not curves:
        why = next((one.figures[figure].why for one in profiles if one.figures[figure].why), "nothing is on record")
        canvas.text((_EDGE, 92), cut(f"Nothing to draw: {why}.", 13, _WIDTH - 2 * _EDGE), "body dim")
    bottom = _spread(canvas, rows, figure, 82.0) if rows else 66.0
    for one in curves:
        _curve(canvas, one, bottom + 44)
        bottom += _PLOT + 62
    told = "; ".join(f"{_name(one)}: {one.figures[figure].mean:.4g}" for one in rows) or "nothing to draw"
    return canvas.document(height, title=title, description=told, style_sheet=SHEET)


def _name(one: CostProfile) -> str:
    return " on ".join(part for part in (one.ref or "all versions", one.task) if part)


def _spread(canvas: Canvas, rows: Sequence[CostProfile], figure: str, top: float) -> float:
    values = [
        value
        for one in rows
        for value in (one.figures[figure].p50, one.figures[figure].p99, one.figures[figure].mean)
        if value
    ]
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    scale = _Scale(low / 1.3, max(high * 1.1, low * 1.5))
    bottom = top + len(rows) * _ROW + 8
    for mark in _marks(scale):
        canvas.line((scale.x(mark), top), (scale.x(mark), bottom), "grid")
        canvas.text((scale.x(mark), bottom + 15), f"{mark:g}", "small dim", anchor="middle")
    for index, one in enumerate(rows):
        found, y = one.figures[figure], top + 20 + index * _ROW
        canvas.text((_EDGE, y + 4), cut(_name(one), 12, _LABEL - 12), "ink")
        if found.p50 is None or found.p95 is None or found.p99 is None or found.mean is None:
            continue
        canvas.line((scale.x(found.p50), y), (scale.x(found.p99), y), "baseline")
        canvas.rect((scale.x(found.p50), y - 6), max(2.0, scale.x(found.p95) - scale.x(found.p50)), 12, "share")
        canvas.circle((scale.x(found.mean), y), 4, "of-baseline")
        right = f"{found.mean:.4g}, n {found.n:,}"
        canvas.text((_WIDTH - _MARGIN + 8, y + 4), cut(right, 11, _MARGIN - 12), "small dim")
    return bottom + 20


def _marks(scale: _Scale) -> list[float]:
    found = []
    for power in range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1):
        found += [mark for step in (1, 2, 5) if scale.low <= (mark := step * 10.0**power) <= scale.high]
    return found[:: max(1, len(found) // 9 + (len(found) > 9))]


def _curve(canvas: Canvas, one: Trend, top: float) -> None:
    left, right, bottom = _EDGE + 60, _WIDTH - _EDGE, top + _PLOT
    tone = "bad" if one.worse else "good" if one.worse is False else "ink"
    said = (
        one.direction
        if one.change is None or one.p is None
        else f"{one.direction}, {one.change:+.0%} (p = {one.p:.2g})"
    )
    canvas.text((_EDGE, top - 10), cut(f"{one.ref} on {one.task}", 13, 480), "h2 ink")
    canvas.text((right, top - 10), said, f"strong {tone}", anchor="end")
    means = [point.mean for point in one.points]
    low, high = min(means), max(means)
    room = (high - low or abs(high) or 1.0) * 0.1
    low, high = max(0.0, low - room), high + room
    first, last = one.points[0].at, one.points[-1].at

    def place(at: float, value: float) -> tuple[float, float]:
        share = (at - first) / (last - first) if last > first else 0.5
        return left + share * (right - left), bottom - (value - low) / (high - low) * _PLOT

    for step in range(5):
        value = low + (high - low) * step / 4
        canvas.line((left, place(first, value)[1]), (right, place(first, value)[1]), "grid")
        canvas.text((left - 8, place(first, value)[1] + 4), f"{value:.4g}", "small dim", anchor="end")
    canvas.path([[place(point.at, point.mean) for point in one.points]], "baseline")
    for point in one.points:
        canvas.circle(place(point.at, point.mean), 2.6, "of-baseline")
    free = left
    for point in one.points:
        form = "%m-%d %H:%M" if one.window_s < 86_400 else "%Y-%m-%d"
        text = datetime.fromtimestamp(point.at, UTC).strftime(form)
        x, wide = place(point.at, low)[0], width_of(text, 11)
        if x - wide / 2 >= free and x + wide / 2 <= right:
            canvas.text((x, bottom + 16), text, "small dim", anchor="middle")
            free = x + wide / 2 + 14
