"""Calls to somebody else's server that tell what happened here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook. Of one webhook and subject, the lowest ``seq`` goes out first."""

    seq: int
    webhook: str
    subject: str
    kind: str
    content: bytes
    """The body of the call, a JSON object."""
    created_at: float
    attempts: int = 0
    """Failed ones so far."""
    next_at: float = 0.0
    error: str | None = None
    """Of the last attempt."""

    @property
    def message_id(self) -> str:
        """The same in every attempt, different for every delivery of every database; holds no dot."""
        return f"msg_{int(self.created_at * 1e6):x}_{self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits for one webhook."""

    ready: tuple[Delivery, ...]
    """Heads of their subjects whose time has come: fewest attempts first, then longest due."""
    next_at: float | None
    """When the next of the other heads is due; ``None`` when there is none."""
    waiting: int
    """All deliveries of the webhook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What the other server answered."""

    status: int
    retry_after: str | None = None
    """The header as it came."""
