"""The record of budgets. Protocols; no implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from podium.domain.budget import AccountRow, Budget, HeldRow
from podium.domain.cost import SpentKey, SpentRow


class BudgetStore(Protocol):
    """Budgets, what was used of them, and reservations that must outlive a crash. Raises ``StoreError``."""

    async def budgets(self) -> tuple[Budget, ...]:
        """Those that were set while running, by name."""
        ...

    async def save_budget(self, budget: Budget) -> None:
        """Insert or replace by name."""
        ...

    async def remove_budget(self, name: str) -> None:
        """Forget it with everything that was used of it."""
        ...

    async def budget_accounts(self) -> tuple[AccountRow, ...]: ...

    async def hold_budgets(self, held: Sequence[HeldRow]) -> None:
        """Keep reservations; they are durable when this returns."""
        ...

    async def held_budgets(self) -> tuple[HeldRow, ...]:
        """Reservations that nobody settled."""
        ...

    async def settle_budgets(
        self,
        accounts: Sequence[AccountRow],
        settled: Sequence[str] = (),
        forgotten: Sequence[tuple[str, str]] = (),
    ) -> None:
        """In one transaction: put whole accounts, remove reservations by id, and accounts by (budget, subject)."""
        ...

    async def spending(
        self, since: int = 0, until: int | None = None, *, task: str | None = None, ref: str | None = None
    ) -> Mapping[SpentKey, SpentRow]:
        """What was spent by the hour, see ``CostStore``."""
        ...
