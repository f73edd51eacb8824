"""The circuit breaker of one instance or provider (POOL-5). Pure: the monotonic clock is passed in.

Owns when requests stop and when one of them may try again. Must not retry, sleep or log.

Closed: results are counted over a sliding window (in ten slices, so memory does not grow with traffic; a slice leaves
when its oldest result is ``window_s`` old). It opens when at least ``failures`` failed within the window **and** they
are at least half of the results in it. A success therefore dilutes a storm of failures and never erases it, and a
busy instance with a few failures among hundreds of successes stays closed.

Open: nobody is admitted for ``open_s``, times ``factor`` after every failed probe, up to ``open_max_s``.

Half open: the open time is over and exactly one request is admitted, the probe. Its success closes the breaker with
an empty window, its failure opens it again, longer. A probe whose client left frees its place; one that never
reports is given up after ``open_s``. A breaker that opens again within ``window_s`` of closing goes on with the
longer open time: closing for a moment does not start the back-off anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FAILURE_SHARE = 0.5
_SLICES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """Failures within ``window_s`` that open it; open times in seconds, multiplied by ``factor`` per failed probe."""

    failures: int = 5
    window_s: float = 30.0
    open_s: float = 5.0
    open_max_s: float = 120.0
    factor: float = 2.0


class BreakerState(StrEnum):
    """``half_open`` begins when the open time is over, before anybody asks."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """One breaker. ``now`` is seconds of a monotonic clock.

    Requests outlive states: one admitted before the breaker opened, or a probe given up as lost, may report while
    another probe is under way. Callers that read ``ticket`` right after ``admit`` and hand it back with the result are
    never confused by that; without a ticket a result that arrives while a probe is under way is taken as the probe's.
    """

    __slots__ = (
        "_closed_at", "_next_open_s", "_open_until", "_probe_until", "_probes", "_probing", "_slices", "rules",
    )  # fmt: skip

    def __init__(self, rules: BreakerRules) -> None:
        self.rules = rules
        self._slices: list[tuple[float, int, int]] = []
        """(begin of the slice of time, successes, failures), oldest first."""
        self._open_until: float | None = None
        self._probing = False
        self._probes = 0
        self._probe_until = 0.0
        self._next_open_s = rules.open_s
        self._closed_at: float | None = None

    def state(self, now: float) -> BreakerState:
        """The state at this moment; changes nothing."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def would_admit(self, now: float) -> bool:
        """What ``admit`` would say; changes nothing."""
        if self._open_until is None:
            return True
        return now >= self._open_until and not (self._probing and now < self._probe_until)

    def admit(self, now: float) -> bool:
        """True for a request that may be sent. When half open the first caller gets True and is the probe."""
        if self._open_until is None:
            return True
        if not self.would_admit(now):
            return False
        self._probing, self._probe_until = True, now + self.rules.open_s
        self._probes += 1
        return True

    @property
    def ticket(self) -> int:
        """Which probe is under way, 0 for none. Right after ``admit`` said True it names that very request."""
        return self._probes if self._probing else 0

    def retry_in_s(self, now: float) -> float:
        """Seconds until somebody may be admitted at the latest; 0 when that is now."""
        if self._open_until is None:
            return 0.0
        wait_s = self._open_until - now
        if self._probing:
            wait_s = max(wait_s, self._probe_until - now)
        return max(0.0, wait_s)

    def succeeded(self, now: float, *, ticket: int | None = None) -> None:
        """A request was answered. While open without a probe it is news from before, and ignored."""
        if self._open_until is None:
            self._count(now, failed=False)
        elif self._reports(ticket):
            self._open_until, self._probing, self._closed_at = None, False, now
            self._slices.clear()

    def failed(self, now: float, *, ticket: int | None = None) -> None:
        """A request failed for a reason that says something about the instance (not: the client left, or 400)."""
        if self._open_until is None:
            self._count(now, failed=True)
            successes = sum(part[1] for part in self._slices)
            failures = sum(part[2] for part in self._slices)
            if failures >= self.rules.failures and failures >= FAILURE_SHARE * (failures + successes):
                if self._closed_at is None or now - self._closed_at > self.rules.window_s:
                    self._next_open_s = self.rules.open_s
                self._open(now)
        elif self._reports(ticket):
            self._open(now)

    def abandoned(self, now: float, *, ticket: int | None = None) -> None:
        """The probe's client left before there was a result: the next caller may probe."""
        if self._reports(ticket):
            self._probing = False

    def _reports(self, ticket: int | None) -> bool:
        """True when this is the result of the probe under way."""
        return self._probing and (ticket is None or ticket == self._probes)

    def _open(self, now: float) -> None:
        rules = self.rules
        open_s = min(max(self._next_open_s, rules.open_s), rules.open_max_s)
        self._open_until, self._probing = now + open_s, False
        self._next_open_s = min(open_s * rules.factor, rules.open_max_s)
        self._slices.clear()

    def _count(self, now: float, *, failed: bool) -> None:
        slices, window_s = self._slices, self.rules.window_s
        while slices and slices[0][0] <= now - window_s:
            del slices[0]
        if slices and now < slices[-1][0] + window_s / _SLICES:
            begin, good, bad = slices[-1]
            slices[-1] = (begin, good + (not failed), bad + failed)
        else:
            slices.append((now, int(not failed), int(failed)))
