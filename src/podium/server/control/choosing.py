"""The route that says which version a request for a task would go to now, without sending one."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from podium.domain.model import Capability
from podium.server import views
from podium.server.control.access import MOST, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.server.criteria import read_criteria

router = guarded(tag="tasks")


class ChooseBody(BaseModel):
    """What the request would ask for."""

    model_config = ConfigDict(extra="forbid")
    criteria: dict[str, Any] | None = Field(default=None, description="as in the header x-podium-criteria")
    needs: list[Capability] = Field(default=[Capability.CHAT], description="capabilities; chat by default")
    size: int = Field(default=0, ge=0, le=MOST, description="bytes of its body")


@router.post("/tasks/{task}/choose", responses=errors(e422="no version passes the limits; `details` says why, each"))
async def choose_version(task: str, services: ServicesDep, body: ChooseBody | None = None) -> views.Json:
    """What would serve it, why, and what that version promises. Nothing is recorded; a request may still go elsewhere:
    to explore, in a rollout, or because something changed meanwhile.
    """
    said = body or ChooseBody()
    criteria = None if said.criteria is None else read_criteria(said.criteria)
    if not services.tasks.known(task):
        services.selector.meet(services.tasks.ensure(task))
    services.recorder.catch_up()
    needs = frozenset(need.value for need in said.needs)
    choice = services.selector.choose(task, needs=needs, size=said.size, explicit=None, criteria=criteria)
    return {
        "task": task,
        "chosen": choice.chosen,
        "strategy": choice.strategy,
        "confidence": choice.confidence,
        "reason": choice.reason,
        "fallbacks": list(choice.fallbacks),
        "exploration": choice.exploration,
        "expected": {name: getattr(choice.expected, name) for name in type(choice.expected).__slots__},
        "candidates": [views.candidate(one) for one in choice.candidates],
    }
