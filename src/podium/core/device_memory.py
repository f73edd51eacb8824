"""The account of one device's memory while a plan is made: what is held, comes back, is promised, is kept for whom.

Owns the arithmetic of capacity, helper reserve and what the operating system has. Must not know about more than one
device, nor put anything in words: ``core/planning`` does both.

With S serving and H helper bytes held, reserve R and capacity C, a serving model may be loaded while
``S + max(H, R) <= C``, a helper while ``S + H <= C``. So helper bytes up to R cost a serving model nothing, and
evicting helpers gives it only what they hold outside the reserve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podium.core.eviction import NO_LIMIT, Candidate, Evictable, candidates, without_copy
from podium.core.pool_facts import Device, Resident, Rules, Want
from podium.domain.instance import InstanceState

_LOADING, _DRAINING = InstanceState.LOADING, InstanceState.DRAINING
_STOPPED, _FAILED = InstanceState.STOPPED, InstanceState.FAILED


class DeviceMemory:
    """Mutable, for one run of the planner. Pairs of numbers are for serving models and for helpers, in this order."""

    def __init__(self, device: Device, residents: Iterable[Resident], rules: Rules, ready: Mapping[str, int]) -> None:
        """``residents``: all on this device; ``ready`` counts the ready copies of each version on all devices."""
        self.device = device
        self.capacity = device.capacity_bytes
        self.reserve = min(max(0, device.reserve_bytes), max(0, device.capacity_bytes))
        self.available = NO_LIMIT if device.available_bytes is None else device.available_bytes
        self.room_later = (0, 0)
        """Bytes one more may hold once all that drains has gone and all that was promised has come."""
        self.room = (0, 0)
        """The same already at this moment; negative when too much is held."""
        self._rules, self._ready = rules, ready
        self._movable: list[Resident] = []
        self._ordered: list[Candidate] | None = None
        self._now = (0, 0)
        self._coming = [0, 0, 0]  # what loads after evictions of this plan take of both rooms and of the available
        self._refs: set[str] = set()  # of the ordered ones, and maybe some that have gone
        self._evictable: list[Evictable | None] = [None, None]
        self._held, self._pinned, self._returning, self._promised = [0, 0], [0, 0], [0, 0], [0, 0]
        # What later wants may still take beside serving models and helpers that wait here.
        self._beside, self._optional_beside = [NO_LIMIT, NO_LIMIT], [NO_LIMIT, NO_LIMIT]
        self._crowded = False
        self._count(residents)
        self._settle()

    def _count(self, residents: Iterable[Resident]) -> None:
        held, movable = self._held, self._movable
        for one in residents:
            state = one.state
            if state is _STOPPED or state is _FAILED:
                continue
            held[one.helper] += one.footprint_bytes
            if state is _DRAINING:
                self._returning[one.helper] += one.footprint_bytes
                continue
            if state is _LOADING:
                self.available -= one.untouched_bytes
            if one.pinned:
                self._pinned[one.helper] += one.footprint_bytes
            else:
                movable.append(one)

    def _settle(self) -> None:
        held, returning, promised = self._held, self._returning, self._promised
        available = self.available + returning[0] + returning[1] - promised[0] - promised[1]
        left = self.capacity - held[0] + returning[0] - promised[0]
        helpers = held[1] - returning[1] + promised[1]
        later = (min(left - max(helpers, self.reserve), available), min(left - helpers, available))
        coming = self._coming
        left, helpers, available = self.capacity - held[0], held[1], self.available - coming[2]
        self._now = now = (left - max(helpers, self.reserve) - coming[0], left - helpers - coming[1])
        self.room_later = later
        self.room = (min(now[0], available, later[0]), min(now[1], available, later[1]))

    # ------------------------------------------------------------ how much there is

    def short_of_available(self, helper: bool) -> bool:
        """Whether ``room_later`` is what the operating system has, less than the capacity would allow."""
        helpers = self._helpers_later
        left = self.capacity - self._held[0] + self._returning[0] - self._promised[0]
        return self.room_later[helper] < left - (helpers if helper else max(helpers, self.reserve))

    @property
    def returning(self) -> int:
        """Bytes that drain."""
        return self._returning[0] + self._returning[1]

    @property
    def pinned(self) -> int:
        """Bytes that are pinned."""
        return self._pinned[0] + self._pinned[1]

    def largest(self, helper: bool) -> int:
        """Bytes one could hold if everything went that is not pinned."""
        kept = self._pinned[1] if helper else max(self._pinned[1], self.reserve)
        return self.capacity - self._pinned[0] - kept

    @property
    def _helpers_later(self) -> int:
        return self._held[1] - self._returning[1] + self._promised[1]

    # ------------------------------------------------------------ those that wait

    def fits_beside(self, want: Want) -> bool:
        """Whether it leaves alone what earlier wants wait for here."""
        if not self._crowded:
            return True
        size, cost = want.footprint_bytes, self._cost_to_serving(want)
        if cost > self._beside[0] or size > self._beside[1]:
            return False
        return not want.optional or (cost <= self._optional_beside[0] and size <= self._optional_beside[1])

    def keep_for(self, want: Want, beside: int) -> None:
        """Others may take only ``beside`` while it waits here."""
        self._crowded = True
        left = max(0, self._beside[want.helper] - want.footprint_bytes)
        self._beside[want.helper] = min(left, beside)

    def keep_from_optional(self, want: Want, beside: int) -> None:
        """Optional wants may take only ``beside`` while it waits and might come here."""
        self._crowded = True
        self._optional_beside[want.helper] = min(self._optional_beside[want.helper], beside)

    def _cost_to_serving(self, want: Want) -> int:
        if not want.helper:
            return want.footprint_bytes
        helpers = self._helpers_later
        return max(helpers + want.footprint_bytes, self.reserve) - max(helpers, self.reserve)

    # ------------------------------------------------------------ what a plan does to it

    def load(self, want: Want) -> None:
        """It is loaded here."""
        self._spend(want)
        self._held[want.helper] += want.footprint_bytes
        self.available -= want.footprint_bytes
        self._settle()

    def promise(self, want: Want) -> None:
        """It gets what comes back here."""
        self._spend(want)
        self._promised[want.helper] += want.footprint_bytes
        self._settle()

    def evict(self, victims: list[Candidate], want: Want) -> bool:
        """They begin to drain, and ``want`` is promised its part; true when it fits as soon as these are gone."""
        gone = {victim.id for victim in victims}
        self._keep([one for one in self._candidates() if one.id not in gone])
        sizes = [0, 0]
        for victim in victims:
            sizes[victim.helper] += victim.bytes
        both = sizes[0] + sizes[1]
        gain = both if want.helper else sizes[0] + min(sizes[1], max(0, self._helpers_later - self.reserve))
        need = want.footprint_bytes
        fits = need <= min(self._now[want.helper] + gain, self.available - self._coming[2] + both)
        if fits:  # it may come before the others drain, so nobody may use what it takes beyond its victims
            self._coming[0] += max(0, need - gain)
            self._coming[1] += max(0, need - both)
            self._coming[2] += max(0, need - both)
        self._returning[0] += sizes[0]
        self._returning[1] += sizes[1]
        self.promise(want)
        return fits

    def spare(self, ref: str) -> None:
        """From now on this version is not evicted here."""
        if self._ordered is None:
            self._movable = [one for one in self._movable if one.ref != ref]
        elif ref in self._refs:
            self._keep([one for one in self._ordered if one.ref != ref])

    def lost_copy(self, ref: str) -> None:
        """A copy of this version goes somewhere; one here may be the last now."""
        if self._ordered is not None and ref in self._refs:
            ordered = without_copy(self._ordered, ref, self._ready[ref])
            if ordered is not self._ordered:
                self._keep(ordered)

    def _keep(self, ordered: list[Candidate]) -> None:
        self._ordered = ordered
        self._evictable = [None, None]

    def _spend(self, want: Want) -> None:
        if want.helper:
            self._evictable = [None, None]  # there is more outside the reserve
        if self._crowded:
            spent = (self._cost_to_serving(want), want.footprint_bytes)
            self._beside = [left - cost for left, cost in zip(self._beside, spent, strict=True)]
            self._optional_beside = [left - cost for left, cost in zip(self._optional_beside, spent, strict=True)]

    # ------------------------------------------------------------ what may be evicted

    def evictable(self, want: Want) -> Evictable:
        """Those that may go for ``want``: not copies of itself, and for a helper only helpers."""
        helper, ref = want.helper, want.ref
        found = self._evictable[helper]
        if found is not None and ref not in self._refs:
            return found
        ordered = self._candidates()
        own = ref in self._refs
        outside = None
        if helper:
            ordered = [one for one in ordered if one.helper]
        elif self._held[1]:
            outside = max(0, self._helpers_later - self.reserve) or None
            if outside is None:
                ordered = [one for one in ordered if not one.helper]
        if own:
            return Evictable([one for one in ordered if one.ref != ref], outside)
        found = self._evictable[helper] = Evictable(ordered, outside)
        return found

    def _candidates(self) -> list[Candidate]:
        if self._ordered is None:
            self._ordered = candidates(self._movable, self._rules, self._ready)
            self._refs = {one.ref for one in self._movable}
        return self._ordered
