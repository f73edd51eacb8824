"""The trace a request belongs to, as W3C Trace Context names it, and what is noted of the request while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podium.domain.decision import Decision, Outcome

SAMPLED = 0x01


@dataclass(slots=True, kw_only=True)
class Trace:
    """One request's place in a trace.

    Unless it is ``recording``, ``span_id`` is the caller's, who is all that anybody will hear of.
    """

    trace_id: int
    """128 bits, not 0."""
    span_id: int
    """64 bits, not 0."""
    flags: int = 0
    state: str = ""
    """The ``tracestate`` as it came: other systems' notes, passed on."""
    parent_id: int | None = None
    """The caller's span, where there is one."""
    recording: bool = False
    """Spans are made of it when it ends."""
    started_at: float = 0.0
    """Unix seconds."""
    calls: dict[str, int] = field(default_factory=dict)
    """Span ids of calls to models, by decision."""
    attempts: list[tuple[Decision, Outcome]] = field(default_factory=list)

    @property
    def sampled(self) -> bool:
        """Somebody wants to see its spans."""
        return bool(self.flags & SAMPLED)
