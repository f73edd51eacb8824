"""Who may be evicted from one device, in which order, and when more may be.

Owns the value of an instance and the choice of victims. Must not decide for whom: ``core/planning`` does, with the
account of ``core/device_memory``.

The order: idle before busy ones, surplus copies before last ones, then by value, ``reload_s / (1 + idle_s)``: what
bringing it back costs over how long nobody missed it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
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
    resident: Resident


class Outlook(NamedTuple):
    """When a want that must wait could have enough. Bytes, seconds."""

    moment_s: float
    """Until enough may be evicted; ``inf``: no clock tells."""
    possible: bool
    """All that could ever be evicted for it would be enough."""
    beside: int
    """What others may take meanwhile without making it wait longer."""


def candidates(residents: Iterable[Resident], rules: Rules, ready: Mapping[str, int]) -> list[Candidate]:
    """The unpinned residents of a device that are ready or load, in the order of eviction.

    ``ready`` counts the ready copies of a version on all devices. Where all of them are here, the most valuable is
    the last one and the others are surplus; otherwise all here are.
    """
    least_s, loads = rules.min_residency_s, rules.residency_loads
    found: list[Candidate] = []
    copies = False
    for one in residents:
        size, load_s = one.footprint_bytes, one.load_s
        if size <= 0:
            continue
        reload_s = size / GIB if load_s is None else load_s
        busy = one.active > 0 or one.waiting > 0
        last = True
        if one.state is not _READY:
            free_at = math.inf
        else:
            stay_s = loads * reload_s if busy else 0.0
            free_at = max(stay_s, least_s) - one.age_s
            if ready[one.ref] > 1:
                last, copies = False, True
        value = reload_s / (1.0 + max(0.0, one.idle_s))
        found.append(Candidate(busy, last, value, -size, one.id, free_at, size, one.helper, one.ref, one))
    if copies:
        _keep_last(found, ready)
    found.sort()
    return found


def _keep_last(found: list[Candidate], ready: Mapping[str, int]) -> None:
    groups: dict[str, list[int]] = {}
    for index, one in enumerate(found):
        if not one.last:
            groups.setdefault(one.ref, []).append(index)
    for ref, group in groups.items():
        if len(group) == ready[ref]:
            best = max(group, key=lambda index: found[index])
            found[best] = found[best]._replace(last=True)


class Evictable:
    """The candidates of one device as a want for a serving model, or one for a helper, may have them.

    ``outside``: the bytes of helpers whose going makes room at all; those inside the reserve give a serving model
    nothing. Made once and asked often: every answer is found by bisection or by walking over victims.
    """

    __slots__ = (
        "_all_gains",
        "_all_moments",
        "_busy_now",
        "_idle_gains",
        "_idle_moments",
        "_idle_now",
        "_outside",
        "_smallest_for_late",
        "_smallest_for_others",
    )

    def __init__(self, ordered: list[Candidate], outside: int) -> None:
        self._outside = outside
        self._idle_now = [one for one in ordered if not one.busy and one.free_at <= MOMENT_S]
        self._busy_now = [one for one in ordered if one.busy and one.free_at <= MOMENT_S]
        later = sorted((one.free_at, one.bytes, one.helper, one.busy) for one in ordered if one.free_at > MOMENT_S)
        start = _sums(self._idle_now)
        both = _sums(self._busy_now, *start)
        self._idle_moments, self._idle_gains = self._course(start, [one for one in later if not one[3]])
        self._all_moments, self._all_gains = self._course(both, later)
        coming = [(size, helper) for _, size, helper, _ in later]
        self._smallest_for_late = _smallest(coming, outside - both[1])
        coming += [(one.bytes, one.helper) for one in self._busy_now]
        self._smallest_for_others = _smallest(coming, outside - start[1])

    def _course(
        self, start: tuple[int, int], later: list[tuple[float, int, bool, bool]]
    ) -> tuple[list[float], list[int]]:
        """What may be evicted, in bytes, from each moment on; the first moment is now."""
        serving, helpers = start
        outside = self._outside
        moments, gains = [0.0], [serving + min(helpers, outside)]
        for moment, size, helper, _ in later:
            if helper:
                helpers += size
            else:
                serving += size
            moments.append(moment)
            gains.append(serving + min(helpers, outside))
        return moments, gains

    def victims(self, short: int, late_s: float) -> list[Candidate] | None:
        """Those that may go now to free ``short`` bytes, none superfluous; ``None`` when they are too little.

        ``late_s``: seconds until the want has waited long enough to push out busy ones; not positive: it has.
        """
        late = late_s <= MOMENT_S
        if (self._all_gains if late else self._idle_gains)[0] < short:
            return None
        outside = self._outside
        chosen: list[Candidate] = []
        serving = helpers = 0
        for one in (*self._idle_now, *self._busy_now) if late else self._idle_now:
            if not one.helper:
                serving += one.bytes
            elif helpers < outside:
                helpers += one.bytes
            else:
                continue
            chosen.append(one)
            if serving + min(helpers, outside) >= short:
                break
        for one in chosen[-2::-1]:
            fewer = (serving, helpers - one.bytes) if one.helper else (serving - one.bytes, helpers)
            if fewer[0] + min(fewer[1], outside) >= short:
                chosen.remove(one)
                serving, helpers = fewer
        return chosen

    def outlook(self, short: int, late_s: float) -> Outlook:
        """What waiting for ``short`` bytes here would bring."""
        moments, gains = self._all_moments, self._all_gains
        reached = bisect_left(gains, short)
        possible = reached < len(gains)
        moment_s = moments[reached] if possible else math.inf
        if late_s <= MOMENT_S:
            return Outlook(moment_s, possible, max(0, gains[0] + self._smallest_for_late - short))
        moment_s = max(late_s, moment_s)
        gains = self._idle_gains
        reached = bisect_left(gains, short)
        if reached < len(gains):
            moment_s = min(moment_s, self._idle_moments[reached])
        return Outlook(moment_s, possible, max(0, gains[0] + self._smallest_for_others - short))


def _sums(those: list[Candidate], serving: int = 0, helpers: int = 0) -> tuple[int, int]:
    for one in those:
        if one.helper:
            helpers += one.bytes
        else:
            serving += one.bytes
    return serving, helpers


def _smallest(coming: list[tuple[int, bool]], left: int) -> int:
    """The least that one of those coming brings; ``left`` is what helpers may still bring."""
    if left <= 0:
        return min((size for size, helper in coming if not helper), default=0)
    return min((min(size, left) if helper else size for size, helper in coming), default=0)
