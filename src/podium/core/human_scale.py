"""What a person's labels mean: their scale from its words, and from which label on an answer has passed. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from podium.domain.judgment import PASS_MARKS
from podium.domain.labels import Labelled, Scale

_RANGE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)")
_PAIR = re.compile(r"\s*1\s*\|\s*2\b")
PASS_MARK = 0.7
"""Of criteria of one's own."""
_RARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRule:
    """From which ``level`` in [0, 1] on a label has passed, and how that was decided."""

    level: float
    says: str


def read_scale(text: str) -> Scale:
    """``1..3 …`` is a range, ``1|2 …`` the better one of two, anything else 0 to 1; with "ratio" in it, values above 1
    count as 1. Raises ``ValueError`` for an empty range.
    """
    if _PAIR.match(text):
        return Scale(low=1.0, high=2.0, pair=True, text=text)
    found = _RANGE.match(text)
    if found is None:
        return Scale(capped="ratio" in text.lower(), text=text)
    low, high = float(found[1]), float(found[2])
    if not low < high:
        raise ValueError(f"the scale {found[0].strip()!r} is empty")
    return Scale(low=low, high=high, text=text)


def pass_rule(rows: Sequence[Labelled], mark: float | None = None) -> PassRule:
    """The pass mark of the criterion on the scale of the labels. Where it lies below or above nearly all labels (98 %)
    and labels are graded, their median instead: then "passed" is "the better half", and says so. ``rows`` are of one
    criterion; pairs need no rule.
    """
    single = [row for row in rows if not row.scale.pair]
    if not single:
        return PassRule(level=0.5, says="pairs: the better output passes")
    level = mark if mark is not None else PASS_MARKS.get(single[0].criterion, PASS_MARK)
    scales = sorted({(row.scale.low, row.scale.high) for row in single})
    shown = ", ".join(f"{low + level * (high - low):.4g} of {low:g} to {high:g}" for low, high in scales)
    levels = np.array([row.scale.level(row.human) for row in single])
    share = float((levels >= level - 1e-9).mean())
    if mark is None and not _RARE < share < 1 - _RARE and np.unique(levels).size > 2:
        middle = float(np.median(levels))
        if 0.0 < float((levels >= middle).mean()) < 1.0:
            return PassRule(
                level=middle,
                says=f"a label passes from {middle:.3g} on, the median: the mark {level:g} is passed by {share:.1%} of them",
            )
    return PassRule(level=level, says=f"a label passes from {shown} on")


def passed(row: Labelled, rule: PassRule) -> tuple[bool, ...]:
    """Of each of the row's outputs."""
    if row.scale.pair:
        return (row.human == 1, row.human == 2)
    return (row.scale.level(row.human) >= rule.level - 1e-9,)
