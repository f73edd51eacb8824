"""A reliability diagram as SVG: what a judge's scores said against what people said, before and after calibration. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podium.core.agreement import Bin
from podium.core.picture.canvas import Canvas, Point, cut
from podium.core.picture.style import SHEET

_SIDE, _LEFT, _TOP, _GAP = 250.0, 62.0, 96.0, 74.0
_BARS = 36.0
_EDGE = 28.0
_ROW = _SIDE + 132.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagram:
    """One judge on one criterion. ``lines``: what is said above the two squares, the first in bold."""

    lines: tuple[str, ...]
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]
    before_says: str
    after_says: str


def draw(diagrams: Sequence[Diagram], *, title: str) -> str:
    """The SVG document, one row of two squares for each judge and criterion; it says so when there is nothing to draw."""
    width = _LEFT + 2 * _SIDE + _GAP + _EDGE
    canvas = Canvas(width)
    height = 60.0 + max(1, len(diagrams)) * _ROW
    canvas.rect((0, 0), width, height, "page")
    canvas.text((_EDGE, 36), cut(title, 19, width - 2 * _EDGE), "h1 ink")
    if not diagrams:
        canvas.text((_EDGE, 70), "Nothing to draw: no judge could be measured.", "body dim")
    for index, diagram in enumerate(diagrams):
        top = 24.0 + index * _ROW
        for number, line in enumerate(diagram.lines):
            style = "body ink strong" if number == 0 else "small dim"
            canvas.text((_EDGE, top + 40 + 17 * number), cut(line, 12.5, width - 2 * _EDGE), style)
        _square(canvas, (_LEFT, top + _TOP), diagram.before, "as the judge said", diagram.before_says, "baseline")
        right = (_LEFT + _SIDE + _GAP, top + _TOP)
        _square(canvas, right, diagram.after, "calibrated, held-out rows", diagram.after_says, "candidate")
    told = "; ".join(diagram.lines[0] for diagram in diagrams)
    return canvas.document(height, title=title, description=told, style_sheet=SHEET)


def _square(canvas: Canvas, corner: Point, bins: Sequence[Bin], title: str, says: str, colour: str) -> None:
    left, top = corner

    def place(score: float, rate: float) -> Point:
        return left + score * _SIDE, top + (1 - rate) * _SIDE

    for tenth in range(0, 11, 2):
        share = tenth / 10
        canvas.line(place(0, share), place(1, share), "grid")
        canvas.line(place(share, 0), place(share, 1), "grid")
        canvas.text((left - 8, place(0, share)[1] + 4), f"{share:.1f}", "small dim", anchor="end")
        canvas.text((place(share, 0)[0], top + _SIDE + 15), f"{share:.1f}", "small dim", anchor="middle")
    canvas.line(place(0, 0), place(1, 1), "limit")
    canvas.text((left, top - 8), f"{title}, {says}", "small ink")
    across = "across: score; upwards: share that people passed; bars: rows"
    canvas.text((left + _SIDE / 2, top + _SIDE + 31), across, "small dim", anchor="middle")
    most = max((one.n for one in bins), default=1)
    for one in bins:
        low, high = place(one.low, 0)[0], place(one.high, 0)[0]
        tall = _BARS * one.n / most
        canvas.rect((low + 1, top + _SIDE - tall), high - low - 2, tall, "pause")
        canvas.line(place(one.mean, one.rate_low), place(one.mean, one.rate_high), colour)
    canvas.path([[place(one.mean, one.rate) for one in bins]], colour)
    for one in bins:
        canvas.circle(place(one.mean, one.rate), 3.5, f"of-{colour}")
