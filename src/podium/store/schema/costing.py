"""Tables of what operations took, added up: cells by window, task, version and cause, and how far the record is in them."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, Table, Text

from podium.store.schema.base import metadata

cost_cells = Table(
    "cost_cells",
    metadata,
    Column("start", Integer, primary_key=True, comment="Unix time"),
    Column("span", Integer, primary_key=True, comment="seconds: an hour or a day"),
    Column("task", Text, primary_key=True, comment="*: the time in which anything of the version ran"),
    Column("ref", Text, primary_key=True, comment="*: any version on this machine"),
    Column("cause", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False, comment="see core/cost_cells"),
)

cost_progress = Table(
    "cost_progress",
    metadata,
    Column("source", Text, primary_key=True, comment="decisions or operations"),
    Column("seq", Integer, nullable=False, comment="newest row that is in the cells"),
    Column("content", Text, nullable=False, comment="when anything ran lately, JSON object"),
)
