"""Puts the cost profiles together: where they read from, and what advice looks at beside the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.ports import RAM
from podium.services.cost_profiles import CostProfiles, Surroundings
from podium.services.pool import MB, Pool

if TYPE_CHECKING:
    from podium.runtime.foundation import Foundation


def cost_profiles(base: Foundation, pool: Pool) -> CostProfiles:
    """The cost profiles of a gateway."""

    def free_mb(ref: str) -> float | None:
        views = pool.views()
        device = next((one.device for one in views if one.ref == ref and one.device is not None), RAM)
        if device != RAM:
            capacity = pool.limits.gpu_bytes.get(device)
            held = sum(one.gpu_memory_mb or 0.0 for one in views if one.device == device)
            return None if capacity is None else max(0.0, capacity / MB - held)
        held = sum(one.memory_mb or 0.0 for one in views if one.device == RAM)
        room = pool.limits.memory_bytes / MB - held
        available = base.host.free_bytes(RAM)
        return max(0.0, room if available is None else min(room, available / MB))

    around = Surroundings(
        host=base.host.facts,
        instances=pool.views,
        free_mb=free_mb,
        footprint=base.policy.footprint,
        versions=base.registry.versions,
        beliefs=base.policy.beliefs_on,
        bound=lambda: {one.task: one.ref for one in base.policy.bindings().values()},
    )
    return CostProfiles(base.store, base.clock, around)
