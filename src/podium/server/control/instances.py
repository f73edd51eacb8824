"""Routes of the warm pool."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from podium.core.keep_alive import parse_keep_alive
from podium.domain.directive import Directive
from podium.domain.model import Lifecycle
from podium.errors import Conflict, InvalidRequest, NotFound
from podium.server import views
from podium.server.control.access import ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.plane import Services

router = guarded(tag="instances")
Timeout = Annotated[float, Field(gt=0, le=86_400)]
Copies = Annotated[int, Field(ge=0, le=64)]


class LoadBody(BaseModel):
    """Which version to load."""

    model_config = ConfigDict(extra="forbid")
    ref: str
    timeout_s: Timeout = 300.0


class PinBody(BaseModel):
    """Whether it may be evicted."""

    model_config = ConfigDict(extra="forbid")
    pinned: bool


class DirectiveBody(BaseModel):
    """Standing orders; what is left out stays as it is. ``keep_alive`` takes every form Ollama takes."""

    model_config = ConfigDict(extra="forbid")
    pinned: bool | None = None
    preload: bool | None = None
    keep_alive: str | float | None = None
    min_copies: Copies | None = None
    max_copies: Annotated[int, Field(ge=1, le=64)] | None = None


@router.get("/instances")
async def list_instances(services: ServicesDep) -> views.Json:
    """All instances with state, load, memory and CPU, and the budgets they share."""
    limits = services.pool.limits
    return {
        "instances": [views.instance(view) for view in services.pool.views()],
        "queues": [views.queue(view) for view in services.pool.queues()],
        "memory_budget_mb": limits.memory_bytes // views.MB,
        "helper_reserve_mb": limits.helper_reserve_bytes // views.MB,
        "gpu_budget_mb": {name: size // views.MB for name, size in limits.gpu_bytes.items()},
    }


@router.get("/queue")
async def list_queues(services: ServicesDep) -> views.Json:
    """Who waits for which version, for what, and for about how long."""
    return {"queues": [views.queue(view) for view in services.pool.queues()]}


@router.post(
    "/instances",
    responses=errors(e404="there is no such version", e409="it is retired", e503="there is no room for it"),
)
async def load_instance(body: LoadBody, services: ServicesDep) -> views.Json:
    """Load a version and do one forward pass; returns when it is warm."""
    version = services.registry.resolve(body.ref)
    if version.status is Lifecycle.RETIRED:
        raise Conflict(f"{version.ref} is retired and cannot be loaded")
    took = await services.pool.warm(version, body.timeout_s, gives_way=True)
    return {"ref": version.ref, "load_s": took}


@router.delete("/instances/{spec}", responses=errors(e404="there is no such version, or it is not loaded"))
async def unload_instance(spec: str, services: ServicesDep) -> views.Json:
    """Drain and stop; returns when its process is gone."""
    version = services.registry.resolve(spec)
    if not await services.pool.unload(version.ref):
        raise NotFound(f"{version.ref} is not loaded", code="not_loaded")
    return {"ref": version.ref, "unloaded": True}


@router.post("/instances/{spec}/pin", responses=errors(e404="there is no such version", e409="it is retired"))
async def pin_instance(spec: str, body: PinBody, services: ServicesDep) -> views.Json:
    """Keep a version from being evicted, or allow it again. Kept over restarts."""
    version = services.registry.resolve(spec)
    directive = replace(services.directives.of(version.ref), pinned=body.pinned)
    await services.directives.order(version, directive)
    return {"ref": version.ref, "pinned": body.pinned}


@router.get("/instances/{spec}/directive", responses=errors(e404="there is no such version"))
async def show_directive(spec: str, services: ServicesDep) -> views.Json:
    """The standing orders for a version."""
    return _view(services, services.registry.resolve(spec).ref)


@router.put("/instances/{spec}/directive", responses=errors(e404="there is no such version", e409="it is retired"))
async def set_directive(spec: str, body: DirectiveBody, services: ServicesDep) -> views.Json:
    """Change the standing orders for a version. Kept over restarts."""
    version = services.registry.resolve(spec)
    given = body.model_dump(exclude_none=True)
    if "keep_alive" in given:
        try:
            given["keep_alive_s"] = parse_keep_alive(given.pop("keep_alive"))
        except ValueError as error:
            raise InvalidRequest(str(error), param="keep_alive") from None
    directive: Directive = replace(services.directives.of(version.ref), **given)
    if directive.min_copies > directive.max_copies:
        if body.min_copies is not None and body.max_copies is not None:
            raise InvalidRequest("min_copies is more than max_copies", param="min_copies")
        directive = replace(directive, max_copies=directive.min_copies)
    await services.directives.order(version, directive)
    return _view(services, version.ref)


def _view(services: Services, ref: str) -> views.Json:
    directive = services.directives.of(ref)
    kept = directive.keep_alive_s
    return {
        "ref": ref,
        "pinned": directive.pinned,
        "preload": directive.preload,
        "keep_alive_s": -1 if kept == math.inf else kept,
        "min_copies": directive.min_copies,
        "max_copies": directive.max_copies,
    }
