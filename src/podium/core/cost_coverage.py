"""The time in which anything ran: what one more interval adds to those that are known. Pure, in bounded memory."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

MOST = 256
"""Intervals kept; beyond, the two oldest become one."""
KEPT_S = 3_600.0
"""What ended so long before the newest end is forgotten: nothing that runs longer is counted exactly."""


class Coverage:
    """Disjoint intervals of Unix time, ascending."""

    def __init__(self, spans: Sequence[tuple[float, float]] = ()) -> None:
        self._spans = [(float(start), float(end)) for start, end in spans]

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """What is covered lately."""
        return tuple(self._spans)

    def add(self, start: float, end: float) -> float:
        """Cover an interval; the seconds of it that were not covered before."""
        if not start < end:
            return 0.0
        spans = self._spans
        first = bisect_left(spans, start, key=lambda span: span[1])
        last = first
        fresh = end - start
        low, high = start, end
        while last < len(spans) and spans[last][0] <= end:
            before, after = spans[last]
            fresh -= max(0.0, min(end, after) - max(start, before))
            low, high = min(low, before), max(high, after)
            last += 1
        spans[first:last] = [(low, high)]
        self._forget()
        return max(0.0, fresh)

    def add_all(self, intervals: Sequence[tuple[float, float]]) -> float:
        """Cover many; the seconds that were not covered before. Those that overlap are one before they are looked up."""
        fresh = 0.0
        low = high = -math.inf
        for start, end in sorted(intervals):
            if start <= high:
                high = max(high, end)
            else:
                fresh += self.add(low, high)
                low, high = start, end
        return fresh + self.add(low, high)

    def _forget(self) -> None:
        spans = self._spans
        horizon = spans[-1][1] - KEPT_S
        while spans[0][1] < horizon:
            del spans[0]
        spans[0] = (max(spans[0][0], horizon), spans[0][1])
        if len(spans) > MOST:
            spans[:2] = [(spans[0][0], spans[1][1])]
