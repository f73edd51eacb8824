"""How many refusals are written down: a few at once, then a few an hour, so that a flood cannot fill the disk. Pure."""

from __future__ import annotations

BURST = 60
EVERY_S = 30.0
MOST_BUCKETS = 256
OTHERS = "(others)"


class Bucket:
    """Lets ``burst`` through at once, then one every ``every_s`` seconds, and counts what it does not let through."""

    __slots__ = ("_every_s", "_full", "_left", "_since", "missed")

    def __init__(self, now: float, burst: int = BURST, every_s: float = EVERY_S) -> None:
        self._full = float(burst)
        self._every_s = every_s
        self._left = self._full
        self._since = now
        self.missed = 0

    def take(self, now: float) -> bool:
        """Whether one more may be written; else it is counted."""
        if self._spend(now):
            return True
        self.missed += 1
        return False

    def owed(self, now: float) -> int:
        """How many were counted, when there is room to say so; they are forgotten then."""
        if not self.missed or not self._spend(now):
            return 0
        missed, self.missed = self.missed, 0
        return missed

    def refill(self) -> None:
        """Make room for one, to say at the end how many were counted."""
        self._left = max(self._left, 1.0)

    def _spend(self, now: float) -> bool:
        self._left = min(self._full, self._left + max(0.0, now - self._since) / self._every_s)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Buckets:
    """One for each who is refused; whoever comes when there are too many shares one."""

    def __init__(self) -> None:
        self.each: dict[str, Bucket] = {}

    def of(self, who: str, now: float) -> Bucket:
        """The bucket of ``who``."""
        if who not in self.each and len(self.each) >= MOST_BUCKETS:
            who = OTHERS
        return self.each.setdefault(who, Bucket(now))
