"""What is remembered of one stream of observations: its past as sums, and the newest ones as sums by age.

Owns the sums and when new ones become past. Must not know what they mean or compare them.

The newest observations lie in buckets of ``BLOCK``, ``2 BLOCK``, … with at most ``SAME`` of a size, the newest last
(exponential histograms: Datar et al. 2002; for changes: Bifet and Gavalda 2007). Each bucket begins where a change may
have begun. So a few hundred bytes hold a start for every age, and what is older than ``RECENT`` observations is past.
The past forgets: beyond ``MOST`` observations it counts half.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

BLOCK = 8
SAME = 2
RECENT = 512
MOST = 4096


class OwnPast:
    """Sums of ``width`` numbers per observation; the first is its count. ``least``: observations a past needs.

    ``add`` is left to the owner, who writes into ``fresh`` and calls ``settle`` when it holds a block.
    """

    __slots__ = ("_levels", "buckets", "fresh", "least", "past", "recent")

    def __init__(self, width: int, least: int) -> None:
        self.past = [0.0] * width
        self.fresh = [0.0] * width
        self.buckets: list[array[float]] = []
        """Oldest first."""
        self._levels = bytearray()
        self.recent = 0.0
        """Observations in the buckets."""
        self.least = least

    @property
    def known(self) -> bool:
        """There is enough of a past to compare with."""
        return self.past[0] >= self.least

    def settle(self, *, learn: bool) -> bool:
        """Close the newest block; without ``learn`` what is not recent any more is forgotten, not past.

        True when the past was halved.
        """
        block, self.fresh = self.fresh, [0.0] * len(self.fresh)
        if not self.known:
            return self._absorb(block)
        self.buckets.append(array("d", block))
        self._levels.append(0)
        self.recent += block[0]
        self._merge()
        halved = False
        while self.recent > RECENT and self.buckets:
            oldest = self.buckets.pop(0)
            del self._levels[0]
            self.recent -= oldest[0]
            if learn:
                halved |= self._absorb(oldest)
        return halved

    def _merge(self) -> None:
        level = 0
        while self._levels.count(level) > SAME:
            at = self._levels.index(level)
            newer = self.buckets.pop(at + 1)
            del self._levels[at]
            self._levels[at] = level + 1
            self.buckets[at] = array("d", map(float.__add__, self.buckets[at], newer))
            level += 1

    def _absorb(self, block: Sequence[float]) -> bool:
        self.past = list(map(float.__add__, self.past, block))
        if self.past[0] <= MOST:
            return False
        self.past = [value / 2.0 for value in self.past]
        return True

    def forget_recent(self) -> None:
        """Begin anew after the past."""
        self.buckets.clear()
        self._levels.clear()
        self.recent = 0.0
        self.fresh = [0.0] * len(self.fresh)

    def forget(self) -> None:
        """Begin with nothing."""
        self.forget_recent()
        self.past = [0.0] * len(self.past)

    def whole(self) -> list[float]:
        """Past and recent together."""
        total = list(map(float.__add__, self.past, self.fresh))
        for bucket in self.buckets:
            total = list(map(float.__add__, total, bucket))
        return total

    def since(self, start: int) -> list[float]:
        """Sums of the buckets from index ``start`` on and of the block that is filling."""
        total = self.fresh
        for bucket in self.buckets[start:]:
            total = list(map(float.__add__, total, bucket))
        return total
