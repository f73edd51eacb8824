"""Table of what the requests of each key cost, by the hour."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, Table, Text

from podium.store.schema.base import metadata

key_costs = Table(
    "key_costs",
    metadata,
    Column("hour", Integer, primary_key=True, comment="hours since 1970"),
    Column("key", Text, primary_key=True, comment="id of the key; empty: without one"),
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
