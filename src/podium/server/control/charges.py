"""What was done because of something, and what all of it cost: the canary and shadow of a rollout, the judging of a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from podium.core.spending import spend
from podium.domain.cost import SpentRow
from podium.domain.rollout import FINAL, RolloutState
from podium.errors import NotFound
from podium.server import cost_views, views
from podium.server.control.access import ServicesDep
from podium.server.control.routing import guarded
from podium.services.plane import Services

router = guarded(tag="insight", prefix="/costs/charged")
LOST = frozenset({RolloutState.ROLLED_BACK, RolloutState.ABORTED, RolloutState.FAILED})
"""Ends of a rollout in which its canary was for nothing."""
Id = Annotated[str, Path(max_length=128, description="Of a rollout, request, decision or benchmark run.")]


@router.get("/{charged_to}")
async def charged(charged_to: Id, services: ServicesDep) -> views.Json:
    """Attempts and operations charged to something (the oldest 1,000 of each), and their sums. ``lost`` says of a rollout
    whether its candidate was given up; it is null while it runs, and for everything else.
    """
    await services.recorder.flush()
    attempts, operations = await services.costs.charged(charged_to)
    state = await state_of(services, charged_to)
    total = SpentRow()
    for attempt in attempts:
        total = spend(total, attempt.cost, success=attempt.success)
    for done in operations:
        total = spend(total, done.cost, success=done.success)
    return {
        "charged_to": charged_to,
        "state": state,
        "lost": None if state not in FINAL else state in LOST,
        "total": cost_views.spent((total,)),
        "attempts": [
            {
                "decision_id": one.decision_id,
                "request_id": one.request_id,
                "ref": one.ref,
                "cost": cost_views.cost(one.cost),
            }
            for one in attempts
        ],
        "operations": [cost_views.operation(one) for one in operations],
    }


async def state_of(services: Services, charged_to: str) -> RolloutState | None:
    """How the rollout stands, if it is one."""
    try:
        return (await services.rollouts.find(charged_to)).state
    except NotFound:
        return None
