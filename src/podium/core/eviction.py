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


Loss = tuple[int, float, float]
"""Busy ones, then the value of last copies, then that of surplus ones. Less of the first counts before the next."""
NO_LOSS_IS_MORE: Loss = (1 << 62, math.inf, math.inf)

_FIRST_BUSY = (True,)


def candidates(residents: Iterable[Resident], rules: Rules, ready: Mapping[str, int]) -> list[Candidate]:
    """Unpinned residents of one device that are ready or load, in the order of eviction.

    ``ready`` counts the ready copies of a version on all devices. Where all of them stand on this one, the most
    valuable is the last copy; otherwise every copy here is surplus.
    """
    least_s, loads = rules.min_residency_s, rules.residency_loads
    new = tuple.__new__  # half the time of calling the class
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
        found.append(new(Candidate, (busy, last, value, -size, one.id, free_at, size, one.helper, ref)))
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

    ``outside``: the bytes of helpers whose going makes room at all, where that is less than all of them: helpers
    inside the reserve give a serving model nothing. Made once and asked often: every answer is found by bisection or
    by walking over victims.
    """

    __slots__ = ("_coming", "_course", "_gains", "_idle", "_now", "_outside", "_waiting_gains", "all_now", "idle_now")

    def __init__(self, ordered: list[Candidate], outside: int | None) -> None:
        self._outside = outside
        now = [one for one in ordered if one.free_at <= MOMENT_S]
        self._now = now
        self._coming = [one for one in ordered if one.free_at > MOMENT_S] if len(now) < len(ordered) else []
        self._idle = bisect_left(now, _FIRST_BUSY)
        self._gains = _gains(now, outside)
        self.idle_now = self._gains[self._idle]
        """Bytes that idle ones can give now."""
        self.all_now = self._gains[-1]
        """The same together with busy ones."""
        self._course: tuple[list[float], list[int], int] | None = None
        self._waiting_gains: tuple[list[float], list[int], int] | None = None

    def victims(self, short: int, least: Loss) -> tuple[Loss, list[Candidate]] | None:
        """Those that go to free ``short`` bytes, none superfluous, and what is lost with them.

        ``short`` is at most ``idle_now``, or ``all_now`` where busy ones may go. ``None`` if it would be more than
        ``least``.
        """
        gains, outside = self._gains, self._outside
        count = bisect_left(gains, short)
        last = self._now[count - 1]
        if last.value > least[1] and last.last and last.busy >= least[0]:
            return None
        chosen = self._now[:count]
        spare = gains[count] - short
        if outside is None:
            for index in range(count - 2, -1, -1):
                if chosen[index].bytes <= spare:
                    spare -= chosen.pop(index).bytes
        else:
            _prune(chosen, spare, outside)
        busy, value, surplus = 0, 0.0, 0.0
        for one in chosen:
            busy += one.busy
            if one.last:
                value += one.value
            else:
                surplus += one.value
        return (busy, value, surplus), chosen

    def outlook(self, short: int, late_s: float) -> tuple[float, bool, int]:
        """What waiting for ``short`` bytes here would bring, while busy ones may go in ``late_s`` seconds.

        Seconds until enough may be evicted (``inf``: no clock tells); whether all that could ever be evicted would
        be enough; and the bytes that others may take meanwhile without making it wait longer.
        """
        if self._course is None:
            self._course = self._future(self._now, self._coming, self._coming)
        moments, gains, beside = self._course
        reached = bisect_left(gains, short)
        possible = reached < len(gains)
        moment_s = moments[reached] if possible else math.inf
        if late_s > MOMENT_S:
            if self._waiting_gains is None:
                idle, busy = self._now[: self._idle], self._now[self._idle :]
                later = [one for one in self._coming if not one.busy]
                self._waiting_gains = self._future(idle, later, busy + self._coming)
            moments, gains, beside = self._waiting_gains
            moment_s = max(moment_s, late_s)
            reached = bisect_left(gains, short)
            if reached < len(gains):
                moment_s = min(moment_s, moments[reached])
        return moment_s, possible, max(0, beside - short)

    def _future(
        self, now: list[Candidate], later: list[Candidate], coming: list[Candidate]
    ) -> tuple[list[float], list[int], int]:
        """Moments, what may be evicted from each on, and that of now with the least that one of ``coming`` brings."""
        outside = self._outside
        later = sorted(later, key=_free_at)
        gains = _gains(now + later, outside)[len(now) :]
        if outside is None:
            smallest = min([one.bytes for one in coming], default=0)
        else:
            left = outside - sum(one.bytes for one in now if one.helper)
            brings = [min(one.bytes, left) if one.helper else one.bytes for one in coming]
            smallest = min([size for size in brings if size > 0], default=0)
        return [0.0, *[one.free_at for one in later]], gains, gains[0] + smallest


def _free_at(one: Candidate) -> float:
    return one.free_at


def _prune(chosen: list[Candidate], spare: int, outside: int) -> None:
    """Take out, the most valuable first, what is not needed; the last one always is."""
    helpers = sum(one.bytes for one in chosen if one.helper)
    for index in range(len(chosen) - 2, -1, -1):
        one = chosen[index]
        loss = one.bytes
        if one.helper:
            loss = min(helpers, outside) - min(helpers - one.bytes, outside)
        if loss <= spare:
            del chosen[index]
            spare -= loss
            helpers -= one.bytes if one.helper else 0


def _gains(those: list[Candidate], outside: int | None) -> list[int]:
    """Bytes that come free when the first 0, 1, 2 ... of them go."""
    if outside is None:
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
