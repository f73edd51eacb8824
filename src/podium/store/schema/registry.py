"""Tables of what there is: versions and their course, aliases, tasks, what serves them."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from podium.store.schema.base import metadata

versions = Table(
    "versions",
    metadata,
    Column("ref", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("settings", Text, nullable=False, comment="JSON object"),
    Column("digest", Text, nullable=False),
    Column("architecture", Text),
    Column("parameters", Integer),
    Column("quantization", Text),
    Column("context_length", Integer),
    Column("size_bytes", Integer),
    Column("kv_bytes_per_token", Integer),
    Column("chat_template", Text),
    Column("licence", Text),
    Column("declared_version", Text),
    Column("capabilities", Text, nullable=False, comment="JSON array"),
    Column("category", Text),
    Column("tags", Text, nullable=False, comment="JSON array"),
    Column("parent", Text),
    Column("specialisation", Text),
    Column("created_at", Float, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("activated_at", Float),
    UniqueConstraint("name", "version", name="uq_versions_name_version"),
    CheckConstraint("ref = name || '@' || version", name="ck_versions_ref"),
    CheckConstraint("status IN ('registered', 'ready', 'active', 'deprecated', 'retired')", name="ck_versions_status"),
)

provenance = Table(
    "provenance",
    metadata,
    Column("ref", Text, primary_key=True, comment="a version about which more is known than its row says"),
    Column("licence", Text, comment="as declared"),
    Column("training_data", Text),
    Column("hardware", Text, nullable=False, comment="JSON array of the kinds of which any one can run it"),
    Column("evidence", Text, nullable=False, comment="JSON array of pairs: what, how it is known"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ref", Text, ForeignKey("versions.ref"), nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_transitions_ref", "ref"),
    sqlite_autoincrement=True,
)

retention = Table(
    "retention",
    metadata,
    Column("ref", Text, ForeignKey("versions.ref"), primary_key=True),
    Column("keep_until", Float, nullable=False),
)

profiles = Table(
    "profiles",
    metadata,
    Column("ref", Text, ForeignKey("versions.ref"), primary_key=True),
    Column("load_s", Float),
    Column("memory_bytes", Integer),
    Column("ttft_ms", Float),
    Column("tokens_per_s", Float),
    Column("latency_ms", Float),
    Column("measured_at", Float),
)

aliases = Table(
    "aliases",
    metadata,
    Column("alias", Text, primary_key=True),
    Column("target", Text, nullable=False),
)

learned = Table(
    "learned",
    metadata,
    Column("name", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False, comment="whole state of one learner, with its own version"),
    Column("saved_at", Float, nullable=False),
)

directives = Table(
    "directives",
    metadata,
    Column("ref", Text, ForeignKey("versions.ref"), primary_key=True),
    Column("pinned", Boolean, nullable=False),
    Column("preload", Boolean, nullable=False),
    Column("keep_alive_s", Float, comment="-1: for ever; NULL: as the pool is configured"),
    Column("min_copies", Integer, nullable=False),
    Column("max_copies", Integer, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec", Text, nullable=False, comment="JSON object"),
)

bindings = Table(
    "bindings",
    metadata,
    Column("task", Text, primary_key=True),
    Column("ref", Text, ForeignKey("versions.ref"), nullable=False),
    Column("previous", Text, nullable=False, comment="JSON array, newest first"),
    Column("since", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
