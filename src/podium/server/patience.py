"""Refused requests that come too fast wait for their answer; accepted ones never do. Owns how often who was refused lately.

A refusal costs little, but not nothing, and who sends bad keys in a loop sends the next one as soon as the last is
answered. So every source of refusals has a rate at which it is refused at once; what comes faster is answered when its
turn has come, ``MOST_S`` later at most. The wait grows with the rate and is gone as soon as the source slows down. What
waits is the answer, on its own connection: nothing is delayed that a valid key would get.

Sources, each with its own rate: the credential (as far as a key's id goes) from one address, so that one client's loop does
not make a neighbour's mistake slow where everybody has the same address; the address, for those who guess keys; and all
together, for a thousand keys that are each a little over their limit. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

MOST_S = 1.0
"""The longest wait."""
LEAST_S = 0.001
"""A shorter one is none."""
SLOT_S = 1 / 32
"""Answers are due in steps of this."""
SOURCES = 8_192
"""How many sources are remembered; the one that was quiet longest is forgotten first."""


class Pace(NamedTuple):
    """How fast a source is refused without a wait."""

    per_s: float
    burst: float


CREDENTIAL = Pace(100.0, 200.0)
ADDRESS = Pace(200.0, 400.0)
ALL = Pace(500.0, 1_000.0)


class Waiter(Protocol):
    """Somebody with a refused request."""

    def reconsider(self) -> None:
        """Its wait is over."""
        ...


Later = Callable[[float, Callable[[], None]], object]


def _call_later(delay_s: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(delay_s, call)


class Patience:
    """One per gateway. ``now`` in seconds, ``later`` as a loop's ``call_later``."""

    def __init__(self, now: Callable[[], float] = time.monotonic, later: Later = _call_later) -> None:
        self._now = now
        self._later = later
        self._due: OrderedDict[Hashable, float] = OrderedDict()
        """When a source's next refusal would be due had it kept its pace."""
        self._slots: dict[int, list[Waiter]] = {}
        self._ticking = False

    @property
    def sources(self) -> int:
        """How many are remembered."""
        return len(self._due)

    @property
    def waiting(self) -> int:
        """Requests that wait to be refused."""
        return sum(len(slot) for slot in self._slots.values())

    def refused(self, address: Hashable, credential: Hashable) -> float:
        """Count one refusal; how long its answer has to wait, in seconds, mostly 0."""
        now = self._now()
        wait = self._count((address, credential), CREDENTIAL, now)
        wait = max(wait, self._count((address,), ADDRESS, now))
        wait = max(wait, self._count((), ALL, now))
        return wait if wait >= LEAST_S else 0.0

    def _count(self, source: Hashable, pace: Pace, now: float) -> float:
        due = max(self._due.get(source, -math.inf), now - pace.burst / pace.per_s) + 1.0 / pace.per_s
        due = min(due, now + MOST_S)
        self._due[source] = due
        self._due.move_to_end(source)
        if len(self._due) > SOURCES:
            self._due.popitem(last=False)
        return max(0.0, due - now)

    def hold(self, waiter: Waiter, wait_s: float) -> None:
        """Call its ``reconsider`` after the wait. One timer serves all who wait."""
        slot = math.ceil((self._now() + wait_s) / SLOT_S)
        self._slots.setdefault(slot, []).append(waiter)
        if not self._ticking:
            self._ticking = True
            self._later(SLOT_S, self._tick)

    def _tick(self) -> None:
        reached = math.floor(self._now() / SLOT_S)
        for slot in sorted(at for at in self._slots if at <= reached):
            for waiter in self._slots.pop(slot):
                waiter.reconsider()
        self._ticking = bool(self._slots)
        if self._ticking:
            self._later(SLOT_S, self._tick)
