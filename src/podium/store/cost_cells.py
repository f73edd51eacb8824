"""Cells of what operations took: folds the record into them, a bounded piece at a time. Commits nothing itself.

How far the record is in the cells is written in the same transaction, so that each row is counted once, whatever is
interrupted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.core.cost_cells import Cell, Spent, added, cell_of, dump, empty, load
from podium.core.cost_coverage import Coverage
from podium.domain.cost import Cause
from podium.domain.costing import EVERY
from podium.ports import CellKey
from podium.store import schema
from podium.store.cost_packing import unpack_cost

HOUR, DAY = 3_600, 86_400
_DECISIONS, _OPERATIONS = "decisions", "operations"
_KEY = ("start", "span", "task", "ref", "cause")
_row = upsert(schema.cost_cells)
_put = _row.on_conflict_do_update(index_elements=list(_KEY), set_={"content": _row.excluded.content})
_mark = upsert(schema.cost_progress)
_advance = _mark.on_conflict_do_update(
    index_elements=["source"], set_={"seq": _mark.excluded.seq, "content": _mark.excluded.content}
)
_Pieces = Mapping[CellKey, list[Spent]]


def fold(connection: Connection, limit: int) -> int:
    """Take up to ``limit`` rows of each part of the record that are in no cell yet; how many it took."""
    pieces: defaultdict[CellKey, list[Spent]] = defaultdict(list)
    seq, covered = _progress(connection, _DECISIONS)
    last, taken = _attempts(connection, seq, limit, pieces)
    operations_seq, _ = _progress(connection, _OPERATIONS)
    operations_last, more = _operations(connection, operations_seq, limit, pieces)
    if taken + more == 0:
        return 0
    made = {key: cell_of(spent) for key, spent in pieces.items()}
    for key, busy_ms in _busy(pieces, covered).items():
        made[key] = empty(busy_ms)
    _add(connection, made)
    spans = {ref: coverage.spans for ref, coverage in covered.items()}
    for source, at, content in ((_DECISIONS, last, json.dumps(spans)), (_OPERATIONS, operations_last, "{}")):
        connection.execute(_advance, {"source": source, "seq": at, "content": content})
    return taken + more


def unfolded(connection: Connection) -> int:
    """About how many rows of the record are in no cell yet."""
    behind = 0
    for source, table in ((_DECISIONS, schema.decisions), (_OPERATIONS, schema.operations)):
        newest = connection.execute(select(func.max(table.c.seq))).scalar() or 0
        oldest = connection.execute(select(func.min(table.c.seq))).scalar() or 0
        behind += max(0, newest - max(_progress(connection, source)[0], oldest - 1))
    return behind


def read(
    connection: Connection,
    take: Callable[[CellKey, bytes], None],
    since: float,
    until: float,
    task: str | None,
    ref: str | None,
) -> None:
    """Hand over each cell that overlaps ``[since, until)``, oldest first."""
    table = schema.cost_cells
    query = select(table).where(table.c.start + table.c.span > since, table.c.start < until).order_by(table.c.start)
    for column, wanted in ((table.c.task, task), (table.c.ref, ref)):
        query = query if wanted is None else query.where(column.in_((wanted, EVERY)))
    for row in connection.execution_options(stream_results=True).execute(query):
        take(CellKey(start=row.start, span=row.span, task=row.task, ref=row.ref, cause=row.cause), row.content)


def tidy(connection: Connection, days_before: float, forget_before: float, most: int, limit: int = 500) -> int:
    """Make a day of the hours of one that ended before ``days_before``, and delete what is too old or too much.

    Returns how many hours went into a day: up to ``limit``, and as many calls as it takes.
    """
    table = schema.cost_cells
    connection.execute(delete(table).where(table.c.start + table.c.span <= forget_before))
    excess = connection.execute(select(func.count()).select_from(table)).scalar_one() - most
    if excess > 0:
        edge = select(table.c.start).order_by(table.c.start).limit(1).offset(excess - 1)
        connection.execute(delete(table).where(table.c.start <= connection.execute(edge).scalar()))
    end = int(days_before // DAY) * DAY
    rows = connection.execute(
        select(table).where(table.c.span == HOUR, table.c.start < end).order_by(table.c.start).limit(limit)
    ).all()
    days: defaultdict[CellKey, list[Cell]] = defaultdict(list)
    for row in rows:
        start = row.start // DAY * DAY
        days[CellKey(start=start, span=DAY, task=row.task, ref=row.ref, cause=row.cause)].append(load(row.content))
    _add(connection, {key: added(cells) for key, cells in days.items()})
    for row in rows:
        connection.execute(delete(table).where(*(table.c[name] == getattr(row, name) for name in _KEY)))
    return len(rows)


def _progress(connection: Connection, source: str) -> tuple[int, dict[str, Coverage]]:
    table = schema.cost_progress
    found = connection.execute(select(table).where(table.c.source == source)).one_or_none()
    if found is None:
        return 0, {}
    return found.seq, {ref: Coverage(spans) for ref, spans in json.loads(found.content).items()}


def _attempts(
    connection: Connection, seq: int, limit: int, pieces: defaultdict[CellKey, list[Spent]]
) -> tuple[int, int]:
    """(newest row taken, rows taken)."""
    table = schema.decisions.c
    names = ("seq", "at", "finished_at", "task", "ref", "success", "error", "latency_ms", "ttft_ms", "cost")
    query = select(*(table[name] for name in names)).where(table.seq > seq).order_by(table.seq).limit(limit)
    rows = connection.execute(query).all()
    for last, at, finished, task, ref, success, error, latency_ms, ttft_ms, packed in rows:
        seq = last
        cost = unpack_cost(packed)
        wait_ms = max(0.0, (finished - at) * 1000 - latency_ms)
        spent = Spent(success=bool(success), error=error, at=finished, cost=cost, wait_ms=wait_ms, ttft_ms=ttft_ms)
        pieces[_key(int(finished // HOUR), task, ref, cost.cause)].append(spent)
    return seq, len(rows)


def _operations(
    connection: Connection, seq: int, limit: int, pieces: defaultdict[CellKey, list[Spent]]
) -> tuple[int, int]:
    table = schema.operations.c
    names = ("seq", "at", "task", "ref", "success", "cost")
    query = select(*(table[name] for name in names)).where(table.seq > seq).order_by(table.seq).limit(limit)
    rows = connection.execute(query).all()
    for last, at, task, ref, success, packed in rows:
        seq = last
        cost = unpack_cost(packed)
        spent = Spent(success=bool(success), error=None, at=at, cost=cost, wait_ms=None, ttft_ms=None)
        pieces[_key(int(at // HOUR), task, ref, cost.cause)].append(spent)
    return seq, len(rows)


@lru_cache(maxsize=1024)
def _key(hour: int, task: str, ref: str, cause: Cause) -> CellKey:
    return CellKey(start=hour * HOUR, span=HOUR, task=task, ref=ref, cause=cause.value)


def _busy(pieces: _Pieces, covered: dict[str, Coverage]) -> dict[CellKey, float]:
    """Milliseconds in which a version worked and nothing was known of it, by its hour; and any whose processor time is
    measured, under ``*``: the others compute elsewhere.
    """
    found: dict[CellKey, float] = {}
    for key, operations in pieces.items():
        spans = [(one.at - one.cost.wall_ms / 1000, one.at, one.cost.cpu_ms is not None) for one in operations]
        here = [(start, end) for start, end, measured in spans if measured]
        for name, intervals in ((key.ref, [span[:2] for span in spans]), (EVERY, here)):
            fresh = covered.setdefault(name, Coverage()).add_all(intervals) if intervals else 0.0
            if fresh > 0:
                place = CellKey(start=key.start, span=HOUR, task=EVERY, ref=name, cause="")
                found[place] = found.get(place, 0.0) + fresh * 1000
    return found


def _add(connection: Connection, made: Mapping[CellKey, Cell]) -> None:
    if not made:
        return
    table = schema.cost_cells
    rows: list[dict[str, object]] = []
    for key, cell in made.items():
        where = {name: getattr(key, name) for name in _KEY}
        found = select(table.c.content).where(*(table.c[name] == value for name, value in where.items()))
        before = connection.execute(found).scalar()
        rows.append({**where, "content": dump(cell if before is None else added([load(before), cell]))})
    connection.execute(_put, rows)
