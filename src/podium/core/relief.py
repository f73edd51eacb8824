"""Who goes when instances hold more than the budget: it was lowered, or they grew (POOL-2). Pure.

Owns the choice alone; the account is that of ``core/device_memory``, the order that of ``core/eviction``. Only idle
instances go, none that is pinned or younger than ``min_residency_s``: nobody is cut off, the pool shrinks as its
requests end.
"""

from __future__ import annotations

from collections.abc import Iterator

from podium.core.eviction import MOMENT_S, candidates
from podium.core.pool_facts import Device, PoolSnapshot, Resident, Rules
from podium.domain.instance import InstanceState


def surplus(snapshot: PoolSnapshot) -> tuple[str, ...]:
    """Ids of the instances to drain now, the least valuable first; none superfluous at its turn."""
    ready: dict[str, int] = {}
    for one in snapshot.residents:
        if one.state is InstanceState.READY:
            ready[one.ref] = ready.get(one.ref, 0) + 1
    found: list[str] = []
    for device in snapshot.devices:
        here = [one for one in snapshot.residents if one.device == device.id]
        found += _of_device(device, here, snapshot.rules, ready)
    return tuple(found)


def _of_device(device: Device, here: list[Resident], rules: Rules, ready: dict[str, int]) -> Iterator[str]:
    held = [0, 0]
    for one in here:
        if one.state is not InstanceState.DRAINING:
            held[one.helper] += one.footprint_bytes
    if not _over(device, held):
        return
    movable = [one for one in here if not one.pinned and one.state is InstanceState.READY]
    for candidate in candidates(movable, rules, ready):
        if candidate.busy or candidate.free_at > MOMENT_S:
            continue
        if candidate.helper and held[0] + held[1] <= device.capacity_bytes and held[1] <= device.reserve_bytes:
            continue  # inside its reserve: going would help nobody
        yield candidate.id
        held[candidate.helper] -= candidate.bytes
        if not _over(device, held):
            return


def _over(device: Device, held: list[int]) -> bool:
    return held[0] + max(held[1], device.reserve_bytes) > device.capacity_bytes
