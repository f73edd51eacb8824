"""Reads files of pairs of answers: JSON lines, plain or gzipped, with or without a person's label.

Columns are those of files of labels (``datasets/labels``): ``context`` (what was asked), ``output_1``, ``output_2``, and as
known ``id``, ``criterion``, ``knowledge``, ``human`` (1 or 2, the better one; absent or null where nobody said).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.datasets.labels import objects_of
from podium.errors import InvalidRequest

CRITERION = "relevance"
MOST_PAIRS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One row. ``human``: the number of the better answer."""

    id: str
    criterion: str
    prompt: str
    context: str | None
    first: str
    second: str
    human: int | None


def read_pairs(path: Path, criterion: str | None = None) -> tuple[Pair, ...]:
    """All pairs; rows of one output, as files of labels may hold beside them, are left out.

    Raises ``InvalidRequest`` that names file, line and column.
    """
    rows = []
    for line, fields in objects_of(path):
        if "output" in fields and "output_1" not in fields:
            continue
        rows.append(_pair(f"{path}, line {line}", line, fields, criterion))
        if len(rows) > MOST_PAIRS:
            raise InvalidRequest(f"{path} has more than {MOST_PAIRS} pairs; judge a part of them", param="file")
    if not rows:
        raise InvalidRequest(
            f"{path} has no pairs: it needs output_1 and output_2 of two answers to one question a line", param="file"
        )
    return tuple(rows)


def _pair(where: str, line: int, fields: dict[str, Any], criterion: str | None) -> Pair:
    human = fields.get("human")
    if human is not None and (isinstance(human, bool) or human not in (1, 2)):
        raise InvalidRequest(
            f"{where}, column human: 1 or 2, the number of the better answer, not {human!r}", param="human"
        )
    return Pair(
        id=str(fields.get("id", line)),
        criterion=criterion or _text(where, fields, "criterion", CRITERION) or CRITERION,
        prompt=_text(where, fields, "context", "") or "",
        context=_text(where, fields, "knowledge", None),
        first=_text(where, fields, "output_1") or "",
        second=_text(where, fields, "output_2") or "",
        human=None if human is None else int(human),
    )


def _text(where: str, fields: dict[str, Any], name: str, *absent: str | None) -> str | None:
    value = fields.get(name)
    if value is None and absent:
        return absent[0]
    if not isinstance(value, str):
        raise InvalidRequest(f"{where}, column {name}: a text is needed", param=name)
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
