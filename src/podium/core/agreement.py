"""How far a judge agrees with people: AUC, kappa, calibration error, rank correlation, and their intervals. Pure.

Owns the definitions. Every statistic takes row weights, so that one bootstrap serves them all. Fits nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Statistic = Callable[[Floats], float | None]
"""Of row weights; ``None`` where it has no value under them."""
BINS = 10
"""Bins of equal width on [0, 1] in ``ece`` and in reliability diagrams."""
DRAWS = 500
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and where the true value lies at ``LEVEL``."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability diagram: ``mean`` of the scores in it, ``rate`` of passed labels with its interval."""

    low: float
    high: float
    n: int
    mean: float
    rate: float
    rate_low: float
    rate_high: float


def auc(scores: Floats, passed: Bools, weights: Floats | None = None) -> float | None:
    """Area under the ROC curve: how often a passed row scores above a failed one, ties half. ``None`` for one class."""
    good = passed.astype(np.float64) if weights is None else weights * passed
    bad = 1.0 - good if weights is None else weights * ~passed
    total = good.sum() * bad.sum()
    if total <= 0:
        return None
    place = np.unique(scores, return_inverse=True)[1]
    highs, lows = np.bincount(place, good), np.bincount(place, bad)
    below = np.cumsum(lows) - lows
    return float(highs @ (below + lows / 2) / total)


def auc_interval(scores: Floats, passed: Bools, groups: Ints | None = None, level: float = LEVEL) -> Interval | None:
    """The AUC with Newcombe's score interval (2006, Statist. Med. 25, method 5): it holds near 1 and for a handful of
    rows, where DeLong's does not. Widened where rows of one group depend on each other, by the ratio of DeLong's variance
    with and without groups (Obuchowski 1997). ``None`` for one class.
    """
    value = auc(scores, passed)
    if value is None:
        return None
    good, bad = float(passed.sum()), float((~passed).sum())
    scale = 1.0 if groups is None else _dependence(scores, passed, groups, value)
    z, sizes = NormalDist().inv_cdf(0.5 + level / 2), (good + bad) / 2 - 1

    def far(tried: float) -> bool:
        spread = 1 + sizes * (1 - tried) / (2 - tried) + sizes * tried / (1 + tried)
        return abs(value - tried) > z * math.sqrt(scale * tried * (1 - tried) * spread / (good * bad))

    return Interval(value, _edge(far, 0.0, value), _edge(far, 1.0, value))


def _edge(far: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where ``far`` begins, by halving."""
    for _ in range(40):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if far(middle) else (outside, middle)
    return inside


def _dependence(scores: Floats, passed: Bools, groups: Ints, value: float) -> float:
    """At least 1: how much larger DeLong's variance (1988) is when whole groups are the independent units."""
    place = np.unique(scores, return_inverse=True)[1]
    highs, lows = np.bincount(place, passed), np.bincount(place, ~passed)
    under, over = np.cumsum(lows) - lows / 2, np.cumsum(highs) - highs / 2
    good, bad = highs.sum(), lows.sum()
    pull = np.where(passed, (under[place] / bad - value) / good, (1 - over[place] / good - value) / bad)
    alone = float(pull @ pull)
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], pull)
    return max(1.0, float(sums @ sums) / alone) if alone > 0 else 1.0


def kappa(first: Ints | Bools, second: Ints | Bools, weights: Floats | None = None) -> float | None:
    """Cohen's kappa (1960) of two sets of categories. ``None`` where chance alone would agree on everything."""
    weights = np.ones(first.size) if weights is None else weights
    total = weights.sum()
    if total <= 0:
        return None
    agreed = float(weights @ (first == second)) / total
    if first.dtype == np.bool_ and second.dtype == np.bool_:
        one, two = float(weights @ first) / total, float(weights @ second) / total
        chance = one * two + (1.0 - one) * (1.0 - two)
    else:
        categories = np.unique(np.concatenate([first, second]))
        chance = (
            sum(float(weights @ (first == one)) * float(weights @ (second == one)) for one in categories) / total**2
        )
    return None if chance >= 1.0 - 1e-12 else float((agreed - chance) / (1.0 - chance))


def graded_kappa(first: Floats, second: Floats, weights: Floats | None = None) -> float | None:
    """Kappa with quadratic weights of two graded scores on one scale; without categories it is Lin's concordance
    (1989, Biometrics 45): 2 cov / (var + var + squared difference of the means). ``None`` where neither varies.
    """
    weights = np.ones(first.size) if weights is None else weights
    total = weights.sum()
    if total <= 0:
        return None
    one, two = float(weights @ first) / total, float(weights @ second) / total
    spread = float(weights @ ((first - one) ** 2 + (second - two) ** 2)) / total + (one - two) ** 2
    return None if spread <= 0 else float(2.0 * (weights @ ((first - one) * (second - two))) / total / spread)


def share(hits: Bools, weights: Floats | None = None) -> float | None:
    """Share of rows that hold; ``None`` without rows."""
    total = hits.size if weights is None else float(weights.sum())
    if total <= 0:
        return None
    return float(hits.sum() if weights is None else weights @ hits) / total


def ece(probabilities: Floats, labels: Floats, weights: Floats | None = None, bins: int = BINS) -> float | None:
    """Expected calibration error: mean distance of predicted and observed share over ``bins`` bins of equal width,
    each weighted by its rows (Guo et al. 2017, arXiv 1706.04599). ``None`` without rows.
    """
    weights = np.ones(labels.size) if weights is None else weights
    total = weights.sum()
    if total <= 0:
        return None
    gaps = np.bincount(_bins(probabilities, bins), weights * (probabilities - labels), minlength=bins)
    return float(np.abs(gaps).sum() / total)


def reliability(probabilities: Floats, labels: Floats, bins: int = BINS) -> tuple[Bin, ...]:
    """The bins that hold rows, lowest first; rates with Wilson's interval (1927)."""
    place, found = _bins(probabilities, bins), []
    for index in np.unique(place):
        rows = place == index
        n, rate = int(rows.sum()), float(labels[rows].mean())
        low, high = wilson(rate, n)
        mean = float(probabilities[rows].mean())
        found.append(Bin(index / bins, (index + 1) / bins, n, mean, rate, low, high))
    return tuple(found)


def wilson(rate: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share of ``n`` rows."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def log_losses(probabilities: Floats, labels: Floats) -> Floats:
    """Negative log likelihood in nats of each label in [0, 1]; probabilities are kept 1e-6 off certainty."""
    safe = np.clip(probabilities, 1e-6, 1.0 - 1e-6)
    return np.asarray(-(labels * np.log(safe) + (1.0 - labels) * np.log(1.0 - safe)), dtype=np.float64)


def log_loss(probabilities: Floats, labels: Floats) -> float:
    """Their mean."""
    return float(log_losses(probabilities, labels).mean())


def spearman(first: Floats, second: Floats, weights: Floats | None = None) -> float | None:
    """Rank correlation, equal values on their mean rank. ``None`` where one side does not vary."""
    weights = np.ones(first.size) if weights is None else weights
    one, two = _ranks(first, weights), _ranks(second, weights)
    total = weights.sum()
    if total <= 0:
        return None
    one, two = one - weights @ one / total, two - weights @ two / total
    scale = math.sqrt(float(weights @ (one * one)) * float(weights @ (two * two)))
    return None if scale <= 0 else float(weights @ (one * two)) / scale


def bootstrap(
    statistic: Statistic,
    groups: Ints,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval | None:
    """Percentile interval of ``statistic(weights)`` when whole groups of rows are drawn with replacement.

    ``None`` where the statistic has no value on the rows as they are. Draws without a value are left out.
    """
    value = statistic(np.ones(groups.size))
    if value is None:
        return None
    place = np.unique(groups, return_inverse=True)[1]
    count = int(place.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=draws).astype(np.float64)
    found = [one for row in drawn if (one := statistic(row[place])) is not None]
    if not found:
        return Interval(value, value, value)
    low, high = np.quantile(found, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


def _bins(values: Floats, bins: int) -> Ints:
    return np.clip(np.floor(values * bins), 0, bins - 1).astype(np.int64)


def _ranks(values: Floats, weights: Floats) -> Floats:
    place = np.unique(values, return_inverse=True)[1]
    mass = np.bincount(place, weights)
    return np.asarray((np.cumsum(mass) - mass / 2)[place], dtype=np.float64)
