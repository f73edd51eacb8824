"""Whether a version gets slower or dearer over windows of time. Pure.

The slope is Theil and Sen's (Sen, JASA 63, 1968) of the logarithm of each window's mean, with Sen's interval; whether
there is one at all is asked by Mann and Kendall's test, with the variance corrected for windows that resemble their
neighbours (Hamed and Rao, Journal of Hydrology 204, 1998), and Holm's correction for the number of questions. A single
slow window decides nothing in either.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from podium.domain.costing import Trend, TrendPoint

Floats = NDArray[np.float64]
LEAST_POINTS = 6
LEAST_OPERATIONS = 5
"""In a window; others are left out."""
LEVEL = 0.05
LEAST_CHANGE = 0.05
"""A surer but smaller change is none worth telling."""
EXACT_UPTO = 10
DEARER_UP = frozenset(
    {
        "wall_ms", "wait_ms", "ttft_ms", "cpu_ms", "gpu_ms", "peak_memory_mb", "energy_mwh", "price_microusd",
        "wall_ms_per_token", "cpu_ms_per_token", "gpu_ms_per_token", "energy_mwh_per_token", "price_microusd_per_token",
    }
)  # fmt: skip
DEARER_DOWN = frozenset({"tokens_per_s"})
NEUTRAL = frozenset({"input_tokens", "output_tokens"})
WATCHED = (*sorted(DEARER_UP), *DEARER_DOWN, *sorted(NEUTRAL))
Series = Mapping[tuple[str, str], Mapping[str, Sequence[TrendPoint]]]


def trends(series: Series, window_s: float) -> list[Trend]:
    """One for each (task, ref) and figure that was measured, oldest window first in each; corrected together."""
    found = [
        _trend(task, ref, figure, window_s, points)
        for (task, ref), figures in sorted(series.items())
        for figure, points in figures.items()
        if points
    ]
    asked = sorted(
        (place for place, one in enumerate(found) if one.p is not None), key=lambda place: found[place].p or 0
    )
    highest = 0.0
    for order, place in enumerate(asked):
        one = found[place]
        highest = max(highest, min(1.0, (one.p or 0.0) * (len(asked) - order)))
        found[place] = _judged(replace(one, p=highest))
    return found


def _judged(one: Trend) -> Trend:
    assert one.p is not None
    assert one.change is not None
    if one.p >= LEVEL or abs(one.change) < LEAST_CHANGE:
        return replace(one, direction="no trend")
    rising = one.change > 0
    worse = None if one.figure in NEUTRAL else rising != (one.figure in DEARER_DOWN)
    return replace(one, direction="rising" if rising else "falling", worse=worse)


def _trend(task: str, ref: str, figure: str, window_s: float, points: Sequence[TrendPoint]) -> Trend:
    kept = tuple(point for point in points if point.n >= LEAST_OPERATIONS and point.mean > 0)
    made = Trend(task=task, ref=ref, figure=figure, window_s=window_s, points=kept, direction="unknown")
    if len(kept) < LEAST_POINTS:
        return replace(
            made, why=f"{len(kept)} windows with {LEAST_OPERATIONS} operations or more; {LEAST_POINTS} are needed"
        )
    times = np.array([point.at for point in kept])
    logs = np.array([math.log(point.mean) for point in kept])
    slopes = _slopes(times, logs)
    slope = float(np.median(slopes))
    spread = _variance(times, logs, slope)
    score = _kendall(logs)
    p = _probability(score, logs, spread)
    # Sen's interval: the ranks of the slopes around the middle, by the standard deviation of Kendall's score
    half = NormalDist().inv_cdf(1 - LEVEL / 2) * math.sqrt(spread)
    n = len(slopes)
    low, high = (slopes[max(0, min(n - 1, round(rank)))] for rank in ((n - half) / 2 - 1, (n + half) / 2))
    length = float(times[-1] - times[0])
    change, least, most = (math.expm1(min(50.0, float(one) * length)) for one in (slope, low, high))
    return replace(made, direction="no trend", change=change, low=least, high=most, p=p)


def _slopes(times: Floats, logs: Floats) -> Floats:
    first, second = np.triu_indices(len(times), 1)
    return np.sort((logs[second] - logs[first]) / (times[second] - times[first]))


def _kendall(values: Floats) -> int:
    first, second = np.triu_indices(len(values), 1)
    return int(np.sign(values[second] - values[first]).sum())


def _variance(times: Floats, logs: Floats, slope: float) -> float:
    """Of Kendall's score, without a trend: by its formula with ties, more where neighbours resemble each other."""
    n = len(logs)
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(logs.tolist()).values())
    plain = (n * (n - 1) * (2 * n + 5) - ties) / 18
    ranks = np.argsort(np.argsort(logs - slope * times)).astype(np.float64)
    ranks -= ranks.mean()
    power = float(ranks @ ranks)
    if power <= 0 or n <= EXACT_UPTO:
        return plain
    extra = 0.0
    for lag in range(1, n // 3):
        alike = float(ranks[:-lag] @ ranks[lag:]) / power
        if alike > 1.645 / math.sqrt(n):
            extra += (n - lag) * (n - lag - 1) * (n - lag - 2) * alike
    return plain * (1 + 2 / (n * (n - 1) * (n - 2)) * extra)


def _probability(score: int, values: Floats, spread: float) -> float:
    """Two-sided: of a score at least as far from 0 without a trend."""
    n = len(values)
    if n <= EXACT_UPTO and len(set(values.tolist())) == n:
        ways = _ways(n)
        most = n * (n - 1) // 2
        beyond = sum(number for swaps, number in enumerate(ways) if abs(most - 2 * swaps) >= abs(score))
        return min(1.0, beyond / math.factorial(n))
    if score == 0 or spread <= 0:
        return 1.0
    return 2 * (1 - NormalDist().cdf((abs(score) - 1) / math.sqrt(spread)))


def _ways(n: int) -> list[int]:
    """How many orders of ``n`` have 0, 1, 2 … inversions (Mann, Econometrica 13, 1945)."""
    ways = [1]
    for size in range(2, n + 1):
        longer = [0] * (len(ways) + size - 1)
        for inversions, number in enumerate(ways):
            for more in range(size):
                longer[inversions + more] += number
        ways = longer
    return ways


def thinned(points: Sequence[TrendPoint], most: int = 60) -> tuple[TrendPoint, ...]:
    """Neighbouring windows put together until there are at most ``most``: slopes stay, and work is bounded."""
    found = list(points)
    while len(found) > most:
        halved = [_both(one, other) for one, other in pairwise([*found, found[-1]])][::2]
        if len(found) % 2:
            halved[-1] = found[-1]
        found = halved
    return tuple(found)


def _both(one: TrendPoint, other: TrendPoint) -> TrendPoint:
    n = one.n + other.n
    mean = (one.n * one.mean + other.n * other.mean) / n if n else 0.0
    return TrendPoint(at=one.at, n=n, mean=mean)
