"""The one set of tables, and the revisions there ever were."""

from __future__ import annotations

from sqlalchemy import MetaData

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
    "0018",
    "0019",
    "0020",
    "0021",
    "0022",
)
"""Every revision there ever was, oldest first; the last one is this code's."""
HEAD = REVISIONS[-1]

metadata = MetaData()
