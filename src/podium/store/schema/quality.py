"""Tables of what was measured: benchmark runs, judgments, executions, alerts."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, Table, Text, UniqueConstraint, text

from podium.store.schema.base import metadata

benchmark_runs = Table(
    "benchmark_runs",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("suite", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("items", Integer, nullable=False),
    Column("refs", Text, nullable=False, comment="JSON array"),
    Column("state", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("problems", Text, nullable=False, comment="JSON object"),
    sqlite_autoincrement=True,
)

benchmark_items = Table(
    "benchmark_items",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("why", Text, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("answer_hash", Text, nullable=False),
    Column("answer", Text),
    Column("at", Float, nullable=False),
    Index("ix_benchmark_items_suite", "suite", "task"),
)

judgments = Table(
    "judgments",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("request_id", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("ref", Text, nullable=False, comment="the version that was judged"),
    Column("criterion", Text, nullable=False),
    Column("judge", Text, nullable=False),
    Column("raw", Float),
    Column("score", Float, comment="after calibration"),
    Column("sd", Float),
    Column("calibrated", Boolean, nullable=False),
    Column("method", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("invalid", Text),
    Column("reply", Text, comment="of an invalid judgment, shortened"),
    Column("features", Text, nullable=False, comment="JSON object"),
    Column("latency_ms", Float),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("at", Float, nullable=False),
    Column("probability", Float, nullable=False),
    Column("signal", Text),
    Column("used", Boolean, nullable=False),
    UniqueConstraint("decision_id", "criterion", "judge"),
    Index("ix_judgments_task", "task", "ref"),
    Index("ix_judgments_at", "at"),
    sqlite_autoincrement=True,
)

judge_queue = Table(
    "judge_queue",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("decision_id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("content", Text, nullable=False, comment="what is to be judged, JSON object; gone when it was"),
    Column("created_at", Float, nullable=False),
    sqlite_autoincrement=True,
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("judge", Text, primary_key=True),
    Column("criterion", Text, primary_key=True),
    Column("content", Text, nullable=False, comment="JSON object"),
    Column("at", Float, nullable=False),
)

executions = Table(
    "executions",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False, comment="the task"),
    Column("agent", Text),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("success", Boolean),
    Column("quality", Float),
    Column("ref", Text, comment="the version that was routed to"),
    Column("decision_id", Text),
    Column("request_id", Text, comment="of the newest request that named this execution"),
    Column("metadata", Text, nullable=False, comment="JSON object"),
    Index("ix_executions_type", "type", "started_at"),
    Index("ix_executions_agent", "agent"),
    Index("ix_executions_undecided", "finished_at", sqlite_where=text("success IS NULL")),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("ref", Text),
    Column("kind", Text, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("content", Text, nullable=False, comment="JSON object"),
    Index("ix_alerts_task", "task"),
    sqlite_autoincrement=True,
)
