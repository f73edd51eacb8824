"""How a step of a swap is told to listeners, webhooks and the record. Decides nothing."""

from __future__ import annotations

from podium.domain.swap import Event, Swap


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
