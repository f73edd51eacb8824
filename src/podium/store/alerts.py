"""Rows of alerts, and what was recorded of tasks with objectives by time. Functions over a connection; commits nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, select, text
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.alert import Alert
from podium.domain.swap import Event
from podium.ports import Page, Piece
from podium.store import schema
from podium.store.packing import to_json
from podium.store.tasks import add_events

KEPT_CLOSED = 10_000
"""Alerts that are over and are kept; older ones go when another closes."""
_table = schema.alerts
_decode = msgspec.json.Decoder(Alert).decode
_OUTCOMES = text("""
SELECT d.task, CAST(d.finished_at / :piece_s AS INTEGER) AS piece,
       SUM(CASE WHEN again THEN 0 ELSE 1 END),
       SUM(CASE WHEN NOT again AND NOT d.success THEN 1 WHEN again AND d.success THEN -1 ELSE 0 END),
       SUM(d.success),
       SUM(CASE WHEN d.success AND d.latency_ms > d.slow THEN 1 ELSE 0 END)
FROM (SELECT o.*, l.value AS slow,
             o.parent IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM decisions p
                 WHERE p.id = o.parent AND p.error IN (SELECT value FROM json_each(:excused))) AS again
      FROM decisions o JOIN json_each(:limits) l ON l.key = o.task
      WHERE o.at >= :since AND (o.error IS NULL OR o.error NOT IN (SELECT value FROM json_each(:excused)))) d
GROUP BY d.task, piece
""")
_SCORES = text("""
SELECT f.task, CAST(f.at / :piece_s AS INTEGER) AS piece,
       SUM(COALESCE(w.value, 1.0)), SUM(COALESCE(w.value, 1.0) * (1.0 - f.score))
FROM feedback f JOIN json_each(:limits) l ON l.key = f.task LEFT JOIN json_each(:weights) w ON w.key = f.source
WHERE f.at >= :since AND f.score IS NOT NULL
GROUP BY f.task, piece
""")


def put(connection: Connection, alert: Alert, event: Event) -> None:
    """Insert or replace by id, with its event."""
    values = {
        "task": alert.task,
        "ref": alert.ref,
        "kind": f"{alert.cause}.{alert.aspect}",
        "opened_at": alert.opened_at,
        "closed_at": alert.closed_at,
        "content": to_json(alert),
    }
    statement = upsert(_table).values(id=alert.id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
    add_events(connection, (event,))
    if not alert.open:
        closed = select(_table.c.seq).where(_table.c.closed_at.is_not(None)).order_by(_table.c.seq.desc())
        cut = connection.execute(closed.limit(1).offset(KEPT_CLOSED)).scalar()
        if cut is not None:
            connection.execute(delete(_table).where(_table.c.seq <= cut, _table.c.closed_at.is_not(None)))


def listed(connection: Connection, task: str | None, page: Page) -> tuple[Alert, ...]:
    """Newest first."""
    query = select(_table.c.content).order_by(_table.c.seq.desc()).limit(page.limit).offset(page.offset)
    return _alerts(connection, query if task is None else query.where(_table.c.task == task))


def still_open(connection: Connection) -> tuple[Alert, ...]:
    """Those that are not over, oldest first."""
    return _alerts(connection, select(_table.c.content).where(_table.c.closed_at.is_(None)).order_by(_table.c.seq))


def pieces(
    connection: Connection,
    limits: Mapping[str, float | None],
    since: float,
    piece_s: float,
    *,
    excused: Sequence[str],
    weights: Mapping[str, float],
) -> tuple[Piece, ...]:
    """What became of requests of the tasks in ``limits`` (with their latency limits) since a Unix time, by time."""
    shared: dict[str, Any] = {"limits": to_json(limits), "since": since, "piece_s": float(piece_s)}
    found: dict[tuple[str, int], list[float]] = {}
    for task, piece, *sums in connection.execute(_OUTCOMES, {**shared, "excused": to_json(list(excused))}):
        found[task, piece] = [*(float(one) for one in sums), 0.0, 0.0]
    for task, piece, weight, lost in connection.execute(_SCORES, {**shared, "weights": to_json(weights)}):
        row = found.setdefault((task, piece), [0.0] * 6)
        row[4:] = [float(weight), float(lost)]
    return tuple(
        Piece(task=task, at=(piece + 0.5) * piece_s, sums=tuple(sums)) for (task, piece), sums in sorted(found.items())
    )


def _alerts(connection: Connection, query: Select[Any]) -> tuple[Alert, ...]:
    return tuple(_decode(content) for content in connection.execute(query).scalars())
