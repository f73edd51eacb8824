"""The playground: one prompt to two versions side by side, a vote that is feedback, and what each answer took."""

from __future__ import annotations

from podium.core.access import may_use
from podium.domain.model import Capability, Lifecycle
from podium.ports import Page as Rows
from podium.web.page import Data, Look, Page

MOST = 500


async def data(look: Look) -> Data:
    """What may be asked: auto, tasks, and active versions that chat; of a key with a scope those within it."""
    services, principal = look.services, look.principal
    active, _ = services.registry.query(status=Lifecycle.ACTIVE, page=Rows(limit=MOST))
    versions = sorted(
        one.ref
        for one in active
        if may_use(principal, one.ref) and (not one.facts.capabilities or Capability.CHAT in one.facts.capabilities)
    )
    tasks = sorted(
        spec.name for spec in services.tasks.specs() if principal.tasks is None or spec.name in principal.tasks
    )
    first = look.query.get("a") or (versions[0] if versions else "auto")
    second = look.query.get("b") or (versions[1] if len(versions) > 1 else "auto")
    return {
        "versions": versions,
        "tasks": tasks[:MOST],
        "chosen": {"a": first, "b": second},
        "task": look.query.get("task", ""),
        "bounded": principal.tasks is not None,
        "sees_costs": not principal.limited,
    }


PAGE = Page(
    path="/playground", title="Playground", template="playground.html", data=data, tab="playground", for_limited=True
)
