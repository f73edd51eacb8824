"""The difference of two arms on the same prompts: what one prompt is harder than another cancels.

Owns the sums of pairs and their interval. Must not know when one may look.

That the candidate is worse is told by Student's ratio with the second moment around the hypothesis, ``n (mean - m)^2 <=
z^2 * mean((d - m)^2)``: for differences that are as likely upwards as downwards it is bounded like a normal variable at
every ``n``, without an approximation (Efron 1969). That it is not worse needs more: that few pairs differed says little
about rare losses, so that side gets the imagined loss of ``PRIOR`` pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRIOR = 2.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sums over pairs (baseline ``x``, candidate ``y``); arrays of one shape, or numbers."""

    n: Array | float
    x: Array | float
    y: Array | float
    xx: Array | float
    yy: Array | float
    xy: Array | float


def pair_bounds(sums: Pairs, z: Array | float, keep: float = 1.0) -> tuple[Array, Array, Array]:
    """``candidate - keep * baseline`` on average, and its bounds. Infinite bounds where there are too few pairs."""
    n = np.asarray(sums.n, dtype=np.float64)
    gap = (sums.y - keep * sums.x) / n
    square = np.asarray((sums.yy - 2 * keep * sums.xy + keep**2 * sums.xx) / n)
    spread = np.maximum(square - gap**2, 0.0)
    z2 = np.square(z)
    free = np.maximum(n - z2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(free > 0, z * np.sqrt(spread / free), np.inf)
        below = np.where(free > 0, z * np.sqrt((spread + PRIOR / n) / free), np.inf)
    return gap, np.maximum(gap - below, -keep), np.minimum(gap + above, 1.0)
