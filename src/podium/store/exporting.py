"""Reads the record for an export, piece by piece in the order it was written. Opens the database for reading only.

Every piece is a short transaction over a bounded range, so that memory is bounded and a server on the same database
is not held up. A piece covers places, not attempts: pruned ones leave gaps, and the window may allow few of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, func, select
from sqlalchemy.exc import SQLAlchemyError

from podium.domain.decision import Choice, Decision, Feedback, Outcome
from podium.domain.judgment import Judgment, Verdict
from podium.errors import NotFound
from podium.ports import Extent, RecordedAttempt, Window
from podium.store import engine, schema
from podium.store.cost_packing import unpack_cost
from podium.store.packing import unpack_choice

STEP = 500
"""Places in a piece."""
_FEEDBACK = tuple(column.name for column in schema.feedback.columns)
_JUDGMENT = (
    "id",
    "request_id",
    "decision_id",
    "task",
    "ref",
    "score",
    "calibrated",
    "at",
    "probability",
    "signal",
    "used",
)
_VERDICT = ("criterion", "judge", "raw", "sd", "method", "invalid")
_at, _task = schema.decisions.c.at, schema.decisions.c.task


def extent(connection: Connection, window: Window) -> Extent:
    """Where the attempts of the window are, and how many."""
    seq = schema.decisions.c.seq
    found = connection.execute(select(func.min(seq), func.max(seq), func.count()).where(*_allowed(window))).one()
    return Extent(first=found[0] or 0, last=found[1] or 0, attempts=found[2])


def piece(connection: Connection, window: Window, after: int, upto: int) -> tuple[RecordedAttempt, ...]:
    """The attempts of the window at the places in (after, upto]."""
    table, choices = schema.decisions, schema.choices.c
    rows = connection.execute(
        select(table, choices.content)
        .join(schema.choices, choices.digest == table.c.choice)
        .where(table.c.seq > after, table.c.seq <= upto, *_allowed(window))
        .order_by(table.c.seq)
    ).all()
    ids = [row.id for row in rows]
    said, judged = _feedback(connection, ids), _judgments(connection, ids)
    return tuple(_attempt(row, said.get(row.id, ()), judged.get(row.id, ())) for row in rows)


class RecordReader:
    """Reads a database on its own, without a gateway. A context manager.

    Raises ``NotFound`` when there is no database, ``StoreError`` when it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise NotFound(f"there is no record at {path}: set PODIUM_HOME to the home of a gateway that has served")
        self._path = path
        self._database = engine.reading(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.dispose()

    def extent(self, window: Window) -> Extent:
        """See ``extent``."""
        try:
            with self._database.connect() as connection:
                return extent(connection, window)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise engine.translate(error, self._path) from error

    def attempts(self, window: Window, within: Extent) -> Iterator[RecordedAttempt]:
        """Those of the window that were there when its extent was read, oldest first."""
        for after in range(within.first - 1, within.last, STEP):
            try:
                with self._database.connect() as connection:
                    found = piece(connection, window, after, min(after + STEP, within.last))
            except (SQLAlchemyError, sqlite3.Error) as error:
                raise engine.translate(error, self._path) from error
            yield from found


def _allowed(window: Window) -> list[ColumnElement[bool]]:
    """Written so that no index on a time leads SQLite away from the order of places."""
    conditions = []
    if window.since is not None:
        conditions.append(_at + 0.0 >= window.since)
    if window.until is not None:
        conditions.append(_at + 0.0 < window.until)
    if window.task is not None:
        conditions.append(_task == window.task)
    return conditions


def _feedback(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Feedback, ...]]:
    columns = schema.feedback.c
    found: dict[str, tuple[Feedback, ...]] = {}
    for row in connection.execute(
        select(schema.feedback).where(columns.decision_id.in_(ids)).order_by(columns.decision_id, columns.source)
    ):
        given = Feedback(**dict(zip(_FEEDBACK, row, strict=True)))
        found[given.decision_id] = (*found.get(given.decision_id, ()), given)
    return found


def _judgments(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Judgment, ...]]:
    """Without the words of the judge, its features and its own cost."""
    columns = schema.judgments.c
    wanted = [columns[name] for name in (*_JUDGMENT, *_VERDICT)]
    found: dict[str, tuple[Judgment, ...]] = {}
    for row in connection.execute(
        select(*wanted).where(columns.decision_id.in_(ids)).order_by(columns.decision_id, columns.seq)
    ):
        own = dict(zip(_JUDGMENT, row, strict=False))
        criterion, judge, raw, sd, method, invalid = row[len(_JUDGMENT) :]
        verdict = Verdict(criterion=criterion, judge=judge, score=raw, sd=sd, method=method, invalid=invalid)
        given = Judgment(**own, verdict=verdict)
        found[given.decision_id] = (*found.get(given.decision_id, ()), given)
    return found


@lru_cache(maxsize=256)
def _choice(content: bytes) -> Choice:
    return unpack_choice(content)


def _attempt(row: Row[Any], said: tuple[Feedback, ...], judged: tuple[Judgment, ...]) -> RecordedAttempt:
    return RecordedAttempt(
        decision=Decision(
            id=row.id,
            request_id=row.request_id,
            at=row.at,
            choice=_choice(row.content),
            served=row.served,
            propensity=row.propensity,
            parent=row.parent,
            classified_by=row.classified_by,
            task_confidence=row.task_confidence,
        ),
        outcome=Outcome(
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
        ),
        feedback=said,
        judgments=judged,
    )
