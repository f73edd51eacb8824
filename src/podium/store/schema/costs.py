"""Tables of what things cost: who is charged for an attempt, operations without a decision, sums by the hour, price tables that were used."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, Table, Text

from podium.store.schema.base import metadata

charges = Table(
    "charges",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("charged_to", Text, nullable=False, comment="what caused the attempt; there is no row for plain requests"),
    Index("ix_charges_charged_to", "charged_to"),
)

operations = Table(
    "operations",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", Float, nullable=False),
    Column("task", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("request_id", Text),
    Column("success", Boolean, nullable=False),
    Column("cost", LargeBinary, nullable=False, comment="MessagePack, see store/costs"),
    Column("cause", Text, nullable=False),
    Column("charged_to", Text),
    Index("ix_operations_charged_to", "charged_to"),
    Index("ix_operations_request_id", "request_id"),
    Index("ix_operations_at", "at"),
    sqlite_autoincrement=True,
)

spending = Table(
    "spending",
    metadata,
    Column("hour", Integer, primary_key=True, comment="hours since 1970"),
    Column("task", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("cause", Text, primary_key=True),
    Column("operations", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("wall_ms", Float, nullable=False),
    Column("cpu_ms", Float, nullable=False),
    Column("cpu_samples", Integer, nullable=False),
    Column("gpu_ms", Float, nullable=False),
    Column("gpu_samples", Integer, nullable=False),
    Column("energy_mwh", Float, nullable=False),
    Column("energy_samples", Integer, nullable=False),
    Column("energy_estimated", Integer, nullable=False),
    Column("memory_mb_ms", Float, nullable=False),
    Column("memory_wall_ms", Float, nullable=False),
    Column("peak_memory_mb", Float),
    Column("input_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("token_samples", Integer, nullable=False),
    Column("tokens_estimated", Integer, nullable=False),
    Column("price_microusd", Integer, nullable=False),
    Column("price_samples", Integer, nullable=False),
)

price_tables = Table(
    "price_tables",
    metadata,
    Column("version", Text, primary_key=True),
    Column("content", Text, nullable=False, comment="the whole table, JSON object"),
    Column("first_used_at", Float, nullable=False),
)
