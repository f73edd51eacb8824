"""Parquet files, read by pyarrow (the extra ``podium[replay]``): only the columns asked for, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.datasets.table import Chunk, chunk_rows, complain, shown
from podium.errors import InvalidRequest

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as missing:
    raise InvalidRequest(
        "reading Parquet needs pyarrow, which is not installed: pip install 'podium[replay]' (JSON lines work without)"
    ) from missing

_BUFFER = 1 << 20


class ParquetTable:
    """One Parquet file. Rows are numbered from 1."""

    unit = "row"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with self._open() as file:
                self.names = tuple(file.schema_arrow.names)
                self._rows = file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise InvalidRequest(f"{path} has more than one column {twice[0]}", param=twice[0])
        if self._rows == 0:
            raise InvalidRequest(f"{path} has no rows")

    def most_rows(self, texts: Sequence[str], numbers: Sequence[str]) -> int:
        """The footer says it."""
        return int(self._rows)

    def chunks(self, texts: Sequence[str], numbers: Sequence[str], objects: Sequence[str] = ()) -> Iterator[Chunk]:
        """See ``Table.chunks``."""
        read = 0
        try:
            with self._open() as file:
                wanted = [*texts, *numbers, *objects]
                for batch in file.iter_batches(chunk_rows(len(numbers)), columns=wanted, use_threads=False):
                    positions = np.arange(read + 1, read + 1 + batch.num_rows, dtype=np.int64)
                    read += batch.num_rows
                    yield Chunk(
                        positions=positions,
                        texts=[self._texts(positions, name, batch.column(name)) for name in texts],
                        numbers=self._matrix(positions, numbers, batch),
                        objects=[batch.column(name).to_pylist(maps_as_pydicts="lossy") for name in objects],
                        done=read / self._rows,
                    )
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{self.path}, after row {read}: a text is not UTF-8") from error

    def _open(self) -> Any:
        """Buffered and unmapped, so that a row group is not in memory as a whole."""
        return pq.ParquetFile(self.path, memory_map=False, buffer_size=_BUFFER, pre_buffer=False)

    def _unreadable(self, error: Exception) -> InvalidRequest:
        words = " ".join(str(error).split())
        return InvalidRequest(f"{self.path} cannot be read as Parquet ({words[:200]}); was it copied completely?")

    def _texts(self, positions: NDArray[np.int64], name: str, column: Any) -> Sequence[str]:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
            raise complain(self, int(positions[0]), name, f"the column holds {kind}, not text")
        values = column.to_pylist()
        if pa.types.is_integer(kind):
            values = [value if value is None else str(value) for value in values]
        for position, value in zip(positions.tolist(), values, strict=True):
            if not value:
                raise complain(self, position, name, f"{shown(value)} is not a text")
        return values  # type: ignore[no-any-return]  # pyarrow has no types

    def _matrix(self, positions: NDArray[np.int64], names: Sequence[str], batch: Any) -> NDArray[np.float64]:
        values = np.empty((batch.num_rows, len(names)))
        for index, name in enumerate(names):
            column = batch.column(name)
            kind = column.type
            if pa.types.is_null(kind):
                values[:, index] = np.nan
                continue
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
                self._not_numbers(positions, name, column)
            known = column.is_valid().to_numpy(zero_copy_only=False)
            values[:, index] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            wrong = np.flatnonzero(known & ~np.isfinite(values[:, index]))
            if wrong.size:
                bad = values[wrong[0], index]
                raise complain(self, int(positions[wrong[0]]), name, f"{bad} is not a finite number")
        return values

    def _not_numbers(self, positions: NDArray[np.int64], name: str, column: Any) -> None:
        """Complain about the first cell that is not a number, else about the type of the column."""
        for position, value in zip(positions.tolist(), column.to_pylist(), strict=True):
            try:
                float(value)
            except (TypeError, ValueError):
                if value is not None:
                    raise complain(self, position, name, f"{shown(value)} is not a number") from None
        raise complain(self, int(positions[0]), name, f"the column holds {column.type}, not numbers")
