"""Opens the database: creates, migrates, or moves a damaged one aside. Imports alembic only when it must migrate."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from podium.domain.swap import Event
from podium.errors import StoreError
from podium.store import audit, engine, schema
from podium.store.audit_head import HeadFile, settle
from podium.store.sqlite import SqliteStore
from podium.store.tasks import add_events

_WHOLE_CHECK_BELOW_BYTES = 16 << 20
_VITAL = ("versions", "transitions", "profiles", "aliases", "tasks", "bindings", "swaps", "evidence", "retention")


def open_store(path: Path) -> SqliteStore:
    """Open (and create or migrate) the database at ``path``.

    A damaged database is moved to ``<path>.corrupt-<time>`` with its log files and a new one takes its place: that
    is in ``store.warnings`` and recorded as the event ``store.replaced``. Raises ``StoreError`` when the folder
    cannot be written, the disk is full, another process holds the lock, the file is no database of Podium, or its
    schema is newer than this code.
    """
    _folder(path)
    try:
        warnings = _prepare(path, None)
    except _Damaged as damage:
        warning = _move_aside(path, damage)
        warnings = (warning, *_prepare(path, warning))
    return SqliteStore(path, warnings)


class _Damaged(Exception):
    """The file is not readable as a database. Its message is SQLite's."""


def _folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create {path.parent}: {error.strerror}; set PODIUM_HOME to a folder you may write"
        ) from error
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a database; move it away or set PODIUM_HOME to another folder")


def _prepare(path: Path, warning: str | None) -> tuple[str, ...]:
    """Bring the file to this code's schema, in one transaction; returns what is wrong with the audit log's end."""
    with contextlib.suppress(OSError):  # SQLite says what is wrong, and gives its other files the same rights
        path.touch(mode=0o600, exist_ok=False)
    database, end = engine.writing(path), HeadFile(path)
    try:
        with database.begin() as connection:
            _check(connection, path)
            _upgrade(connection, path)
            problem = settle(connection, end)
            if warning is not None:
                now = dt.datetime.now(dt.UTC).timestamp()
                add_events(
                    connection, (Event(kind="store.replaced", at=now, subject=path.name, data=(("warning", warning),)),)
                )
            last = audit.head(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        if engine.is_corrupt(error):
            raise _Damaged(str(getattr(error, "orig", None) or error)) from error
        raise engine.translate(error, path) from error
    finally:
        database.dispose()
    if problem is not None or not end.path.exists():
        end.write(last)
    return () if problem is None else (f"the audit log: {problem}",)


def _check(connection: Connection, path: Path) -> None:
    """Read enough to know that the file is sound: all of a small one, the vital tables of a large one."""
    tables = set(inspect(connection).get_table_names())
    whole = path.stat().st_size < _WHOLE_CHECK_BELOW_BYTES
    for table in (None,) if whole else (name for name in _VITAL if name in tables):
        pragma = "PRAGMA quick_check(1)" if table is None else f"PRAGMA quick_check({table})"
        result = connection.exec_driver_sql(pragma).scalar()
        if result != "ok":
            raise _Damaged(str(result))


def _upgrade(connection: Connection, path: Path) -> None:
    tables = set(inspect(connection).get_table_names())
    if not tables:
        create(connection)
        return
    if "alembic_version" not in tables:
        raise StoreError(f"{path} is a database of another program; move it away or set PODIUM_HOME elsewhere")
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision == schema.HEAD:
        return
    if revision not in schema.REVISIONS:
        raise StoreError(
            f"{path} was written by a newer Podium (schema {revision}, this one knows up to {schema.HEAD}); "
            f"upgrade Podium, or set PODIUM_HOME to another folder"
        )
    from podium.store.migrations import run  # noqa: PLC0415 - alembic costs half a second, hardly any start needs it

    run.upgrade(connection)


def create(connection: Connection) -> None:
    """Create the newest schema at once, without alembic. A test proves that migrating gives the same."""
    schema.metadata.create_all(connection, checkfirst=False)
    for trigger in schema.TRIGGERS:
        connection.exec_driver_sql(trigger)
    connection.exec_driver_sql(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": schema.HEAD})


def _move_aside(path: Path, damage: _Damaged) -> str:
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            log = path.with_name(path.name + suffix)
            if log.exists():
                log.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StoreError(
            f"{path} is damaged ({damage}) and cannot be moved aside: {error.strerror}; move it away by hand"
        ) from error
    return (
        f"the database was damaged ({damage}): it is kept as {aside.name} and an empty one took its place; "
        f"restore a backup, or register the models again"
    )
