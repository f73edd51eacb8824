"""Routes of executions: start one, say what came of it, read them with what they were routed to and what they cost."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from podium.core.executions import LONGEST_S, METADATA_BYTES, NAME_CHARS, TIMEOUT_S
from podium.domain.execution import Execution, ExecutionFilter, ExecutionState
from podium.errors import InvalidRequest, PodiumError, StoreError
from podium.ports import Page
from podium.server import views
from podium.server.control.access import MOST, Limit, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.plane import Services

router = guarded(tag="executions")
SWAPS = 1000
"""The newest swaps of a task that are looked through for those made during an execution."""
MOST_CHANGES = 1000
AT_ONCE = 50
"""Changes of a batch before others get their turn on the event loop."""
After = Annotated[int | None, Query(ge=0, le=MOST)]


class StartBody(BaseModel):
    """A piece of work that begins."""

    model_config = ConfigDict(extra="forbid")
    type: str = Field(description=f"what kind of work, such as a task; up to {NAME_CHARS} characters")
    agent: str | None = Field(default=None, description="who does it")
    id: str | None = Field(default=None, description="made by the caller, so that a start can be sent again safely")
    timeout_s: float | None = Field(
        default=None,
        description=f"given up so long after its start; {TIMEOUT_S:.0f} by default, {LONGEST_S:.0f} at most",
    )


class CompleteBody(BaseModel):
    """What came of it."""

    model_config = ConfigDict(extra="forbid")
    success: bool = Field(strict=True)
    quality: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False, strict=True)
    metadata: dict[str, Any] | None = Field(default=None, description=f"up to {METADATA_BYTES} bytes as JSON")


class Change(BaseModel):
    """A start or a completion of the execution ``id``."""

    model_config = ConfigDict(extra="forbid")
    id: str
    start: StartBody | None = None
    complete: CompleteBody | None = None


class BatchBody(BaseModel):
    """Changes in the order they were made."""

    model_config = ConfigDict(extra="forbid")
    changes: list[Change] = Field(max_length=MOST_CHANGES)
    again: bool = Field(default=False, description="they may have been sent before")


def view(execution: Execution) -> views.Json:
    """An execution with its routing decisions and what they cost."""
    spent = execution.spent
    ended = execution.finished_at
    return {
        "id": execution.id,
        "type": execution.type,
        "agent": execution.agent,
        "state": execution.state,
        "started_at": execution.started_at,
        "finished_at": ended,
        "duration_s": None if ended is None else ended - execution.started_at,
        "timeout_s": execution.timeout_s,
        "success": execution.success,
        "quality": execution.quality,
        "metadata": dict(execution.metadata),
        "ref": execution.ref,
        "requests": execution.requests,
        "decisions": [{name: getattr(step, name) for name in type(step).__slots__} for step in execution.routed],
        "cost": {**{name: getattr(spent, name) for name in type(spent).__slots__}, "measured": dict(spent.measured)},
        "seq": execution.seq or None,
    }


@router.post("/executions", status_code=201, responses=errors(e503="100,000 are open, or the record is far behind"))
async def start_execution(body: StartBody, services: ServicesDep) -> views.Json:
    """Begin an execution. Requests join it by the header ``x-podium-execution`` or by ``metadata.execution``."""
    if body.id is not None:
        return view(await services.tracker.start_as(body.id, body.type, body.agent, body.timeout_s))
    return view(services.tracker.start(body.type, body.agent, body.timeout_s))


@router.post("/executions/batch", responses=errors(e503="they could not be recorded; send them again"))
async def change_executions(body: BatchBody, services: ServicesDep) -> views.Json:
    """Many starts and completions at once. ``problems`` lists those that were refused; the others are durable when this
    answers. A batch that got no answer may be sent again with ``again``.
    """
    problems: list[views.Json] = []
    for place, change in enumerate(body.changes):
        try:
            await _apply(services, change, again=body.again)
        except StoreError:
            raise  # it can all be sent again
        except PodiumError as error:
            said = {"message": error.message, "code": error.code, "param": error.param, "status": error.status}
            problems.append({"place": place, "id": change.id, **said})
        if place % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
    await services.tracker.flush()
    return {"done": len(body.changes) - len(problems), "problems": problems}


async def _apply(services: Services, change: Change, *, again: bool) -> None:
    if (change.start is None) == (change.complete is None):
        raise InvalidRequest("a change is a start or a complete, one of both", param="changes")
    if change.start is not None:
        begun = change.start
        await services.tracker.start_as(change.id, begun.type, begun.agent, begun.timeout_s, again=again)
    elif change.complete is not None:
        done = change.complete
        await services.tracker.complete(change.id, success=done.success, quality=done.quality, metadata=done.metadata)


@router.post(
    "/executions/{execution_id}/complete",
    responses=errors(e404="there is no such execution", e409="something else was said of it before"),
)
async def complete_execution(execution_id: str, body: CompleteBody, services: ServicesDep) -> views.Json:
    """Say what came of it: it becomes feedback of source ``agent`` for the versions that answered in it.

    The same said twice changes nothing. One that was abandoned may still be completed.
    """
    done = await services.tracker.complete(
        execution_id, success=body.success, quality=body.quality, metadata=body.metadata
    )
    return view(done)


@router.get("/executions")
async def list_executions(
    services: ServicesDep,
    type: str | None = None,  # noqa: A002 - the name of the query parameter
    agent: str | None = None,
    state: ExecutionState | None = None,
    after: After = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> views.Json:
    """Newest change first. With ``after`` those that changed after that place in the record, oldest change first:
    ``next`` is where to go on, and an execution that changes again comes again.
    """
    which = ExecutionFilter(type=type, agent=agent, state=state, after=after)
    found = await services.tracker.listed(which, Page(limit=limit, offset=offset))
    swaps = await _swaps(services, found)
    return {
        "executions": [{**view(one), "swaps": swaps.get(one.id, [])} for one in found],
        "next": max((one.seq for one in found), default=after or 0),
        "tracker": _stats(services),
    }


@router.get("/executions/standings")
async def list_standings(services: ServicesDep, agent: str | None = None) -> views.Json:
    """How executions went, by agent, type and the version that served them last."""
    found = await services.tracker.standings(agent)
    return {"standings": [{name: getattr(one, name) for name in type(one).__slots__} for one in found]}


@router.get("/executions/{execution_id}", responses=errors(e404="there is no such execution"))
async def show_execution(execution_id: str, services: ServicesDep) -> views.Json:
    """One, with its decisions in full, what was said of its answers, and the swaps made meanwhile on its tasks."""
    failed = None
    try:
        await services.tracker.flush()
        await services.recorder.flush()
    except StoreError as error:  # what is on a full disk can be read all the same
        failed = error.message
    found = await services.tracker.find(execution_id)
    attempts, feedback = [], []
    for request_id in dict.fromkeys(step.request_id for step in found.routed):
        pairs = await services.store.find_decisions(request_id)
        attempts += [{"request_id": request_id, **views.attempt(*pair)} for pair in pairs]
        feedback += [views.feedback(item) for item in await services.store.find_feedback(request_id)]
    swaps = await _swaps(services, (found,))
    return {
        **view(found),
        "swaps": swaps.get(found.id, []),
        "attempts": attempts,
        "feedback": feedback,
        "problem": failed,
    }


async def _swaps(services: Services, found: tuple[Execution, ...]) -> dict[str, list[views.Json]]:
    """Swaps that were ordered or took effect while an execution ran, on tasks it made requests for, by execution."""
    tasks = {step.task for one in found for step in one.routed}
    made = {task: await services.store.swaps(task, Page(limit=SWAPS)) for task in sorted(tasks)}
    now = services.clock.now()
    during = {}
    for one in found:
        until = one.finished_at or now
        during[one.id] = [
            views.swap(swap)
            for task in sorted({step.task for step in one.routed})
            for swap in made[task]
            if swap.requested_at <= until and (swap.finished_at or now) >= one.started_at
        ]
    return during


def _stats(services: Services) -> views.Json:
    numbers = services.tracker.stats()
    said = numbers.feedback
    return {
        **{name: getattr(numbers, name) for name in type(numbers).__slots__ if name != "feedback"},
        "last_unjoined": [{"execution": one, "request_id": request} for one, request in numbers.last_unjoined],
        "feedback": {"said": said.said, "unjoined": said.unjoined},
    }
