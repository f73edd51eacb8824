"""The fewest loads that any policy needs for a given demand. Owns that bound only; pure.

What ``thrash`` divides by. A demand is an interval: its model must be in memory at some moment between its start
and its deadline. At the start of a window at most ``fit`` models are in memory, so a window that wholly contains
demands of D models costs at least D - ``fit`` loads, and windows that do not overlap add up. The best choice of
windows is found by dynamic programming over the deadlines. Loading is taken to be instant and the future to be
known, so the bound is below what any real policy can reach.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

Demand = tuple[float, float, str]
"""Start and deadline in seconds, model."""


def minimum_loads(demands: Iterable[Demand], fit: int) -> int:
    """Loads after the first moment that no policy can avoid; what is in memory then is the policy's choice."""
    latest: dict[str, float] = {}
    ends: list[float] = []
    best: list[int] = []
    for start, deadline, model in sorted(demands, key=lambda demand: demand[1]):
        latest[model] = max(latest.get(model, start), start)
        proven = best[-1] if best else 0
        for count, begin in enumerate(sorted(latest.values(), reverse=True), start=1):
            if count > fit:
                before = bisect_right(ends, begin)
                proven = max(proven, (best[before - 1] if before else 0) + count - fit)
        ends.append(deadline)
        best.append(proven)
    return best[-1] if best else 0
