"""SQLite engines with the settings Podium relies on, and the translation of its errors.

Owns pragmas and transactions: WAL (readers never wait), ``synchronous=NORMAL`` (a commit survives the death of the
process; a power cut may take the last commits but never the file), a busy time-out, foreign keys, and
``BEGIN IMMEDIATE`` for writers (two gateways queue up instead of failing half-way). Holds no SQL of the product.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from podium.errors import Conflict, PodiumError, StoreError

BUSY_TIMEOUT_S = 10.0
_FULL_BELOW_BYTES = 1 << 20
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def writing(path: Path) -> Engine:
    """An engine with one connection whose transactions take the write lock at once."""
    return _engine(path, "BEGIN IMMEDIATE", ("PRAGMA journal_mode=WAL", "PRAGMA journal_size_limit=67108864"))


def reading(path: Path) -> Engine:
    """An engine with one connection that cannot write."""
    return _engine(path, "BEGIN", ("PRAGMA query_only=ON",))


def is_corrupt(error: BaseException) -> bool:
    """Whether SQLite says that the file is damaged or no database."""
    return (_code(error) or 0) & 0xFF in _CORRUPT


def is_refusal(error: BaseException) -> bool:
    """Whether the database is well and refused the statement: a constraint or a trigger."""
    return isinstance(error, IntegrityError)


def translate(error: SQLAlchemyError | sqlite3.Error, path: Path) -> PodiumError:
    """Our error for one of SQLite's: ``Conflict`` for what the rules refuse, else ``StoreError`` with what to do."""
    origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(origin, sqlite3.IntegrityError):
        return Conflict(f"the database refused: {origin}")
    code = (_code(error) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN} and _disk_full(path)):
        return StoreError(f"the disk with {path} is full; free some space, recording goes on by itself then")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
        return StoreError(f"{path} cannot be written; make the folder writable or set PODIUM_HOME to one that is")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(f"{path} cannot be opened; make its folder writable or set PODIUM_HOME to another")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreError(
            f"{path} is locked by another process for more than {BUSY_TIMEOUT_S:.0f} s; "
            f"end what holds it (another gateway, a backup, a database browser)"
        )
    if code in _CORRUPT:
        return StoreError(f"{path} is damaged ({origin}); restart Podium: it keeps the file aside and starts a new one")
    return StoreError(f"the database {path} failed: {origin}; run `podium doctor`")


def _engine(path: Path, begin: str, pragmas: tuple[str, ...]) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("PRAGMA foreign_keys=ON", "PRAGMA synchronous=NORMAL", *pragmas):
                connection.execute(pragma).close()
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _code(error: BaseException) -> int | None:
    origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = getattr(origin, "sqlite_errorcode", None)
    return code if isinstance(code, int) else None


def _disk_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _FULL_BELOW_BYTES
    except OSError:
        return False
