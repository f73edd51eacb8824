"""Runs alembic on a connection that already holds the write lock. The only importer of alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's settings, without a file; ``env.py`` takes the connection from its attributes."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the schema to a revision inside the caller's transaction."""
    command.upgrade(configuration(connection), to)
