"""Rows of what is known of tasks: one JSON object per task, whole. Commits nothing itself."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from podium.domain.knowledge import FORMAT, HOURS, SCORE_BINS, TaskKnowledge
from podium.store import schema
from podium.store.packing import to_json

_row = upsert(schema.knowledge)
_put = _row.on_conflict_do_update(index_elements=["task"], set_={"content": _row.excluded.content})
_decoder = msgspec.json.Decoder(TaskKnowledge)


def write(connection: Connection, knowledge: Mapping[str, TaskKnowledge]) -> None:
    """Insert or replace."""
    connection.execute(_put, [{"task": task, "content": to_json(item)} for task, item in knowledge.items()])


def all_knowledge(connection: Connection) -> Mapping[str, TaskKnowledge]:
    """By task. A row of another format, or that cannot be read, is left out: the task is learned anew."""
    found = {}
    for row in connection.execute(select(schema.knowledge)):
        try:
            known = _decoder.decode(row.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if known.format == FORMAT and len(known.hours) == HOURS and len(known.scores) == SCORE_BINS:
            found[row.task] = known
    return found
