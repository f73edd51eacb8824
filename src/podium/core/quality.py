"""The hierarchical model of quality: what every (task, arm) cell is worth, given what all cells showed.

Owns the model and its fit from sufficient statistics. Must not choose, store or detect changes.

    q[k, m] = mu + beta . claims[m] + a[m] + b[k] + d[k, m]
    a ~ N(0, A)   b ~ N(0, B)   d ~ N(0, D)   mean score of a cell ~ N(q[k, m], v[k, m] / n[k, m])

Given the other terms the ``b`` and the ``d`` are independent, so both are eliminated exactly: what is solved for has
one unknown per arm and a handful more, however many tasks there are. The variances ``A, B, D`` are estimated from
the same statistics (empirical Bayes by the EM steps of Dempster, Laird and Rubin 1977) with a few imagined groups
behind their starting values, so that near-equal arms are not explored as if they differed widely, nor the reverse.

``claims`` are what is declared about an arm (its published benchmark, its size), centred over the arms that declare
it. How much a claim means is ``beta``, a regression on what is measured: a claim that turns out to be empty or false
loses its say, and one that holds gains it.

The noise of one score is ``phi * p * (1 - p)``: ``phi`` is 1 for right-or-wrong scores and less for graded ones. ``p``
is shrunk by imagined scores, because a cell that failed twice is not certain to fail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRIOR_MEAN, PRIOR_MEAN_VAR = 0.5, 0.1
"""Of ``mu``."""
CLAIM_MEAN = (0.5, 0.02)
CLAIM_VAR = (0.25, 0.0016)
"""Of ``beta``: for a declared benchmark (quality per quality) and for size (quality per doubling)."""
CLAIMS = len(CLAIM_MEAN)
NOISE_FLOOR = 0.005
P_LOW, P_HIGH = 0.05, 0.95
SHRINK_SHARED, SHRINK_CELL = 12.0, 6.0
"""Imagined scores behind ``p`` when shared effects are fitted and when one cell is judged."""
TAIL = 1.5
"""Cells are judged with this multiple of ``D``: the best arm of a task is often far from what the others suggest."""
EM_STEPS = 1
PULL = 6.0
"""The weight of the starting variances in imagined groups (arms, tasks, cells)."""
VAR_LOW, VAR_HIGH = 1e-4, 0.5


@dataclass(frozen=True, slots=True)
class Spread:
    """The variances of the model, in squared units of quality, and the noise ratio ``phi``."""

    arm: float = 0.04
    task: float = 0.05
    cell: float = 0.03
    phi: float = 1.0


START = Spread()


@dataclass(frozen=True, slots=True)
class Fit:
    """The model after one fit, for K tasks and M arms. Arrays are never changed in place."""

    spread: Spread
    base: Array
    """Everything but ``d``, shape ``(K, M)``."""
    base_var: Array
    """Its posterior variance, shape ``(K, M)``."""
    level: Array
    """``base`` of a task never met: without ``b``, shape ``(M,)``."""
    level_var: Array
    """Its posterior variance, that of an unknown ``b`` included, shape ``(M,)``."""
    mean: float
    """``level`` of an arm never met."""
    beta: Array
    """What claims turned out to mean, shape ``(CLAIMS,)``."""


def noise(phi: float, n: Array, total: Array, base: Array, shrink: float) -> Array:
    """The variance of one score in each cell; any one shape."""
    p = np.minimum(np.maximum((total + shrink * base) / (n + shrink), P_LOW), P_HIGH)
    return np.asarray(phi * p * (1.0 - p) + NOISE_FLOOR)


def posterior(spread: Spread, base: Array, base_var: Array, n: Array, total: Array) -> tuple[Array, Array, Array]:
    """Mean and variance of ``q``, and the noise of one score, for cells with weight ``n`` and score sum ``total``."""
    cell = spread.cell * TAIL
    v = noise(spread.phi, n, total, base, SHRINK_CELL)
    gain = n * cell / (n * cell + v)
    mean = base + (total * cell - n * cell * base) / (n * cell + v)
    rest = 1.0 - gain
    return np.asarray(mean), np.asarray(rest * cell + rest * rest * base_var), v


def centred(claims: Array) -> Array:
    """Claims around the mean of those that made them; arms without a claim (``nan``) count as average."""
    known = ~np.isnan(claims)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, claims, 0.0).sum(axis=0) / count
    return np.where(known, claims - mean, 0.0)


def fit(spread: Spread, claims: Array, n: Array, total: Array, squares: Array) -> Fit:
    """Solve for the shared effects and move the variances a few EM steps on.

    ``n``, ``total``, ``squares`` are the weights, score sums and sums of squared scores, shape ``(K, M)``;
    ``claims`` has shape ``(M, CLAIMS)`` with ``nan`` where nothing is declared.
    """
    seen = n > 0
    n_safe = np.where(seen, n, 1.0)
    data = _Data(n, n_safe, total, squares, total / n_safe, seen, centred(claims))
    solved = _solve(spread, data, np.full(n.shape, PRIOR_MEAN))
    for _ in range(EM_STEPS):
        spread = _estimate(spread, data, solved)
        solved = _solve(spread, data, solved.base)
    return Fit(
        spread=spread,
        base=solved.base,
        base_var=solved.base_var,
        level=solved.level,
        level_var=solved.level_var + spread.task,
        mean=float(solved.x[0]),
        beta=solved.x[1 : 1 + CLAIMS],
    )


@dataclass(frozen=True, slots=True)
class _Data:
    n: Array
    n_safe: Array
    total: Array
    squares: Array
    shown: Array
    """Mean score, 0 where nothing was seen."""
    seen: NDArray[np.bool_]
    z: Array


@dataclass(frozen=True, slots=True)
class _Solved:
    x: Array
    """``(mu, beta, a)``."""
    cov: Array
    base: Array
    base_var: Array
    level: Array
    level_var: Array
    b: Array
    b_var: Array


def _solve(spread: Spread, data: _Data, guess: Array) -> _Solved:
    """Posterior of ``(mu, beta, a)`` with every ``b`` integrated out, then of each ``b`` and ``base``."""
    arms = data.n.shape[1]
    v = noise(spread.phi, data.n, data.total, guess, SHRINK_SHARED)
    w = np.where(data.seen, 1.0 / (spread.cell + v / data.n_safe), 0.0)
    design = np.concatenate((np.ones((arms, 1)), data.z, np.eye(arms)), axis=1)
    prior_mean = np.concatenate(([PRIOR_MEAN], CLAIM_MEAN, np.zeros(arms)))
    prior_weight = np.concatenate(([1.0 / PRIOR_MEAN_VAR], 1.0 / np.array(CLAIM_VAR), np.full(arms, 1.0 / spread.arm)))
    own = 1.0 / (w.sum(axis=1) + 1.0 / spread.task)
    cross = w @ design
    weighted = w * data.shown
    row_sum = weighted.sum(axis=1)
    precision = (design.T * w.sum(axis=0)) @ design - (cross.T * own) @ cross
    precision[np.diag_indices_from(precision)] += prior_weight
    cov = np.linalg.inv(precision)
    x = cov @ (prior_weight * prior_mean + design.T @ weighted.sum(axis=0) - cross.T @ (own * row_sum))
    slope = cross * own[:, None]
    b = own * row_sum - slope @ x
    level = design @ x
    arm_cov = design @ cov
    level_var = (arm_cov * design).sum(axis=1)
    slope_cov = slope @ cov
    slope_var = (slope_cov * slope).sum(axis=1)
    base_var = level_var[None, :] - 2.0 * slope_cov @ design.T + slope_var[:, None] + own[:, None]
    return _Solved(x, cov, level[None, :] + b[:, None], np.maximum(base_var, 0.0), level, level_var, b, own + slope_var)


def _estimate(spread: Spread, data: _Data, solved: _Solved) -> Spread:
    """One EM step for the variances, and the noise ratio from the scores within cells."""
    tasks, arms = data.n.shape
    n, base = data.n, solved.base
    a, a_var = solved.x[1 + CLAIMS :], np.diagonal(solved.cov)[1 + CLAIMS :]
    v = noise(spread.phi, n, data.total, base, SHRINK_SHARED)
    gain = n * spread.cell / (n * spread.cell + v)
    d = gain * (data.shown - base)
    d_sq = d * d + (1.0 - gain) * spread.cell + gain * gain * solved.base_var
    within = np.where(data.seen, data.squares - n * data.shown * data.shown, 0.0)
    p = (data.total + base) / (n + 1.0)
    binary = np.maximum(n - 1.0, 0.0) * np.maximum(p * (1.0 - p), 0.0)
    return replace(
        spread,
        arm=_pulled(float((a * a + a_var).sum()), arms, START.arm),
        task=_pulled(float((solved.b * solved.b + solved.b_var).sum()), tasks, START.task),
        cell=_pulled(float(d_sq[data.seen].sum()), int(data.seen.sum()), START.cell),
        phi=min(1.2, float((within.sum() + 5.0) / (binary.sum() + 5.0))),
    )


def _pulled(squares: float, count: int, start: float) -> float:
    return min(VAR_HIGH, max(VAR_LOW, (squares + PULL * start) / (count + PULL)))
