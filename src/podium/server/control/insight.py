"""Routes to look: decisions, statistics, health."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from podium.domain.cost import Cause
from podium.domain.evidence import Evidence
from podium.domain.finding import Severity
from podium.domain.model import Lifecycle
from podium.errors import NotFound, StoreError
from podium.ports import Page, Sought
from podium.server import cost_views, views
from podium.server.control import alerts, charges, feedback, learning
from podium.server.control.access import Actor, Limit, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.guard import authorise
from podium.server.control.routing import guarded
from podium.services.doctor import diagnose
from podium.services.plane import Services

router = guarded(tag="insight")
probes = APIRouter(include_in_schema=False)
Task = Annotated[str | None, Query(description="Of this task only.")]
Model = Annotated[str | None, Query(description="Served by this version, or by any version of this name.")]
Failed = Annotated[bool | None, Query(description="Only those that failed, or only those that did not.")]


async def _flushed(services: Services) -> StoreError | None:
    """Write what waits, so that it can be read. While the disk is full, what is on it can be read all the same."""
    try:
        await services.recorder.flush()
    except StoreError as error:
        return error
    return None


@router.get("/decisions")
async def list_decisions(
    services: ServicesDep,
    task: Task = None,
    model: Model = None,
    failed: Failed = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> views.Json:
    """The newest decisions with their outcomes; of some of them, among the newest half a million."""
    await _flushed(services)
    anything = task is None and model is None and failed is None
    sought = None if anything else Sought(task=task, model=model, failed=failed)
    found = await services.store.recent_decisions(Page(limit=limit, offset=offset), sought)
    return {"decisions": [{"request_id": d.request_id, **views.attempt(d, o)} for d, o in found]}


@router.get("/decisions/{request_id}", responses=errors(e404="there is no such request on record"))
async def explain(request_id: str, services: ServicesDep) -> views.Json:
    """Why a request was served as it was, attempt by attempt, candidate by candidate."""
    failed = await _flushed(services)
    found = await services.store.find_decisions(request_id)
    if not found and failed is not None:
        raise failed
    if not found:
        raise NotFound(f"no request {request_id[:64]!r} is on record; the header x-request-id of a reply names it")
    scores = await services.store.find_feedback(request_id)
    canaries = {one.cost.charged_to for _, one in found if one.cost.cause is Cause.CANARY and one.cost.charged_to}
    return {
        "request_id": request_id,
        "rollouts": {rollout: await charges.state_of(services, rollout) for rollout in sorted(canaries)},
        "attempts": [views.attempt(decision, outcome) for decision, outcome in found],
        "feedback": [views.feedback(item) for item in scores],
        "operations": [cost_views.operation(item) for item in await services.costs.operations_about(request_id)],
    }


def _evidence(services: Services) -> dict[tuple[str, str], Evidence]:
    return {
        (spec.name, ref): item
        for spec in services.tasks.specs()
        for ref, item in services.selector.evidence_of(spec.name).items()
    }


@router.get("/stats")
async def stats(services: ServicesDep) -> views.Json:
    """What was measured, per task and version, and how the recorder keeps up."""
    await _flushed(services)
    rows = [
        {"task": task, "ref": ref, **views.evidence_json(item)}
        for (task, ref), item in sorted(_evidence(services).items())
    ]
    return {
        "stats": rows,
        "recorder": _recorder(services),
        "feedback": feedback.feedback_stats(services.recorder.feedback_stats()),
        "alerts": [alerts.view(one) for one in services.alerts.open()],
        "objectives": alerts.objectives_view(services),
        "uptime_s": time.time() - services.started_at,
    }


def _recorder(services: Services) -> views.Json:
    numbers = services.recorder.stats()
    return {name: getattr(numbers, name) for name in type(numbers).__slots__}


@router.get("/doctor")
async def doctor(services: ServicesDep) -> views.Json:
    """What this machine has, what is wrong, and what to do next."""
    facts = await asyncio.to_thread(services.host.facts)
    _, active = services.registry.query(status=Lifecycle.ACTIVE, page=Page(limit=1))
    found = diagnose(services)
    problems = [*services.warnings(), *services.provider_problems().values()]
    for item in found.findings:
        if item.severity is Severity.PROBLEM:
            subject = "" if item.task is None else f"task {item.task}: "
            problems.append(f"{subject}{item.says}. What to do: {item.do}")
    rows = dict(await services.store.counts())
    used = bool(rows.get("outcomes"))
    steps = [] if active else ["podium models add NAME --gguf PATH", "podium models add NAME --url URL --remote ID"]
    if active:
        steps = ["podium stats"] if used else ['podium run "Hello"', "podium stats"]
    return {
        "version": services.version,
        "host": views.host(facts),
        "energy": cost_views.power(services.power()),
        "active_models": active,
        "rows": rows,
        "recorder": _recorder(services),
        "feedback": feedback.feedback_stats(services.recorder.feedback_stats()),
        "learning": learning.diagnosis(found),
        "problems": problems,
        "next": steps,
    }


@router.post("/reload")
async def reload(services: ServicesDep, actor: Actor) -> views.Json:
    """Read the configuration file again and apply what changed; a bad file changes nothing."""
    return dict(await services.reload(actor))


@probes.get("/livez")
async def livez() -> Response:
    """The process answers."""
    return Response(b"ok\n", media_type="text/plain")


@probes.get("/metrics", dependencies=[Depends(authorise)])
async def metrics(request: Request, services: ServicesDep) -> Response:
    """For Prometheus: what was recorded since the start, and how things stand."""
    services.recorder.catch_up()
    body, content_type = services.metrics(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})


@probes.get("/readyz")
async def readyz(services: ServicesDep) -> Response:
    """The store can be written and there is something to serve. Calls no model."""
    numbers = services.recorder.stats()
    if numbers.last_error:
        return Response("recording fails; `podium doctor` says why\n", status_code=503, media_type="text/plain")
    _, active = services.registry.query(status=Lifecycle.ACTIVE, page=Page(limit=1))
    text = f"ok, {active} active model(s)\n" if active else "ok, no active model yet\n"
    return Response(text, media_type="text/plain")
