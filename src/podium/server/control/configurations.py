"""Routes of the history of configurations: list them, compare two, put one in force again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from podium.domain.audit import AppliedConfig
from podium.ports import Page
from podium.server import views
from podium.server.control.access import MOST, Actor, Limit, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded

router = guarded(tag="configuration", prefix="/config")


class RestoreBody(BaseModel):
    """Which one."""

    model_config = ConfigDict(extra="forbid")
    number: int = Field(ge=1, le=MOST, description="as the history has it")
    force: bool = Field(default=False, description="also when the file was changed and not read again; a copy is kept")


@router.get("/history")
async def list_configurations(services: ServicesDep, limit: Limit = 50, offset: Offset = 0) -> views.Json:
    """Configurations that were put in force, newest first; the first one is in force."""
    found = await services.configurations.listed(Page(limit=limit, offset=offset))
    return {"configurations": [view(one) for one in found]}


@router.get("/history/{number}", responses=errors(e404="there is no such configuration"))
async def show_configuration(number: Annotated[int, Path(ge=1, le=MOST)], services: ServicesDep) -> views.Json:
    """One of them with its text, from which what looks like a secret was left out."""
    found = await services.configurations.find(number)
    return {**view(found), "content": found.content}


@router.get("/diff", responses=errors(e404="there is no such configuration"))
async def compare_configurations(
    services: ServicesDep,
    a: Annotated[
        int | None, Query(ge=1, le=MOST, description="number of the earlier one; left out: the one in force")
    ] = None,
    b: Annotated[
        int | None, Query(ge=1, le=MOST, description="number of the later one; left out: the file as it is now")
    ] = None,
) -> views.Json:
    """What was changed from one to another, as a unified diff; empty when nothing was."""
    first = (await services.configurations.newest()).number if a is None else a
    return {"a": first, "b": b, "diff": await services.configurations.compare(first, b)}


@router.get("/schema")
async def schema(services: ServicesDep) -> views.Json:
    """The JSON Schema of the configuration file."""
    return dict(services.configurations.schema())


@router.post(
    "/restore",
    responses=errors(
        e404="there is no such configuration",
        e409="the file was changed by hand since it was read, or a value that was not kept is missing",
        e500="the configuration cannot be put in force; the file is as it was",
    ),
)
async def restore_configuration(body: RestoreBody, services: ServicesDep, actor: Actor) -> views.Json:
    """Write a kept configuration into the file, keep the present one beside it, and apply the difference."""
    return dict(await services.configurations.restore(body.number, force=body.force, by=actor))


def view(one: AppliedConfig) -> views.Json:
    """Everything but the text."""
    return {
        "number": one.number,
        "at": one.at,
        "by": one.by,
        "how": one.how,
        "file": one.file,
        "digest": one.digest,
        "redacted": one.redacted,
        "environment": list(one.environment),
        "changes": list(one.changes),
        "problems": one.problems,
    }
