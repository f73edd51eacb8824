"""Rows of what things cost: sums by the hour, operations, charges, price tables. Commits nothing itself.

Sums are written whole, never added to: repeating a batch changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.cost import Cause, Operation, SpentKey, SpentRow
from podium.domain.decision import Outcome
from podium.store import schema
from podium.store.cost_packing import pack_cost, unpack_cost

MOST_CHARGED = 1_000
_SUMS = tuple(field.name for field in fields(SpentRow))
_KEY = ("hour", "task", "ref", "cause")
_row = upsert(schema.spending)
_put_row = _row.on_conflict_do_update(index_elements=list(_KEY), set_={name: _row.excluded[name] for name in _SUMS})
_new_operation = upsert(schema.operations).on_conflict_do_nothing(index_elements=["id"])
_new_charge = upsert(schema.charges).on_conflict_do_nothing(index_elements=["decision_id"])
_new_table = upsert(schema.price_tables).on_conflict_do_nothing(index_elements=["version"])


def put_spending(connection: Connection, rows: Mapping[SpentKey, SpentRow]) -> None:
    """Write these sums in the place of what is there."""
    connection.execute(
        _put_row,
        [
            {
                "hour": key.hour,
                "task": key.task,
                "ref": key.ref,
                "cause": key.cause.value,
                **{name: getattr(row, name) for name in _SUMS},
            }
            for key, row in rows.items()
        ],
    )


def add_operations(connection: Connection, done: Sequence[Operation]) -> None:
    """Add operations; one that is there already stays as it is."""
    connection.execute(
        _new_operation,
        [
            {
                "id": one.id,
                "at": one.at,
                "task": one.task,
                "ref": one.ref,
                "request_id": one.request_id,
                "success": one.success,
                "cost": pack_cost(one.cost),
                "cause": one.cost.cause.value,
                "charged_to": one.cost.charged_to,
            }
            for one in done
        ],
    )


def add_charges(connection: Connection, outcomes: Iterable[Outcome]) -> None:
    """Note who is charged for attempts that their own request is not charged for."""
    rows = [
        {"decision_id": outcome.decision_id, "charged_to": outcome.cost.charged_to}
        for outcome in outcomes
        if outcome.cost.charged_to is not None
    ]
    if rows:
        connection.execute(_new_charge, rows)


def spending(
    connection: Connection, since: int, until: int | None, task: str | None, ref: str | None
) -> dict[SpentKey, SpentRow]:
    """Sums of the hours in [since, until), oldest first."""
    table = schema.spending
    query = select(table).where(table.c.hour >= since).order_by(table.c.hour)
    for column, limit in ((table.c.task, task), (table.c.ref, ref)):
        query = query if limit is None else query.where(column == limit)
    if until is not None:
        query = query.where(table.c.hour < until)
    return {
        SpentKey(row.hour, row.task, row.ref, Cause(row.cause)): SpentRow(
            **{name: getattr(row, name) for name in _SUMS}
        )
        for row in connection.execute(query)
    }


def newest_spending(connection: Connection, hours: int) -> dict[SpentKey, SpentRow]:
    """Sums of the newest ``hours`` hours in which anything was spent."""
    table = schema.spending
    oldest = select(table.c.hour).distinct().order_by(table.c.hour.desc()).limit(1).offset(hours - 1)
    return spending(connection, connection.execute(oldest).scalar() or 0, None, None, None)


def operations_about(connection: Connection, request_id: str) -> tuple[Operation, ...]:
    """Of one request of a client, oldest first."""
    return _operations(connection, schema.operations.c.request_id == request_id)


def charged(connection: Connection, to: str) -> tuple[tuple[Outcome, ...], tuple[Operation, ...]]:
    """Attempts and operations that are charged to ``to``."""
    table, charges = schema.decisions, schema.charges
    query = select(table).join(charges, charges.c.decision_id == table.c.id).where(charges.c.charged_to == to)
    rows = connection.execute(query.order_by(table.c.seq).limit(MOST_CHARGED))
    attempts = tuple(
        Outcome(
            decision_id=row.id,
            request_id=row.request_id,
            task=row.task,
            ref=row.ref,
            at=row.finished_at,
            success=bool(row.success),
            error=row.error,
            streamed=bool(row.streamed),
            latency_ms=row.latency_ms,
            ttft_ms=row.ttft_ms,
            cost=unpack_cost(row.cost),
        )
        for row in rows
    )
    return attempts, _operations(connection, schema.operations.c.charged_to == to)


def keep_price_table(connection: Connection, version: str, content: str, at: float) -> None:
    """Add it unless it is there."""
    connection.execute(_new_table, {"version": version, "content": content, "first_used_at": at})


def price_table(connection: Connection, version: str) -> str | None:
    """Its content."""
    table = schema.price_tables
    found = connection.execute(select(table.c.content).where(table.c.version == version)).scalar()
    return None if found is None else str(found)


def prune(connection: Connection, most_operations: int, most_rows: int, older_than: float, limit: int) -> int:
    """Delete at most about ``limit`` rows that are beyond the bounds; returns how many went."""
    table = schema.operations
    newest = select(table.c.seq).order_by(table.c.seq.desc()).limit(1).offset(max(most_operations, 0))
    beyond = connection.execute(newest).scalar()
    doomed = table.c.at < older_than
    if beyond is not None:
        doomed = doomed | (table.c.seq <= beyond)
    picked = select(table.c.seq).where(doomed).order_by(table.c.seq).limit(limit)
    gone = connection.execute(delete(table).where(table.c.seq.in_(picked))).rowcount
    sums = schema.spending
    excess = connection.execute(select(func.count()).select_from(sums)).scalar_one() - most_rows
    if excess > 0:
        oldest = select(sums.c.hour).order_by(sums.c.hour).limit(1).offset(min(excess, limit) - 1)
        last = connection.execute(oldest).scalar()
        gone += connection.execute(delete(sums).where(sums.c.hour <= last)).rowcount
    return int(gone)


def forget_charges(connection: Connection, decision_ids: Select[tuple[str]]) -> None:
    """Delete the charges of decisions that go; ``decision_ids`` is a select of ids."""
    table = schema.charges
    connection.execute(delete(table).where(table.c.decision_id.in_(decision_ids)))


def _operations(connection: Connection, condition: ColumnElement[bool]) -> tuple[Operation, ...]:
    table = schema.operations
    query = select(table).where(condition).order_by(table.c.seq).limit(MOST_CHARGED)
    return tuple(
        Operation(
            id=row.id,
            at=row.at,
            task=row.task,
            ref=row.ref,
            success=bool(row.success),
            cost=unpack_cost(row.cost),
            request_id=row.request_id,
        )
        for row in connection.execute(query)
    )
