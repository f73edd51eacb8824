"""Tables of what was done: the audit log, and configurations that were in force."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, Table, Text

from podium.store.schema.base import metadata

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, comment="one more than the row before"),
    Column("at", Float, nullable=False),
    Column("phase", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text),
    Column("via", Text),
    Column("origin", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("task", Text),
    Column("asked", Text, comment="JSON without secrets, as before and after"),
    Column("before", Text),
    Column("after", Text),
    Column("status", Integer),
    Column("outcome", Text),
    Column("request_id", Text),
    Column("missed", Integer, nullable=False),
    Column("previous", Text, nullable=False, comment="hash of the row before"),
    Column("hash", Text, nullable=False, comment="SHA-256 of all other columns"),
    Index("ix_audit_action", "action"),
)

config_history = Table(
    "config_history",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("file", Text),
    Column("digest", Text, nullable=False, comment="SHA-256 of the file as it was"),
    Column("content", Text, nullable=False, comment="the file without what looks like a secret"),
    Column("redacted", Integer, nullable=False),
    Column("environment", Text, nullable=False, comment="JSON array of names"),
    Column("changes", Text, nullable=False, comment="JSON array of names"),
    Column("problems", Integer, nullable=False),
    sqlite_autoincrement=True,
)
