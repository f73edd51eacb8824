"""The panels of the picture of a rollout: arms, their difference, the share of the traffic. Draws on a given canvas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from podium.core.picture import words
from podium.core.picture.canvas import Canvas, Point
from podium.core.picture.curves import Curves, difference_range, limit_difference, ticks, time_ticks, value_range
from podium.core.picture.labels import elapsed, number
from podium.domain.rollout import Metric, TracePoint

LEAST_GAP = 15.0
"""Pixels between two labels at the right edge."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a panel lies, in pixels, and which times and values its edges stand for."""

    left: float
    right: float
    top: float
    bottom: float
    start: float
    end: float
    low: float
    high: float

    def x(self, time: float) -> float:
        """Pixel column of a Unix time."""
        return self.left + (time - self.start) / (self.end - self.start) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Pixel row of a value, kept inside the panel."""
        if math.isinf(value):
            return self.top if value > 0 else self.bottom
        row = self.bottom - (value - self.low) / (self.high - self.low) * (self.bottom - self.top)
        return min(self.bottom, max(self.top, row))


Place = Callable[[float, float], Frame]
"""A frame from its value range."""


def arms(canvas: Canvas, curve: Curves, place: Place) -> None:
    """Both arms over time, and the value at which the candidate is at the limit."""
    frame = place(*value_range(curve))
    _scale(canvas, frame, curve.metric)
    labels: list[tuple[float, str, str]] = []
    if curve.limit is not None:
        row = frame.y(curve.limit)
        canvas.line((frame.left, row), (frame.right, row), "limit")
        labels.append((row, f"limit {words.value(curve.metric, curve.limit)}", "ink"))
    for name in ("baseline", "candidate"):
        found = [(point.at, value) for point in curve.points if (value := getattr(point, name)) is not None]
        if not found:
            continue
        at, value = found[-1]
        canvas.path([[*(_spots(frame, found)), (frame.x(curve.end), frame.y(value))]], name)
        canvas.circle((frame.x(at), frame.y(value)), 3.2, f"of-{name}")
        labels.append((frame.y(value), f"{name} {words.value(curve.metric, value)}", f"of-{name} strong"))
    right_labels(canvas, frame, labels)


def differences(canvas: Canvas, curve: Curves, place: Place) -> None:
    """Candidate minus baseline with its band, against zero and the limit."""
    frame = place(*difference_range(curve))
    _scale(canvas, frame, curve.metric, signed=True)
    for run in _runs(curve.points):
        upper = [(frame.x(at), frame.y(high)) for at, _, high in run]
        lower = [(frame.x(at), frame.y(low)) for at, low, _ in run]
        if run[-1][0] == curve.points[-1].at:
            upper.append((frame.x(curve.end), upper[-1][1]))
            lower.append((frame.x(curve.end), lower[-1][1]))
        canvas.path([[*upper, *reversed(lower)]], "band", closed=True)
        canvas.path([upper, lower], "edge")
    canvas.line((frame.left, frame.y(0.0)), (frame.right, frame.y(0.0)), "zero")
    labels = [(frame.y(0.0), "no difference", "of-baseline")]
    if (line := limit_difference(curve)) is not None:
        canvas.line((frame.left, frame.y(line)), (frame.right, frame.y(line)), "limit")
        labels.append((frame.y(line), f"limit {words.gap(curve.metric, line)}", "ink"))
    _whisker(canvas, frame, curve.points[-1])
    found = [
        (point.at, point.candidate - point.baseline)
        for point in curve.points
        if point.baseline is not None and point.candidate is not None
    ]
    if found:
        value = found[-1][1]
        canvas.path([[*_spots(frame, found), (frame.x(curve.end), frame.y(value))]], "candidate")
        labels.append((frame.y(value), words.gap(curve.metric, value), "of-candidate strong"))
    right_labels(canvas, frame, labels)


def _whisker(canvas: Canvas, frame: Frame, last: TracePoint) -> None:
    """The latest bounds beside the right edge, so that they are seen however late they came."""
    if last.lower is None or last.upper is None:
        return
    column, top, bottom = frame.right + 6, frame.y(last.upper), frame.y(last.lower)
    canvas.line((column, top), (column, bottom), "candidate")
    for row in (top, bottom):
        canvas.line((column - 3, row), (column + 3, row), "candidate")


def traffic(canvas: Canvas, curve: Curves, place: Place) -> None:
    """The candidate's share over time, each step with its number."""
    frame = place(0.0, 1.0)
    for value in (0.0, 1.0):
        canvas.line((frame.left, frame.y(value)), (frame.right, frame.y(value)), "grid")
        canvas.text((frame.left - 8, frame.y(value) + 4), words.percent(value), "dim small", anchor="end")
    until = [*(since for since, _ in curve.shares[1:]), curve.end]
    free = -math.inf
    for (since, share), to in zip(curve.shares, until, strict=True):
        left, right, top = frame.x(max(since, curve.start)), frame.x(to), frame.y(share)
        if share <= 0 or right <= left:
            continue
        canvas.rect((left, top), right - left, frame.bottom - top, "share")
        text = words.percent(share)
        if left >= free and right - left > 22:
            canvas.text((left + 3, top - 3 if share < 0.7 else top + 12), text, "ink small")
            free = left + 7.0 * len(text)


def time_axis(canvas: Canvas, frame: Frame, curve: Curves) -> None:
    """Elapsed time along the bottom."""
    canvas.line((frame.left, frame.bottom), (frame.right, frame.bottom), "axis")
    for offset in time_ticks(curve.end - curve.start, 8):
        column = frame.x(curve.start + offset)
        canvas.line((column, frame.bottom), (column, frame.bottom + 5), "axis")
        canvas.text((column, frame.bottom + 19), elapsed(offset), "dim", anchor="middle")


def right_labels(canvas: Canvas, frame: Frame, labels: list[tuple[float, str, str]]) -> None:
    """Texts beside the right edge near their rows, pushed apart so that none covers another."""
    placed: list[list[float]] = []
    ordered = sorted(labels)
    for row, _, _ in ordered:
        placed.append([row if not placed else max(row, placed[-1][0] + LEAST_GAP)])
    overflow = placed[-1][0] - (frame.bottom + 4) if placed else 0.0
    if overflow > 0:
        for index in range(len(placed) - 1, -1, -1):
            most = frame.bottom + 4 if index == len(placed) - 1 else placed[index + 1][0] - LEAST_GAP
            placed[index][0] = min(placed[index][0], most)
    for (_, text, style), (row,) in zip(ordered, placed, strict=True):
        canvas.text((frame.right + 14, row + 4), text, style)


def _scale(canvas: Canvas, frame: Frame, metric: Metric, *, signed: bool = False) -> None:
    marks = ticks(frame.low, frame.high, 4)
    for mark in marks:
        row = frame.y(mark)
        canvas.line((frame.left, row), (frame.right, row), "grid")
        canvas.text((frame.left - 8, row + 4), number(metric, mark, marks, signed=signed), "dim", anchor="end")


def _spots(frame: Frame, found: Iterable[tuple[float, float]]) -> list[Point]:
    return [(frame.x(at), frame.y(value)) for at, value in found]


def _runs(points: Sequence[TracePoint]) -> list[list[tuple[float, float, float]]]:
    """Stretches of the trace that have bounds: ``(at, lower, upper)``."""
    runs: list[list[tuple[float, float, float]]] = [[]]
    for point in points:
        if point.lower is None and point.upper is None:
            if runs[-1]:
                runs.append([])
            continue
        low = -math.inf if point.lower is None else point.lower
        runs[-1].append((point.at, low, math.inf if point.upper is None else point.upper))
    return [run for run in runs if run]
