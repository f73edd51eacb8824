"""Names on record, read from the database file without opening the store: beside a running server, and on a machine
without one. Changes nothing, and makes no file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

_QUERIES = {
    "models": "SELECT name FROM versions WHERE status <> 'retired' UNION SELECT ref FROM versions WHERE status <> 'retired'",
    "aliases": "SELECT alias FROM aliases",
    "tasks": "SELECT name FROM tasks UNION SELECT task FROM bindings UNION SELECT task FROM evidence",
    "keys": "SELECT id FROM api_keys",
    "providers": "SELECT DISTINCT provider FROM versions",
}


def recorded_names(path: Path) -> Mapping[str, frozenset[str]] | None:
    """Names by what they are of; ``None`` when there is no database that can be read."""
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2.0)) as connection:
            return {
                what: frozenset(str(row[0]) for row in connection.execute(query)) for what, query in _QUERIES.items()
            }
    except sqlite3.Error:
        return None
