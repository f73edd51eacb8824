"""A quantile of each arm from a histogram of fixed size, and the interval of their difference.

Owns the histogram (relative precision ``PRECISION``, one to ten million milliseconds) and the formulas. Must not know
what is measured or when one may look.

The share of values below the true quantile is a rate, so the bounds of that rate, turned into values of the histogram,
bound the quantile whatever the distribution is (Woodruff 1952). The bounds of the rate are where the likelihood ratio
of the binomial reaches ``z^2 / 2``: near 0.95 a normal approximation would be wrong in the direction that matters. With
few values the upper bound is infinite: nobody knows the 95th percentile of ten answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

PRECISION = 0.01
_BASE = math.log((1 + PRECISION) / (1 - PRECISION))
_LEAST, _MOST = -400, 1000


class Histogram:
    """Counts in logarithmic bins (DDSketch: Masson, Rim and Lee 2019); 0 and less go into the lowest."""

    __slots__ = ("bins", "n")

    def __init__(self, bins: Mapping[int, int] | None = None) -> None:
        self.bins: dict[int, int] = dict(bins or {})
        self.n = sum(self.bins.values())

    def add(self, value: float) -> None:
        at = _LEAST if value <= 0 else min(_MOST, max(_LEAST, math.floor(math.log(value) / _BASE)))
        self.bins[at] = self.bins.get(at, 0) + 1
        self.n += 1

    def values(self, levels: Sequence[float]) -> list[float]:
        """The values at rising ``levels``; 0 below the first, infinite at 1 and above."""
        found: list[float] = []
        order, at, below = sorted(self.bins), -1, 0
        for level in levels:
            if level <= 0 or not order:
                found.append(0.0)
                continue
            if level >= 1:
                found.append(math.inf)
                continue
            while at < 0 or (below < level * self.n and at < len(order) - 1):
                at += 1
                below += self.bins[order[at]]
            inside = self.bins[order[at]]
            found.append(math.exp(_BASE * (order[at] + 1 - min(1.0, (below - level * self.n) / inside))))
        return found


def quantile_bounds(histogram: Histogram, level: float, z: float) -> tuple[float, float, float]:
    """Lower bound, estimate and upper bound of the quantile at ``level``."""
    low, high = rate_bounds(level, histogram.n, z)
    below, middle, above = histogram.values([low, level, high])
    return below, middle, above


def rate_bounds(level: float, n: int, z: float) -> tuple[float, float]:
    """Shares of ``n`` values below the true quantile that the likelihood ratio still allows; 1 where all may be."""
    if n == 0 or not math.isfinite(z):
        return 0.0, 1.0
    room = z * z / 2 / n
    return _cross(level, 0.0, room), _cross(level, 1.0, room)


def difference_bounds(
    baseline: tuple[float, float, float], candidate: tuple[float, float, float], keep: float = 1.0
) -> tuple[float, float]:
    """Bounds of ``keep * candidate - baseline`` from (lower, estimate, upper) of each."""
    low_b, mid_b, high_b = baseline
    low_c, mid_c, high_c = (keep * one for one in candidate)
    gap = mid_c - mid_b
    return gap - math.hypot(mid_c - low_c, high_b - mid_b), gap + math.hypot(high_c - mid_c, mid_b - low_b)


def _cross(level: float, end: float, room: float) -> float:
    """Between ``level`` and ``end``: where the divergence from ``level`` reaches ``room``; ``end`` if it does not."""
    if _divergence(end, level) <= room:
        return end
    inner, outer = level, end
    for _ in range(40):
        middle = (inner + outer) / 2
        inner, outer = (middle, outer) if _divergence(middle, level) <= room else (inner, middle)
    return outer


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler, of a rate ``p`` from the rate ``q``."""
    left = p * math.log(p / q) if p > 0 else 0.0
    right = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    return left + right
