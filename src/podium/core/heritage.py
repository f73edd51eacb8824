"""What a new version inherits: a second opinion about its cells, believed as far as its own scores bear it out.

Owns how the predecessor's evidence is discounted. It never becomes evidence of the new version.

Two explanations compete for the new version's scores: "much like its predecessor", where a cell's quality is around
the predecessor's own, and "a model like any other", where it is around ``base``. Their weights follow Bayes' rule
from ``TRUST`` at the start, over all tasks together: a few scores suffice to drop a predecessor that misleads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from podium.core import quality
from podium.core.cells import Cells
from podium.core.quality import Fit

TRUST = 0.9
LIKE_VAR = 0.002
"""How far versions of one model differ on a task, as a variance."""
WORTH = 30.0
"""The most observations that a fully trusted predecessor counts for when deciding whether to look closer."""


@dataclass(frozen=True, slots=True)
class Own:
    """The cell of the new version: row, column (-1: never met), the predecessor's column, and its ``base``."""

    k: int
    m: int
    before: int
    base: float
    base_var: float


def inherit(cells: Cells, fit: Fit, own: Own) -> tuple[float, float, float]:
    """Mean and variance of the cell's quality, and the observations that the inheritance is worth."""
    old_mean, old_var, old_noise = _posterior(cells, fit, own.before)
    trust = TRUST
    if own.m >= 0:
        trust = _trust(cells, fit, own, old_mean, old_var + LIKE_VAR)
    like, like_var = float(old_mean[own.k]), float(old_var[own.k]) + LIKE_VAR
    n = float(cells.n[own.k, own.m]) if own.m >= 0 else 0.0
    shown = float(cells.total[own.k, own.m]) / n if n > 0.0 else 0.0
    v = float(old_noise[own.k])
    cell = fit.spread.cell * quality.TAIL + own.base_var
    means, variances = [], []
    for prior, width in ((like, like_var), (own.base, cell)):
        gain = n * width / (n * width + v)
        means.append(prior + gain * (shown - prior))
        variances.append((1.0 - gain) * width)
    mean = trust * means[0] + (1.0 - trust) * means[1]
    between = trust * (1.0 - trust) * (means[0] - means[1]) ** 2
    var = trust * variances[0] + (1.0 - trust) * variances[1] + between
    return mean, var, trust * min(WORTH, float(cells.n[own.k, own.before]))


def _posterior(cells: Cells, fit: Fit, m: int) -> tuple[quality.Array, quality.Array, quality.Array]:
    """Mean, variance and noise of one arm on every task."""
    k = slice(fit.base.shape[0])
    return quality.posterior(fit.spread, fit.base[k, m], fit.base_var[k, m], cells.n[k, m], cells.total[k, m])


def _trust(cells: Cells, fit: Fit, own: Own, like: quality.Array, like_var: quality.Array) -> float:
    """The posterior weight of "much like its predecessor"."""
    rows = fit.base.shape[0]
    n, total = cells.n[:rows, own.m], cells.total[:rows, own.m]
    seen = n > 0
    if not seen.any():
        return TRUST
    n, shown = n[seen], total[seen] / n[seen]
    base, base_var = fit.base[seen, own.m], fit.base_var[seen, own.m]
    p = np.clip(like[seen], quality.P_LOW, quality.P_HIGH)
    v = (fit.spread.phi * p * (1.0 - p) + quality.NOISE_FLOOR) / n
    one, other = like_var[seen] + v, base_var + fit.spread.cell + v
    odds = math.log(TRUST / (1.0 - TRUST)) + 0.5 * float(
        ((shown - base) ** 2 / other - (shown - like[seen]) ** 2 / one + np.log(other / one)).sum()
    )
    return 1.0 / (1.0 + math.exp(-min(30.0, max(-30.0, odds))))
