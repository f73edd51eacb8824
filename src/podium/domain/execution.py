"""An execution: one piece of work of an agent, from its start to what came of it, with the requests it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class ExecutionState(StrEnum):
    """``abandoned``: nobody completed it in time; what came of it is not known."""

    OPEN = "open"
    COMPLETED = "completed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """One routing decision of an execution."""

    request_id: str
    decision_id: str
    task: str
    ref: str
    """The version it went to."""
    at: float
    success: bool | None = None
    """``None`` while the answer is being made."""
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Sums over the attempts of an execution that have ended. ``None``: measured for none of them.

    ``measured`` says for how many attempts each figure is known, so that a sum over a part is seen to be one.
    """

    attempts: int = 0
    failed: int = 0
    wall_ms: float = 0.0
    cpu_ms: float | None = None
    energy_mwh: float | None = None
    peak_memory_mb: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    measured: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution as it is known now. ``ref``, ``decision_id`` and ``request_id`` are those of its newest request."""

    id: str
    type: str
    agent: str | None
    started_at: float
    timeout_s: float
    """So long after its start it is given up."""
    finished_at: float | None = None
    success: bool | None = None
    """``None`` unless it was completed."""
    quality: float | None = None
    """In [0, 1]; ``None`` when nobody said."""
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """What the agent says of it, JSON values."""
    requests: int = 0
    """Routing decisions made for it; the newest of them are in ``routed``."""
    routed: tuple[Routed, ...] = ()
    """Oldest first."""
    spent: Spent = Spent()
    seq: int = 0
    """The place of its last change in the record; 0 when that is not written yet."""

    @property
    def state(self) -> ExecutionState:
        """Where it stands."""
        if self.finished_at is None:
            return ExecutionState.OPEN
        return ExecutionState.ABANDONED if self.success is None else ExecutionState.COMPLETED

    @property
    def ref(self) -> str | None:
        """The version its newest request went to."""
        return self.routed[-1].ref if self.routed else None

    @property
    def decision_id(self) -> str | None:
        """Its newest decision."""
        return self.routed[-1].decision_id if self.routed else None

    @property
    def request_id(self) -> str | None:
        """Its newest request."""
        return self.routed[-1].request_id if self.routed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """Which executions are meant; ``None`` is any. ``after``: only those that changed after this place in the record,
    oldest change first (else newest change first).
    """

    type: str | None = None
    agent: str | None = None
    state: ExecutionState | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the executions of one agent and type that one version served last went, over the newest on record."""

    agent: str | None
    type: str
    ref: str | None
    """``None``: they made no request."""
    open: int
    completed: int
    succeeded: int
    abandoned: int
    quality: float | None
    """Mean of those that have one."""
    rated: int
    """How many have one."""
    last_at: float
    """When the newest was started."""
