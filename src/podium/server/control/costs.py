"""Routes of costs: sums by version and cause, profiles, two versions compared, trends, advice. Change nothing."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import Query

from podium.core.spending import HOUR_S, hour_of
from podium.domain.cost import Cause, SpentRow
from podium.domain.principal import Role
from podium.domain.unmeasured import NO_ENERGY
from podium.errors import InvalidRequest, StoreError
from podium.server import cost_views, views
from podium.server.control.access import Asking, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.cost_profiles import Look
from podium.services.plane import Services

router = guarded(tag="insight", prefix="/costs")
ASKED = (Cause.REQUEST, Cause.RETRY, Cause.CANARY)
"""Causes of what clients asked for; all other work is done behind their backs."""
Moment = Annotated[float | None, Query(ge=0, le=1e11, description="Unix time; hours are whole, older days too.")]
Task = Annotated[str | None, Query(max_length=200, description="Of this task only.")]
Model = Annotated[str | None, Query(max_length=300, description="Of this version (name@version) only.")]
Everything = Annotated[bool, Query(description="Also operations whose answer no client got, such as judging.")]
Window = Annotated[float | None, Query(ge=3_600, le=31_536_000, description="Seconds; left out: an hour or a day.")]


@router.get("", responses=errors(e404="there is no such version"))
async def costs(
    services: ServicesDep,
    since: Moment = None,
    until: Moment = None,
    task: Task = None,
    model: Model = None,
    everything: Everything = False,
) -> views.Json:
    """What every version spent, in total and by cause (``costs``), and what answers took: means, percentiles and totals by
    version, by task, and by both (``profiles``). Hours are whole.
    """
    look = await _look(services, since, until, task, model, everything)
    found = await services.cost_profiles.profiles(look)
    shown = [asdict(one) for one in found.profiles]
    spent = await _spent(services, look)
    return {"since": found.since, "until": found.until, "behind": found.behind, "costs": spent, "profiles": shown}


async def _spent(services: Services, look: Look) -> list[views.Json]:
    since = 0 if look.since is None else hour_of(look.since)
    until = None if look.until is None else hour_of(look.until) + 1
    by_ref: defaultdict[str, dict[Cause, list[SpentRow]]] = defaultdict(lambda: defaultdict(list))
    for key, row in (await services.costs.spending(since, until, task=look.task, ref=look.ref)).items():
        by_ref[key.ref][key.cause].append(row)
    rows = []
    for ref, causes in sorted(by_ref.items()):
        total = cost_views.spent(row for rows in causes.values() for row in rows)
        rows.append(
            {
                "ref": ref,
                **total,
                "requests": sum(row.operations for cause in ASKED for row in causes.get(cause, ())),
                "latency_s_total": total["wall_s"],
                "cpu_s_total": total["cpu_s"],
                "memory_mb_max": total["peak_memory_mb"],
                "energy_reason": None if total["energy_mwh"] is not None else NO_ENERGY,
                "causes": {cause: cost_views.spent(of) for cause, of in sorted(causes.items())},
            }
        )
    return rows


@router.get("/keys")
async def key_costs(services: ServicesDep, principal: Asking, since: Moment = None, until: Moment = None) -> views.Json:
    """What the requests that came with each key cost, the most operations first; ``key`` is null for those without one.
    Names of keys are told to admins alone. Hours are whole.
    """
    if since is not None and until is not None and since >= until:
        raise InvalidRequest(f"since {since:.12g} is not before until {until:.12g}", param="since")
    found = await services.key_costs.spent(since, until)
    names = {one.id: one.name for one in services.keys.all()} if principal.role is Role.ADMIN else {}
    rows = sorted(found.items(), key=lambda pair: (-pair[1].operations, pair[0]))
    spent = [{"key": key or None, "name": names.get(key), **cost_views.spent((row,))} for key, row in rows]
    return {"since": since, "until": until, "keys": spent}


@router.get("/over-time")
async def costs_over_time(
    services: ServicesDep,
    principal: Asking,
    by: Annotated[Literal["model", "task", "key"], Query(description="What the sums are divided by.")] = "model",
    since: Moment = None,
    span_h: Annotated[int, Query(ge=1, le=24, description="Hours that one point stands for.")] = 1,
) -> views.Json:
    """What was spent hour by hour, oldest first, by version, task or key; of keys what clients asked for alone. Without
    ``since``: the last 24 hours. An hour in which nothing was spent has no point.
    """
    with contextlib.suppress(StoreError):  # while the disk is full, what is on it can be read all the same
        await services.recorder.flush()
    start = max(0.0, services.clock.now() - 23 * HOUR_S) if since is None else since
    names = {one.id: one.name for one in services.keys.all()} if principal.role is Role.ADMIN and by == "key" else {}
    points = [
        {"at": hour * HOUR_S, by: name or None, "name": names.get(name), **cost_views.spent((row,))}
        for (hour, name), row in sorted((await over_time(services, by, start, span_h)).items())
    ]
    return {"by": by, "since": hour_of(start) * HOUR_S, "span_h": span_h, "points": points}


async def over_time(services: Services, by: str, since: float, span_h: int) -> dict[tuple[int, str], SpentRow]:
    """Sums by hour since 1970 (the first of ``span_h``) and version, task or key."""
    if by == "key":
        return dict(await services.key_costs.over_time(since, span_h))
    column = {"model": "ref", "task": "task"}[by]
    found = await services.costs.spending_by(("hour", column), hour_of(since), span=span_h)
    return {(int(hour), str(name)): row for (hour, name), row in found.items()}


@router.get("/compare", responses=errors(e404="there is no such version"))
async def compare_costs(
    services: ServicesDep,
    a: Annotated[
        str | None, Query(max_length=300, description="The one that is compared with: name@version or alias.")
    ] = None,
    b: Annotated[
        str | None, Query(max_length=300, description="The other one; neither: the two that did most.")
    ] = None,
    since: Moment = None,
    until: Moment = None,
    task: Task = None,
    everything: Everything = False,
) -> views.Json:
    """What B took minus what A took, with 95 % intervals; without a task over those that both served."""
    look = await _look(services, since, until, task, None, everything)
    if a is None and b is None:
        found = (await services.cost_profiles.profiles(look)).profiles
        refs = [one.ref for one in found if one.task is None and one.ref is not None][:2]
        if len(refs) < 2:
            note = "nothing to compare: fewer than two versions have answered"
            return {"a": None, "b": None, "task": task, "tasks": [], "since": since, "differences": [], "notes": [note]}
        return asdict(await services.cost_profiles.compare(refs[0], refs[1], look))
    if a is None or b is None:
        raise InvalidRequest(
            "name both versions, or neither for the two that did most", param="a" if a is None else "b"
        )
    first, second = services.registry.resolve(a), services.registry.resolve(b)
    return asdict(await services.cost_profiles.compare(first.ref, second.ref, look))


@router.get("/trends", responses=errors(e404="there is no such version"))
async def cost_trends(
    services: ServicesDep,
    since: Moment = None,
    until: Moment = None,
    task: Task = None,
    model: Model = None,
    window_s: Window = None,
    everything: Everything = False,
) -> views.Json:
    """Whether versions get slower or dearer over windows of time, and how sure that is."""
    look = await _look(services, since, until, task, model, everything)
    return {"trends": [asdict(one) for one in await services.cost_profiles.trends(look, window_s)]}


@router.get("/advice")
async def cost_advice(
    services: ServicesDep, since: Moment = None, until: Moment = None, everything: Everything = False
) -> views.Json:
    """What is under-used, over-used or dearer than what is as good: the numbers, what to do, and by which command."""
    found = await services.cost_profiles.advice(await _look(services, since, until, None, None, everything))
    return asdict(found)


async def _look(
    services: Services,
    since: float | None,
    until: float | None,
    task: str | None,
    model: str | None,
    everything: bool,
) -> Look:
    if since is not None and until is not None and since >= until:
        raise InvalidRequest(f"since {since:.12g} is not before until {until:.12g}", param="since")
    with contextlib.suppress(StoreError):  # while the disk is full, what is on it can be read all the same
        await services.recorder.flush()
    ref = None if model is None else services.registry.resolve(model).ref
    return Look(since=since, until=until, task=task, ref=ref, everything=everything)
