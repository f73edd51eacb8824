"""The account of one device's memory while a plan is made: what is held, comes back, is promised, may be evicted.

Owns the arithmetic of capacity, helper reserve and what the operating system has, and the order of eviction. Must
not know about more than one device, nor put anything in words: ``core/planning`` does both.

With S serving and H helper bytes held, reserve R and capacity C, a serving model may be loaded while
``S + max(H, R) <= C``, a helper while ``S + H <= C``. So helper bytes up to R cost a serving model nothing, and
evicting helpers gives it only what they hold outside the reserve.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from podium.core.pool_facts import Device, Resident, Rules, Want
from podium.domain.instance import InstanceState

NO_LIMIT = 1 << 62
MOMENT_S = 1e-6
"""Times are compared to the microsecond."""


class Candidate:
    """A resident that may go now or later. ``free_at`` is the seconds until its age allows it (``inf``: it loads)."""

    __slots__ = ("busy", "bytes", "free_at", "helper", "last", "ref", "resident", "value")

    def __init__(self, resident: Resident, rules: Rules) -> None:
        self.resident = resident
        self.ref = resident.ref
        self.bytes = resident.footprint_bytes
        self.helper = resident.helper
        self.busy = resident.active > 0 or resident.waiting > 0
        self.last = True
        reload_s = resident.reload_s
        self.value = reload_s / (1.0 + max(0.0, resident.idle_s))
        if resident.state is not InstanceState.READY:
            self.free_at = math.inf
        elif self.busy:
            self.free_at = max(rules.min_residency_s, rules.residency_loads * reload_s) - resident.age_s
        else:
            self.free_at = rules.min_residency_s - resident.age_s

    def order(self) -> tuple[bool, bool, float, int, str]:
        """Idle before busy, surplus copies before last ones, then the least valuable, the largest, by name."""
        return (self.busy, self.last, self.value, -self.bytes, self.resident.id)


@dataclass(frozen=True, slots=True)
class Outlook:
    """When a want that must wait could have enough. Bytes, seconds."""

    moment_s: float
    """Until enough may be evicted; ``inf``: no clock tells."""
    possible: bool
    """All that could ever be evicted for it would be enough."""
    beside: int
    """What others may take meanwhile without making it wait longer."""


class DeviceMemory:
    """Mutable, for one run of the planner."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.capacity = device.capacity_bytes
        self.reserve = min(max(0, device.reserve_bytes), max(0, device.capacity_bytes))
        self.serving = self.helpers = 0
        self.pinned_serving = self.pinned_helpers = 0
        self.returning_serving = self.returning_helpers = 0
        self.promised_serving = self.promised_helpers = 0
        self.available = NO_LIMIT if device.available_bytes is None else device.available_bytes
        self.candidates: list[Candidate] = []
        # What later wants may still take beside those that wait here; kept apart for optional ones.
        self.beside_serving = self.beside_helpers = NO_LIMIT
        self.optional_beside_serving = self.optional_beside_helpers = NO_LIMIT

    def hold(self, resident: Resident, rules: Rules) -> None:
        """Count one that is there. Only for states that hold memory."""
        size = resident.footprint_bytes
        draining = resident.state is InstanceState.DRAINING
        if resident.helper:
            self.helpers += size
            self.returning_helpers += size if draining else 0
        else:
            self.serving += size
            self.returning_serving += size if draining else 0
        if draining:
            return
        if resident.state is InstanceState.LOADING:
            self.available -= resident.untouched_bytes
        if not resident.pinned:
            self.candidates.append(Candidate(resident, rules))
        elif resident.helper:
            self.pinned_helpers += size
        else:
            self.pinned_serving += size

    # ------------------------------------------------------------ how much there is

    def room_now(self, helper: bool) -> int:
        """Bytes one more may hold at this moment; negative when too much is held."""
        kept = self.helpers if helper else max(self.helpers, self.reserve)
        return min(self.capacity - self.serving - kept, self.available)

    def room_later(self, helper: bool) -> int:
        """The same once all that drains has gone and all that was promised has come."""
        return min(self.budget_later(helper), self.available_later())

    def budget_later(self, helper: bool) -> int:
        """``room_later`` as the capacity alone has it."""
        serving = self.serving - self.returning_serving + self.promised_serving
        helpers = self._helpers_later()
        return self.capacity - serving - (helpers if helper else max(helpers, self.reserve))

    def available_later(self) -> int:
        """``room_later`` as the operating system has it."""
        coming = self.returning_serving + self.returning_helpers - self.promised_serving - self.promised_helpers
        return self.available + coming

    def largest(self, helper: bool) -> int:
        """Bytes one could hold if everything went that is not pinned."""
        kept = self.pinned_helpers if helper else max(self.pinned_helpers, self.reserve)
        return self.capacity - self.pinned_serving - kept

    def fits_beside(self, want: Want) -> bool:
        """Whether it leaves alone what earlier wants wait for here."""
        size = want.footprint_bytes
        cost = self._cost_to_serving(want)
        if cost > self.beside_serving or size > self.beside_helpers:
            return False
        return not want.optional or (cost <= self.optional_beside_serving and size <= self.optional_beside_helpers)

    def _helpers_later(self) -> int:
        return self.helpers - self.returning_helpers + self.promised_helpers

    def _cost_to_serving(self, want: Want) -> int:
        if not want.helper:
            return want.footprint_bytes
        helpers = self._helpers_later()
        return max(helpers + want.footprint_bytes, self.reserve) - max(helpers, self.reserve)

    # ------------------------------------------------------------ what a plan does to it

    def load(self, want: Want) -> None:
        """It is loaded here."""
        self._spend(want)
        if want.helper:
            self.helpers += want.footprint_bytes
        else:
            self.serving += want.footprint_bytes
        if self.available < NO_LIMIT:
            self.available -= want.footprint_bytes

    def promise(self, want: Want) -> None:
        """It gets what comes back here."""
        self._spend(want)
        if want.helper:
            self.promised_helpers += want.footprint_bytes
        else:
            self.promised_serving += want.footprint_bytes

    def evict(self, victim: Candidate) -> None:
        """It goes, and its memory is back."""
        self.candidates.remove(victim)
        if victim.helper:
            self.helpers -= victim.bytes
        else:
            self.serving -= victim.bytes
        if self.available < NO_LIMIT:
            self.available += victim.bytes

    def keep_for(self, want: Want, beside: int) -> None:
        """Others may take only ``beside`` while it waits here."""
        size = want.footprint_bytes
        if want.helper:
            self.beside_helpers = min(max(0, self.beside_helpers - size), beside)
        else:
            self.beside_serving = min(max(0, self.beside_serving - size), beside)

    def keep_from_optional(self, want: Want, beside: int) -> None:
        """Optional wants may take only ``beside`` while it waits and might come here."""
        if want.helper:
            self.optional_beside_helpers = min(self.optional_beside_helpers, beside)
        else:
            self.optional_beside_serving = min(self.optional_beside_serving, beside)

    def _spend(self, want: Want) -> None:
        cost = self._cost_to_serving(want)
        self.beside_serving -= cost if self.beside_serving < NO_LIMIT else 0
        self.optional_beside_serving -= cost if self.optional_beside_serving < NO_LIMIT else 0
        size = want.footprint_bytes
        self.beside_helpers -= size if self.beside_helpers < NO_LIMIT else 0
        self.optional_beside_helpers -= size if self.optional_beside_helpers < NO_LIMIT else 0

    # ------------------------------------------------------------ what may be evicted

    def victims(self, want: Want, late_s: float, spared: Collection[str]) -> list[Candidate] | None:
        """Those that may go now for ``want``, least valuable first, none superfluous; ``None`` if too little.

        ``late_s`` are the seconds until it has waited long enough to push out busy ones, ``spared`` the refs that
        stay.
        """
        short = want.footprint_bytes - self.room_later(want.helper)
        outside = self._outside(want)
        chosen: list[Candidate] = []
        serving = helpers = 0
        for one in self.candidates:
            if one.free_at > MOMENT_S or (one.busy and late_s > MOMENT_S) or not _may_go(one, want, spared):
                continue
            if one.helper:
                if helpers >= outside:
                    continue
                helpers += one.bytes
            else:
                serving += one.bytes
            chosen.append(one)
            if serving + min(helpers, outside) >= short:
                break
        else:
            return None
        for one in chosen[-2::-1]:
            fewer = (serving, helpers - one.bytes) if one.helper else (serving - one.bytes, helpers)
            if fewer[0] + min(fewer[1], outside) >= short:
                chosen.remove(one)
                serving, helpers = fewer
        return chosen

    def outlook(self, want: Want, late_s: float, spared: Collection[str]) -> Outlook:
        """What waiting here would bring ``want``, as ``victims`` counts it."""
        short = want.footprint_bytes - self.room_later(want.helper)
        outside = self._outside(want)
        serving = helpers = 0
        coming: list[tuple[float, int, bool]] = []
        for one in self.candidates:
            if not _may_go(one, want, spared):
                continue
            moment = max(one.free_at, late_s) if one.busy else one.free_at
            if moment > MOMENT_S:
                coming.append((moment, one.bytes, one.helper))
            elif one.helper:
                helpers += one.bytes
            else:
                serving += one.bytes
        ready = serving + min(helpers, outside)
        left = max(0, outside - helpers)
        smallest = min(
            (min(size, left) if helper else size for _, size, helper in coming if not helper or left), default=0
        )
        enough = ready
        moment_s = math.inf
        for moment, size, helper in sorted(coming):
            if helper:
                helpers += size
            else:
                serving += size
            enough = serving + min(helpers, outside)
            if enough >= short:
                moment_s = moment
                break
        return Outlook(moment_s, enough >= short, max(0, ready + smallest - short))

    def _outside(self, want: Want) -> int:
        """The helper bytes whose going gives ``want`` room."""
        return NO_LIMIT if want.helper else max(0, self._helpers_later() - self.reserve)


def _may_go(one: Candidate, want: Want, spared: Collection[str]) -> bool:
    return one.bytes > 0 and (one.helper or not want.helper) and one.ref != want.ref and one.ref not in spared
