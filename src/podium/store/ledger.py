"""Rows of decisions with their outcomes, choices, feedback and evidence. Commits nothing itself.

A decision and its outcome are one row. What was chosen from is stored once per content in ``choices``. A decision that
is there already is left as it is, feedback of one source takes the place of its earlier one: repeating a batch changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Dialect, Row, Select, bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.evidence import Evidence
from podium.ports import Batch, Page, Sought
from podium.store import costs, knowledge, schema
from podium.store.cost_packing import pack_cost, unpack_cost
from podium.store.packing import pack_choice, pack_pairs, unpack_choice, unpack_pairs
from podium.store.tasks import add_events

LOOKED_AT = 500_000
"""Decisions among which some are sought: a word that is nowhere costs a second at most."""
_EVIDENCE_KEY = ("task", "ref")
_EVIDENCE_VALUES = tuple(c.name for c in schema.evidence.columns if c.name not in _EVIDENCE_KEY)
_DECISION = (
    "id",
    "request_id",
    "at",
    "choice",
    "served",
    "propensity",
    "parent",
    "classified_by",
    "task_confidence",
    "task",
    "ref",
    "finished_at",
    "success",
    "error",
    "streamed",
    "latency_ms",
    "ttft_ms",
    "cost",
)
_FEEDBACK = tuple(c.name for c in schema.feedback.columns)

_new_decision = upsert(schema.decisions).on_conflict_do_nothing(index_elements=["id"])
_said = upsert(schema.feedback)
_put_feedback = _said.on_conflict_do_update(
    index_elements=["decision_id", "source"],
    set_={name: _said.excluded[name] for name in _FEEDBACK if name not in {"decision_id", "source"}},
)
_choice = upsert(schema.choices)
_put_choice = _choice.on_conflict_do_update(
    index_elements=["digest"], set_={"last_at": func.max(schema.choices.c.last_at, _choice.excluded.last_at)}
)
_row = upsert(schema.evidence)
_put_evidence = _row.on_conflict_do_update(
    index_elements=list(_EVIDENCE_KEY), set_={name: _row.excluded[name] for name in _EVIDENCE_VALUES}
)


def write(connection: Connection, batch: Batch) -> None:
    """Write one batch of the recorder."""
    if batch.decisions:
        _add_decisions(connection, batch.decisions)
    if batch.feedback:
        connection.execute(_put_feedback, [{name: getattr(f, name) for name in _FEEDBACK} for f in batch.feedback])
    add_events(connection, batch.events)
    if batch.evidence:
        connection.execute(_put_evidence, [_evidence_row(key, row) for key, row in batch.evidence.items()])
    if batch.knowledge:
        knowledge.write(connection, batch.knowledge)
    if batch.operations:
        costs.add_operations(connection, batch.operations)
    if batch.spending:
        costs.put_spending(connection, batch.spending)


def all_evidence(connection: Connection) -> Mapping[tuple[str, str], Evidence]:
    """Evidence by (task, ref)."""
    found = {}
    for row in connection.execute(select(schema.evidence)):
        values = {name: getattr(row, name) for name in _EVIDENCE_VALUES}
        values["latency_buckets"] = unpack_pairs(row.latency_buckets)
        found[row.task, row.ref] = Evidence(**values)
    return found


def decisions_of(connection: Connection, request_id: str) -> tuple[tuple[Decision, Outcome], ...]:
    """All attempts of one request, oldest first."""
    table = schema.decisions
    return _decisions(connection, _joined().where(table.c.request_id == request_id).order_by(table.c.seq))


def recent_decisions(
    connection: Connection, page: Page, sought: Sought | None = None
) -> tuple[tuple[Decision, Outcome], ...]:
    """Newest first; those sought are looked for among the newest ``LOOKED_AT``."""
    table = schema.decisions
    newest = _joined().order_by(table.c.seq.desc())
    if sought is not None:
        last = connection.execute(select(func.max(table.c.seq))).scalar() or 0
        newest = newest.where(table.c.seq > last - LOOKED_AT)
        if sought.task is not None:
            newest = newest.where(table.c.task == sought.task)
        if sought.model is not None:
            of_name = table.c.ref.startswith(sought.model + "@", autoescape=True)
            newest = newest.where(table.c.ref == sought.model if "@" in sought.model else of_name)
        if sought.failed is not None:
            newest = newest.where(table.c.success == (not sought.failed))
    return _decisions(connection, newest.limit(page.limit).offset(page.offset))


def feedback_of(connection: Connection, request_id: str) -> tuple[Feedback, ...]:
    """All feedback to one request, oldest first."""
    table = schema.feedback
    rows = connection.execute(select(table).where(table.c.request_id == request_id).order_by(table.c.at))
    return tuple(Feedback(**{name: getattr(row, name) for name in _FEEDBACK}) for row in rows)


def counts(connection: Connection) -> Mapping[str, int]:
    """Rows per table."""
    return {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in schema.metadata.tables.items()
    }


def prune(connection: Connection, max_decisions: int, older_than: float, limit: int) -> int:
    """Delete at most ``limit`` decisions that are beyond the newest ``max_decisions`` or older than a Unix time,
    with their feedback and the choices that nothing refers to any more. Returns how many decisions went.
    """
    table = schema.decisions
    newest = select(table.c.seq).order_by(table.c.seq.desc()).limit(1).offset(max(max_decisions, 0))
    cut = connection.execute(newest).scalar()
    doomed = list(connection.execute(select(table.c.seq).where(table.c.at < older_than).limit(limit)).scalars())
    if cut is not None and len(doomed) < limit:
        beyond = select(table.c.seq).where(table.c.seq <= cut).order_by(table.c.seq).limit(limit)
        doomed = sorted({*doomed, *connection.execute(beyond).scalars()})[:limit]
    if not doomed:
        return 0
    for start in range(0, len(doomed), 500):
        part = doomed[start : start + 500]
        ids = select(table.c.id).where(table.c.seq.in_(part))
        connection.execute(delete(schema.feedback).where(schema.feedback.c.decision_id.in_(ids)))
        costs.forget_charges(connection, ids)
        connection.execute(delete(table).where(table.c.seq.in_(part)))
    oldest = connection.execute(select(func.min(table.c.at))).scalar()
    unused = delete(schema.choices)
    connection.execute(unused if oldest is None else unused.where(schema.choices.c.last_at < oldest))
    return len(doomed)


def _add_decisions(connection: Connection, pairs: Sequence[tuple[Decision, Outcome]]) -> None:
    packed: dict[int, tuple[bytes, bytes]] = {}
    used: dict[bytes, tuple[bytes, float]] = {}
    rows = []
    for decision, outcome in pairs:
        key = id(decision.choice)
        if key not in packed:
            packed[key] = pack_choice(decision.choice)
        digest, content = packed[key]
        used[digest] = (content, max(decision.at, used[digest][1] if digest in used else decision.at))
        rows.append(_decision_row(decision, outcome, digest))
    connection.execute(
        _put_choice, [{"digest": digest, "content": content, "last_at": at} for digest, (content, at) in used.items()]
    )
    connection.exec_driver_sql(_decision_sql(connection.dialect), rows)
    costs.add_charges(connection, (outcome for _, outcome in pairs))


@cache
def _decision_sql(dialect: Dialect) -> str:
    """The insert as text, in the order of ``_DECISION``: compiling and binding by name took half of the batch."""
    compiled = _new_decision.values({name: bindparam(name) for name in _DECISION}).compile(dialect=dialect)
    assert tuple(compiled.positiontup or ()) == _DECISION, "the rows must follow the columns of the table"
    return str(compiled)


def _decision_row(decision: Decision, outcome: Outcome, digest: bytes) -> tuple[object, ...]:
    """The values of one row, in the order of ``_DECISION``."""
    return (
        decision.id,
        decision.request_id,
        decision.at,
        digest,
        decision.served,
        decision.propensity,
        decision.parent,
        decision.classified_by,
        decision.task_confidence,
        outcome.task,
        outcome.ref,
        outcome.at,
        outcome.success,
        outcome.error,
        outcome.streamed,
        outcome.latency_ms,
        outcome.ttft_ms,
        pack_cost(outcome.cost),
    )


def _evidence_row(key: tuple[str, str], evidence: Evidence) -> dict[str, object]:
    row = {name: getattr(evidence, name) for name in _EVIDENCE_VALUES}
    return {**row, "task": key[0], "ref": key[1], "latency_buckets": pack_pairs(evidence.latency_buckets)}


def _joined() -> Select[Any]:
    content = schema.choices.c.content
    return select(schema.decisions, content).join(schema.choices, schema.choices.c.digest == schema.decisions.c.choice)


def _decisions(connection: Connection, query: Select[Any]) -> tuple[tuple[Decision, Outcome], ...]:
    return tuple(_decision(row) for row in connection.execute(query))


def _decision(row: Row[Any]) -> tuple[Decision, Outcome]:
    decision = Decision(
        id=row.id,
        request_id=row.request_id,
        at=row.at,
        choice=unpack_choice(row.content),
        served=row.served,
        propensity=row.propensity,
        parent=row.parent,
        classified_by=row.classified_by,
        task_confidence=row.task_confidence,
    )
    outcome = Outcome(
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
    return decision, outcome
