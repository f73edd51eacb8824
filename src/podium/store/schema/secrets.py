"""Table of sealed secrets. What opens them is not in the database."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, LargeBinary, Table, Text

from podium.store.schema.base import metadata

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("key_id", Text, nullable=False, comment="fingerprint of the master key"),
    Column("nonce", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False, comment="AES-256-GCM, with its tag"),
    Column("set_at", Float, nullable=False),
    Column("set_by", Text, nullable=False),
)
