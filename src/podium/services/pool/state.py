"""What the parts of the pool share: the slots, the limits, the work under way. Decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from podium.domain.instance import InstanceState
from podium.domain.model import ModelVersion
from podium.ports import RAM, AtEndpoint, Clock, Instance, OnDevices, Patient, Provider
from podium.services.pool.copy import Copy
from podium.services.pool.limits import PoolLimits
from podium.services.pool.slot import Endpoint, Slot

GIVING_UP_S = 15.0
"""A provider that gives up by itself says why: it gets this much longer to end what it began."""


class State:
    """Owned by ``Pool``; its parts are handed this."""

    def __init__(
        self,
        providers: Callable[[str], Provider],
        clock: Clock,
        limits: PoolLimits,
        emit: Callable[..., None],
        free_bytes: Callable[[str], int | None],
        measured: Callable[[str], int | None],
    ) -> None:
        self.providers = providers
        self.clock = clock
        self.limits = limits
        self.emit = emit
        self.free_bytes = free_bytes
        self.measured = measured
        self.slots: dict[str, Slot] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.tasks: set[asyncio.Task[object]] = set()
        self.dying: list[Instance] = []
        """Crashed instances of which something may be left."""
        self.closing = False
        self._serial = 0

    def slot(self, version: ModelVersion) -> Slot:
        """The slot of a version, made if need be."""
        slot = self.slots.get(version.ref)
        if slot is None:
            slot = self.slots[version.ref] = Slot(version, self.limits, self._endpoint(version))
        return slot

    def provider(self, slot: Slot) -> Provider:
        """Who runs it. Raises ``PodiumError`` when its plugin is not there."""
        return self.providers(slot.version.source.provider)

    def copies(self) -> Iterator[Copy]:
        """All copies of all versions, loading and draining ones too."""
        for slot in self.slots.values():
            yield from slot.copies

    def new_copy(self, slot: Slot, device: str) -> Copy:
        """A copy in state ``loading``; its memory is spoken for from now on."""
        self._serial += 1
        copy = Copy(slot, self._serial, device, self.footprint(slot), self.clock.monotonic())
        slot.copies.append(copy)
        return copy

    def devices(self, slot: Slot) -> tuple[str, ...]:
        """Where a version may run, best first."""
        provider = self.provider(slot)
        return (provider.devices(slot.version) or (RAM,)) if isinstance(provider, OnDevices) else (RAM,)

    def load_limit(self, version: ModelVersion) -> float:
        """Seconds a copy may take to start: more than the pool allows where the version itself says so."""
        provider = self.providers(version.source.provider)
        own = provider.ready_within(version) if isinstance(provider, Patient) else None
        return self.limits.load_timeout_s if own is None else max(self.limits.load_timeout_s, own + GIVING_UP_S)

    def footprint(self, slot: Slot) -> int:
        """Bytes another copy will take: measured on an earlier one, else estimated."""
        if slot.measured_bytes is None:
            slot.measured_bytes = self.measured(slot.ref)
        if slot.measured_bytes is not None:
            return slot.measured_bytes
        return self.provider(slot).footprint(slot.version) or 0

    def budgeted(self, copy: Copy) -> int:
        """Bytes a copy is counted with: what it really uses once it has worked, before that the larger figure."""
        usage = copy.instance.usage() if copy.instance is not None else None
        if usage is None:
            return copy.reserved_bytes
        used = usage.memory_bytes if copy.device == RAM else usage.gpu_memory_bytes
        if used is None:
            return copy.reserved_bytes
        if not copy.served and not copy.warmed:
            return max(copy.reserved_bytes, used)
        if copy.state is InstanceState.READY:
            slot = copy.slot
            slot.measured_bytes = copy.reserved_bytes = max(used, slot.measured_bytes or 0)
        return max(used, copy.reserved_bytes)

    def spawn(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Background work that ends with the pool."""
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _endpoint(self, version: ModelVersion) -> Endpoint | None:
        provider = self.providers(version.source.provider)
        name = provider.endpoint(version) if isinstance(provider, AtEndpoint) else None
        if name is None:
            return None
        return self.endpoints.setdefault(name, Endpoint(name, self.limits))
