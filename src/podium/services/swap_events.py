"""How a step of a swap, or its taking back, is told to listeners, webhooks and the record. Decides nothing."""

from __future__ import annotations

from podium.domain.swap import Event, Swap
from podium.domain.task import Binding


def told(kind: str, swap: Swap, at: float) -> Event:
    """The event of one step; ``at`` is Unix seconds."""
    about = (
        ("swap", swap.id),
        ("kind", swap.kind),
        ("before", swap.before),
        ("after", swap.after),
        ("error", swap.error),
    )
    return Event(kind=kind, at=at, subject=swap.task, data=about)


def unbound(before: Binding, by: str, reason: str, at: float) -> Event:
    """A task is bound to no version any more: the policy chooses for it again."""
    about = ("before", before.ref), ("by", by), ("reason", reason)
    return Event(kind="swap.unbound", at=at, subject=before.task, data=about)
