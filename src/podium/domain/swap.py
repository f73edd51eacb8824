"""An ordered replacement of the version that serves a task."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SwapState(StrEnum):
    """Steps of an immediate swap, persisted one by one."""

    REQUESTED = "requested"
    VALIDATING = "validating"
    WARMING = "warming"
    PROMOTED = "promoted"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The gateway stopped, or the order was taken back, before the traffic moved. The version is not to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """Whether ``candidate`` may replace ``incumbent`` for a task, and what would change.

    ``gaps`` block always, ``strict_gaps`` only in strict mode, ``warnings`` never.
    Changes are candidate minus incumbent; ``None`` when either side has no measurement.
    """

    compatible: bool
    gaps: tuple[str, ...] = ()
    strict_gaps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    latency_change_ms: float | None = None
    quality_change: float | None = None
    memory_change_mb: float | None = None
    energy_change_mwh: float | None = None
    """Per request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One swap, as recorded. ``kind`` is ``swap`` or ``rollback``."""

    id: str
    task: str
    kind: str
    before: str | None
    after: str
    state: SwapState
    requested_at: float
    by: str
    reason: str = ""
    finished_at: float | None = None
    error: str | None = None
    compatibility: Compatibility | None = None
    load_ms: float | None = None
    """Physical load, when the candidate was cold; 0 when it was warm already."""
    swap_ms: float | None = None
    """From order to traffic moved, physical load excluded."""

    @property
    def ok(self) -> bool:
        """True when the traffic moved."""
        return self.state is SwapState.PROMOTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, for the record and for listeners: ``kind`` is ``area.verb``."""

    kind: str
    at: float
    subject: str
    data: tuple[tuple[str, str | int | float | bool | None], ...] = ()
    id: int | None = None
