"""Rows of the audit log and of applied configurations. Functions over a connection; commits nothing itself.

Rows of the log are appended in the transaction of the caller, so that what happened by itself (a swap by a rule, the end
of a rollout) and its row are on disk together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, insert, or_, select

from podium.core.audit_chain import NOTHING, entry_of, fields, link
from podium.core.audit_events import entry_of_event
from podium.domain.audit import AppliedConfig, AuditEntry, AuditFilter, AuditRow, Head, Phase
from podium.domain.swap import Event
from podium.ports import Page
from podium.store.packing import from_json, to_json
from podium.store.schema import audit, config_history

AUDIT_ADDED = "audit rows added"
"""Key in ``info`` of the writing connection: true once its transaction holds new rows. The writer takes it away."""
_PLACE = ("seq", "previous", "hash")
_PIECE = 1_000
_COLUMNS = tuple(audit.columns.keys())
_INSERT = f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - no input
_ORDERED_BY = "SELECT by FROM swaps WHERE id = ?"
_LAST = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
"""As text: these are run in every transaction that moves traffic."""


def head(connection: Connection) -> Head:
    """The last row."""
    row = connection.exec_driver_sql(_LAST).first()
    return NOTHING if row is None else Head(seq=row[0], hash=row[1])


def append(connection: Connection, entries: Sequence[AuditEntry]) -> tuple[AuditRow, ...]:
    """Put entries behind the last row, in their order."""
    last, made, rows = head(connection), [], []
    for entry in entries:
        row = link(entry, last)
        values = {**fields(entry), "seq": row.seq, "previous": row.previous, "hash": row.hash}
        rows.append(tuple(values[name] for name in _COLUMNS))
        last = Head(seq=row.seq, hash=row.hash)
        made.append(row)
    if made:
        connection.exec_driver_sql(_INSERT, rows)
        connection.info[AUDIT_ADDED] = True
    return tuple(made)


def append_events(connection: Connection, events: Sequence[Event]) -> None:
    """Put what Podium did by itself behind the last row."""
    made = []
    for event in events:
        by = None
        if event.kind.startswith("swap."):
            swap = dict(event.data).get("swap")
            by = connection.exec_driver_sql(_ORDERED_BY, (swap,)).scalar()
        entry = entry_of_event(event, by)
        if entry is not None:
            made.append(entry)
    if made:
        append(connection, made)


def raw_rows(connection: Connection, after: int) -> Iterator[dict[str, Any]]:
    """Every row with a greater number as it stands in the table, in the order of numbers; read in pieces."""
    while True:
        found = connection.execute(select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(_PIECE)).all()
        for row in found:
            yield row._asdict()
        if len(found) < _PIECE:
            return
        after = found[-1].seq


def hash_at(connection: Connection, seq: int) -> str | None:
    """The hash of one row, ``None`` without it."""
    return connection.execute(select(audit.c.hash).where(audit.c.seq == seq)).scalar()


def actions(connection: Connection, wanted: AuditFilter, page: Page) -> tuple[tuple[AuditRow, ...], ...]:
    """Actions, newest first, each with its rows in order."""
    first = audit.alias()
    query: Select[Any] = select(first.c.action).where(first.c.phase != Phase.DONE.value)
    query = query.where(_wanted(first, wanted)).order_by(first.c.seq.desc()).limit(page.limit).offset(page.offset)
    names = list(connection.execute(query).scalars())
    found: dict[str, list[AuditRow]] = {name: [] for name in names}
    for row in connection.execute(select(audit).where(audit.c.action.in_(names)).order_by(audit.c.seq)):
        found[row.action].append(_row(row))
    return tuple(tuple(found[name]) for name in names)


def _wanted(table: Any, wanted: AuditFilter) -> ColumnElement[bool]:
    terms: list[ColumnElement[bool]] = []
    if wanted.task is not None:
        terms.append(or_(table.c.task == wanted.task, table.c.subject == f"task:{wanted.task}"))
    if wanted.by is not None:
        terms.append(or_(table.c.who == wanted.by, table.c.name == wanted.by))
    if wanted.subject is not None:
        ended = select(audit.c.action).where(audit.c.phase == Phase.DONE.value, audit.c.subject == wanted.subject)
        terms.append(or_(table.c.subject == wanted.subject, table.c.action.in_(ended)))
    if wanted.since is not None:
        terms.append(table.c.at >= wanted.since)
    if wanted.until is not None:
        terms.append(table.c.at < wanted.until)
    return and_(True, *terms)


def unended(connection: Connection) -> tuple[AuditRow, ...]:
    """Rows of actions that were begun and of which nothing more is known."""
    later = audit.alias()
    ended = select(later.c.seq).where(later.c.action == audit.c.action, later.c.phase == Phase.DONE.value)
    query = select(audit).where(audit.c.phase == Phase.ASKED.value, ~ended.exists()).order_by(audit.c.seq)
    return tuple(_row(row) for row in connection.execute(query))


def _row(row: Row[Any]) -> AuditRow:
    values = row._asdict()
    seq, previous, found = (values.pop(name) for name in _PLACE)
    return AuditRow(seq=seq, entry=entry_of(values), previous=previous, hash=found)


def keep_config(connection: Connection, applied: AppliedConfig, most: int) -> int:
    """Append a configuration, forget the oldest beyond ``most``; returns its number."""
    values = {
        name: getattr(applied, name)
        for name in ("at", "by", "how", "file", "digest", "content", "redacted", "problems")
    }
    values |= {"environment": to_json(applied.environment), "changes": to_json(applied.changes)}
    number = connection.execute(insert(config_history).values(**values)).inserted_primary_key
    assert number is not None
    connection.execute(delete(config_history).where(config_history.c.number <= number[0] - most))
    return int(number[0])


def configs(connection: Connection, page: Page) -> tuple[AppliedConfig, ...]:
    """Newest first."""
    query = select(config_history).order_by(config_history.c.number.desc()).limit(page.limit).offset(page.offset)
    return tuple(_config(row) for row in connection.execute(query))


def find_config(connection: Connection, number: int) -> AppliedConfig | None:
    """One of them."""
    row = connection.execute(select(config_history).where(config_history.c.number == number)).first()
    return None if row is None else _config(row)


def count(connection: Connection) -> int:
    """Rows of the log."""
    return int(connection.execute(select(func.count()).select_from(audit)).scalar() or 0)


def _config(row: Row[Any]) -> AppliedConfig:
    values = row._asdict()
    values["environment"] = tuple(from_json(values["environment"]))
    values["changes"] = tuple(from_json(values["changes"]))
    return AppliedConfig(**values)
