"""Rows of judgments, and of answers that wait to be judged. Functions over a connection; commits nothing itself.

The texts of an answer are in its row of ``judge_queue`` only, and that row goes in the transaction that stores what was
judged of it. Sums are made in SQL, so that figures over many judgments cost no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, case, delete, func, literal, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.judging import Queued, Sums, Tally, Waiting
from podium.domain.judgment import Judgment, Verdict
from podium.ports import JudgmentFilter, Page
from podium.store import schema
from podium.store.packing import from_json, to_json

_table = schema.judgments
_queue = schema.judge_queue
_queued = msgspec.json.Decoder(Queued).decode
_put = upsert(_table)
_into = upsert(_queue)
_enqueued = _into.on_conflict_do_update(
    index_elements=["decision_id"], set_={"content": _into.excluded["content"], "task": _into.excluded["task"]}
)
_replaced = _put.on_conflict_do_update(
    index_elements=["decision_id", "criterion", "judge"],
    set_={
        column.name: _put.excluded[column.name]
        for column in _table.columns
        if column.name not in {"seq", "id", "decision_id", "criterion", "judge"}
    },
)


def enqueue(connection: Connection, items: Sequence[Queued]) -> None:
    """Keep them until they are judged; one that waits already gets the new content and keeps its place in line."""
    rows = [
        {
            "decision_id": one.decision_id,
            "task": one.task,
            "content": to_json(one),
            "created_at": one.at,
        }
        for one in items
    ]
    if rows:
        connection.execute(_enqueued, rows)


def waiting(connection: Connection) -> tuple[Waiting, ...]:
    """All that wait, in the order they came."""
    part = {name: func.json_extract(_queue.c.content, f"$.{name}") for name in ("place", "odds", "share")}
    query = select(_queue.c.decision_id, _queue.c.task, part["place"], part["odds"], part["share"])
    return tuple(
        Waiting(decision_id=row[0], task=row[1], place=row[2], odds=row[3], share=row[4])
        for row in connection.execute(query.order_by(_queue.c.seq))
    )


def take(connection: Connection, decision_ids: Sequence[str]) -> tuple[Queued, ...]:
    """Those that wait under these ids; they stay until they are judged."""
    query = select(_queue.c.content).where(_queue.c.decision_id.in_(decision_ids)).order_by(_queue.c.seq)
    return tuple(_queued(content) for content in connection.execute(query).scalars())


def drop(connection: Connection, decision_ids: Sequence[str]) -> int:
    """Forget them unjudged; returns how many waited."""
    return connection.execute(delete(_queue).where(_queue.c.decision_id.in_(decision_ids))).rowcount


def thin(connection: Connection, decision_ids: Sequence[str], share: float) -> None:
    """Forget those, and lower the share of all others to ``share``."""
    for start in range(0, len(decision_ids), 500):
        drop(connection, decision_ids[start : start + 500])
    connection.execute(
        text(
            "UPDATE judge_queue SET content = json_set(content, '$.share', :share)"
            " WHERE json_extract(content, '$.share') > :share"
        ),
        {"share": share},
    )


def save(connection: Connection, judgments: Sequence[Judgment]) -> None:
    """Store judgments and forget the texts. One of the same answer, criterion and judge takes the place of the earlier."""
    if judgments:
        connection.execute(_replaced, [_row(one) for one in judgments])
        drop(connection, sorted({one.decision_id for one in judgments}))


def raise_probability(connection: Connection, decision_id: str, probability: float, sign: str) -> int:
    """An answer that was judged turned out to show a sign: it would have been picked with ``probability`` anyway."""
    wanted = (_table.c.decision_id == decision_id) & (_table.c.probability < probability)
    return connection.execute(update(_table).where(wanted).values(probability=probability, signal=sign)).rowcount


def listed(connection: Connection, wanted: JudgmentFilter, page: Page) -> tuple[Judgment, ...]:
    """Newest first."""
    query = select(_table).order_by(_table.c.seq.desc()).limit(page.limit).offset(page.offset)
    for name in ("task", "ref", "criterion", "judge", "request_id"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(_table.c[name] == value)
    if wanted.invalid is not None:
        query = query.where(_table.c.invalid.is_not(None) if wanted.invalid else _table.c.invalid.is_(None))
    return tuple(_judgment(row) for row in connection.execute(query))


def tallies(
    connection: Connection,
    task: str | None,
    since: float,
    cuts: Mapping[tuple[str, str], float] = MappingProxyType({}),
) -> tuple[Tally, ...]:
    """By task, version, criterion and judge, of judgments from the Unix time ``since`` on. ``cuts``: by judge and criterion
    the score from which on an answer counts as passed.
    """
    weight = case((_table.c.score.is_not(None), 1.0 / _table.c.probability), else_=0.0)
    score = func.coalesce(_table.c.score, 0.0)
    tokens = func.coalesce(_table.c.input_tokens, 0) + func.coalesce(_table.c.output_tokens, 0)
    whens = [(and_(_table.c.judge == who, _table.c.criterion == what), cut) for (who, what), cut in cuts.items()]
    passed = case((_table.c.score >= case(*whens), weight), else_=0.0) if whens else literal(0.0)
    keys = (_table.c.task, _table.c.ref, _table.c.criterion, _table.c.judge)
    query = (
        select(
            *keys,
            func.count(),
            func.count(_table.c.invalid),
            func.count(_table.c.score),
            func.sum(weight),
            func.sum(weight * weight),
            func.sum(weight * score),
            func.sum(weight * weight * score),
            func.sum(weight * weight * score * score),
            func.coalesce(func.sum(_table.c.latency_ms), 0.0),
            func.sum(tokens),
            func.max(_table.c.at),
            func.count(case((_table.c.calibrated.is_(True), _table.c.score))),
            func.sum(passed),
            func.sum(passed * passed),
        )
        .where(_table.c.at >= since)
        .group_by(*keys)
        .order_by(*keys)
    )
    if task is not None:
        query = query.where(_table.c.task == task)
    return tuple(
        Tally(
            task=row[0],
            ref=row[1],
            criterion=row[2],
            judge=row[3],
            judgments=row[4],
            invalid=row[5],
            no_ground=row[4] - row[5] - row[6],
            sums=Sums(n=row[6], w=row[7], ww=row[8], wy=row[9], wwy=row[10], wwyy=row[11]),
            latency_ms=row[12],
            tokens=row[13],
            last_at=row[14],
            calibrated=row[15],
            passing=Sums(n=row[6], w=row[7], ww=row[8], wy=row[16], wwy=row[17], wwyy=row[17])
            if (row[3], row[2]) in cuts
            else None,
        )
        for row in connection.execute(query)
    )


def prune(connection: Connection, most: int, step: int) -> int:
    """Delete the oldest beyond ``most``, at most ``step`` of them; returns how many."""
    cut = connection.execute(select(_table.c.seq).order_by(_table.c.seq.desc()).limit(1).offset(most)).scalar()
    if cut is None:
        return 0
    old = select(_table.c.seq).where(_table.c.seq <= cut).order_by(_table.c.seq).limit(step)
    return connection.execute(delete(_table).where(_table.c.seq.in_(old))).rowcount


def _row(one: Judgment) -> dict[str, object]:
    verdict = one.verdict
    return {
        "id": one.id,
        "request_id": one.request_id,
        "decision_id": one.decision_id,
        "task": one.task,
        "ref": one.ref,
        "criterion": verdict.criterion,
        "judge": verdict.judge,
        "raw": verdict.score,
        "score": one.score,
        "sd": verdict.sd,
        "calibrated": one.calibrated,
        "method": verdict.method,
        "reason": verdict.reason,
        "invalid": verdict.invalid,
        "reply": verdict.reply,
        "features": to_json(verdict.features),
        "latency_ms": verdict.latency_ms,
        "input_tokens": verdict.input_tokens,
        "output_tokens": verdict.output_tokens,
        "at": one.at,
        "probability": one.probability,
        "signal": one.signal,
        "used": one.used,
    }


def _judgment(row: Row[Any]) -> Judgment:
    verdict = Verdict(
        criterion=row.criterion,
        judge=row.judge,
        score=row.raw,
        sd=row.sd,
        method=row.method,
        reason=row.reason,
        invalid=row.invalid,
        reply=row.reply,
        features=MappingProxyType(from_json(row.features)),
        latency_ms=row.latency_ms,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cached=row.latency_ms is None and row.input_tokens == 0,  # a judge that was asked took time
    )
    return Judgment(
        id=row.id,
        request_id=row.request_id,
        decision_id=row.decision_id,
        task=row.task,
        ref=row.ref,
        verdict=verdict,
        score=row.score,
        calibrated=bool(row.calibrated),
        at=row.at,
        probability=row.probability,
        signal=row.signal,
        used=bool(row.used),
    )
