"""The record of executions and alerts. Protocols and small values; no implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from podium.domain.alert import Alert
from podium.domain.execution import Execution, ExecutionFilter, Standing
from podium.domain.swap import Event
from podium.ports.store import Page


class ExecutionStore(Protocol):
    """Executions that are tracked, ordered by their last change."""

    async def save_executions(self, changed: Sequence[Execution]) -> None:
        """Insert or replace by id; each is then the newest change, in the order given."""
        ...

    async def find_execution(self, execution_id: str) -> Execution | None: ...

    async def executions(self, which: ExecutionFilter, page: Page) -> tuple[Execution, ...]:
        """Newest change first; with ``which.after`` oldest change first."""
        ...

    async def standings(self, agent: str | None) -> tuple[Standing, ...]:
        """How executions went, by agent, type and version."""
        ...

    async def prune_executions(self, most: int, older_than: float) -> int:
        """Delete those that are over and beyond the newest ``most``, or were over before the Unix time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What was recorded of a task around one time."""

    task: str
    at: float
    sums: tuple[float, ...]
    """Requests, failed ones, answers, slow ones, weight of scores, weighted loss of scores."""


class AlertStore(Protocol):
    """Alerts with their events, and the past that objectives look back on."""

    async def save_alert(self, alert: Alert, event: Event) -> None:
        """Insert or replace by id, with its event in the same transaction."""
        ...

    async def open_alerts(self) -> tuple[Alert, ...]:
        """Those that are not over, oldest first."""
        ...

    async def alerts(self, task: str | None, page: Page) -> tuple[Alert, ...]:
        """Newest first."""
        ...

    async def recorded_pieces(
        self,
        limits: Mapping[str, float | None],
        since: float,
        piece_s: float,
        *,
        excused: Sequence[str],
        weights: Mapping[str, float],
    ) -> tuple[Piece, ...]:
        """Sums by time since the Unix time ``since``, of the tasks in ``limits``, which holds their latency limits in
        milliseconds. Requests that ended with an error in ``excused`` count nowhere; ``weights`` are of scores by source.
        """
        ...
