"""Rows of schedules, requests counted by the time they came, and swaps that move together. Commits nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Integer, Select, cast, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.schedule import Schedule
from podium.domain.swap import Event, Swap
from podium.domain.task import Binding
from podium.ports import Page
from podium.store import schema
from podium.store.packing import to_json
from podium.store.tasks import add_events, bind, put_swap

KEPT_ENDED = 1000
"""Schedules that have ended and are kept; older ones go when another ends."""
_decode = msgspec.json.Decoder(Schedule).decode


def put(connection: Connection, schedule: Schedule, events: Sequence[Event]) -> None:
    """Insert or replace by id."""
    table = schema.schedules
    values = {
        "state": schedule.state,
        "due_at": schedule.opening.opens_at if schedule.open and schedule.opening is not None else None,
        "content": to_json(schedule),
        "created_at": schedule.created_at,
        "finished_at": schedule.finished_at,
    }
    statement = upsert(table).values(id=schedule.id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
    add_events(connection, events)
    if not schedule.open:
        ended = select(table.c.seq).where(table.c.finished_at.is_not(None)).order_by(table.c.seq.desc())
        cut = connection.execute(ended.limit(1).offset(KEPT_ENDED)).scalar()
        if cut is not None:
            connection.execute(delete(table).where(table.c.seq <= cut, table.c.finished_at.is_not(None)))


def unfinished(connection: Connection) -> tuple[Schedule, ...]:
    """Those that have not ended, oldest first."""
    table = schema.schedules
    return _schedules(connection, select(table.c.content).where(table.c.finished_at.is_(None)).order_by(table.c.seq))


def listed(connection: Connection, page: Page) -> tuple[Schedule, ...]:
    """Newest first."""
    table = schema.schedules
    newest = select(table.c.content).order_by(table.c.seq.desc())
    return _schedules(connection, newest.limit(page.limit).offset(page.offset))


def find(connection: Connection, schedule_id: str) -> Schedule | None:
    """One by its id."""
    table = schema.schedules
    found = _schedules(connection, select(table.c.content).where(table.c.id == schedule_id))
    return found[0] if found else None


def requests_by_time(
    connection: Connection, tasks: Sequence[str], since: float, until: float, piece_s: int
) -> Mapping[int, int]:
    """Requests of the tasks in [since, until), by Unix time over ``piece_s``. Further attempts count for nothing."""
    table = schema.decisions
    piece = cast(table.c.at / piece_s, Integer)
    query = (
        select(piece, func.count())
        .where(table.c.at >= since, table.c.at < until, table.c.task.in_(tasks), table.c.parent.is_(None))
        .group_by(piece)
    )
    return {int(row[0]): int(row[1]) for row in connection.execute(query)}


def move_together(
    connection: Connection, swaps: Sequence[Swap], bindings: Sequence[Binding], events: Sequence[Event]
) -> None:
    """The end of several swaps with the bindings they move."""
    for swap in swaps:
        put_swap(connection, swap)
    for binding in bindings:
        bind(connection, binding)
    add_events(connection, events)


def _schedules(connection: Connection, query: Select[Any]) -> tuple[Schedule, ...]:
    return tuple(_decode(content) for content in connection.execute(query).scalars())
