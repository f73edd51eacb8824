"""Draws a rollout with characters: both arms over time, where the candidate may really be, and its share. Pure.

Legible without colour. With ``ascii_only`` nothing but ASCII is written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from podium.core.picture import words
from podium.core.picture.curves import Curves, curves, ticks, time_ticks, value_range
from podium.core.picture.facts import TITLES, telling
from podium.core.picture.labels import elapsed, number
from podium.domain.rollout import Metric, RolloutReport

_LEAST_WIDTH, _MOST_WIDTH = 40, 160


@dataclass(frozen=True, slots=True)
class _Pen:
    baseline: str
    candidate: str
    both: str
    band: str
    limit: str
    axis: str
    tick: str
    corner: str
    bottom: str
    mark: str
    paused: str
    shares: str
    """From the smallest share to all of the traffic."""


_UNICODE = _Pen("─", "●", "◉", "·", "╌", "│", "┤", "└", "─", "┬", "‖", "▁▂▃▄▅▆▇█")
_ASCII = _Pen("=", "o", "@", ":", "-", "|", "+", "+", "-", "+", "!", "123456789#")


def chart(
    report: RolloutReport,
    now: float,
    *,
    metric: Metric | None = None,
    width: int = 80,
    height: int = 12,
    ascii_only: bool = False,
) -> str:
    """The picture of one metric (the telling one unless named), ``width`` columns wide; lines end in no newline.

    One sentence instead when nothing was measured yet.
    """
    chosen = metric or telling(report)
    curve = None if chosen is None else curves(report, chosen, now)
    if curve is None:
        text = "nothing to draw yet: no answer of this rollout was measured"
        return text if metric is None else f"{text} by {metric}"
    pen = _ASCII if ascii_only else _UNICODE
    return "\n".join(_lines(report, curve, pen, max(_LEAST_WIDTH, min(_MOST_WIDTH, width)), max(5, height)))


def _lines(report: RolloutReport, curve: Curves, pen: _Pen, width: int, height: int) -> list[str]:
    low, high = value_range(curve)
    marks = ticks(low, high, max(2, height // 3))
    labels = {_row(value, low, high, height): number(curve.metric, value, marks) for value in marks}
    margin = max((len(text) for text in labels.values()), default=0)
    margin = max(margin, len("share"))
    columns = width - margin - 2
    times = [curve.start + (curve.end - curve.start) * (index + 1) / columns for index in range(columns)]
    canvas = [[" "] * columns for _ in range(height)]
    for column, time in enumerate(times):
        _column(curve, pen, canvas, column, time, low, high)
    lines = [TITLES[curve.metric]]
    for row in range(height):
        edge = pen.tick if row in labels else pen.axis
        lines.append(f"{labels.get(row, ''):>{margin}} {edge}{''.join(canvas[row])}".rstrip())
    lines.append(f"{'share':>{margin}} {pen.axis}{_share_row(curve, pen, times)}".rstrip())
    lines += _time_axis(curve, pen, margin, columns)
    return [*lines, *_legend(report, curve, pen, width)]


def _row(value: float, low: float, high: float, height: int) -> int:
    """Row from the top; outside of the canvas for values outside of the range."""
    if not math.isfinite(value):
        return -1 if value > 0 else height
    return round((high - value) / (high - low) * (height - 1))


def _column(
    curve: Curves, pen: _Pen, canvas: list[list[str]], column: int, time: float, low: float, high: float
) -> None:
    height = len(canvas)
    point = curve.at(time)
    if point is None:
        return
    if (band := curve.band(point)) is not None:
        top, bottom = _row(band[1], low, high, height), _row(band[0], low, high, height)
        for row in range(max(0, top), min(height - 1, bottom) + 1):
            canvas[row][column] = pen.band
    if curve.limit is not None and 0 <= (row := _row(curve.limit, low, high, height)) < height:
        canvas[row][column] = pen.limit if column % 2 == 0 else canvas[row][column]
    rows = [
        None if value is None else min(height - 1, max(0, _row(value, low, high, height)))
        for value in (point.baseline, point.candidate)
    ]
    if rows[0] is not None:
        canvas[rows[0]][column] = pen.baseline
    if rows[1] is not None:
        canvas[rows[1]][column] = pen.both if rows[0] == rows[1] else pen.candidate


def _share_row(curve: Curves, pen: _Pen, times: list[float]) -> str:
    shown = []
    for time in times:
        if any(since <= time < until for since, until in curve.pauses):
            shown.append(pen.paused)
            continue
        share = curve.share(time)
        level = min(len(pen.shares), math.ceil(share * len(pen.shares) - 1e-9))
        shown.append(pen.shares[level - 1] if share > 0 else " ")
    return "".join(shown)


def _time_axis(curve: Curves, pen: _Pen, margin: int, columns: int) -> list[str]:
    length = curve.end - curve.start
    line, text = [pen.bottom] * columns, [" "] * (columns + 12)
    free = 0
    for offset in time_ticks(length, max(2, columns // 12)):
        column = min(columns - 1, round(offset / length * columns))
        line[column] = pen.mark
        label = elapsed(offset)
        begin = max(0, min(column - len(label) // 2, columns - len(label)))
        if begin >= free:
            text[begin : begin + len(label)] = label
            free = begin + len(label) + 1
    return [
        f"{'':>{margin}} {pen.corner}{''.join(line)}",
        f"{'':>{margin}}  {''.join(text)}".rstrip(),
    ]


def _legend(report: RolloutReport, curve: Curves, pen: _Pen, width: int) -> list[str]:
    metric, last, rollout = curve.metric, curve.points[-1], report.rollout
    parts = [
        f"{pen.baseline} {rollout.baseline} {words.value(metric, last.baseline)}",
        f"{pen.candidate} {rollout.candidate} {words.value(metric, last.candidate)}",
        f"{pen.both} both",
    ]
    if any(curve.band(point) is not None for point in curve.points):
        parts.append(f"{pen.band} where the candidate may really be")
    if curve.limit is not None:
        parts.append(f"{pen.limit} limit {words.value(metric, curve.limit)}")
    parts.append(f"share {pen.shares[0]} to {pen.shares[-1]} of the traffic")
    if curve.pauses:
        parts.append(f"{pen.paused} paused")
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}   {part}" if lines[-1] else part
        if len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines
