"""Rows of rollouts, their steps and bars. Functions over a connection; commits nothing itself.

A rollout is driven by one gateway: its row names the owner, and every change is conditional on that name, so that a
gateway that lost a rollout cannot write over the one that took it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, delete, exists, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.rollout import Bar, Rollout, RolloutState, RolloutStep
from podium.errors import Conflict
from podium.ports import KeptRollout, Page, RolloutChange
from podium.store import schema, tasks
from podium.store.packing import to_json

_table = schema.rollouts
_decode = msgspec.json.Decoder(Rollout).decode


def add(connection: Connection, change: RolloutChange, owner: str, until: float) -> None:
    """Insert a rollout with its first step. Raises ``Conflict`` naming the one that is open on the task."""
    rollout = change.rollout
    busy = connection.execute(
        select(_table.c.id).where(_table.c.task == rollout.task, _table.c.finished_at.is_(None))
    ).scalar()
    if busy is not None:
        raise Conflict(f"rollout {busy} is open on {rollout.task}; promote or abort it first")
    values = _values(rollout) | {
        "id": rollout.id,
        "task": rollout.task,
        "baseline": rollout.baseline,
        "candidate": rollout.candidate,
        "mode": rollout.plan.mode,
        "requested_at": rollout.requested_at,
        "owner": owner,
        "owned_until": until,
    }
    connection.execute(insert(_table).values(**values))
    _attach(connection, change)


def save(connection: Connection, change: RolloutChange, owner: str) -> None:
    """A transition with all that belongs to it. Raises ``Conflict`` when ``owner`` does not drive the open rollout."""
    rollout = change.rollout
    values = _values(rollout)
    if change.arms is not None:
        values["arms"] = change.arms
    mine = (_table.c.id == rollout.id, _table.c.owner == owner, _table.c.finished_at.is_(None))
    if connection.execute(update(_table).where(*mine).values(**values)).rowcount != 1:
        raise Conflict(f"rollout {rollout.id} has ended or is driven by another gateway; look at it again")
    _attach(connection, change)


def put_arms(connection: Connection, rollout_id: str, owner: str, arms: bytes) -> bool:
    """Keep the evidence; false when the rollout has ended or ``owner`` does not drive it."""
    mine = (_table.c.id == rollout_id, _table.c.owner == owner, _table.c.finished_at.is_(None))
    return connection.execute(update(_table).where(*mine).values(arms=arms)).rowcount == 1


def claim(
    connection: Connection, owner: str, now: float, until: float, *, only: str | None, alone: bool
) -> tuple[KeptRollout, ...]:
    """Take every open rollout that nobody drives (``only``: of this id), and return those taken, oldest first."""
    free = [_table.c.finished_at.is_(None), or_(_table.c.owner.is_(None), _table.c.owner != owner)]
    if not alone:
        free.append(or_(_table.c.owner.is_(None), _table.c.owned_until.is_(None), _table.c.owned_until < now))
    if only is not None:
        free.append(_table.c.id == only)
    rows = connection.execute(select(_table).where(*free).order_by(_table.c.seq)).all()
    if rows:
        taken = _table.c.seq.in_([row.seq for row in rows])
        connection.execute(update(_table).where(taken).values(owner=owner, owned_until=until))
    return tuple(KeptRollout(rollout=_decode(row.content), arms=row.arms) for row in rows)


def renew(connection: Connection, owner: str, until: float) -> frozenset[str]:
    """Go on driving; the ids of the open rollouts that ``owner`` still drives."""
    mine = (_table.c.owner == owner, _table.c.finished_at.is_(None))
    connection.execute(update(_table).where(*mine).values(owned_until=until))
    return frozenset(connection.execute(select(_table.c.id).where(*mine)).scalars())


def find(connection: Connection, rollout_id: str) -> KeptRollout | None:
    """One rollout, open or not."""
    row = connection.execute(select(_table).where(_table.c.id == rollout_id)).one_or_none()
    return None if row is None else KeptRollout(rollout=_decode(row.content), arms=row.arms)


def listed(connection: Connection, task: str | None, page: Page) -> tuple[Rollout, ...]:
    """Rollouts of one task or of all, newest first."""
    query = select(_table.c.content).order_by(_table.c.seq.desc()).limit(page.limit).offset(page.offset)
    return _rollouts(connection, query if task is None else query.where(_table.c.task == task))


def unreleased(connection: Connection) -> tuple[Rollout, ...]:
    """Promoted ones of whose old version nobody has said what becomes of it: a step from ``promoted`` says so."""
    steps = schema.rollout_steps
    said = exists().where(steps.c.rollout == _table.c.id, steps.c.before == RolloutState.PROMOTED)
    query = select(_table.c.content).where(_table.c.state == RolloutState.PROMOTED, ~said).order_by(_table.c.seq)
    return _rollouts(connection, query)


def steps_of(connection: Connection, rollout_id: str) -> tuple[RolloutStep, ...]:
    """Transitions of a rollout, oldest first."""
    table = schema.rollout_steps
    rows = connection.execute(select(table).where(table.c.rollout == rollout_id).order_by(table.c.seq))
    return tuple(_step(row) for row in rows)


def add_step(connection: Connection, step: RolloutStep) -> None:
    """Append a transition."""
    connection.execute(
        insert(schema.rollout_steps).values(
            rollout=step.rollout,
            at=step.at,
            before=step.before,
            after=step.after,
            share=step.share,
            reason=step.reason,
        )
    )


def all_bars(connection: Connection) -> tuple[Bar, ...]:
    """Every bar, lifted by evidence or not."""
    return tuple(
        Bar(task=row.task, ref=row.ref, at=row.at, reason=row.reason, samples=row.samples)
        for row in connection.execute(select(schema.bars))
    )


def _attach(connection: Connection, change: RolloutChange) -> None:
    """What is recorded together with the row."""
    add_step(connection, change.step)
    if change.swap is not None:
        tasks.put_swap(connection, change.swap)
    if change.binding is not None:
        tasks.bind(connection, change.binding)
        bars = schema.bars
        own = (bars.c.task == change.binding.task, bars.c.ref == change.binding.ref)
        connection.execute(delete(bars).where(*own))
    if change.bar is not None:
        _bar(connection, change.bar)
    tasks.add_events(connection, change.events)


def _bar(connection: Connection, bar: Bar) -> None:
    values = {"at": bar.at, "reason": bar.reason, "samples": bar.samples}
    statement = upsert(schema.bars).values(task=bar.task, ref=bar.ref, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["task", "ref"], set_=values))


def _values(rollout: Rollout) -> dict[str, object]:
    return {"state": rollout.state, "finished_at": rollout.finished_at, "content": to_json(rollout)}


def _rollouts(connection: Connection, query: Select[Any]) -> tuple[Rollout, ...]:
    return tuple(_decode(content) for content in connection.execute(query).scalars())


def _step(row: Row[Any]) -> RolloutStep:
    return RolloutStep(
        rollout=row.rollout,
        at=row.at,
        before=RolloutState(row.before),
        after=RolloutState(row.after),
        share=row.share,
        reason=row.reason,
    )
