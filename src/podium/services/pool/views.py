"""What people may see of the pool: instances, and who waits for what. Never to decide by."""

from __future__ import annotations

from podium.domain.instance import InstanceState, InstanceView, QueueView
from podium.services.pool.copy import Copy
from podium.services.pool.limits import MB
from podium.services.pool.slot import Slot
from podium.services.pool.state import State


def instances(state: State) -> tuple[InstanceView, ...]:
    """One row per copy; a version without any gets one row that says why."""
    rows = []
    for slot in state.slots.values():
        rows += [_of_copy(state, copy) for copy in slot.copies]
        if not slot.copies:
            rows.append(_of_slot(slot))
    return tuple(rows)


def waits_for(state: State, slot: Slot) -> str:
    """What a newcomer would wait for."""
    if slot.ready:
        return f"a place: {sum(copy.active for copy in slot.ready)} requests are being answered"
    loading = [copy for copy in slot.copies if copy.state is InstanceState.LOADING]
    if loading:
        elapsed = state.clock.monotonic() - loading[0].load_started
        usual = f", usually {slot.load_s:.1f} s" if slot.load_s is not None else ""
        return f"loading since {elapsed:.1f} s{usual}"
    if slot.blocked is not None:
        return f"memory: {slot.blocked}"
    left = slot.retry_at - state.clock.monotonic()
    if left > 0:
        return f"another start in {left:.1f} s ({slot.error})"
    return "its start"


def queues(state: State) -> tuple[QueueView, ...]:
    """One row per version that somebody waits for."""
    now = state.clock.monotonic()
    rows = []
    for slot in state.slots.values():
        oldest = slot.queue.oldest_at()
        if oldest is None:
            continue
        rows.append(
            QueueView(
                ref=slot.ref,
                waiting=len(slot.queue),
                oldest_s=round(max(0.0, now - oldest), 3),
                waits_for=waits_for(state, slot),
                expected_s=slot.expected_wait_s(now),
            )
        )
    return tuple(rows)


def _of_copy(state: State, copy: Copy) -> InstanceView:
    slot, instance = copy.slot, copy.instance
    usage = instance.usage() if instance is not None else None
    gpu = usage.gpu_memory_bytes if usage is not None else None
    return InstanceView(
        id=copy.id,
        ref=slot.ref,
        state=copy.state,
        pid=instance.pid if instance is not None else None,
        active=copy.active,
        waiting=len(slot.queue) if copy is slot.copies[0] else 0,
        concurrency=copy.places,
        memory_mb=round(usage.memory_bytes / MB, 1) if usage is not None else None,
        cpu_s=round(usage.cpu_s, 3) if usage is not None else None,
        loaded_at=copy.loaded_at,
        load_s=slot.load_s,
        last_used_at=state.clock.now() - (state.clock.monotonic() - copy.last_used) if copy.served else None,
        pinned=slot.directive.pinned,
        error=slot.error,
        device=copy.device,
        gpu_memory_mb=round(gpu / MB, 1) if gpu is not None else None,
        healthy=not copy.troubled if instance is not None else None,
        served=copy.served,
    )


def _of_slot(slot: Slot) -> InstanceView:
    return InstanceView(
        id=slot.ref,
        ref=slot.ref,
        state=InstanceState.FAILED if slot.error is not None else InstanceState.STOPPED,
        pid=None,
        active=0,
        waiting=len(slot.queue),
        concurrency=0,
        memory_mb=None,
        cpu_s=None,
        loaded_at=None,
        load_s=slot.load_s,
        last_used_at=None,
        pinned=slot.directive.pinned,
        error=slot.error,
        device=None,
    )
