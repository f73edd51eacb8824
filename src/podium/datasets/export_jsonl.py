"""The training export as JSON lines: one sealed row a line, and the chain read back from such a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from podium.core.hash_chain import FINAL, HASH, PREVIOUS, ROW, START, Checker, Link, canonical, digest
from podium.services.export import Sealed

LONGEST_LINE = 16 * 1024 * 1024
_TELL = 1_000
"""Lines between two reports of progress."""


class JsonlWriter:
    """Writes to an open file, which stays open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.rows = 0
        self.left_out = 0
        self.last = START

    def write(self, sealed: Sealed) -> None:
        """One row."""
        self._file.write(sealed.line + b"\n")
        self.rows += 1
        self.last = str(sealed.row[HASH])

    def close(self) -> None:
        """Nothing is left to write."""


def check_jsonl(path: Path, checker: Checker, progress: Callable[[float], None]) -> None:
    """Feed every line to ``checker``; ``progress`` hears the share that is read. Raises ``OSError``."""
    size, read, place = max(1, path.stat().st_size), 0, 0
    with path.open("rb", buffering=1 << 20) as file:
        while line := file.readline(LONGEST_LINE + 1):
            place += 1
            read += len(line)
            _check(place, line, checker)
            if place % _TELL == 0:
                progress(read / size)


def _check(place: int, line: bytes, checker: Checker) -> None:
    if len(line) > LONGEST_LINE:
        checker.broken(place, f"it is longer than {LONGEST_LINE >> 20} MB")
        return
    text = line.rstrip(b"\r\n")
    try:
        row = json.loads(text.decode(), object_pairs_hook=_once)
        checker.add(place, link_of(row))
    except UnicodeDecodeError:
        checker.broken(place, "it is not UTF-8")
    except (ValueError, RecursionError) as error:
        checker.broken(place, str(error) if isinstance(error, _NoRow) else "it is not JSON")


class _NoRow(ValueError):
    """It is JSON and no row of an export."""


def link_of(row: object) -> Link:
    """The place in the chain that a row says it has, and whether its contents are those that were sealed.

    Raises ``ValueError`` for what is no row of an export.
    """
    if not isinstance(row, dict) or not isinstance(row.get(HASH), str):
        raise _NoRow("it is no row of an export")
    number, previous, final, said = row.get(ROW), row.get(PREVIOUS), row.get(FINAL), row[HASH]
    if type(number) is not int or not isinstance(previous, str) or not isinstance(final, bool):
        raise _NoRow("it does not say its place in an export")
    contents = {name: value for name, value in row.items() if name != HASH}
    try:
        intact = digest(canonical(contents)) == said
    except ValueError:
        intact = False  # nan, or half of a surrogate pair
    return Link(row=number, previous=previous, hash=said, final=final, intact=intact)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys are all there once: a second one would hide the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NoRow("a key is there twice")
    return found
