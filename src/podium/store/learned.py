"""Rows of what learners keep: one opaque, versioned value each. Functions over a connection; commits nothing itself."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.store import schema


def put_learned(connection: Connection, name: str, content: bytes, at: float) -> None:
    """Insert or replace."""
    statement = upsert(schema.learned).values(name=name, content=content, saved_at=at)
    values = {"content": content, "saved_at": at}
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def all_learned(connection: Connection) -> Mapping[str, bytes]:
    """By name."""
    return {row.name: row.content for row in connection.execute(select(schema.learned))}
