"""What the requests of each key cost, by the hour, and the store's verbs about it. See ``ports.KeyCostStore``.

Sums are written whole, never added to: repeating a write changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.cost import SpentRow
from podium.store import schema
from podium.store.cost_sums import SUMS as _SUMS
from podium.store.cost_sums import CostSums
from podium.store.writer import Writer

_row = upsert(schema.key_costs)
_put = _row.on_conflict_do_update(index_elements=["hour", "key"], set_={name: _row.excluded[name] for name in _SUMS})


class KeyCostTable(CostSums):
    """Works through the writer and reader of the store it is part of."""

    _writer: Writer

    async def open_key_costs(self, hour: int) -> Mapping[tuple[int, str], SpentRow]:
        return await self._read(lambda connection: _open(connection, hour))

    async def save_key_costs(self, rows: Mapping[tuple[int, str], SpentRow]) -> None:
        await self._writer.run(lambda connection: _save(connection, rows))

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


def _prune(connection: Connection, before: int, most: int) -> None:
    table = schema.key_costs
    connection.execute(delete(table).where(table.c.hour < before))
    excess = connection.execute(select(func.count()).select_from(table)).scalar_one() - most
    if excess > 0:
        last = connection.execute(select(table.c.hour).order_by(table.c.hour).limit(1).offset(excess - 1)).scalar_one()
        connection.execute(delete(table).where(table.c.hour <= last))
