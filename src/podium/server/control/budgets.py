"""Routes of budgets. Amounts come and go in the unit that the budget names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from podium.core.budget import amount, shown
from podium.domain.budget import Budget, Period, Scope, Standing, Unit
from podium.server import views
from podium.server.control.access import Actor, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services import openings
from podium.services.plane import Services

router = guarded(tag="budgets")
Subjects = Annotated[
    int, Query(ge=1, le=1000, description="At most so many subjects of a budget for each, fullest first.")
]


class BudgetBody(BaseModel):
    """What may be used up, by whom, in which time."""

    model_config = ConfigDict(extra="forbid")
    scope: Scope
    subject: str = Field(description='A key, task or provider; "*": each of them has it for itself.')
    unit: Unit
    limit: float = Field(strict=True, description="In that unit; 0 refuses everything.")
    period: Period = Period.MONTH
    timezone: str = Field(default="UTC", description="IANA name; in it days, weeks and months begin.")


@router.get("/budgets")
async def list_budgets(services: ServicesDep, subjects: Subjects = 20) -> views.Json:
    """Every budget with what was used of it in the present window."""
    names = sorted(services.budgeting.ledger.budgets)
    return {"budgets": [_view(services, name, subjects) for name in names], "problem": services.budgeting.error}


@router.get("/budgets/{name}", responses=errors(e404="there is no such budget"))
async def show_budget(name: str, services: ServicesDep, subjects: Subjects = 100) -> views.Json:
    """One budget."""
    return _view(services, name, subjects)


@router.put(
    "/budgets/{name}",
    responses=errors(e400="the budget makes no sense", e409="it is in the configuration, which alone can change it"),
)
async def set_budget(name: str, body: BudgetBody, services: ServicesDep, actor: Actor) -> views.Json:
    """Make a budget, or change one. Another limit leaves what was used as it is; anything else begins anew."""
    made = Budget(
        name=name,
        scope=body.scope,
        subject=body.subject,
        unit=body.unit,
        limit=amount(body.limit, body.unit),
        period=body.period,
        timezone=body.timezone,
        by=actor,
    )
    await services.budgeting.set(made)
    return _view(services, name, 100)


@router.delete(
    "/budgets/{name}",
    status_code=204,
    responses=errors(e404="there is no such budget", e409="it is in the configuration, which alone can change it"),
)
async def remove_budget(name: str, services: ServicesDep) -> Response:
    """Take a budget back, with what was used of it."""
    await services.budgeting.remove(name)
    return Response(status_code=204)


def _view(services: Services, name: str, most: int) -> views.Json:
    budget, found = services.budgeting.standings(name)
    return {
        "name": budget.name,
        "scope": budget.scope,
        "subject": budget.subject,
        "unit": budget.unit,
        "limit": shown(budget.limit, budget.unit),
        "period": budget.period,
        "timezone": budget.timezone,
        "declared": budget.declared,
        "by": budget.by,
        "accounts": [_account(budget, one) for one in found[:most]],
        "subjects": len(found),
    }


def _account(budget: Budget, one: Standing) -> views.Json:
    end = one.window.end
    return {
        "subject": one.subject,
        "state": one.state,
        "used": shown(one.used, budget.unit),
        "reserved": shown(one.reserved, budget.unit),
        "left": shown(one.left, budget.unit),
        "unmeasured": one.unmeasured,
        "window_start": one.window.start if end is not None else None,
        "window_end": end,
        "window_end_local": None if end is None else openings.shown(end, budget.timezone),
    }
