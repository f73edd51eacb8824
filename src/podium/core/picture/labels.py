"""Numbers and times on the axes of a drawing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from podium.core.picture import words
from podium.domain.rollout import Metric


def number(metric: Metric, value: float, marks: Sequence[float], *, signed: bool = False) -> str:
    """A tick label with as many decimals as the distance of ``marks`` needs; success in percent."""
    factor = 100 if metric is Metric.SUCCESS else 1
    value = value * factor + 0.0
    gaps = (factor * (later - earlier) for earlier, later in itertools.pairwise(marks))
    step = min(gaps, default=abs(value) or 1.0)
    decimals = max(0, min(6, -math.floor(math.log10(step) + 1e-9))) if step > 0 else 0
    if abs(round(step, decimals) - step) > step / 100:
        decimals += 1
    text = f"{value:+,.{decimals}f}" if signed and value else f"{value:,.{decimals}f}"
    unit = " %" if metric is Metric.SUCCESS and not signed else ""
    return text + unit


def elapsed(offset_s: float) -> str:
    """A tick of the time axis: ``0``, ``1.25 s``, ``30 min``, ``2 d``."""
    if offset_s == 0:
        return "0"
    return f"{offset_s:g} s" if offset_s < 10 else words.duration(offset_s)
