"""What every file of rows can do: say its columns and hand out its rows in chunks, checked cell by cell.

Owns the choice of the format, by the first bytes, and the words of every complaint about a cell. Must not know what
the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from podium.errors import InvalidRequest

MOST_ROWS, MOST_CELLS = 4_096, 400_000
"""Rows, and numbers in them, handed out at a time."""
PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows, n of them, in the order of the file."""

    positions: NDArray[np.int64]
    """Where each row stands: the line in JSON lines, the number of the row in Parquet, both from 1; shape (n,)."""
    texts: Sequence[Sequence[str]]
    """One list of n strings for each text column asked for."""
    numbers: NDArray[np.float64]
    """Shape (n, number columns asked for); ``nan`` where the cell is null. Everything else is finite."""
    objects: Sequence[Sequence[Any]]
    """One list of n values, as they are, for each object column asked for."""
    done: float
    """Share of the file read so far, in [0, 1]."""


class Table(Protocol):
    """A file of rows."""

    path: Path
    unit: str
    """What a position counts: ``line`` or ``row``."""
    names: tuple[str, ...]
    """The columns."""

    def chunks(self, texts: Sequence[str], numbers: Sequence[str], objects: Sequence[str] = ()) -> Iterator[Chunk]:
        """All rows, these columns only. Raises ``InvalidRequest`` that names file, row and column."""
        ...

    def most_rows(self, texts: Sequence[str], numbers: Sequence[str]) -> int:
        """No file of this size and these columns has more rows."""
        ...


def open_table(path: Path) -> Table:
    """The file as a table. Raises ``InvalidRequest`` when it cannot be read, is empty or is of another kind."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}") from error
    if not head:
        raise InvalidRequest(f"{path} is empty: it needs one row for each prompt")
    if head == PARQUET:
        from podium.datasets.parquet import ParquetTable  # noqa: PLC0415 - its reader is optional and slow to import

        return ParquetTable(path)
    if path.suffix.lower() in {".parquet", ".pq"}:
        raise InvalidRequest(f"{path} is not a Parquet file (it does not begin with PAR1); was it copied completely?")
    from podium.datasets.jsonl import JsonLines  # noqa: PLC0415 - only when needed

    return JsonLines(path)


def chunk_rows(columns: int) -> int:
    """How many rows of so many numbers are handed out at a time."""
    return max(1, min(MOST_ROWS, MOST_CELLS // max(1, columns)))


def complain(table: Table, position: int, column: str, what: str) -> InvalidRequest:
    """The error for one cell."""
    return InvalidRequest(f"{table.path}, {table.unit} {position}, column {column}: {what}", param=column)


def shown(value: object) -> str:
    """A cell as it is quoted in a message, at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
