"""Rows of executions. Functions over a connection; commits nothing itself.

A change puts the row at the end: it gets a new ``seq``, so that ``seq`` orders executions by their last change and whoever
reads on behind the last one seen misses no change. What has no column of its own is in the JSON object ``metadata``.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, delete, func, insert, select

from podium.domain.execution import Execution, ExecutionFilter, ExecutionState, Routed, Spent, Standing
from podium.ports import Page
from podium.store import schema
from podium.store.packing import from_json, to_json

_table = schema.executions
_put = insert(_table).prefix_with("OR REPLACE")
FORMAT = 1
SUMMED = 100_000
UNDECIDED = (ExecutionState.OPEN, ExecutionState.ABANDONED)


def put(connection: Connection, changed: Sequence[Execution]) -> None:
    """Insert or replace by id, in order."""
    if changed:
        connection.execute(_put, [_row(execution) for execution in changed])


def find(connection: Connection, execution_id: str) -> Execution | None:
    """One by id."""
    row = connection.execute(select(_table).where(_table.c.id == execution_id)).first()
    return None if row is None else _execution(row)


def listed(connection: Connection, which: ExecutionFilter, page: Page) -> tuple[Execution, ...]:
    """Newest change first; behind ``which.after`` oldest change first."""
    query = select(_table).where(*_where(which)).limit(page.limit).offset(page.offset)
    # Those without success are few and have an index, which "+ 0" keeps SQLite from passing over for the order's sake.
    place = _table.c.seq + 0 if which.state in UNDECIDED else _table.c.seq
    query = query.order_by(place.desc() if which.after is None else place)
    return tuple(_execution(row) for row in connection.execute(query))


def standings(connection: Connection, agent: str | None) -> tuple[Standing, ...]:
    """By agent, type and version, sorted, over the newest ``SUMMED`` changes (of the agent, if one is named)."""
    table = _table.c
    columns = (table.agent, table.type, table.ref, table.success, table.finished_at, table.quality, table.started_at)
    newest = select(*columns).order_by(table.seq.desc()).limit(SUMMED)
    if agent is not None:
        newest = newest.where(table.agent == agent)
    row = newest.subquery().c  # read in the order of the record: by the index of agents it would jump about in the file
    open_ = row.finished_at.is_(None)
    query = select(
        row.agent,
        row.type,
        row.ref,
        func.sum(case((open_, 1), else_=0)),
        func.count(row.success),
        func.sum(case((row.success.is_(True), 1), else_=0)),
        func.sum(case((~open_ & row.success.is_(None), 1), else_=0)),
        func.avg(row.quality),
        func.count(row.quality),
        func.max(row.started_at),
    )
    query = query.group_by(row.agent, row.type, row.ref).order_by(row.agent, row.type, row.ref)
    names = ("agent", "type", "ref", "open", "completed", "succeeded", "abandoned", "quality", "rated", "last_at")
    return tuple(Standing(**dict(zip(names, found, strict=True))) for found in connection.execute(query))


def prune(connection: Connection, most: int, older_than: float, limit: int) -> int:
    """Delete at most ``limit`` that are over and beyond the newest ``most`` changes or were over before a Unix time."""
    table = _table.c
    over = table.finished_at.is_not(None)
    cut = connection.execute(select(table.seq).order_by(table.seq.desc()).limit(1).offset(max(most, 0))).scalar()
    doomed = over & (table.finished_at < older_than)
    if cut is not None:
        doomed |= over & (table.seq <= cut)
    first = select(table.seq).where(doomed).order_by(table.seq).limit(limit)
    return connection.execute(delete(_table).where(table.seq.in_(first))).rowcount


def _where(which: ExecutionFilter) -> list[ColumnElement[bool]]:
    table = _table.c
    where: list[ColumnElement[bool]] = []
    if which.type is not None:
        where.append(table.type == which.type)
    if which.agent is not None:
        where.append(table.agent == which.agent)
    if which.after is not None:
        where.append(table.seq > which.after)
    match which.state:
        case ExecutionState.OPEN:
            where += [table.success.is_(None), table.finished_at.is_(None)]
        case ExecutionState.COMPLETED:
            where.append(table.success.is_not(None))
        case ExecutionState.ABANDONED:
            where += [table.success.is_(None), table.finished_at.is_not(None)]
        case None:
            pass
    return where


def _row(execution: Execution) -> dict[str, object]:
    names = (
        "id",
        "type",
        "agent",
        "started_at",
        "finished_at",
        "success",
        "quality",
        "ref",
        "decision_id",
        "request_id",
    )
    kept = {
        "format": FORMAT,
        "metadata": execution.metadata,
        "timeout_s": execution.timeout_s,
        "requests": execution.requests,
        "routed": execution.routed,
        "spent": execution.spent,
    }
    return {name: getattr(execution, name) for name in names} | {"metadata": to_json(kept)}


def _execution(row: Row[Any]) -> Execution:
    kept = from_json(row.metadata)
    return Execution(
        id=row.id,
        type=row.type,
        agent=row.agent,
        started_at=row.started_at,
        finished_at=row.finished_at,
        success=row.success,
        quality=row.quality,
        timeout_s=kept["timeout_s"],
        metadata=MappingProxyType(kept["metadata"]),
        requests=kept["requests"],
        routed=tuple(Routed(**step) for step in kept["routed"]),
        spent=_spent(kept["spent"]),
        seq=row.seq,
    )


def _spent(kept: dict[str, Any]) -> Spent:
    return Spent(**{**kept, "measured": MappingProxyType(kept["measured"])})
