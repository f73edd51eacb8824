"""Durable state on SQLite: schema, migrations, one writer thread, repositories."""

from __future__ import annotations

from podium.store.opening import open_store
from podium.store.sqlite import SqliteStore

__all__ = ["SqliteStore", "open_store"]
