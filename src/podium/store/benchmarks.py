"""Rows of benchmark runs and graded answers. Functions over a connection; commits nothing itself.

Answers are kept apart from live outcomes: nothing here touches ``evidence``. What counts today ("current") are the
results of the digest that the newest run of each suite used; a changed suite starts anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Subquery, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.benchmark import ItemResult, Run, RunState
from podium.ports import Page
from podium.store import schema
from podium.store.packing import from_json, to_json

KEPT_RUNS = 500
KEPT_DIGESTS = 3
"""Per suite: results of older contents are deleted when a run starts."""
_RESULT = tuple(column.name for column in schema.benchmark_items.columns)


def put_run(connection: Connection, run: Run) -> None:
    """Insert or update a run; on the way forget what retention no longer covers."""
    table = schema.benchmark_runs
    values = {
        "suite": run.suite, "digest": run.digest, "task": run.task, "items": run.items, "refs": to_json(run.refs),
        "state": run.state.value, "started_at": run.started_at, "finished_at": run.finished_at,
        "problems": to_json(dict(run.problems)),
    }  # fmt: skip
    statement = upsert(table).values(id=run.id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
    newest = select(table.c.id).order_by(table.c.started_at.desc(), table.c.seq.desc()).limit(KEPT_RUNS)
    connection.execute(delete(table).where(table.c.id.not_in(newest.scalar_subquery())))
    digests = (
        select(table.c.digest)
        .where(table.c.suite == run.suite)
        .group_by(table.c.digest)
        .order_by(func.max(table.c.seq).desc())
        .limit(KEPT_DIGESTS)
    )
    items = schema.benchmark_items
    stale = items.c.digest.not_in(digests.scalar_subquery())
    connection.execute(delete(items).where(items.c.suite == run.suite, stale))


def list_runs(connection: Connection, page: Page) -> tuple[Run, ...]:
    """Newest first."""
    table = schema.benchmark_runs
    query = select(table).order_by(table.c.seq.desc()).limit(page.limit).offset(page.offset)
    return tuple(_run(row) for row in connection.execute(query))


def find_run(connection: Connection, run_id: str) -> Run | None:
    """One run by its id."""
    table = schema.benchmark_runs
    row = connection.execute(select(table).where(table.c.id == run_id)).first()
    return _run(row) if row is not None else None


def put_results(connection: Connection, results: Sequence[ItemResult]) -> None:
    """Insert graded answers; the same item of the same version is replaced."""
    for result in results:
        values = {name: getattr(result, name) for name in _RESULT}
        statement = upsert(schema.benchmark_items).values(**values)
        keys = ["digest", "item", "ref"]
        changes = {name: value for name, value in values.items() if name not in keys}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes))


def forget_results(connection: Connection, digest: str, refs: Sequence[str]) -> int:
    """Delete what some versions showed on a suite; returns how many answers."""
    table = schema.benchmark_items
    done = connection.execute(delete(table).where(table.c.digest == digest, table.c.ref.in_(refs)))
    return int(done.rowcount)


def results_of(connection: Connection, digest: str, refs: Sequence[str]) -> tuple[ItemResult, ...]:
    """Graded answers of some versions to one suite, by version and item."""
    table = schema.benchmark_items
    query = select(table).where(table.c.digest == digest, table.c.ref.in_(refs)).order_by(table.c.ref, table.c.item)
    return tuple(_result(row) for row in connection.execute(query))


def current_results(connection: Connection, task: str | None) -> tuple[ItemResult, ...]:
    """Graded answers that count today, of one task or of all."""
    table, current = schema.benchmark_items, _current()
    query = select(table).join(current, (table.c.suite == current.c.suite) & (table.c.digest == current.c.digest))
    if task is not None:
        query = query.where(table.c.task == task)
    return tuple(_result(row) for row in connection.execute(query.order_by(table.c.task, table.c.ref, table.c.item)))


def current_scores(connection: Connection) -> Mapping[tuple[str, str], tuple[int, float]]:
    """By (task, ref): number of graded answers that count today, and their mean score."""
    table, current = schema.benchmark_items, _current()
    query = (
        select(table.c.task, table.c.ref, func.count(), func.avg(table.c.score))
        .join(current, (table.c.suite == current.c.suite) & (table.c.digest == current.c.digest))
        .group_by(table.c.task, table.c.ref)
    )
    return {(task, ref): (int(n), float(mean)) for task, ref, n, mean in connection.execute(query)}


def _current() -> Subquery:
    """(suite, digest) of the newest run of each suite."""
    table = schema.benchmark_runs
    newest = select(func.max(table.c.seq)).group_by(table.c.suite)
    return select(table.c.suite, table.c.digest).where(table.c.seq.in_(newest.scalar_subquery())).subquery()


def _run(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        suite=row.suite,
        digest=row.digest,
        task=row.task,
        items=row.items,
        refs=tuple(from_json(row.refs)),
        state=RunState(row.state),
        started_at=row.started_at,
        finished_at=row.finished_at,
        problems=from_json(row.problems),
    )


def _result(row: Row[Any]) -> ItemResult:
    return ItemResult(**{name: getattr(row, name) for name in _RESULT})
