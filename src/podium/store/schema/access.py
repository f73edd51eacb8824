"""Tables of who may do what: keys."""

from __future__ import annotations

from sqlalchemy import Column, Float, LargeBinary, Table, Text

from podium.store.schema.base import metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the whole key"),
    Column("scopes", Text, nullable=False, comment="JSON array of kind:name"),
    Column("created_at", Float, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("replaced_by", Text),
    Column("last_used_at", Float),
    Column("limits", Text, comment="JSON object of what is said of it alone, as the command takes it"),
)
