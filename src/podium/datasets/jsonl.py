"""JSON lines: one object a line, UTF-8. Reads line by line; a line longer than 16 MB is refused, not loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from podium.datasets.table import Chunk, chunk_rows, complain, shown
from podium.errors import InvalidRequest

LONGEST_LINE = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_NUMBERS = frozenset({float, int, type(None)})


class JsonLines:
    """A file of JSON lines. Its columns are those of its first row; later rows need the ones that are asked for."""

    unit = "line"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder()
        first = next(self._rows(), None)
        if first is None:
            raise InvalidRequest(f"{path} has no rows")
        self.names = tuple(first[1])

    def most_rows(self, texts: Sequence[str], numbers: Sequence[str]) -> int:
        """Every row spells out its column names, which bounds their number by the size of the file."""
        shortest = sum(len(name.encode()) + 4 for name in numbers) + sum(len(name.encode()) + 6 for name in texts) + 2
        return self.path.stat().st_size // shortest + 1

    def chunks(self, texts: Sequence[str], numbers: Sequence[str], objects: Sequence[str] = ()) -> Iterator[Chunk]:
        """See ``Table.chunks``."""
        wanted, most = (*texts, *numbers, *objects), chunk_rows(len(numbers))
        positions: list[int] = []
        rows: list[list[Any]] = []
        done = 0.0
        for position, row, done in self._rows():
            try:
                rows.append([row[name] for name in wanted])
            except KeyError as missing:
                name = missing.args[0]
                raise complain(self, position, name, "is missing (null says that there is no value)") from None
            positions.append(position)
            if len(rows) == most:
                yield self._chunk(positions, rows, texts, numbers, done)
                positions, rows = [], []
        if rows:
            yield self._chunk(positions, rows, texts, numbers, done)

    def _rows(self) -> Iterator[tuple[int, dict[str, Any], float]]:
        """(line, row, share of the file read)."""
        size, read = max(1, self.path.stat().st_size), 0
        with self.path.open("rb", buffering=1 << 20) as file:
            for position, line in enumerate(_lines(file), start=1):
                if len(line) > LONGEST_LINE:
                    raise InvalidRequest(
                        f"{self.path}, line {position} is longer than {LONGEST_LINE >> 20} MB: give one row a line"
                    )
                read += len(line)
                text = line.strip()
                if text:
                    yield position, self._row(position, text), min(1.0, read / size)

    def _row(self, position: int, text: bytes) -> dict[str, Any]:
        try:
            row = self._decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            row = self._lenient(position, text, error)
        if not isinstance(row, dict):
            raise InvalidRequest(f"{self.path}, line {position} is not a JSON object: give one object a line")
        return row

    def _lenient(self, position: int, text: bytes, error: Exception) -> object:
        """What Python's own reader makes of the line: NaN and Infinity, which JSON has not, get a better complaint."""
        try:
            row = json.loads(text.decode("utf-8"))
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
        except UnicodeDecodeError as bad:
            raise InvalidRequest(f"{self.path}, line {position} is not UTF-8 (at byte {bad.start + 1} of it)") from bad
        except (ValueError, RecursionError):
            raise InvalidRequest(
                f"{self.path}, line {position} is not JSON: {error}; the file must be Parquet or JSON lines"
            ) from error
        return row

    def _chunk(
        self, positions: list[int], rows: list[list[Any]], texts: Sequence[str], numbers: Sequence[str], done: float
    ) -> Chunk:
        columns = list(zip(*rows, strict=True))
        words = [self._texts(positions, name, column) for name, column in zip(texts, columns, strict=False)]
        first = len(texts)
        values = np.empty((len(rows), len(numbers)))
        for index, name in enumerate(numbers):
            values[:, index] = self._numbers(positions, name, columns[first + index])
        return Chunk(
            positions=np.array(positions, dtype=np.int64),
            texts=words,
            numbers=values,
            objects=columns[first + len(numbers) :],
            done=done,
        )

    def _texts(self, positions: Sequence[int], name: str, column: Sequence[Any]) -> Sequence[str]:
        if set(map(type, column)) == {str} and "" not in column:
            return column
        found = []
        for position, value in zip(positions, column, strict=True):
            if isinstance(value, int) and not isinstance(value, bool):
                found.append(str(value))
            elif isinstance(value, str) and value:
                found.append(value)
            else:
                raise complain(self, position, name, f"{shown(value)} is not a text")
        return found

    def _numbers(self, positions: Sequence[int], name: str, column: Sequence[Any]) -> Sequence[float]:
        if not set(map(type, column)) <= _NUMBERS:
            wrong = next(index for index, value in enumerate(column) if type(value) not in _NUMBERS)
            raise complain(self, positions[wrong], name, f"{shown(column[wrong])} is not a number")
        for position, value in zip(positions, column, strict=True):
            if value is not None and not math.isfinite(_finite(value)):
                raise complain(self, position, name, f"{shown(value)} is not a finite number")
        return [math.nan if value is None else float(value) for value in column]


def _finite(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of at most a little over the longest allowed; the mark of the encoding at the start is dropped."""
    first = True
    while line := file.readline(LONGEST_LINE + 2):
        yield line.removeprefix(_BOM) if first else line
        first = False
