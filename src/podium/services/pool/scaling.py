"""Adds and takes away copies of versions as their use rises and falls, within their limits and the memory."""

from __future__ import annotations

from collections.abc import Callable

from podium.domain.instance import InstanceState
from podium.services.pool.loading import Loader
from podium.services.pool.slot import Slot
from podium.services.pool.state import State


class Autoscaler:
    """``replan()`` is called when a copy is wanted. Copies beyond the first never evict anything."""

    def __init__(self, state: State, loader: Loader, replan: Callable[[], None]) -> None:
        self._state = state
        self._loader = loader
        self._replan = replan

    def tick(self, now: float) -> None:
        """Called several times a second."""
        for slot in self._state.slots.values():
            if slot.directive.max_copies > 1 and slot.ready:
                self._look(slot, now)

    def _look(self, slot: Slot, now: float) -> None:
        busy = sum(copy.active for copy in slot.ready)
        copies = slot.live()
        capacity = sum(copy.places for copy in slot.ready) * copies // len(slot.ready)  # what loads will count soon
        change = slot.scaler.observe(now, busy=busy, capacity=capacity, waiting=len(slot.queue), copies=copies)
        if change > 0:
            slot.scaled = min(copies + 1, slot.directive.max_copies)
            self._state.emit("instance.scaling", slot.ref, copies=copies, wanted=slot.scaled)
            self._replan()
        elif change < 0 and len(slot.ready) > 1:
            slot.scaled = max(1, copies - 1)
            self._state.emit("instance.scaling", slot.ref, copies=copies, wanted=slot.scaled)
            self.shrink(slot)

    def shrink(self, slot: Slot) -> None:
        """Drain what is more than wanted, the least busy and youngest first."""
        keep = max(1, slot.scaled, slot.directive.min_copies)
        ready = sorted(
            (copy for copy in slot.copies if copy.state is InstanceState.READY),
            key=lambda copy: (copy.active, -copy.ready_at),
        )
        for copy in ready[: max(0, slot.live() - keep)]:
            self._loader.drain(copy, "fewer copies are needed")
