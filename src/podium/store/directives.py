"""Rows of standing orders about versions. Functions over a connection; commits nothing itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.directive import Directive
from podium.store import schema

FOR_EVER = -1.0
"""How an endless keep-alive is stored: databases do not agree on infinity."""


def put_directive(connection: Connection, ref: str, directive: Directive | None) -> None:
    """Insert, replace or remove."""
    if directive is None:
        connection.execute(delete(schema.directives).where(schema.directives.c.ref == ref))
        return
    kept = directive.keep_alive_s
    values = {
        "pinned": directive.pinned,
        "preload": directive.preload,
        "keep_alive_s": FOR_EVER if kept == math.inf else kept,
        "min_copies": directive.min_copies,
        "max_copies": directive.max_copies,
    }
    statement = upsert(schema.directives).values(ref=ref, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["ref"], set_=values))


def all_directives(connection: Connection) -> Mapping[str, Directive]:
    """By ref."""
    return {
        row.ref: Directive(
            pinned=bool(row.pinned),
            preload=bool(row.preload),
            keep_alive_s=math.inf if row.keep_alive_s == FOR_EVER else row.keep_alive_s,
            min_copies=row.min_copies,
            max_copies=row.max_copies,
        )
        for row in connection.execute(select(schema.directives))
    }
