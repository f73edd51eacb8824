"""The store's verbs about budgets. See ``ports.BudgetStore``; ``SqliteStore`` inherits them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from podium.domain.budget import AccountRow, Budget, HeldRow
from podium.store import budgets
from podium.store.writer import Writer

T = TypeVar("T")


class BudgetTables(ABC):
    """Works through the writer and reader of the store it is part of."""

    _writer: Writer

    @abstractmethod
    async def _read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds over the reading connection. Raises ``StoreError``."""

    async def budgets(self) -> tuple[Budget, ...]:
        return await self._read(budgets.all_budgets)

    async def save_budget(self, budget: Budget) -> None:
        await self._writer.run(lambda connection: budgets.put_budget(connection, budget))

    async def remove_budget(self, name: str) -> None:
        await self._writer.run(lambda connection: budgets.remove_budget(connection, name))

    async def budget_accounts(self) -> tuple[AccountRow, ...]:
        return await self._read(budgets.all_accounts)

    async def hold_budgets(self, held: Sequence[HeldRow]) -> None:
        await self._writer.run(lambda connection: budgets.hold(connection, held))

    async def held_budgets(self) -> tuple[HeldRow, ...]:
        return await self._read(budgets.all_held)

    async def settle_budgets(
        self,
        accounts: Sequence[AccountRow],
        settled: Sequence[str] = (),
        forgotten: Sequence[tuple[str, str]] = (),
    ) -> None:
        await self._writer.run(lambda connection: budgets.settle(connection, accounts, settled, forgotten))
