"""Rows of calibrations, one for each judge and criterion. Functions over a connection; commits nothing itself."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.judgment import Calibration
from podium.errors import StoreError
from podium.store import schema


def put_calibration(connection: Connection, calibration: Calibration) -> None:
    """Insert or replace."""
    values = {"content": msgspec.json.encode(_plain(calibration)).decode(), "at": calibration.at}
    statement = upsert(schema.calibrations).values(judge=calibration.judge, criterion=calibration.criterion, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["judge", "criterion"], set_=values))


def all_calibrations(connection: Connection) -> tuple[Calibration, ...]:
    """By judge and criterion. Raises ``StoreError`` for a row that is none."""
    table = schema.calibrations
    return tuple(_read(row) for row in connection.execute(select(table).order_by(table.c.judge, table.c.criterion)))


def remove_calibration(connection: Connection, judge: str, criterion: str) -> bool:
    """Whether there was one."""
    table = schema.calibrations
    gone = connection.execute(delete(table).where(table.c.judge == judge, table.c.criterion == criterion))
    return gone.rowcount > 0


def _plain(calibration: Calibration) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(calibration, name) for name in Calibration.__dataclass_fields__}
    return fields | {"weights": dict(calibration.weights)}


def _read(row: object) -> Calibration:
    judge, criterion, content = row.judge, row.criterion, row.content  # type: ignore[attr-defined] # columns of the table
    try:
        return msgspec.convert(msgspec.json.decode(content), Calibration)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StoreError(f"the stored calibration of {judge} on {criterion} cannot be read: {error}") from error
