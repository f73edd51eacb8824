"""The hierarchical model of quality: what every (task, arm) cell is worth, given what all cells showed.

Owns the model and its fit from sufficient statistics. Must not choose, store or detect changes.

    q[k, m] = mu + a[m] + b[k] + d[k, m]        a ~ N(prior[m], A)   b ~ N(0, B)   d ~ N(0, D)
    mean score of a cell ~ N(q[k, m], v[k, m] / n[k, m])

Given ``mu, a, b`` the cells are independent, so ``d`` is eliminated exactly and only ``1 + M + K`` unknowns are
solved for. The variances ``A, B, D`` are estimated from the same statistics (empirical Bayes, the EM steps of
Dempster, Laird and Rubin 1977) with the weight of a few imagined observations behind their starting values, so
that a fleet of near-equal models is not explored as if it differed widely, nor the reverse. The noise ``v`` follows
the score: ``phi * p * (1 - p)``, with ``phi`` = 1 for right-or-wrong scores and less for graded ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRIOR_MEAN, PRIOR_MEAN_VAR = 0.5, 0.1
NOISE_FLOOR = 0.005
P_LOW, P_HIGH = 0.05, 0.95
EM_STEPS = 3
VAR_LOW, VAR_HIGH = 1e-4, 0.5


@dataclass(frozen=True, slots=True)
class Spread:
    """The variances of the model, in squared units of quality, and the noise ratio ``phi``."""

    arm: float = 0.04
    task: float = 0.06
    cell: float = 0.03
    phi: float = 1.0


START = Spread()
"""Where estimation starts and what it is pulled back to (chosen on one development set)."""
PULL = 4.0
"""The weight of ``START`` in imagined groups (arms, tasks, cells)."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The model after one fit. Arrays are never changed in place."""

    spread: Spread
    base: Array
    """``mu + a[m] + b[k]``, shape ``(K, M)``."""
    base_var: Array
    """Posterior variance of ``base``, shape ``(K, M)``."""


def noise(spread: Spread, n: Array, total: Array, base: Array) -> Array:
    """The variance of one score in each cell; any shape. The mean is shrunk by two imagined scores at ``base``."""
    p = np.clip((total + 2.0 * base) / (n + 2.0), P_LOW, P_HIGH)
    return np.asarray(spread.phi * p * (1.0 - p) + NOISE_FLOOR)


def posterior(fit_spread: Spread, base: Array, base_var: Array, n: Array, total: Array) -> tuple[Array, Array]:
    """Mean and variance of ``q`` for cells with weight ``n`` and score sum ``total``; any one shape."""
    v = noise(fit_spread, n, total, base)
    gain = n * fit_spread.cell / (n * fit_spread.cell + v)
    shown = np.divide(total, n, out=np.zeros_like(total), where=n > 0)
    mean = base + gain * (shown - base)
    var = (1.0 - gain) * fit_spread.cell + (1.0 - gain) ** 2 * base_var
    return np.asarray(mean), np.asarray(var)


def fit(spread: Spread, prior: Array, n: Array, total: Array, squares: Array) -> Fit:
    """Solve for the shared effects and move the variances a few EM steps on.

    ``n``, ``total``, ``squares`` are the weights, score sums and sums of squared scores, shape ``(K, M)``;
    ``prior`` is the expected effect of each arm, shape ``(M,)``.
    """
    seen = n > 0
    shown = np.divide(total, n, out=np.zeros_like(total), where=seen)
    centre, cov = _solve(spread, prior, n, total, shown, seen)
    for _ in range(EM_STEPS):
        spread = _estimate(spread, prior, centre, cov, n, total, squares, shown, seen)
        centre, cov = _solve(spread, prior, n, total, shown, seen)
    base, base_var = _expand(centre, cov, *n.shape)
    return Fit(spread=spread, base=base, base_var=base_var)


def _solve(
    spread: Spread, prior: Array, n: Array, total: Array, shown: Array, seen: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Posterior mean and covariance of ``(mu, a, b)``."""
    tasks, arms = n.shape
    guess = np.where(seen, shown, PRIOR_MEAN)
    v = noise(spread, n, total, guess)
    w = np.where(seen, 1.0 / (spread.cell + v / np.where(seen, n, 1.0)), 0.0)
    size = 1 + arms + tasks
    lhs = np.zeros((size, size))
    by_arm, by_task = w.sum(axis=0), w.sum(axis=1)
    lhs[0, 0] = w.sum() + 1.0 / PRIOR_MEAN_VAR
    lhs[0, 1 : 1 + arms] = lhs[1 : 1 + arms, 0] = by_arm
    lhs[0, 1 + arms :] = lhs[1 + arms :, 0] = by_task
    lhs[1 : 1 + arms, 1 + arms :] = w.T
    lhs[1 + arms :, 1 : 1 + arms] = w
    diagonal = np.arange(1, size)
    lhs[diagonal[:arms], diagonal[:arms]] = by_arm + 1.0 / spread.arm
    lhs[diagonal[arms:], diagonal[arms:]] = by_task + 1.0 / spread.task
    weighted = w * shown
    rhs = np.concatenate(
        (
            [weighted.sum() + PRIOR_MEAN / PRIOR_MEAN_VAR],
            weighted.sum(axis=0) + prior / spread.arm,
            weighted.sum(axis=1),
        )
    )
    cov = np.linalg.inv(lhs)
    return cov @ rhs, cov


def _expand(centre: Array, cov: Array, tasks: int, arms: int) -> tuple[Array, Array]:
    a, b = slice(1, 1 + arms), slice(1 + arms, None)
    base = centre[0] + centre[None, a] + centre[b, None]
    own = np.diagonal(cov)
    base_var = own[0] + own[None, a] + own[b, None] + 2.0 * cov[0, None, a] + 2.0 * cov[0, b, None] + 2.0 * cov[a, b].T
    return base, np.maximum(base_var, 0.0)


def _estimate(
    spread: Spread,
    prior: Array,
    centre: Array,
    cov: Array,
    n: Array,
    total: Array,
    squares: Array,
    shown: Array,
    seen: NDArray[np.bool_],
) -> Spread:
    tasks, arms = n.shape
    own = np.diagonal(cov)
    base, base_var = _expand(centre, cov, tasks, arms)
    a, b = centre[1 : 1 + arms] - prior, centre[1 + arms :]
    v = noise(spread, n, total, base)
    gain = n * spread.cell / (n * spread.cell + v)
    d = gain * (shown - base)
    d_sq = d * d + (1.0 - gain) * spread.cell + gain * gain * base_var
    within = np.where(seen, squares - n * shown * shown, 0.0)
    p = np.where(seen, (total + base) / (n + 1.0), 0.0)
    binary = np.maximum(n - 1.0, 0.0) * np.maximum(p * (1.0 - p), 0.0)
    return replace(
        spread,
        arm=_pulled(float((a * a + own[1 : 1 + arms]).sum()), arms, START.arm),
        task=_pulled(float((b * b + own[1 + arms :]).sum()), tasks, START.task),
        cell=_pulled(float(d_sq[seen].sum()), int(seen.sum()), START.cell),
        phi=min(1.2, float((within.sum() + 5.0) / (binary.sum() + 5.0))),
    )


def _pulled(squares: float, count: int, start: float) -> float:
    return min(VAR_HIGH, max(VAR_LOW, (squares + PULL * start) / (count + PULL)))
