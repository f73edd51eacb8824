"""What others do: each rule on many rollouts at once, with a look after every answer of each arm.

Every function returns (R,): answers per arm at which the candidate is found worse, infinite for never. ``x`` and ``y``
are (R, n) scores of the baseline and of the candidate.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LIMIT = 0.95
FIRST = 10
"""No rule looks before each arm has so many answers."""
_NORMAL = NormalDist()
_LEVELS = np.linspace(1e-6, 1 - 1e-6, 20_001)
_QUANTILES = np.array([_NORMAL.inv_cdf(p) for p in _LEVELS])


def first(worse: NDArray[np.bool_]) -> Array:
    worse = worse.copy()
    worse[:, : FIRST - 1] = False
    return np.where(worse.any(axis=1), worse.argmax(axis=1) + 1.0, np.inf)


def naive(x: Array, y: Array) -> Array:
    """The ratio of the means is below the limit."""
    return first(np.cumsum(y, axis=1) < LIMIT * np.cumsum(x, axis=1))


def mixture(x: Array, y: Array, level: float, wide: float = 0.2) -> Array:
    """mSPRT: differences of couples, normal mixture of standard deviation ``wide``, variance plugged in (Johari,
    Pekelis and Walsh 2015). One-sided: two-sided at twice the level, and the candidate below.
    """
    n = np.arange(1, x.shape[1] + 1.0)
    gap = np.cumsum(y - x, axis=1)
    v = sum(np.cumsum(a * a, axis=1) / n - (np.cumsum(a, axis=1) / n) ** 2 for a in (x, y))
    v = np.maximum(v, 1e-9)
    evidence = 0.5 * np.log(v / (v + n * wide**2)) + wide**2 * gap**2 / (2 * v * (v + n * wide**2))
    return first((evidence >= np.log(1 / (2 * level))) & (gap < 0))


def betting(x: Array, y: Array, level: float) -> Array:
    """The mean over 20 stakes of the product of 1 + stake (x - y) (Waudby-Smith and Ramdas 2024)."""
    total = np.zeros(x.shape)
    stakes = np.linspace(0.05, 0.99, 20)
    for stake in stakes:
        total += np.exp(np.cumsum(np.log1p(stake * (x - y)), axis=1)) / stakes.size
    return first(total >= 1 / level)


def rank_tests(x: Array, y: Array, levels: tuple[float, ...], seed: int) -> dict[str, list[Array]]:
    """Mann-Whitney (normal approximation with correction for ties) at every look and once at the end, by level; and
    Kayenta's rule: the 98 % interval of the Hodges-Lehmann shift lies below -25 % of the estimate, ties broken by
    noise of standard deviation 1e-5 as its judge does. Its level is fixed.
    """
    looks = list(_looks(x, y, seed))
    z = np.stack([one for one, _ in looks], axis=1)
    shift = np.stack([one for _, one in looks], axis=1)
    every, once = [], []
    for level in levels:
        beyond = z > _NORMAL.inv_cdf(1 - level)
        every.append(first(beyond))
        once.append(np.where(beyond[:, -1], float(x.shape[1]), np.inf))
    return {"every": every, "once": once, "kayenta": [first(shift) for _ in levels]}


def _looks(x: Array, y: Array, seed: int) -> Iterator[tuple[Array, NDArray[np.bool_]]]:
    values, index = np.unique(np.concatenate([x, y]), return_inverse=True)
    index = index.reshape(2, *x.shape)
    rows = np.arange(x.shape[0])
    counts = np.zeros((2, x.shape[0], values.size))
    noise = 1e-5 * np.random.default_rng(seed).standard_normal((2, *x.shape))
    noisy_x, noisy_y = x + noise[0], y + noise[1]
    broken = np.zeros(x.shape[0])
    less = ties = np.zeros(x.shape[0])
    for at in range(x.shape[1]):
        new_x, new_y = index[0][:, at], index[1][:, at]
        # pairs (y, x): the new x against the earlier y, then the new y against all x
        upto = np.cumsum(counts[1], axis=1)[rows, new_x]
        same = counts[1][rows, new_x]
        less, ties = less + upto - same, ties + same
        broken += (noisy_y[:, :at] < noisy_x[:, at : at + 1]).sum(axis=1)
        counts[0][rows, new_x] += 1
        upto = np.cumsum(counts[0], axis=1)[rows, new_y]
        same = counts[0][rows, new_y]
        less, ties = less + (at + 1 - upto), ties + same
        broken += (noisy_y[:, at : at + 1] < noisy_x[:, : at + 1]).sum(axis=1)
        counts[1][rows, new_y] += 1
        n = at + 1.0
        whole = counts.sum(axis=0)
        tied = (whole**3 - whole).sum(axis=1) / (2 * n * (2 * n - 1))
        spread = np.sqrt(np.maximum(n * n / 12 * (2 * n + 1 - tied), 1e-9))
        z = (less + ties / 2 - n * n / 2 - 0.5) / spread
        yield z, _kayenta(less / n**2, ties / n**2, broken / n**2, n)


def _kayenta(below: Array, tied: Array, broken: Array, n: float) -> NDArray[np.bool_]:
    """``below``: share of pairs with y < x before noise; ``broken``: with it."""
    middle = _inside((broken - below) / np.maximum(tied, 1e-12))

    def shift(level: float) -> Array:
        inner = _inside((level - below) / np.maximum(tied, 1e-12)) - middle
        return np.where(level < below, -1e5, np.where(level > below + tied, 1e5, inner))

    estimate = shift(0.5)
    upper = shift(min(1.0, 0.5 + _NORMAL.inv_cdf(0.99) * np.sqrt((2 * n + 1) / 12) / n))
    return upper < -0.25 * np.abs(estimate)


def _inside(level: Array) -> Array:
    return np.interp(level, _LEVELS, _QUANTILES)
