"""Rows of sealed secrets. Functions over a connection; commits nothing itself and opens nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, LargeBinary, cast, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.secret import Sealed, SealedSecret
from podium.store.schema import secrets


def change(connection: Connection, kept: Sequence[SealedSecret], removed: Sequence[str]) -> None:
    """Insert or replace by name, and delete."""
    for row in kept:
        values = {
            "version": row.version,
            "key_id": row.sealed.key_id,
            "nonce": row.sealed.nonce,
            "content": row.sealed.content,
            "set_at": row.set_at,
            "set_by": row.set_by,
        }
        statement = upsert(secrets).values(name=row.name, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    for name in removed:
        connection.execute(delete(secrets).where(secrets.c.name == name))


def every(connection: Connection) -> tuple[SealedSecret, ...]:
    """By name. What was altered by hand is read as it is: it will not open, and the others will."""
    binary = ("nonce", "content")
    columns = [cast(one, LargeBinary).label(one.name) if one.name in binary else one for one in secrets.c]
    return tuple(
        SealedSecret(
            name=row.name,
            version=row.version,
            sealed=Sealed(key_id=row.key_id, nonce=bytes(row.nonce), content=bytes(row.content)),
            set_at=row.set_at,
            set_by=row.set_by,
        )
        for row in connection.execute(select(*columns).order_by(secrets.c.name))
    )
