"""Routes of the registry."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from podium.domain.model import Category, Lifecycle, Provenance, Source
from podium.errors import PodiumError
from podium.ports import Page
from podium.server import views
from podium.server.control.access import Actor, Limit, Many, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.onboarding import Registration
from podium.services.plane import Services

router = guarded(tag="models")


class SourceBody(BaseModel):
    """Where the version comes from."""

    model_config = ConfigDict(extra="forbid")
    provider: str
    location: str
    settings: dict[str, Any] = Field(default_factory=dict)


class ModelBody(BaseModel):
    """A registration."""

    model_config = ConfigDict(extra="forbid")
    name: str
    version: str | None = None
    source: SourceBody
    category: Category | None = None
    tags: list[str] = Field(default_factory=list)
    parent: str | None = None
    specialisation: str | None = Field(default=None, description="What it was made for, such as code-review.")
    licence: str | None = Field(default=None, description="Where the source does not tell its own.")
    training_data: str | None = Field(default=None, description="What it was trained on, in words or as a URL.")
    hardware: list[str] = Field(default_factory=list, description="Kinds of which any one can run it: cpu, cuda, …")
    activate: bool | None = None


class ReasonBody(BaseModel):
    """Why, for the record."""

    model_config = ConfigDict(extra="forbid")
    reason: str = ""


class AliasBody(BaseModel):
    """What an alias stands for; null removes it."""

    model_config = ConfigDict(extra="forbid")
    target: str | None


def _view(services: Services, ref: str) -> views.Json:
    version = services.registry.get(ref)
    return views.model(version, services.registry.profile(ref), services.registry.aliases_of(ref))


@router.get("/models")
async def list_models(
    services: ServicesDep,
    name: str | None = None,
    status: Lifecycle | None = None,
    provider: str | None = None,
    capability: Many = None,
    tag: Many = None,
    category: Category | None = None,
    latest: bool = False,
    sort: str = "-created_at",
    limit: Limit = 100,
    offset: Offset = 0,
) -> views.Json:
    """Versions that match all filters, newest first unless sorted otherwise."""
    found, total = services.registry.query(
        name=name,
        status=status,
        provider=provider,
        capabilities=frozenset(capability or ()),
        tags=frozenset(tag or ()),
        category=category,
        latest=latest,
        sort=sort,
        page=Page(limit=limit, offset=offset),
    )
    return {"models": [_view(services, version.ref) for version in found], "total": total}


@router.post("/models", status_code=201, responses=errors(e409="another version has this name"))
async def add_model(body: ModelBody, services: ServicesDep, actor: Actor, response: Response) -> views.Json:
    """Register a version; validate and activate it unless told otherwise. 200 when it was there already."""
    settings = MappingProxyType(dict(body.source.settings))
    order = Registration(
        name=body.name,
        version=body.version,
        source=Source(provider=body.source.provider, location=body.source.location, settings=settings),
        category=body.category,
        tags=frozenset(body.tags),
        parent=body.parent,
        specialisation=body.specialisation,
        provenance=Provenance(
            licence=body.licence, training_data=body.training_data, hardware=frozenset(body.hardware)
        ),
        activate=body.activate,
    )
    version, created, problem = await services.onboarding.add(order, actor)
    if not created:
        response.status_code = 200
    return {**_view(services, version.ref), "created": created, "problem": _problem(problem)}


def _problem(error: PodiumError | None) -> views.Json | None:
    return {"message": error.message, "code": error.code, "fault": error.fault} if error else None


@router.get("/models/{spec}", responses=errors(e404="there is no such version"))
async def show_model(spec: str, services: ServicesDep) -> views.Json:
    """One version with its history of lifecycle changes. ``spec``: name@version, name or alias."""
    version = services.registry.resolve(spec)
    transitions = await services.store.transitions(version.ref)
    return {**_view(services, version.ref), "transitions": [views.transition(item) for item in transitions]}


@router.delete(
    "/models/{spec}",
    responses=errors(e404="there is no such version", e409="it worked once, or something points to it"),
)
async def remove_model(spec: str, services: ServicesDep) -> views.Json:
    """Take away a version that never worked, so that its name is free again. ``spec``: name@version, or name."""
    ref = services.registry.resolve(spec).ref
    await services.onboarding.remove(ref)
    return {"ref": ref, "removed": True}


@router.post(
    "/models/{spec}/activate",
    responses=errors(e404="there is no such version", e409="it cannot, from the state it is in"),
)
async def activate_model(spec: str, services: ServicesDep, actor: Actor, body: ReasonBody | None = None) -> views.Json:
    """Make a version selectable; validates it first if nobody has."""
    ref = services.registry.resolve(spec).ref
    await services.onboarding.activate(ref, actor, (body.reason if body else "") or "ordered")
    return _view(services, ref)


@router.post(
    "/models/{spec}/deprecate",
    responses=errors(e404="there is no such version", e409="it cannot, from the state it is in"),
)
async def deprecate_model(spec: str, services: ServicesDep, actor: Actor, body: ReasonBody | None = None) -> views.Json:
    """No longer selectable, kept warm for rollback."""
    return await _retreat(spec, Lifecycle.DEPRECATED, services, actor, body)


@router.post(
    "/models/{spec}/retire",
    responses=errors(e404="there is no such version", e409="it cannot, from the state it is in"),
)
async def retire_model(spec: str, services: ServicesDep, actor: Actor, body: ReasonBody | None = None) -> views.Json:
    """The end of a version; its record stays."""
    view = await _retreat(spec, Lifecycle.RETIRED, services, actor, body)
    await services.pool.unload(view["ref"], reason="retired")
    services.pool.forget(view["ref"])
    return view


async def _retreat(spec: str, after: Lifecycle, services: Services, actor: str, body: ReasonBody | None) -> views.Json:
    ref = services.registry.resolve(spec).ref
    services.swapper.refuse_if_bound(ref)
    await services.registry.transition(ref, after, actor, (body.reason if body else "") or "ordered")
    services.selector.refresh()
    return _view(services, ref)


@router.put("/aliases/{alias}", responses=errors(e404="there is no such model, or no such alias to remove"))
async def set_alias(alias: str, body: AliasBody, services: ServicesDep) -> views.Json:
    """Let an alias stand for a model name or a version, or remove it."""
    await services.registry.set_alias(alias, body.target)
    return {"alias": alias, "target": body.target}
