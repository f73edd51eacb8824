"""Tables of budgets: what is allowed, what was used, and reservations that outlive a crash."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Integer, Table, Text

from podium.store.schema.base import metadata

budgets = Table(
    "budgets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False, comment="tokens, ms, mJ or millionths of a dollar"),
    Column("period", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("at", Float, nullable=False),
)

budget_accounts = Table(
    "budget_accounts",
    metadata,
    Column("budget", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("kind", Text, nullable=False, comment="scope/unit/period/timezone the sums are for"),
    Column("window_start", Float, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("told", Integer, nullable=False),
    Column("unmeasured", BigInteger, nullable=False),
    Column("earlier", Text, nullable=False, comment="JSON array of [start, used]"),
)

budget_reservations = Table(
    "budget_reservations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("budget", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("operation_id", Text, nullable=False),
    Column("at", Float, nullable=False),
)
