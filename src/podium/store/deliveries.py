"""Rows of webhook deliveries: the outbox. Functions over a connection; commits nothing itself.

An event and its deliveries are written in one transaction: ``add_events`` (store/tasks) calls ``enqueue``, which knows
who wants what from the writing connection itself (``subscribe``). So no event is told that is not on record, and none
on record is forgotten, whenever the process dies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from podium.core.event_kinds import wanted
from podium.domain.swap import Event
from podium.domain.webhook import Backlog, Delivery
from podium.services.webhook_signing import body
from podium.store import schema

ABOUT_WEBHOOKS = "webhook."
"""Events of these kinds go to no webhook: a dead one must not keep itself, or another dead one, busy."""
_SUBSCRIPTIONS = "webhook subscriptions"
_table = schema.deliveries


def subscribe(connection: Connection, subscriptions: Mapping[str, tuple[str, ...]]) -> None:
    """From now on events whose kinds fit the patterns are queued, by webhook."""
    connection.info[_SUBSCRIPTIONS] = dict(subscriptions)


def enqueue(connection: Connection, events: Sequence[Event]) -> None:
    """Queue what was just inserted, in this transaction, as the newest rows of ``events``."""
    subscriptions: Mapping[str, tuple[str, ...]] = connection.info.get(_SUBSCRIPTIONS, {})
    told = [
        (place, event, name)
        for place, event in enumerate(events)
        if not event.kind.startswith(ABOUT_WEBHOOKS)
        for name, patterns in subscriptions.items()
        if wanted(event.kind, patterns)
    ]
    if not told:
        return
    first = connection.execute(select(func.max(schema.events.c.id))).scalar_one() - len(events) + 1
    rows = [
        {
            "webhook": name,
            "subject": event.subject,
            "kind": event.kind,
            "content": body(event, first + place).decode(),
            "created_at": event.at,
            "attempts": 0,
            "next_at": event.at,
        }
        for place, event, name in told
    ]
    connection.execute(insert(_table), rows)


def backlog(connection: Connection, webhook: str, now: float, horizon: float, limit: int) -> Backlog:
    """At most ``limit`` deliveries that may go out now. See ``core/retrying.due`` for the horizon."""
    mine = _table.c.webhook == webhook
    heads = select(func.min(_table.c.seq).label("seq")).where(mine).group_by(_table.c.subject).subquery()
    joined = _table.join(heads, _table.c.seq == heads.c.seq)
    due = or_(_table.c.next_at <= now, _table.c.next_at > now + horizon)
    ready = select(_table).select_from(joined).where(due).order_by(_table.c.attempts, _table.c.next_at, _table.c.seq)
    later = select(func.min(_table.c.next_at)).select_from(joined).where(_table.c.next_at > now)
    return Backlog(
        ready=tuple(_delivery(row) for row in connection.execute(ready.limit(limit))),
        next_at=connection.execute(later).scalar(),
        waiting=connection.execute(select(func.count()).select_from(_table).where(mine)).scalar_one(),
    )


def next_of(connection: Connection, done: Delivery) -> Delivery | None:
    """The head of the same webhook and subject now."""
    same = and_(_table.c.webhook == done.webhook, _table.c.subject == done.subject)
    row = connection.execute(select(_table).where(same).order_by(_table.c.seq).limit(1)).one_or_none()
    return None if row is None else _delivery(row)


def remove(connection: Connection, seqs: Sequence[int]) -> None:
    """Delivered, or given up."""
    connection.execute(delete(_table).where(_table.c.seq.in_(seqs)))


def postpone(connection: Connection, failed: Delivery) -> None:
    """Keep what the last attempt came to."""
    values = {"attempts": failed.attempts, "next_at": failed.next_at, "error": failed.error}
    connection.execute(update(_table).where(_table.c.seq == failed.seq).values(**values))


def trim(connection: Connection, webhook: str, keep: int) -> int:
    """Remove the oldest beyond ``keep``; returns how many."""
    mine = _table.c.webhook == webhook
    newest = select(_table.c.seq).where(mine).order_by(_table.c.seq.desc())
    cut = connection.execute(newest.limit(1).offset(keep)).scalar()
    if cut is None:
        return 0
    return connection.execute(delete(_table).where(mine, _table.c.seq <= cut)).rowcount


def waiting(connection: Connection) -> Mapping[str, tuple[int, float]]:
    """(deliveries, Unix time of the oldest event) by webhook; without those that nothing waits for."""
    counted = select(_table.c.webhook, func.count(), func.min(_table.c.created_at)).group_by(_table.c.webhook)
    return {name: (count, oldest) for name, count, oldest in connection.execute(counted)}


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        seq=row.seq,
        webhook=row.webhook,
        subject=row.subject,
        kind=row.kind,
        content=row.content.encode(),
        created_at=row.created_at,
        attempts=row.attempts,
        next_at=row.next_at,
        error=row.error,
    )
