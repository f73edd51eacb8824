"""Tables of what is under way: rollouts, schedules, deliveries."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, Table, Text, text

from podium.store.schema.base import metadata

rollouts = Table(
    "rollouts",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("baseline", Text, nullable=False),
    Column("candidate", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("content", Text, nullable=False, comment="the whole rollout, JSON object"),
    Column("arms", LargeBinary, comment="evidence of both arms, whole, with its own version"),
    Column("owner", Text, comment="the gateway that drives it"),
    Column("owned_until", Float, comment="Unix time; another gateway may take over after it"),
    Index("ix_rollouts_task", "task"),
    Index("ix_rollouts_open", "task", unique=True, sqlite_where=text("finished_at IS NULL")),
    sqlite_autoincrement=True,
)

rollout_steps = Table(
    "rollout_steps",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("rollout", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("share", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_rollout_steps_rollout", "rollout"),
    sqlite_autoincrement=True,
)

bars = Table(
    "bars",
    metadata,
    Column("task", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("samples", Integer, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("due_at", Float, comment="Unix time of the next window, if it is known"),
    Column("content", Text, nullable=False, comment="the whole schedule, JSON object"),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("webhook", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="deliveries of one webhook and subject go out in order"),
    Column("kind", Text, nullable=False),
    Column("content", Text, nullable=False, comment="the body, JSON object"),
    Column("created_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("error", Text, comment="of the last attempt"),
    Index("ix_deliveries_webhook", "webhook", "subject", "seq"),
    sqlite_autoincrement=True,
)
