"""The record of what things cost. Protocols; no implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from podium.domain.cost import Operation, SpentKey, SpentRow
from podium.domain.decision import Outcome


class KeyCostStore(Protocol):
    """What the requests of each key cost, by the hour. A key is named by its id, no key by the empty text."""

    async def open_key_costs(self, hour: int) -> Mapping[tuple[int, str], SpentRow]:
        """Rows of this hour since 1970 and of later ones, by hour and key."""
        ...

    async def save_key_costs(self, rows: Mapping[tuple[int, str], SpentRow]) -> None:
        """Write these sums, by hour and key, in the place of what is there."""
        ...

    async def key_costs_by(
        self, by: Sequence[str], since: int = 0, until: int | None = None, *, span: int = 1
    ) -> Mapping[tuple[int | str, ...], SpentRow]:
        """As ``CostStore.spending_by``; ``by`` names ``hour`` and ``key``."""
        ...

    async def prune_key_costs(self, before: int, most: int) -> None:
        """Delete hours before ``before``, and the oldest hours beyond ``most`` rows."""
        ...


class CostStore(Protocol):
    """Sums by the hour, operations without a decision, and who is charged. Writes of the recorder come by ``Batch``."""

    async def spending(
        self, since: int = 0, until: int | None = None, *, task: str | None = None, ref: str | None = None
    ) -> Mapping[SpentKey, SpentRow]:
        """Rows with ``since <= hour < until``, oldest hour first."""
        ...

    async def spending_by(
        self, by: Sequence[str], since: int = 0, until: int | None = None, *, span: int = 1
    ) -> Mapping[tuple[int | str, ...], SpentRow]:
        """Sums over ``since <= hour < until``, one for each value of ``by``: ``hour``, ``task``, ``ref``, ``cause``, in
        the order given. Hours are put together, ``span`` of them under the first.
        """
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
