"""Routes of the warm pool."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from podium.domain.model import Lifecycle
from podium.errors import Conflict, NotFound
from podium.server import views
from podium.server.control.access import ServicesDep

router = APIRouter(tags=["instances"])


class LoadBody(BaseModel):
    """Which version to load."""

    model_config = ConfigDict(extra="forbid")
    ref: str
    timeout_s: float = 300.0


class PinBody(BaseModel):
    """Whether it may be evicted."""

    model_config = ConfigDict(extra="forbid")
    pinned: bool


@router.get("/instances")
async def list_instances(services: ServicesDep) -> views.Json:
    """All instances with state, load, memory and CPU."""
    return {
        "instances": [views.instance(view) for view in services.pool.views()],
        "memory_budget_mb": services.pool.limits.memory_bytes // 1048576,
    }


@router.post("/instances")
async def load_instance(body: LoadBody, services: ServicesDep) -> views.Json:
    """Load a version and do one forward pass; returns when it is warm."""
    version = services.registry.resolve(body.ref)
    if version.status is Lifecycle.RETIRED:
        raise Conflict(f"{version.ref} is retired and cannot be loaded")
    took = await services.pool.warm(version, body.timeout_s)
    return {"ref": version.ref, "load_s": took}


@router.delete("/instances/{spec}")
async def unload_instance(spec: str, services: ServicesDep) -> views.Json:
    """Drain and stop; returns when its process is gone."""
    version = services.registry.resolve(spec)
    if not await services.pool.unload(version.ref):
        raise NotFound(f"{version.ref} is not loaded", code="not_loaded")
    return {"ref": version.ref, "unloaded": True}


@router.post("/instances/{spec}/pin")
async def pin_instance(spec: str, body: PinBody, services: ServicesDep) -> views.Json:
    """Keep a version from being evicted, or allow it again."""
    version = services.registry.resolve(spec)
    services.pool.pin(version, pinned=body.pinned)
    return {"ref": version.ref, "pinned": body.pinned}
