"""A small SVG writer: shapes with classes, text that is escaped, wrapped and cut by an estimate of its width. Pure.

Colours come from classes only, so that one style sheet serves light and dark backgrounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

Point = tuple[float, float]
_NARROW = frozenset("iljtfI.,:;'|!()[]1 ")
_WIDE = frozenset("mwMW@%")
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (5th edition, section 2.2) has no character for."""


def width_of(text: str, size: float) -> float:
    """About how wide a text is in a common sans-serif font of ``size`` pixels; errs to the wide side."""
    units = 0.0
    for sign in text:
        if sign in _NARROW:
            units += 0.36
        elif sign in _WIDE or ord(sign) >= 0x1100:
            units += 0.98
        else:
            units += 0.72 if sign.isupper() else 0.61
    return units * size


def cut(text: str, size: float, width: float) -> str:
    """``text``, ended by an ellipsis where it is wider than ``width`` pixels."""
    if width_of(text, size) <= width:
        return text
    while text and width_of(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, size: float, width: float, most: int) -> list[str]:
    """Lines of at most ``width`` pixels, at most ``most`` of them; the last is cut."""
    lines: list[str] = []
    words = text.split()
    while words:
        line = words.pop(0)
        while words and width_of(f"{line} {words[0]}", size) <= width:
            line += " " + words.pop(0)
        if len(lines) == most - 1 and words:
            line = " ".join([line, *words])
            words = []
        lines.append(cut(line, size, width))
    return lines


class Canvas:
    """Collects shapes; ``document`` gives the file. Coordinates in pixels from the upper left."""

    def __init__(self, width: float) -> None:
        self.width = width
        self._parts: list[str] = []

    def line(self, start: Point, end: Point, style: str) -> None:
        """One straight line."""
        (x1, y1), (x2, y2) = start, end
        self._parts.append(f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def rect(self, corner: Point, width: float, height: float, style: str, *, radius: float = 0) -> None:
        """A rectangle from its upper left corner."""
        rounded = f' rx="{radius:.1f}"' if radius else ""
        self._parts.append(
            f'<rect class="{style}" x="{corner[0]:.1f}" y="{corner[1]:.1f}" '
            f'width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}"{rounded}/>'
        )

    def circle(self, centre: Point, radius: float, style: str) -> None:
        """A disc."""
        self._parts.append(f'<circle class="{style}" cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius:.1f}"/>')

    def path(self, runs: Iterable[Sequence[Point]], style: str, *, closed: bool = False) -> None:
        """Lines through the points of each run; a run of one point draws nothing."""
        drawn = []
        for run in runs:
            if len(run) > 1:
                steps = " L".join(f"{x:.1f},{y:.1f}" for x, y in run)
                drawn.append(f"M{steps}{'Z' if closed else ''}")
        if drawn:
            self._parts.append(f'<path class="{style}" d="{" ".join(drawn)}"/>')

    def text(self, place: Point, text: str, style: str, *, anchor: str = "start") -> None:
        """A line of text on its baseline; ``anchor``: ``start``, ``middle`` or ``end``."""
        anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(
            f'<text class="{style}" x="{place[0]:.1f}" y="{place[1]:.1f}"{anchored}>{clean(text)}</text>'
        )

    def take(self, other: Canvas) -> None:
        """Put everything of ``other`` on top."""
        self._parts += other._parts

    def document(self, height: float, *, title: str, description: str, style_sheet: str) -> str:
        """The whole file, readable by screen readers through title and description."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {self.width:.0f} {height:.0f}" role="img">'
        )
        told = f"<title>{clean(title)}</title><desc>{clean(description)}</desc><style>{style_sheet}</style>"
        return "\n".join([head, told, *self._parts, "</svg>", ""])


def clean(text: str) -> str:
    """Escaped for XML, without characters that XML cannot hold."""
    return escape(_FORBIDDEN.sub("\ufffd", text))
