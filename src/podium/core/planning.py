"""Planning the warm pool: which wanted versions to load where, whom to evict for them, who waits, who never fits.

Owns the order in which wants are served and the words of every answer. Pure; must not act: the pool carries a plan
out step by step, in order, verifies that evicted memory came back before the next load, and plans again after
anything unexpected.

1. Serving wants come first, then helpers (their reserve is kept all the same), then optional ones; among equals the
   order of the snapshot.
2. A want goes where it fits at once; else it waits for what drains already; else the device where evicting loses
   least value makes room, value being ``reload_s / (1 + idle_s)``: what bringing it back costs over how long nobody
   missed it. Loading, draining and pinned instances are never evicted, nothing younger than ``min_residency_s``, and
   nothing in vain: too little means to wait.
3. A busy instance goes only for a want that waited ``max_wait_s``, and only once it stayed ``residency_loads`` times
   what loading it costs. So callers are served model by model, and nobody starves.
4. Memory that a want waits for is not given to those after it unless they fit beside it, and what a want brings in
   or keeps waiting for is not evicted for a later one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from podium.core.device_memory import DeviceMemory
from podium.core.eviction import MOMENT_S, NO_LIMIT, NO_LOSS_IS_MORE, Candidate
from podium.core.pool_facts import RAM, Device, PoolSnapshot, Resident, Rules, Want
from podium.domain.instance import InstanceState

__all__ = [
    "LOOK_AGAIN_S",
    "RAM",
    "Device",
    "Evict",
    "Load",
    "PoolSnapshot",
    "Refuse",
    "Resident",
    "Rules",
    "Step",
    "Wait",
    "Want",
    "plan",
]

LOOK_AGAIN_S = 1.0
"""``retry_in_s`` where other programs hold the memory: nobody tells when they give it back."""

_MB = 1024 * 1024
_READY, _LOADING = InstanceState.READY, InstanceState.LOADING


@dataclass(frozen=True, slots=True)
class Load:
    """Start one instance there. Its memory is free once the evictions for the same want, if any, are done."""

    ref: str
    device: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Drain this one (requests in flight finish), stop it, and see its memory come back."""

    id: str
    ref: str
    for_ref: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now. ``retry_in_s``: a new plan may say more then; ``None``: only an event (drained, released, loaded)."""

    ref: str
    reason: str
    retry_in_s: float | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Never, as things are configured."""

    ref: str
    reason: str


Step = Load | Evict | Wait | Refuse


def plan(snapshot: PoolSnapshot) -> tuple[Step, ...]:
    """One answer per want (``Load``, ``Wait`` or ``Refuse``), the evictions for it right before it.

    The steps for one want wait for no other's: those of different wants may be carried out side by side, and memory
    that an eviction leaves over is given away only by a later plan. Two wants of one ref are two further instances.
    Equal snapshots give equal plans. Time is about O(residents + wants x devices).
    """
    planner = _Planner(snapshot)
    for want in sorted(snapshot.wants, key=_turn):
        planner.serve(want)
    return tuple(planner.steps)


def _turn(want: Want) -> int:
    return 2 if want.optional else 1 if want.helper else 0


class _Planner:
    """The state of one run."""

    def __init__(self, snapshot: PoolSnapshot) -> None:
        self.rules = snapshot.rules
        self.steps: list[Step] = []
        self.optional = any(want.optional for want in snapshot.wants)
        ready: dict[str, int] = {}
        groups: dict[str, list[Resident]] = {device.id: [] for device in snapshot.devices}
        for resident in snapshot.residents:
            if resident.device in groups:
                groups[resident.device].append(resident)
                if resident.state is _READY:
                    ready[resident.ref] = ready.get(resident.ref, 0) + 1
        self.ready = ready
        self.residents = {resident.id: resident for resident in snapshot.residents}
        self.refs = {resident.ref for resident in snapshot.residents}
        self.memory = {
            device.id: DeviceMemory(device, groups[device.id], snapshot.rules, ready) for device in snapshot.devices
        }

    def serve(self, want: Want) -> None:
        """Answer one want."""
        size, helper = want.footprint_bytes, want.helper
        memory = self.memory
        places = [memory[name] for name in dict.fromkeys(want.devices) if name in memory]
        for place in places:
            if size <= place.room[helper] and place.fits_beside(want):
                self._load(want, place)
                return
        for place in places:
            if size <= place.room_later[helper] and place.fits_beside(want):
                self._await_drained(want, place)
                return
        if want.optional:
            self._wait(want, f"{want.ref} takes only memory that nobody else holds or waits for", None)
        elif not self._evict_for(want, places):
            if all(size > place.largest(helper) for place in places) and not self._runs(want.ref):
                self.steps.append(Refuse(want.ref, _refusal(want, places)))
            else:
                self._queue(want, places)

    def _load(self, want: Want, place: DeviceMemory) -> None:
        place.load(want)
        self._spare(want)
        self.steps.append(Load(want.ref, place.device.id))

    def _await_drained(self, want: Want, place: DeviceMemory) -> None:
        place.promise(want)
        self._spare(want)
        self.steps.append(_drained(want, place))

    def _spare(self, want: Want) -> None:
        if not want.optional and want.ref in self.refs:
            for memory in self.memory.values():
                memory.spare(want.ref)

    def _runs(self, ref: str) -> bool:
        """Whether an instance of it serves or soon will, so that it is no use to refuse its callers."""
        return any(one.ref == ref and one.state in (_READY, _LOADING) for one in self.residents.values())

    def _wait(self, want: Want, reason: str, retry_in_s: float | None) -> None:
        self.steps.append(Wait(want.ref, reason, retry_in_s))

    def _evict_for(self, want: Want, places: list[DeviceMemory]) -> bool:
        """Make room where that loses least; false when no device can be cleared now."""
        size, helper = want.footprint_bytes, want.helper
        late = self.rules.max_wait_s - want.waited_s <= MOMENT_S
        best: tuple[DeviceMemory, list[Candidate]] | None = None
        least = NO_LOSS_IS_MORE
        for place in places:
            here = place.evictable(want)
            short = size - place.room_later[helper]
            if short > (here.all_now if late else here.idle_now) or not place.fits_beside(want):
                continue
            found = here.victims(short, least)
            if found is not None and found[0] < least:
                least = found[0]
                best = place, found[1]
        if best is None:
            return False
        place, victims = best
        self.steps += [
            Evict(victim.id, victim.ref, want.ref, _why(victim, self.residents[victim.id], want)) for victim in victims
        ]
        at_once = place.evict(victims, want)
        for victim in victims:
            self._lost_copy(victim.ref)
        self._spare(want)
        self.steps.append(Load(want.ref, place.device.id) if at_once else _drained(want, place))
        return True

    def _lost_copy(self, ref: str) -> None:
        """What is left of its copies may have become a last one."""
        self.ready[ref] -= 1
        if self.ready[ref]:
            for memory in self.memory.values():
                memory.lost_copy(ref)

    def _queue(self, want: Want, places: list[DeviceMemory]) -> None:
        """It waits where it may be first, and its place there is kept."""
        size, helper = want.footprint_bytes, want.helper
        late_s = self.rules.max_wait_s - want.waited_s
        best: DeviceMemory | None = None
        rank = (True, True, math.inf, NO_LIMIT)
        kept = 0
        for place in places:
            short = size - place.room_later[helper]
            moment_s, possible, beside = place.evictable(want).outlook(short, late_s)
            order = (not possible, not place.fits_beside(want), moment_s, short)
            if self.optional:
                place.keep_from_optional(want, beside if possible else 0)
            if order < rank:
                best, rank, kept = place, order, beside
        if best is None:
            self._wait(want, f"{want.ref} may run on none of the devices that are here", None)
            return
        impossible, _, moment_s, _ = rank
        self._wait(want, *_outlook_words(want, best, moment_s))
        if not impossible:
            best.keep_for(want, kept)
            self._spare(want)


# ---------------------------------------------------------------- words


def _why(victim: Candidate, resident: Resident, want: Want) -> str:
    if victim.busy:
        return (
            f"served for {resident.age_s:,.0f} s, {want.ref} has waited {want.waited_s:,.1f} s; "
            f"its {_mb(victim.bytes)} go to {want.ref}"
        )
    what = "idle" if victim.last else "a further copy, idle"
    return f"{what} for {resident.idle_s:,.0f} s, its {_mb(victim.bytes)} go to {want.ref}"


def _drained(want: Want, place: DeviceMemory) -> Wait:
    need = f"{want.ref} needs {_mb(want.footprint_bytes)} of {place.device.id}"
    return Wait(want.ref, f"{need}, where {_mb(place.returning)} are still draining", None)


def _outlook_words(want: Want, place: DeviceMemory, moment_s: float) -> tuple[str, float | None]:
    """The reason and ``retry_in_s`` of a want that waits at ``place``."""
    retry_in_s = moment_s if math.isfinite(moment_s) else None
    name = place.device.id
    need = f"{want.ref} needs {_mb(want.footprint_bytes)} of {name}"
    if not place.fits_beside(want):
        return f"{need}, which an earlier one waits for", None
    short = want.footprint_bytes - place.room_later[want.helper]
    if place.short_of_available(want.helper):
        reason = (
            f"{need}, but the operating system has {_mb(max(0, place.available))} free there, {_mb(short)} too little: "
            "other programs hold the rest"
        )
        return reason, LOOK_AGAIN_S if retry_in_s is None else min(LOOK_AGAIN_S, retry_in_s)
    if retry_in_s is None:
        return (
            f"{need}, {_mb(short)} more than instances there can give up while they load, answer or stay pinned",
            None,
        )
    return f"{need}, {_mb(short)} of it held by instances that may be evicted in {retry_in_s:,.1f} s", retry_in_s


def _refusal(want: Want, places: list[DeviceMemory]) -> str:
    size, helper = want.footprint_bytes, want.helper
    if not places:
        return (
            f"{want.ref} may only run on {', '.join(want.devices) or 'no device'}, and there is no such device here: "
            "allow it on another one"
        )
    place = max(places, key=lambda place: place.largest(helper))
    pinned = place.pinned
    reserve = 0 if helper else place.reserve
    need = f"{want.ref} needs {_mb(size)}, but of the {_mb(place.capacity)} of {place.device.id}"
    held = [f"{_mb(pinned)} are pinned"] if pinned else []
    advice = []
    if reserve:
        held.append(f"{_mb(reserve)} are reserved for helpers")
    if size <= place.capacity - reserve:
        advice.append("unpin a model with `podium pin --off`")
    elif reserve and size <= place.capacity:
        advice.append("lower pool.helper_reserve_mb")
    advice.append("raise pool.memory_budget_mb")
    if not held:
        whole = f"{want.ref} needs {_mb(size)}, more than all {_mb(place.capacity)} of {place.device.id}"
        return f"{whole}: raise pool.memory_budget_mb, or use a smaller or more strongly quantized model"
    left = f"at most {_mb(max(0, place.largest(helper)))} can be freed"
    return f"{need} {' and '.join(held)}, {left}: {', or '.join(advice)}, or use a smaller model"


def _mb(size: int) -> str:
    return f"{size / _MB:,.0f} MB"
