"""What operations took, added up in cells. Protocols and small values; no implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from podium.domain.record import record


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class CellKey:
    """Which operations a cell holds: those that ended in ``[start, start + span)``, Unix seconds."""

    start: int
    span: int
    task: str
    """``*``: no operations, only the time in which any of the version ran."""
    ref: str
    """``*``: any version on this machine."""
    cause: str


class CostCellStore(Protocol):
    """Cells of the record, by the hour and later by the day."""

    async def fold_costs(self, limit: int) -> int:
        """Take up to ``limit`` rows of the record that are in no cell yet; how many it took."""
        ...

    async def unfolded_costs(self) -> int:
        """About how many rows of the record are in no cell yet."""
        ...

    async def read_cost_cells(
        self, take: Callable[[CellKey, bytes], None], *, since: float, until: float, task: str | None, ref: str | None
    ) -> None:
        """Hand over each cell that overlaps ``[since, until)``, oldest first; ``take`` is called in another thread."""
        ...

    async def tidy_cost_cells(self, days_before: float, forget_before: float, most: int) -> None:
        """Make days of whole days of hours that ended before a Unix time, and keep the newest ``most`` cells."""
        ...
