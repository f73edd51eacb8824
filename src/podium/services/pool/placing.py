"""Asks the planner what to load, evict and wait for, and sets that going. Runs whenever something changed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import assert_never

from podium.core import planning, relief
from podium.domain.instance import InstanceState
from podium.errors import Overloaded, PodiumError
from podium.ports import RAM
from podium.services.pool.copy import Copy
from podium.services.pool.loading import Loader
from podium.services.pool.slot import Slot
from podium.services.pool.state import State

_HOLDING = (InstanceState.LOADING, InstanceState.READY, InstanceState.DRAINING)
_SOONEST_S = 0.005
_PATIENT_S = 1.0
"""Until the next look where no clock tells when there will be room."""


class Placer:
    """``refuse(slot, error)`` is called for a version that cannot be loaded as things are configured."""

    def __init__(self, state: State, loader: Loader, refuse: Callable[[Slot, PodiumError], None]) -> None:
        self._state = state
        self._loader = loader
        self._refuse = refuse
        self._evicted_for: defaultdict[str, list[str]] = defaultdict(list)
        self._timer: asyncio.TimerHandle | None = None
        self._planning = False
        self._again = False
        self._relieved_at = float("-inf")
        self.waiting = False
        """Somebody waits for what is not loading yet: a place that comes free is worth a new plan."""
        self.hoping = False
        """Something is wanted that nobody waits for: it takes what comes free, but nothing goes for it."""

    def replan(self) -> None:
        """Plan and act, until nothing more follows from it."""
        if self._planning:
            self._again = True
            return
        self._planning = True
        try:
            rounds = 0
            self._again = True
            while self._again and not self._state.closing and rounds < 10:
                self._again = False
                rounds += 1
                self._once()
        finally:
            self._planning = False

    def relieve(self, now: float) -> None:
        """Drain what is idle while more is held than the budget: it was lowered, or instances grew."""
        if now < self._relieved_at + _PATIENT_S:
            return  # reading what processes use costs some 50 µs each
        self._relieved_at = now
        copies = {copy.id: copy for copy in self._state.copies() if copy.state in _HOLDING}
        if copies:
            for name in relief.surplus(self.snapshot(now, [])):
                self._loader.drain(copies[name], "more memory is held than the budget allows")

    def stop(self) -> None:
        """No more plans by the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _once(self) -> None:
        self.stop()
        now = self._state.clock.monotonic()
        wants, later = self._wants(now)
        self.waiting = self.hoping = False
        for ref in self._evicted_for.keys() - {want.ref for want in wants}:
            del self._evicted_for[ref]  # whoever wanted it has left
        if wants:
            steps = planning.plan(self.snapshot(now, wants))
            begun = {step.for_ref for step in steps if isinstance(step, planning.Evict)}
            for step in steps:
                if isinstance(step, planning.Load) and step.ref in begun:
                    continue  # it stands on evictions that only begin now: the next plan knows when they have ended
                later = min(later, self._act(step, now))
        if later < float("inf"):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(_SOONEST_S, later), self.replan)

    def _act(self, step: planning.Step, now: float) -> float:
        """Carry one step out; returns in how many seconds to plan again."""
        match step:
            case planning.Load():
                slot = self._state.slots[step.ref]
                evicted = tuple(self._evicted_for.pop(step.ref, ()))
                self._loader.start(slot, step.device, evicted)
            case planning.Evict():
                copy = next(copy for copy in self._state.copies() if copy.id == step.id)
                if copy.is_last():
                    self._evicted_for[step.for_ref].append(step.ref)
                self._loader.drain(copy, step.reason)
                self.waiting = self._again = True
            case planning.Wait():
                slot = self._state.slots[step.ref]
                slot.blocked = step.reason
                if slot.live() or not len(slot.queue):
                    self.hoping = True
                else:
                    self.waiting = True
                    self._outside(slot, step, now)
                return _PATIENT_S if step.retry_in_s is None else step.retry_in_s
            case planning.Refuse():
                self._evicted_for.pop(step.ref, None)
                self._refuse(self._state.slots[step.ref], _does_not_fit(step.reason))
            case _:
                assert_never(step)
        return float("inf")

    def _outside(self, slot: Slot, step: planning.Wait, now: float) -> None:
        """Waiting for memory that no instance of ours can give: others may, but not for ever."""
        for copy in self._state.copies():
            if copy.state in _HOLDING and not copy.slot.directive.pinned and copy.slot.helper <= slot.helper:
                return
        oldest = slot.queue.oldest_at()
        if oldest is not None and now - oldest >= 2 * self._state.limits.max_wait_s:
            self._refuse(slot, _does_not_fit(step.reason))

    # ------------------------------------------------------------ what the planner sees

    def _wants(self, now: float) -> tuple[list[planning.Want], float]:
        """What should be started, most urgent first, and when a version whose start failed may be tried again."""
        found: list[tuple[tuple[float, ...], planning.Want]] = []
        later = float("inf")
        for slot in self._state.slots.values():
            count = slot.wanted()
            if not count:
                continue
            if slot.retry_at > now:
                later = min(later, slot.retry_at - now)
                continue
            try:
                want, rank = self._want(slot, now)
            except PodiumError as error:
                self._refuse(slot, error)
                continue
            found += [(rank, want)] * count
        found.sort(key=lambda pair: pair[0])
        return [want for _, want in found], later

    def _want(self, slot: Slot, now: float) -> tuple[planning.Want, tuple[float, ...]]:
        oldest = slot.queue.oldest_at()
        waited = max(0.0, now - oldest) if oldest is not None else 0.0
        optional = not len(slot.queue) or slot.live() > 0
        want = planning.Want(
            ref=slot.ref,
            footprint_bytes=self._state.footprint(slot),
            devices=self._state.devices(slot),
            waited_s=waited,
            helper=slot.helper,
            optional=optional,
            load_s=slot.load_s,
        )
        priority = slot.queue.best_priority()
        return want, (float(optional), float(1 if priority is None else priority), -waited)

    def snapshot(self, now: float, wants: list[planning.Want]) -> planning.PoolSnapshot:
        """Everything the planner needs, as one value."""
        state = self._state
        residents = tuple(
            planning.Resident(
                id=copy.id,
                ref=slot.ref,
                device=copy.device,
                footprint_bytes=state.budgeted(copy),
                state=copy.state,
                active=copy.active or int(_lingers(copy, now)),
                waiting=len(slot.queue) if copy.state is InstanceState.READY else 0,
                idle_s=max(0.0, now - copy.last_used),
                age_s=max(0.0, now - copy.ready_at),
                pinned=slot.directive.pinned,
                helper=slot.helper,
                load_s=slot.load_s,
                untouched_bytes=copy.reserved_bytes if copy.state is InstanceState.LOADING else 0,
            )
            for slot in state.slots.values()
            for copy in slot.copies
            if copy.state in _HOLDING
        )
        limits = state.limits
        return planning.PoolSnapshot(
            devices=limits.devices({device: state.free_bytes(device) for device in (RAM, *limits.gpu_bytes)}),
            residents=residents,
            wants=tuple(wants),
            rules=limits.rules(),
        )


def _does_not_fit(reason: str) -> Overloaded:
    return Overloaded(reason, code="model_does_not_fit", retry_after_s=60)


def _lingers(copy: Copy, now: float) -> bool:
    """True shortly after a request: the next one is likely on its way, and loading again would cost more than waiting."""
    return copy.served > 0 and now - copy.last_used < min(copy.slot.load_s or 0.0, copy.slot.limits.linger_s)
