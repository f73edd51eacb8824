"""Rows of tasks, bindings, swaps and events. Functions over a connection; commits nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.swap import Compatibility, Event, Swap, SwapState
from podium.domain.task import Binding, TaskSpec
from podium.ports import Page
from podium.store import audit, deliveries, schema
from podium.store.packing import from_json, to_json

EVENTS_ADDED = "events added"
"""Key in ``info`` of the writing connection: true once its transaction holds new events. The writer takes it away."""
_FINISHED = (SwapState.PROMOTED, SwapState.FAILED, SwapState.INTERRUPTED)


def put_task(connection: Connection, task: TaskSpec) -> None:
    """Insert or replace a task."""
    spec = to_json(task)
    statement = upsert(schema.tasks).values(name=task.name, spec=spec)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"spec": spec}))


def all_tasks(connection: Connection) -> tuple[TaskSpec, ...]:
    """Every task, by name."""
    rows = connection.execute(select(schema.tasks.c.spec).order_by(schema.tasks.c.name)).scalars()
    return tuple(msgspec.json.decode(spec, type=TaskSpec) for spec in rows)


def bind(connection: Connection, binding: Binding) -> None:
    """Move a task to a version."""
    values = {
        "ref": binding.ref,
        "previous": to_json(binding.previous),
        "since": binding.since,
        "by": binding.by,
        "reason": binding.reason,
    }
    statement = upsert(schema.bindings).values(task=binding.task, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["task"], set_=values))


def unbind(connection: Connection, task: str) -> None:
    """Delete the binding of a task."""
    connection.execute(delete(schema.bindings).where(schema.bindings.c.task == task))


def all_bindings(connection: Connection) -> tuple[Binding, ...]:
    """Every binding, by task."""
    rows = connection.execute(select(schema.bindings).order_by(schema.bindings.c.task))
    return tuple(
        Binding(
            task=row.task,
            ref=row.ref,
            previous=tuple(from_json(row.previous)),
            since=row.since,
            by=row.by,
            reason=row.reason,
        )
        for row in rows
    )


def put_swap(connection: Connection, swap: Swap) -> None:
    """Insert or update a swap by its id."""
    values = {
        "task": swap.task,
        "kind": swap.kind,
        "before": swap.before,
        "after": swap.after,
        "state": swap.state,
        "requested_at": swap.requested_at,
        "by": swap.by,
        "reason": swap.reason,
        "finished_at": swap.finished_at,
        "error": swap.error,
        "compatibility": None if swap.compatibility is None else to_json(swap.compatibility),
        "load_ms": swap.load_ms,
        "swap_ms": swap.swap_ms,
    }
    statement = upsert(schema.swaps).values(id=swap.id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def unfinished_swaps(connection: Connection) -> tuple[Swap, ...]:
    """Swaps that were under way when the process ended, oldest first."""
    table = schema.swaps
    return _swaps(connection, select(table).where(table.c.state.not_in(_FINISHED)).order_by(table.c.seq))


def list_swaps(connection: Connection, task: str | None, page: Page) -> tuple[Swap, ...]:
    """Swaps of one task or of all, newest first."""
    table = schema.swaps
    query = select(table).order_by(table.c.seq.desc()).limit(page.limit).offset(page.offset)
    return _swaps(connection, query if task is None else query.where(table.c.task == task))


def add_events(connection: Connection, events: Sequence[Event]) -> None:
    """Append events, queue them for the webhooks that want them, and audit what Podium did by itself."""
    if events:
        rows = [{"kind": e.kind, "at": e.at, "subject": e.subject, "data": to_json(e.data)} for e in events]
        connection.execute(insert(schema.events), rows)
        connection.info[EVENTS_ADDED] = True
        deliveries.enqueue(connection, events)
        audit.append_events(connection, events)


def list_events(connection: Connection, after_id: int, page: Page) -> tuple[Event, ...]:
    """Events with greater ids, oldest first."""
    table = schema.events
    query = select(table).where(table.c.id > after_id).order_by(table.c.id).limit(page.limit).offset(page.offset)
    return to_events(connection, query)


def to_events(connection: Connection, query: Select[Any]) -> tuple[Event, ...]:
    """The events a query over their table finds."""
    return tuple(
        Event(
            id=row.id,
            kind=row.kind,
            at=row.at,
            subject=row.subject,
            data=tuple((key, value) for key, value in from_json(row.data)),
        )
        for row in connection.execute(query)
    )


def _swaps(connection: Connection, query: Select[Any]) -> tuple[Swap, ...]:
    return tuple(_swap(row) for row in connection.execute(query))


def _swap(row: Row[Any]) -> Swap:
    found = row.compatibility
    return Swap(
        id=row.id,
        task=row.task,
        kind=row.kind,
        before=row.before,
        after=row.after,
        state=SwapState(row.state),
        requested_at=row.requested_at,
        by=row.by,
        reason=row.reason,
        finished_at=row.finished_at,
        error=row.error,
        compatibility=None if found is None else msgspec.json.decode(found, type=Compatibility),
        load_ms=row.load_ms,
        swap_ms=row.swap_ms,
    )
