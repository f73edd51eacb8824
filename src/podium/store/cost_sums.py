"""Sums of what was spent, grouped by the database: by hour or longer, task, version, cause; and by key. Commits nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TypeVar

from sqlalchemy import Connection, Table, func, select

from podium.domain.cost import SpentRow
from podium.store import schema

T = TypeVar("T")
SUMS = tuple(field.name for field in fields(SpentRow))


class CostSums(ABC):
    """Works through the reader of the store it is part of."""

    @abstractmethod
    async def _read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds over the reading connection. Raises ``StoreError``."""

    async def spending_by(
        self, by: Sequence[str], since: int = 0, until: int | None = None, *, span: int = 1
    ) -> Mapping[tuple[int | str, ...], SpentRow]:
        return await self._read(lambda connection: summed(connection, schema.spending, by, since, until, span))

    async def key_costs_by(
        self, by: Sequence[str], since: int = 0, until: int | None = None, *, span: int = 1
    ) -> Mapping[tuple[int | str, ...], SpentRow]:
        return await self._read(lambda connection: summed(connection, schema.key_costs, by, since, until, span))


def summed(
    connection: Connection, table: Table, by: Sequence[str], since: int, until: int | None, span: int = 1
) -> dict[tuple[int | str, ...], SpentRow]:
    """Sums of the hours in [since, until), one for each value of the columns ``by``. Hours become their first in ``span``."""
    groups = [table.c.hour - table.c.hour % span if name == "hour" else table.c[name] for name in by]
    peaks = {"peak_memory_mb"}  # do not add up
    sums = [(func.max if name in peaks else func.sum)(table.c[name]).label(name) for name in SUMS]
    query = select(*groups, *sums).where(table.c.hour >= since).group_by(*groups)
    if until is not None:
        query = query.where(table.c.hour < until)
    count = len(groups)
    return {
        tuple(row[:count]): SpentRow(**dict(zip(SUMS, row[count:], strict=True))) for row in connection.execute(query)
    }
