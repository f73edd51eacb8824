"""Rows of budgets. Functions over a connection; commits nothing itself."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.budget import AccountRow, Budget, HeldRow, Period, Scope, Unit
from podium.store import schema

_accounts, _held = schema.budget_accounts, schema.budget_reservations
_KEY = ("budget", "subject")
_row = upsert(_accounts)
_put_account = _row.on_conflict_do_update(
    index_elements=_KEY, set_={one.name: _row.excluded[one.name] for one in _accounts.columns if one.name not in _KEY}
)
"""One statement for all rows: writing one anew for each cost thirty times as much."""
_forget = delete(_accounts).where(_accounts.c.budget == bindparam("of"), _accounts.c.subject == bindparam("whose"))
_release = delete(_held).where(_held.c.id == bindparam("reservation"))


def put_budget(connection: Connection, budget: Budget) -> None:
    """Insert or replace."""
    values = {
        "scope": budget.scope.value,
        "subject": budget.subject,
        "unit": budget.unit.value,
        "amount": budget.limit,
        "period": budget.period.value,
        "timezone": budget.timezone,
        "set_by": budget.by,
        "at": budget.at,
    }
    statement = upsert(schema.budgets).values(name=budget.name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def remove_budget(connection: Connection, name: str) -> None:
    """The budget, its accounts and reservations."""
    connection.execute(delete(schema.budgets).where(schema.budgets.c.name == name))
    for table in (schema.budget_accounts, schema.budget_reservations):
        connection.execute(delete(table).where(table.c.budget == name))


def all_budgets(connection: Connection) -> tuple[Budget, ...]:
    """By name."""
    return tuple(
        Budget(
            name=row.name,
            scope=Scope(row.scope),
            subject=row.subject,
            unit=Unit(row.unit),
            limit=row.amount,
            period=Period(row.period),
            timezone=row.timezone,
            by=row.set_by,
            at=row.at,
        )
        for row in connection.execute(select(schema.budgets).order_by(schema.budgets.c.name))
    )


def all_accounts(connection: Connection) -> tuple[AccountRow, ...]:
    """Every account on record."""
    return tuple(
        AccountRow(
            budget=row.budget,
            subject=row.subject,
            kind=row.kind,
            window_start=row.window_start,
            used=row.used,
            told=row.told,
            unmeasured=row.unmeasured,
            earlier=tuple((float(start), int(used)) for start, used in json.loads(row.earlier)),
        )
        for row in connection.execute(select(schema.budget_accounts))
    )


def hold(connection: Connection, held: Sequence[HeldRow]) -> None:
    """Insert reservations."""
    for one in held:
        connection.execute(
            schema.budget_reservations.insert().values(
                id=one.id,
                budget=one.budget,
                subject=one.subject,
                amount=one.amount,
                operation_id=one.operation_id,
                at=one.at,
            )
        )


def all_held(connection: Connection) -> tuple[HeldRow, ...]:
    """Reservations nobody settled."""
    return tuple(
        HeldRow(
            id=row.id,
            budget=row.budget,
            subject=row.subject,
            amount=row.amount,
            operation_id=row.operation_id,
            at=row.at,
        )
        for row in connection.execute(select(schema.budget_reservations))
    )


def settle(
    connection: Connection,
    accounts: Sequence[AccountRow],
    settled: Sequence[str],
    forgotten: Sequence[tuple[str, str]],
) -> None:
    """Remove accounts, put others whole, remove reservations."""
    if forgotten:
        connection.execute(_forget, [{"of": budget, "whose": subject} for budget, subject in forgotten])
    if accounts:
        rows = [
            {
                "budget": one.budget,
                "subject": one.subject,
                "kind": one.kind,
                "window_start": one.window_start,
                "used": one.used,
                "told": one.told,
                "unmeasured": one.unmeasured,
                "earlier": json.dumps(one.earlier) if one.earlier else "[]",
            }
            for one in accounts
        ]
        connection.execute(_put_account, rows)
    if settled:
        connection.execute(_release, [{"reservation": one} for one in settled])
