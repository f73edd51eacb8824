"""The difference of two means from sums by cell, with an interval, for any and changing shares of traffic.

Owns the formulas for bounded scores and for amounts (energy, memory). Must not know when one may look: the boundary
``z`` is an argument. All functions work on arrays with any leading dimensions.

Values are described by an additive model, cell + arm, fitted by ridge regression with ``PULL`` imagined values of the
overall mean in each cell: with one cell it is the plain difference of means, with many it removes what the kinds of
prompts and the phases of the rollout explain, and a cell with few values costs little. Every value of both arms counts:
at a share of one in ten the nine times larger arm is known nine times better.

Bounds for scores are those of the likelihood ratio of right-or-wrong answers for each arm, with as many answers as carry
the same information, joined by the squares of their distances (Newcombe 1998; "MOVER": Zou and Donner 2008). They hold
for rates near 0 and 1 and for arms that never vary. A normal approximation does not: with Wilson's bounds, made for
1.96 standard errors, an equal candidate at a success rate of 0.95 was condemned in 16 of 100 rollouts at the level of 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PULL = 3.0
"""Imagined values in each cell."""
PRIOR = 3.0
"""Imagined values behind a variance: of a right-or-wrong score, or of an amount that varies by ``JITTER``."""
JITTER = 0.05
"""Relative spread that every measured amount is assumed to have."""
_FAR, _TINY, _STEPS = 1e3, 1e-12, 9


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two arms as if all prompts had been asked of both. Arrays of one shape."""

    baseline: Array
    candidate: Array
    baseline_spread: Array
    candidate_spread: Array
    """Variance of one value, after what the cells explain."""
    baseline_n: Array
    candidate_n: Array
    """Values of equal weight that the arm's side of the difference rests on: fewer than it has, where the cells hold
    much of one arm and little of the other.
    """

    @property
    def clock(self) -> Array:
        """Evidence so far: answers per arm, were the traffic split in halves."""
        return clock(self.baseline_n, self.candidate_n)


def clock(baseline_n: Array, candidate_n: Array) -> Array:
    """Harmonic mean: answers per arm of the even split that tells as much."""
    return 2.0 * baseline_n * candidate_n / np.maximum(baseline_n + candidate_n, 1.0)


def contrast(baseline: Array, candidate: Array, *, bounded: bool) -> Contrast:
    """From sums of shape (..., C, 4) as in ``tallies``. Both arms need some weight."""
    b, c = baseline[..., 0], candidate[..., 0]
    sum_b, sum_c = baseline[..., 1], candidate[..., 1]
    weight_b, weight_c = b.sum(-1, keepdims=True), c.sum(-1, keepdims=True)
    mean_b, mean_c = sum_b.sum(-1, keepdims=True) / weight_b, sum_c.sum(-1, keepdims=True) / weight_c
    weight = weight_b + weight_c
    grand, share = (sum_b + sum_c).sum(-1, keepdims=True) / weight, weight_c / weight
    cell = b + c
    level, tilt = (sum_b + sum_c + PULL * grand) / (cell + PULL), (c + PULL * share) / (cell + PULL)
    apart = c / weight_c - b / weight_b
    kept = np.maximum(1.0 - (apart * tilt).sum(-1, keepdims=True), 1e-9)
    gap = (mean_c - mean_b - (apart * level).sum(-1, keepdims=True)) / kept
    level = level - gap * tilt
    n_b, n_c = _count(baseline), _count(candidate)
    freedom = np.maximum((cell / (cell + PULL)).sum(-1) - 1.0, 0.0)
    lost = (n_b + n_c) / np.maximum(n_b + n_c - freedom, 1.0)
    low = grand - gap * share
    high = low + gap
    if bounded:
        low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
    # how much each value of a cell weighs in the gap
    pulled = apart / (cell + PULL) + (apart * PULL / (cell + PULL)).sum(-1, keepdims=True) / weight
    rests_b = n_b / weight_b[..., 0] / (b * ((1.0 / weight_b + pulled) / kept) ** 2).sum(-1)
    rests_c = n_c / weight_c[..., 0] / (c * ((1.0 / weight_c - pulled) / kept) ** 2).sum(-1)
    low, high = low[..., 0], high[..., 0]
    spread_b = _spread(baseline, level, n_b, low, lost, bounded=bounded)
    spread_c = _spread(candidate, level, n_c, high, lost, bounded=bounded)
    return Contrast(low, high, spread_b, spread_c, rests_b, rests_c)


def score_bounds(seen: Contrast, z: Array | float, keep: float = 1.0) -> tuple[Array, Array]:
    """Bounds of ``candidate - keep * baseline`` for scores in [0, 1], ``z`` standard errors away."""
    room = np.square(np.minimum(z, _FAR)) / 2.0
    low_b, high_b = rate_bounds(seen.baseline, room / _worth(seen.baseline, seen.baseline_spread, seen.baseline_n))
    low_c, high_c = rate_bounds(seen.candidate, room / _worth(seen.candidate, seen.candidate_spread, seen.candidate_n))
    gap = seen.candidate - keep * seen.baseline
    lower = gap - np.hypot(seen.candidate - low_c, keep * (high_b - seen.baseline))
    upper = gap + np.hypot(high_c - seen.candidate, keep * (seen.baseline - low_b))
    return np.maximum(lower, -keep), np.minimum(upper, 1.0)


def rate_bounds(mean: Array, room: Array) -> tuple[Array, Array]:
    """Smallest and largest rate whose Kullback-Leibler divergence from ``mean`` is at most ``room``."""
    # both at once; the lower bound of a rate is 1 - the upper bound of 1 - rate
    x = np.stack([1.0 - mean, np.asarray(mean, dtype=np.float64)])
    room = np.broadcast_to(room, x.shape)
    rest = 1.0 - x
    own = np.where(x > 0, x * np.log(np.maximum(x, _TINY)), 0.0) + np.where(
        rest > 0, rest * np.log(np.maximum(rest, _TINY)), 0.0
    )
    # right of the root of a convex function (Pinsker's bound, and the one that leaves out a term): Newton stays there
    steep = -np.expm1((own - room) / np.maximum(rest, _TINY))
    p = np.clip(np.minimum(x + np.sqrt(room / 2.0) + _TINY, steep), x, 1.0 - 1e-15)
    for _ in range(_STEPS):
        over = own - x * np.log(p) - rest * np.log1p(-p) - room
        p = np.clip(p - over * p * (1.0 - p) / np.maximum(p - x, _TINY), x, 1.0 - 1e-15)
    p = np.where(rest > 0, p, 1.0)
    return 1.0 - p[0], p[1]


def amount_bounds(seen: Contrast, z: Array | float, keep: float = 1.0) -> tuple[Array, Array]:
    """Bounds of ``candidate - keep * baseline`` for amounts; widened like Student's t for few values (Wallace 1959)."""
    part_b = keep**2 * seen.baseline_spread / seen.baseline_n
    part_c = seen.candidate_spread / seen.candidate_n
    error = part_b + part_c
    freedom = np.maximum(
        error**2
        / (part_b**2 / np.maximum(seen.baseline_n - 1, 0.5) + part_c**2 / np.maximum(seen.candidate_n - 1, 0.5)),
        0.5,
    )
    wide = np.sqrt(freedom * np.expm1(np.minimum(np.square(z) / freedom, 600.0)))
    half = wide * np.sqrt(error)
    gap = seen.candidate - keep * seen.baseline
    return gap - half, gap + half


def _count(sums: Array) -> Array:
    """Values of equal weight that tell as much (Kish 1965)."""
    weight = sums[..., 0].sum(-1)
    count: Array = weight**2 / np.maximum(sums[..., 3].sum(-1), 1e-12)
    return count


def _spread(sums: Array, level: Array, n: Array, mean: Array, lost: Array, *, bounded: bool) -> Array:
    """Variance of one value around its cell's level."""
    weight, total, squares = sums[..., 0], sums[..., 1], sums[..., 2]
    whole = weight.sum(-1)
    off = (total - level * weight).sum(-1) / whole
    around = (squares - 2.0 * level * total + level**2 * weight).sum(-1) / whole - off**2
    around = np.maximum(around, 0.0) * n * n / np.maximum(n - 1.0, 1.0) * lost
    if bounded:
        # relative to right-or-wrong scores, which cannot be exceeded: an arm without a single failure is one of those,
        # wherever the cells put its mean
        plain = total.sum(-1) / whole
        prior = PRIOR * _binary(plain, n)
        part = (around + prior) / (n * plain * (1.0 - plain) + prior)
        return np.asarray(np.minimum(part, 1.0) * _binary(mean, n))
    return np.asarray((around + PRIOR * np.square(JITTER * mean)) / (n + PRIOR))


def _worth(mean: Array, spread: Array, n: Array) -> Array:
    """Right-or-wrong answers that tell as much as these."""
    return np.asarray(n * _binary(mean, n) / np.maximum(spread, _TINY))


def _binary(mean: Array, n: Array) -> Array:
    """Variance of right-or-wrong answers with this mean, never quite 0."""
    p = (mean * n + 0.5) / (n + 1.0)
    return p * (1.0 - p)
