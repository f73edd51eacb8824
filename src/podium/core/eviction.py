"""Who may be evicted from one device, in which order, and when more may be.

Owns the value of an instance and the choice of victims. Must not decide for whom: ``core/planning`` does, with the
account of ``core/device_memory``.

The order: idle before busy ones, surplus copies before last ones, then by value, ``reload_s / (1 + idle_s)``: what
bringing it back costs over how long nobody missed it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from podium.core.pool_facts import GIB, Resident, Rules
from podium.domain.instance import InstanceState

NO_LIMIT = 1 << 62
MOMENT_S = 1e-6
"""Times are compared to the microsecond."""

_READY = InstanceState.READY


class Candidate(NamedTuple):
    """A resident that may go now or later. Sorts in the order of eviction; ``id`` is unique."""

    busy: bool
    last: bool
    """No other ready copy of its version would be left."""
    value: float
    minus_bytes: int
    id: str
    free_at: float
    """Seconds until its age allows it; ``inf``: it loads, so no clock tells."""
    bytes: int
    helper: bool
    ref: str


class Outlook(NamedTuple):
    """When a want that must wait could have enough. Bytes, seconds."""

    moment_s: float
    """Until enough may be evicted; ``inf``: no clock tells."""
    possible: bool
    """All that could ever be evicted for it would be enough."""
    beside: int
    """What others may take meanwhile without making it wait longer."""


def candidates(residents: Iterable[Resident], rules: Rules, ready: Mapping[str, int]) -> list[Candidate]:
    """Unpinned residents of one device that are ready or load, in the order of eviction.

    ``ready`` counts the ready copies of a version on all devices. Where all of them stand on this one, the most
    valuable is the last copy; otherwise every copy here is surplus.
    """
    least_s, loads = rules.min_residency_s, rules.residency_loads
    found: list[Candidate] = []
    copies: dict[str, list[int]] = {}
    for one in residents:
        size, load_s, ref = one.footprint_bytes, one.load_s, one.ref
        if size <= 0:
            continue
        reload_s = size / GIB if load_s is None else load_s
        busy = one.active > 0 or one.waiting > 0
        last = True
        if one.state is not _READY:
            free_at = math.inf
        else:
            free_at = (max(loads * reload_s, least_s) if busy else least_s) - one.age_s
            if ready[ref] > 1:
                last = False
                copies.setdefault(ref, []).append(len(found))
        idle_s = one.idle_s
        value = reload_s / (1.0 + idle_s) if idle_s > 0.0 else reload_s
        found.append(Candidate(busy, last, value, -size, one.id, free_at, size, one.helper, ref))
    for ref, here in copies.items():
        if len(here) >= ready[ref]:
            _keep_best(found, here)
    found.sort()
    return found


def without_copy(ordered: list[Candidate], ref: str, ready: int) -> list[Candidate]:
    """The same when a copy of ``ref`` has gone somewhere and ``ready`` are left: one here may be the last now."""
    here = [index for index, one in enumerate(ordered) if one.ref == ref and not one.last and one.free_at < math.inf]
    if not here or len(here) < ready:
        return ordered
    found = list(ordered)
    _keep_best(found, here)
    found.sort()
    return found


def _keep_best(found: list[Candidate], copies: list[int]) -> None:
    best = max(copies, key=found.__getitem__)
    found[best] = found[best]._replace(last=True)


class Evictable:
    """The candidates of one device as a want for a serving model, or one for a helper, may have them.

    ``outside``: the bytes of helpers whose going makes room at all; those inside the reserve give a serving model
    nothing. Made once and asked often: every answer is found by bisection or by walking over victims.
    """

    __slots__ = (
        "_busy_now",
        "_course_all",
        "_course_idle",
        "_gains",
        "_helpers",
        "_idle_now",
        "_later",
        "_now",
        "_outside",
    )

    def __init__(self, ordered: list[Candidate], outside: int) -> None:
        self._outside = outside
        self._idle_now = [one for one in ordered if one.free_at <= MOMENT_S and not one.busy]
        self._busy_now = [one for one in ordered if one.free_at <= MOMENT_S and one.busy]
        self._later = [one for one in ordered if one.free_at > MOMENT_S]
        self._now = (*self._idle_now, *self._busy_now)
        self._gains = _gains(self._now, outside)
        self._helpers = any(one.helper for one in self._now)
        self._course_idle: _Course | None = None
        self._course_all: _Course | None = None

    def victims(self, short: int, late_s: float) -> list[Candidate] | None:
        """Those that may go now to free ``short`` bytes, none superfluous; ``None`` when they are too little.

        ``late_s``: seconds until the want has waited long enough to push out busy ones; not positive: it has.
        """
        gains, outside = self._gains, self._outside
        count = bisect_left(gains, short)
        if count >= len(gains) or (count > len(self._idle_now) and late_s > MOMENT_S):
            return None
        chosen = list(self._now[:count])
        spare = gains[count] - short
        if not self._helpers:
            for index in range(count - 2, -1, -1):
                if chosen[index].bytes <= spare:
                    spare -= chosen.pop(index).bytes
            return chosen
        helpers = sum(one.bytes for one in chosen if one.helper)
        for index in range(count - 2, -1, -1):
            one = chosen[index]
            loss = one.bytes
            if one.helper:
                loss = min(helpers, outside) - min(helpers - one.bytes, outside)
            if loss <= spare:
                del chosen[index]
                spare -= loss
                helpers -= one.bytes if one.helper else 0
        return chosen

    def outlook(self, short: int, late_s: float) -> Outlook:
        """What waiting for ``short`` bytes here would bring."""
        late = late_s <= MOMENT_S
        if self._course_all is None:
            self._course_all = _Course(self._now, self._later, self._outside)
        possible, moment_s = self._course_all.reach(short)
        if late:
            return Outlook(moment_s, possible, max(0, self._course_all.beside - short))
        if self._course_idle is None:
            coming = [*self._busy_now, *self._later]
            self._course_idle = _Course(self._idle_now, coming, self._outside, but_busy=True)
        _, idle_s = self._course_idle.reach(short)
        return Outlook(min(idle_s, max(late_s, moment_s)), possible, max(0, self._course_idle.beside - short))


class _Course:
    """How much may be evicted from each moment on, beginning now."""

    __slots__ = ("_gains", "_moments", "beside")

    def __init__(
        self, now: Sequence[Candidate], coming: list[Candidate], outside: int, *, but_busy: bool = False
    ) -> None:
        later = [one for one in coming if not (but_busy and one.busy)]
        later.sort(key=_free_at)
        gains = _gains((*now, *later), outside)
        self._gains = gains[len(now) :]
        self._moments = [0.0, *(one.free_at for one in later)]
        left = outside - sum(one.bytes for one in now if one.helper)
        smallest = min(
            (min(one.bytes, left) if one.helper else one.bytes for one in coming if not one.helper or left > 0),
            default=0,
        )
        self.beside = self._gains[0] + smallest
        """All that may go now, and the least that any of those coming brings."""

    def reach(self, short: int) -> tuple[bool, float]:
        """Whether ``short`` bytes are ever reached, and in how many seconds."""
        index = bisect_left(self._gains, short)
        return (True, self._moments[index]) if index < len(self._gains) else (False, math.inf)


def _free_at(one: Candidate) -> float:
    return one.free_at


def _gains(those: Sequence[Candidate], outside: int) -> list[int]:
    """Bytes that come free when the first 0, 1, 2 ... of them go."""
    helper_bytes = [one.bytes for one in those if one.helper]
    if sum(helper_bytes) <= outside:
        return list(accumulate([one.bytes for one in those], initial=0))
    serving = helpers = 0
    gains = [0]
    for one in those:
        if one.helper:
            helpers += one.bytes
        else:
            serving += one.bytes
        gains.append(serving + min(helpers, outside))
    return gains
