"""Tables of what happened: swaps, events, decisions with their outcomes, feedback, and what was learned from it."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, Table, Text

from podium.store.schema.base import metadata

swaps = Table(
    "swaps",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("before", Text),
    Column("after", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("finished_at", Float),
    Column("error", Text),
    Column("compatibility", Text, comment="JSON object"),
    Column("load_ms", Float),
    Column("swap_ms", Float),
    Index("ix_swaps_task", "task"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("subject", Text, nullable=False),
    Column("data", Text, nullable=False, comment="JSON array of pairs"),
    sqlite_autoincrement=True,
)

choices = Table(
    "choices",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="BLAKE2b-128 of content"),
    Column("content", LargeBinary, nullable=False, comment="MessagePack, see store/packing"),
    Column("last_at", Float, nullable=False, comment="newest decision that refers to it"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("request_id", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("choice", LargeBinary, nullable=False, comment="choices.digest"),
    Column("served", Text, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("parent", Text),
    Column("classified_by", Text, nullable=False),
    Column("task_confidence", Float, nullable=False),
    Column("task", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("finished_at", Float, nullable=False),
    Column("success", Integer, nullable=False),
    Column("error", Text),
    Column("streamed", Integer, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("ttft_ms", Float),
    Column("cost", LargeBinary, nullable=False, comment="MessagePack, see store/packing"),
    Index("ix_decisions_request_id", "request_id"),
    Index("ix_decisions_at", "at"),
    sqlite_autoincrement=True,
)

feedback = Table(
    "feedback",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("score", Float, comment="NULL: only words"),
    Column("at", Float, nullable=False),
    Column("comment", Text),
    Column("label", Text),
    Column("correction_hash", Text, comment="SHA-256, hex"),
    Column("correction_chars", Integer),
    Index("ix_feedback_request_id", "request_id"),
)

knowledge = Table(
    "knowledge",
    metadata,
    Column("task", Text, primary_key=True),
    Column("content", Text, nullable=False, comment="JSON object with its own version"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("task", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("samples", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("latency_ms_sum", Float, nullable=False),
    Column("latency_buckets", LargeBinary, nullable=False, comment="MessagePack array of pairs"),
    Column("ttft_ms_sum", Float, nullable=False),
    Column("ttft_samples", Integer, nullable=False),
    Column("tokens_per_s_sum", Float, nullable=False),
    Column("tokens_per_s_samples", Integer, nullable=False),
    Column("quality_sum", Float, nullable=False),
    Column("quality_samples", Integer, nullable=False),
    Column("memory_mb_max", Float),
    Column("cpu_ms_sum", Float, nullable=False),
    Column("cpu_samples", Integer, nullable=False),
    Column("last_at", Float),
)
