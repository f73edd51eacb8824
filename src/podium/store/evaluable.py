"""Reads the decisions that somebody scored, as rows for off-policy evaluation. Opens the database for reading only.

The reward of a decision is the mean of the scores it was given. Fallback attempts are left out: they were no choice of
the policy. A server may be running on the same database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from podium.core.evaluation import Logged
from podium.core.offering import offered
from podium.errors import NotFound
from podium.store import engine, schema
from podium.store.packing import unpack_choice

_STEP = 1_000


def scored_decisions(path: Path) -> Iterator[Logged]:
    """Oldest first. Raises ``NotFound`` when there is no database, ``StoreError`` when it cannot be read."""
    if not path.is_file():
        raise NotFound(f"there is no log at {path}: set PODIUM_HOME, or give a FILE")
    decisions, choices, feedback = schema.decisions.c, schema.choices.c, schema.feedback.c
    query = (
        select(decisions.task, decisions.served, decisions.propensity, choices.content, func.avg(feedback.score))
        .select_from(schema.feedback)
        .join(schema.decisions, decisions.id == feedback.decision_id)
        .join(schema.choices, choices.digest == decisions.choice)
        .where(decisions.parent.is_(None), feedback.score.is_not(None))
        .group_by(decisions.seq)
        .order_by(decisions.seq)
    )
    database = engine.reading(path)
    try:
        with database.connect() as connection:
            found = connection.execution_options(yield_per=_STEP).execute(query)
            for task, served, propensity, content, reward in found:
                candidates = _offered(content)
                if served in candidates and 0.0 < propensity <= 1.0:
                    yield Logged(
                        task=task,
                        candidates=candidates,
                        chosen=candidates.index(served),
                        propensity=propensity,
                        reward=reward,
                    )
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise engine.translate(error, path) from error
    finally:
        database.dispose()


@lru_cache(maxsize=1_000)
def _offered(content: bytes) -> tuple[str, ...]:
    return offered(unpack_choice(content))
