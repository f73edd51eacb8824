"""What the requests of each key cost, by the hour, and the store's verbs about it. See ``ports.KeyCostStore``.

Sums are written whole, never added to: repeating a write changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TypeVar

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.cost import SpentRow
from podium.store import schema
from podium.store.writer import Writer

T = TypeVar("T")
_SUMS = tuple(field.name for field in fields(SpentRow))
_row = upsert(schema.key_costs)
_put = _row.on_conflict_do_update(index_elements=["hour", "key"], set_={name: _row.excluded[name] for name in _SUMS})


class KeyCostTable:
    """Works through the writer and reader of the store it is part of."""

    _writer: Writer

    async def _read(self, work: Callable[[Connection], T]) -> T:
        raise NotImplementedError

    async def open_key_costs(self, hour: int) -> Mapping[tuple[int, str], SpentRow]:
        return await self._read(lambda connection: _open(connection, hour))

    async def save_key_costs(self, rows: Mapping[tuple[int, str], SpentRow]) -> None:
        await self._writer.run(lambda connection: _save(connection, rows))

    async def key_costs(self, since: int, until: int | None) -> Mapping[str, SpentRow]:
        return await self._read(lambda connection: _summed(connection, since, until))

    async def prune_key_costs(self, before: int, most: int) -> None:
        await self._writer.run(lambda connection: _prune(connection, before, most))


def _open(connection: Connection, hour: int) -> dict[tuple[int, str], SpentRow]:
    table = schema.key_costs
    return {
        (row.hour, row.key): SpentRow(**{name: getattr(row, name) for name in _SUMS})
        for row in connection.execute(select(table).where(table.c.hour >= hour))
    }


def _save(connection: Connection, rows: Mapping[tuple[int, str], SpentRow]) -> None:
    connection.execute(
        _put,
        [
            {"hour": hour, "key": key, **{name: getattr(row, name) for name in _SUMS}}
            for (hour, key), row in rows.items()
        ],
    )


def _summed(connection: Connection, since: int, until: int | None) -> dict[str, SpentRow]:
    table = schema.key_costs
    sums = [
        (func.max if name == "peak_memory_mb" else func.sum)(table.c[name]).label(name)  # peaks do not add up
        for name in _SUMS
    ]
    query = select(table.c.key, *sums).where(table.c.hour >= since).group_by(table.c.key)
    if until is not None:
        query = query.where(table.c.hour < until)
    return {row.key: SpentRow(**{name: getattr(row, name) for name in _SUMS}) for row in connection.execute(query)}


def _prune(connection: Connection, before: int, most: int) -> None:
    table = schema.key_costs
    connection.execute(delete(table).where(table.c.hour < before))
    excess = connection.execute(select(func.count()).select_from(table)).scalar_one() - most
    if excess > 0:
        last = connection.execute(select(table.c.hour).order_by(table.c.hour).limit(1).offset(excess - 1)).scalar_one()
        connection.execute(delete(table).where(table.c.hour <= last))
