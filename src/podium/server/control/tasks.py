"""Routes of tasks, swaps and rollbacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from podium.domain.rollout import RolloutMode
from podium.domain.task import TaskSpec
from podium.errors import InvalidRequest
from podium.ports import Page
from podium.server import rollout_views, views
from podium.server.control import learning
from podium.server.control.access import Actor, Limit, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.server.criteria import read_criteria
from podium.server.rollout_plans import PlanBody, read_plan
from podium.services.plane import Services

router = guarded(tag="tasks")
IMMEDIATE = "immediate"


class TaskBody(BaseModel):
    """What may be set on a task; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")
    criteria: dict[str, Any] | None = None
    strategy: str | None = None
    exploration: float | None = Field(default=None, ge=0, le=1)
    keywords: list[str] | None = None


class SwapBody(BaseModel):
    """An order to replace the version that serves a task."""

    model_config = ConfigDict(extra="forbid")
    to: str
    mode: str = Field(
        default=IMMEDIATE,
        description="At once; a growing share by evidence; answers that nobody sees; a fixed split.",
        json_schema_extra={"enum": [IMMEDIATE, *RolloutMode]},
    )
    plan: PlanBody | None = Field(default=None, description="How a rollout goes; not for mode immediate.")
    strict: bool = False
    reason: str = ""


class RollbackBody(BaseModel):
    """Why, for the record."""

    model_config = ConfigDict(extra="forbid")
    reason: str = ""


def _view(services: Services, spec: TaskSpec) -> views.Json:
    return views.task(spec, services.swapper.binding(spec.name), dict(services.selector.evidence_of(spec.name)))


@router.get("/tasks")
async def list_tasks(services: ServicesDep) -> views.Json:
    """All tasks by name."""
    specs = sorted(services.tasks.specs(), key=lambda spec: spec.name)
    return {"tasks": [_view(services, spec) for spec in specs]}


@router.get("/tasks/{task}", responses=errors(e404="there is no such task"))
async def show_task(task: str, services: ServicesDep) -> views.Json:
    """One task: criteria, binding, what each version showed, what is known of it, what keeps it from learning."""
    spec = services.tasks.get(task)
    services.recorder.catch_up()
    return {
        **_view(services, spec),
        "lately": learning.lately(services, spec),
        "learned": learning.learned(services, spec),
        "findings": learning.findings(services, spec),
    }


@router.put("/tasks/{task}")
async def set_task(task: str, body: TaskBody, services: ServicesDep) -> views.Json:
    """Create a task or change its settings."""
    spec = services.tasks.draft(task)
    if body.criteria is not None:
        spec = replace(spec, criteria=read_criteria(body.criteria))
    if body.strategy is not None:
        services.selector.check_strategy(body.strategy)
        spec = replace(spec, strategy=body.strategy)
    if body.exploration is not None:
        spec = replace(spec, exploration=body.exploration)
    if body.keywords is not None:
        spec = replace(spec, keywords=frozenset(word.lower() for word in body.keywords))
    await services.tasks.put(spec)
    services.selector.refresh()
    return _view(services, spec)


@router.post(
    "/tasks/{task}/swap",
    response_model=views.Json,
    responses={
        202: {"model": rollout_views.RolloutView, "description": "Modes gradual, shadow, ab: it has begun"},
        **errors(
            e400="the body or the plan is wrong; `param` names the field",
            e404="there is no such version",
            e409="it serves already, is retired, or a rollout is open on the task",
            e503="the order could not be recorded",
        ),
    },
)
async def swap_task(task: str, body: SwapBody, services: ServicesDep, actor: Actor) -> views.Json | Response:
    """Replace the version that serves a task. At once: a swap that fails is a result with ``ok: false``.

    Modes gradual, shadow and ab answer 202 with a rollout, which goes on by itself; ``/rollouts/{id}`` follows it.
    """
    if body.mode == IMMEDIATE:
        if body.plan is not None:
            raise InvalidRequest(
                "a plan is for mode gradual, shadow or ab; leave it out or name the mode", param="plan"
            )
        done = await services.swapper.swap(task, body.to, strict=body.strict, by=actor, reason=body.reason)
        return views.swap(done)
    modes = [mode.value for mode in RolloutMode]
    if body.mode not in modes:
        known = ", ".join([IMMEDIATE, *modes])
        raise InvalidRequest(f"{body.mode[:32]!r} is no mode of a swap; use {known}", param="mode")
    plan = read_plan(body.plan, RolloutMode(body.mode), strict=body.strict)
    begun = await services.rollouts.order(task, body.to, plan, by=actor, reason=body.reason)
    return JSONResponse(rollout_views.rollout(begun).model_dump(mode="json", by_alias=True), status_code=202)


@router.post(
    "/tasks/{task}/rollback",
    responses=errors(e404="there is no such task", e409="it has no predecessor, or is being swapped"),
)
async def rollback_task(task: str, services: ServicesDep, actor: Actor, body: RollbackBody | None = None) -> views.Json:
    """Go back to the version that served before."""
    services.tasks.get(task)
    done = await services.swapper.rollback(task, by=actor, reason=body.reason if body else "")
    return views.swap(done)


@router.delete(
    "/tasks/{task}/binding",
    responses=errors(e404="there is no such task", e409="it is not bound, or a rollout is open on it"),
)
async def unbind_task(task: str, services: ServicesDep, actor: Actor, reason: str = "") -> views.Json:
    """Bind a task to no version any more: its model is chosen for each request again. ``reason`` is for the record."""
    spec = services.tasks.get(task)
    before = await services.swapper.unbind(task, by=actor, reason=reason)
    return {**_view(services, spec), "before": before.ref}


@router.get("/swaps")
async def list_swaps(
    services: ServicesDep,
    task: str | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> views.Json:
    """Swaps and rollbacks, newest first."""
    found = await services.store.swaps(task, Page(limit=limit, offset=offset))
    return {"swaps": [views.swap(item) for item in found]}
