"""The record of what things cost. Protocols; no implementation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from podium.domain.cost import Operation, SpentKey, SpentRow
from podium.domain.decision import Outcome


class CostStore(Protocol):
    """Sums by the hour, operations without a decision, and who is charged. Writes of the recorder come by ``Batch``."""

    async def spending(
        self, since: int = 0, until: int | None = None, *, task: str | None = None, ref: str | None = None
    ) -> Mapping[SpentKey, SpentRow]:
        """Rows with ``since <= hour < until``, oldest hour first."""
        ...

    async def operations_about(self, request_id: str) -> tuple[Operation, ...]:
        """Work that was done because of a client's request, beside its attempts; oldest first."""
        ...

    async def charged(self, to: str) -> tuple[tuple[Outcome, ...], tuple[Operation, ...]]:
        """Attempts and operations charged to a decision, rollout, request or run; oldest first, at most 1,000 each."""
        ...

    async def keep_price_table(self, version: str, content: str, at: float) -> None:
        """Keep a table that prices are taken from; one that is there already stays."""
        ...

    async def price_table(self, version: str) -> str | None:
        """The table's content, if it was ever used here."""
        ...

    async def prune_costs(self, most_operations: int, most_rows: int, older_than: float) -> int:
        """Delete operations beyond the cap or older than the Unix time, and the oldest hours beyond ``most_rows`` rows
        of sums; returns how many rows went.
        """
        ...
