"""Which events are actions that Podium took by itself, and how they stand in the audit log. Pure.

What a person orders is in the log by the route it came by. What follows later without a person (a ramp, a promotion, a
roll-back, a swap by a rule, a schedule that runs) is there by its event.
"""

from __future__ import annotations

import json

from podium.core.audit_redaction import small
from podium.domain.audit import AuditEntry, Author, Phase
from podium.domain.swap import Event

FOLLOWING = frozenset(
    {
        "rollout.ramped",
        "rollout.promoted",
        "rollout.rolled_back",
        "rollout.failed",
        "rollout.aborted",
        "autoswap.triggered",
        "rule.fired",
        "follow.ordered",
        "schedule.started",
        "schedule.done",
        "schedule.failed",
        "schedule.missed",
        "store.replaced",
    }
)
"""Recorded whoever began it: nobody was asked at that moment."""
ORDERED = frozenset({"swap.completed", "swap.rolled_back", "swap.failed", "swap.interrupted", "rollout.started"})
"""Recorded when no person ordered it: a person's order is there by its route."""
MACHINES = frozenset({"autoswap", "follow", "config", "batch", "maintenance"})
_RULE = "rule:"


def automatic(by: str) -> bool:
    """Whether ``by`` is a part of Podium. A client that calls itself so is in the log by its route, too."""
    return by in MACHINES or by.startswith(_RULE)


def entry_of_event(event: Event, by: str | None = None) -> AuditEntry | None:
    """The entry of an event; ``None`` for one that is no action, or that a person's order stands for.

    ``by`` ordered it, where the event does not say so itself.
    """
    data = dict(event.data)
    who = str(by if by is not None else data.get("by") or "podium")
    if event.kind not in FOLLOWING and not (event.kind in ORDERED and automatic(who)):
        return None
    area, _, _ = event.kind.partition(".")
    error = data.get("error")
    failed = bool(error) or event.kind.endswith((".failed", ".missed", ".interrupted"))
    plain = area in ("swap", "rollout", "autoswap", "rule", "follow")
    return AuditEntry(
        at=event.at,
        phase=Phase.EVENT,
        action=str(data.get(area) or data.get("swap") or data.get("rollout") or "") + f"/{event.kind}@{event.at:.6f}",
        author=Author(id="podium", name=who),
        what=event.kind,
        subject=f"task:{event.subject}" if plain else f"{area}:{event.subject}",
        task=event.subject if plain else None,
        before=_version(data.get("before", data.get("baseline"))),
        after=small({key: value for key, value in data.items() if key not in ("before", "by")}),
        outcome="failed" if failed else "ok",
    )


def _version(ref: object) -> str | None:
    return None if ref is None else json.dumps({"serves": ref})
