"""Discounted posteriors of what is measured: success, latency, first token, speed, memory, energy, price (LRN-1).

Owns the folding of measurements, the forgetting, and the reading of means and bounds. Must not read a clock: time is
the time of the outcomes, so that the same outcomes in the same order give the same figures, bit for bit.

Success is Beta-distributed with Jeffreys' prior. The others are log-normal with a normal-inverse-gamma posterior
(Bernardo and Smith, Bayesian Theory, 1994, section 5.2) whose prior says nothing of the mean and ``PRIOR_WEIGHT``
observations' worth of the variance. Before each new measurement ``x = log(value)`` the weight of all earlier ones is
multiplied by ``MEMORY`` (the power discount of West and Harrison, 1997), which makes the sums

    n' = MEMORY * n + 1      m' = m + (x - m) / n'      S' = MEMORY * S + (1 - 1 / n') * (x - m)^2

What was measured long before the newest outcome of anybody counts for less when it is read: half after ``HALF_LIFE_S``.
Nothing is thrown away for it, so a clock that jumps does no lasting harm, and a version that a limit keeps from being
used is not kept out for ever by figures that nobody renews.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from podium.domain.belief import Gauge, Performance
from podium.domain.decision import Outcome

MEMORY = 0.98
"""Weight that is left of everything earlier after one more: about the last 50 count."""
HALF_LIFE_S = 86_400.0
PRIOR_WEIGHT = 2.0
PRIOR_VAR = 0.25
"""Of a logarithm: most measurements within a factor of 1.6 of the median."""
LEVEL = 0.9
"""Share that the interval from ``low`` to ``high`` covers, so that either bound alone is missed by 5 %."""
Z = 1.6448536269514722
PROVEN = 9.0
"""Weight from which on a limit is judged: a little less than ten measurements in a row have."""
GAUGES = ("latency_ms", "ttft_ms", "tokens_per_s", "memory_mb", "energy_mwh", "price_microusd")
SLOTS = 3 + 3 * len(GAUGES)
"""Numbers of a cell: answered, asked, time of the newest, then (weight, mean, sum of squares) of each gauge."""
BEFORE_PRICES = 18
"""What earlier versions stored."""
Cell: TypeAlias = "array[float]"
_SMALLEST, _LARGEST = 1e-9, 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The mean of a figure with the interval that holds it with probability ``LEVEL``, in the figure's unit."""

    mean: float
    low: float
    high: float
    weight: float
    """Measurements it rests on, discounted."""
    p95: float | None = None
    """Below which the next measurement is with 95 %; ``None`` for a share."""


# ------------------------------------------------------------ folding


def empty() -> Cell:
    """A cell that knows nothing."""
    return array("d", bytes(8 * SLOTS))


def fold(cell: Cell, outcome: Outcome) -> None:
    """One more outcome, in place. Times, speed and energy come from answers only: a fast failure is not fast.

    What is not a positive, finite number is left out. About five microseconds.
    """
    cell[1] = cell[1] * MEMORY + 1.0
    cell[2] = outcome.at if math.isfinite(outcome.at) else cell[2]
    cost = outcome.cost
    if cost.held_memory_mb is not None:
        _measure(cell, 12, cost.held_memory_mb)
    if not outcome.success:
        cell[0] *= MEMORY
        return
    cell[0] = cell[0] * MEMORY + 1.0
    _measure(cell, 3, outcome.latency_ms)
    if outcome.ttft_ms is not None:
        _measure(cell, 6, outcome.ttft_ms)
    if cost.tokens_per_s is not None:
        _measure(cell, 9, cost.tokens_per_s)
    if cost.energy_mwh is not None:
        _measure(cell, 15, cost.energy_mwh)
    if cost.price_microusd is not None:
        _measure(cell, 18, cost.price_microusd)


def _measure(cell: Cell, at: int, value: float) -> None:
    if not _SMALLEST <= value <= _LARGEST:  # false for nan
        return
    x = math.log(value)
    n = cell[at] * MEMORY + 1.0
    off = x - cell[at + 1]
    if n == 1.0:
        cell[at], cell[at + 1], cell[at + 2] = 1.0, x, 0.0
        return
    cell[at] = n
    cell[at + 1] += off / n
    cell[at + 2] = cell[at + 2] * MEMORY + (1.0 - 1.0 / n) * off * off


def checked(numbers: Iterable[float]) -> Cell:
    """A cell from stored numbers, also from before prices were known. Raises ``ValueError`` when it cannot be one."""
    cell = array("d", numbers)
    if len(cell) == BEFORE_PRICES:
        cell.extend([0.0] * (SLOTS - BEFORE_PRICES))
    weights = (cell[0], cell[1], *cell[3::3], *cell[5::3]) if len(cell) == SLOTS else (-1.0,)
    if not all(math.isfinite(x) for x in cell) or min(weights) < 0.0 or cell[0] > cell[1]:
        raise ValueError("these are not the numbers of a cell")
    return cell


# ------------------------------------------------------------ reading


def performance(cell: Cell, now: float) -> Performance:
    """What the cell says at ``now`` (the time of the newest outcome of anybody, Unix seconds)."""
    age = now - cell[2]
    keep = 0.5 ** (age / HALF_LIFE_S) if age > 0.0 else 1.0

    def gauge(at: int) -> Gauge | None:
        n = cell[at]
        if n <= 0.0:
            return None
        return Gauge(n * keep, cell[at + 1], (PRIOR_WEIGHT * PRIOR_VAR + cell[at + 2]) / (PRIOR_WEIGHT + n - 1.0))

    return Performance(
        answered=cell[0] * keep,
        asked=cell[1] * keep,
        latency_ms=gauge(3),
        ttft_ms=gauge(6),
        tokens_per_s=gauge(9),
        memory_mb=gauge(12),
        energy_mwh=gauge(15),
        price_microusd=gauge(18),
    )


def mean(gauge: Gauge) -> float:
    """The expected value of one measurement: ``exp(m + s^2 / 2)``."""
    return math.exp(gauge.log_mean + gauge.log_var / 2.0)


def estimate(gauge: Gauge) -> Estimate:
    """Mean and bounds. The interval of a log-normal mean is Cox's with Student's t (Olsson, J. Stat. Educ. 13, 2005).

    ``log mean = m + s^2 / 2``, of variance ``s^2 / n + s^4 / (2 (n + PRIOR_WEIGHT - 1))``.
    """
    n, s2 = gauge.weight, gauge.log_var
    freedom = PRIOR_WEIGHT + max(n, 1.0) - 1.0
    t = _student(freedom)
    centre = gauge.log_mean + s2 / 2.0
    wide = t * math.sqrt(s2 / n + s2 * s2 / (2.0 * freedom))
    next_one = gauge.log_mean + t * math.sqrt(s2 * (1.0 + 1.0 / n))
    return Estimate(
        mean=math.exp(centre), low=_exp(centre - wide), high=_exp(centre + wide), weight=n, p95=_exp(next_one)
    )


def success(known: Performance) -> Estimate:
    """The share of requests that are answered: mean and equal-tailed interval of ``Beta(good + 1/2, bad + 1/2)``."""
    a, b = known.answered + 0.5, known.asked - known.answered + 0.5
    tail = (1.0 - LEVEL) / 2.0
    return Estimate(
        mean=a / (a + b), low=_beta_quantile(tail, a, b), high=_beta_quantile(1.0 - tail, a, b), weight=known.asked
    )


def _exp(power: float) -> float:
    return math.exp(min(700.0, max(-700.0, power)))


def _student(freedom: float) -> float:
    """The 95 % point of Student's t (Abramowitz and Stegun 26.7.5); within 1 % from two degrees of freedom on."""
    z, f = Z, freedom
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    fourth = (79.0 * z**9 + 776.0 * z**7 + 1482.0 * z**5 - 1920.0 * z**3 - 945.0 * z) / 92160.0
    return z + first / f + second / f**2 + third / f**3 + fourth / f**4


def _beta_quantile(share: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(48):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _beta_below(middle, a, b) < share else (low, middle)
    return (low + high) / 2.0


def _beta_below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22, evaluated by Lentz)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _beta_below(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    tiny = 1e-300
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0), tiny)
    total = d
    for m in range(1, 200):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        step = 1.0
        for term in (even, odd):
            d = 1.0 / _away(1.0 + term * d, tiny)
            c = _away(1.0 + term / c, tiny)
            step = c * d
            total *= step
        if abs(step - 1.0) < 1e-12:
            break
    return front * total / a


def _away(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
