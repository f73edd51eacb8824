"""Routes of alerts and objectives. Changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import Query

from podium.domain.alert import Alert
from podium.ports import Page
from podium.server import views
from podium.server.control.access import Limit, Offset, ServicesDep
from podium.server.control.routing import guarded
from podium.services.plane import Services

router = guarded(tag="insight")
Task = Annotated[str | None, Query(description="Of this task only.")]
State = Annotated[Literal["open", "all"], Query(description="open: those that are not over.")]


@router.get("/alerts")
async def list_alerts(
    services: ServicesDep, task: Task = None, state: State = "all", limit: Limit = 50, offset: Offset = 0
) -> views.Json:
    """What became worse than it was, and error budgets that are used up too fast, newest first."""
    services.recorder.catch_up()
    if state == "open":
        found = tuple(reversed(services.alerts.open(task)))[offset : offset + limit]
    else:
        found = await services.alerts.listed(task, Page(limit=limit, offset=offset))
    return {"alerts": [view(one) for one in found]}


@router.get("/objectives")
async def list_objectives(services: ServicesDep, task: Task = None) -> views.Json:
    """What tasks promise, what is left of their error budgets, and how fast these are used."""
    services.recorder.catch_up()
    return {"objectives": [one for one in objectives_view(services) if task in (None, one["task"])]}


def view(alert: Alert) -> views.Json:
    """One alert."""
    shown = asdict(alert)
    del shown["kept"]
    return {**shown, "open": alert.open}


def objectives_view(services: Services) -> list[views.Json]:
    """Every objective now. Burn rates are in times of what is allowed; ``null`` where nothing happened."""
    promised = services.alerts.budgets.objectives
    return [
        {"task": task, "window_s": promised[task].window_s, **asdict(one)}
        for task, standings in services.alerts.standings().items()
        for one in standings
    ]
