"""Reads and prunes the record of events, and counts swaps and rollouts. Commits nothing itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, literal_column, or_, select, text

from podium.domain.history import TaskHistory
from podium.domain.rollout import FINAL
from podium.domain.swap import Event, SwapState
from podium.ports import Page
from podium.store import schema
from podium.store.tasks import to_events


def events_like(
    connection: Connection, after_id: int, kinds: Sequence[str], page: Page, newest: bool = False
) -> tuple[Event, ...]:
    """Oldest first, ids greater than ``after_id``, kinds that fit any pattern (see core/event_kinds); none: all."""
    table = schema.events
    order = table.c.id.desc() if newest else table.c.id
    query = select(table).where(table.c.id > after_id).order_by(order).limit(page.limit).offset(page.offset)
    if kinds:
        query = query.where(or_(*(table.c.kind.op("GLOB")(pattern) for pattern in kinds)))
    found = to_events(connection, query)
    return found[::-1] if newest else found


def bounds(connection: Connection) -> tuple[int, int]:
    """Ids of the oldest event on record and of the newest ever written; ids in between are all there.

    Without any event the first is one more than the second.
    """
    newest = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'events'")).scalar() or 0
    oldest = connection.execute(select(func.min(schema.events.c.id))).scalar()
    return (newest + 1 if oldest is None else oldest), newest


def prune_events(connection: Connection, most: int, limit: int) -> int:
    """Delete at most ``limit`` of the oldest events beyond the newest ``most``; returns how many."""
    oldest, newest = bounds(connection)
    last = min(newest - most, oldest + limit - 1)
    if last < oldest:
        return 0
    return connection.execute(delete(schema.events).where(schema.events.c.id <= last)).rowcount


def task_history(connection: Connection, task: str | None) -> tuple[TaskHistory, ...]:
    """By task."""
    swaps, rollouts = schema.swaps, schema.rollouts
    moved = swaps.c.state == SwapState.PROMOTED
    swap_ms = _medians(connection, swaps, swaps.c.swap_ms, moved, task)
    load_ms = _medians(connection, swaps, swaps.c.load_ms, and_(moved, swaps.c.load_ms > 0), task)
    ended = rollouts.c.state.in_([state.value for state in FINAL])
    rollout_s = _medians(connection, rollouts, rollouts.c.finished_at - rollouts.c.requested_at, ended, task)
    counts: defaultdict[str, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    last: dict[str, float] = {}
    for table, kind in ((swaps, swaps.c.kind), (rollouts, literal_column("'rollout'"))):
        query = select(table.c.task, kind, table.c.state, func.count(), func.max(table.c.requested_at))
        query = query.group_by(table.c.task, kind, table.c.state)
        for name, what, state, count, at in connection.execute(_of(query, table, task)):
            counts[name][what][state] = count
            last[name] = max(at, last.get(name, at))
    return tuple(
        TaskHistory(
            task=name,
            swaps=counts[name]["swap"],
            rollbacks=counts[name]["rollback"],
            rollouts=counts[name]["rollout"],
            swap_ms=swap_ms.get(name),
            load_ms=load_ms.get(name),
            rollout_s=rollout_s.get(name),
            last_at=last.get(name),
        )
        for name in sorted(counts)
    )


def _of(query: Any, table: Table, task: str | None) -> Any:
    return query if task is None else query.where(table.c.task == task)


def _medians(
    connection: Connection, table: Table, value: ColumnElement[Any], which: ColumnElement[bool], task: str | None
) -> dict[str, float]:
    """Exact medians by task, of values that are there."""
    place = func.row_number().over(partition_by=table.c.task, order_by=value).label("place")
    total = func.count().over(partition_by=table.c.task).label("total")
    ranked = _of(select(table.c.task, value.label("value"), place, total), table, task)
    ranked = ranked.where(which, value.is_not(None)).subquery()
    halves = and_(2 * ranked.c.place >= ranked.c.total, 2 * ranked.c.place <= ranked.c.total + 2)
    query = select(ranked.c.task, func.avg(ranked.c.value)).where(halves).group_by(ranked.c.task)
    return {row[0]: row[1] for row in connection.execute(query)}
