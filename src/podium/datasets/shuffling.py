"""Sorts any number of fixed-width records by a 64-bit key in bounded memory.

Records go to buckets by the top bits of their key; what does not fit into memory is spilled to one temporary file, in
runs ordered by bucket. A bucket is then small enough to be loaded and sorted. The order depends on the keys alone,
never on the size of the memory; equal keys keep the order they came in. With random keys it is a shuffle.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from podium.errors import StoreError

MEMORY_BYTES = 16 * 1024 * 1024
"""What is held before it is spilled, and the size that buckets are planned for."""
_MOST_BITS = 12

Records = NDArray[Any]
"""A structured array with a field ``key`` of type ``u8``."""


class Sorter:
    """Takes records in any order, gives them back by key. Close it, or use it as a context manager."""

    def __init__(self, dtype: np.dtype[Any], most_rows: int, memory_bytes: int = MEMORY_BYTES) -> None:
        self._dtype = dtype
        self._memory = memory_bytes
        buckets = max(1, -(-most_rows * dtype.itemsize // memory_bytes))
        self._bits = min(_MOST_BITS, (buckets - 1).bit_length())
        self._held: list[Records] = []
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._runs: list[NDArray[np.int64]] = []
        """For every spilled run the offsets, in records from the start of the file, at which its buckets begin."""
        self._spilled = 0

    def add(self, records: Records) -> None:
        """Take these in. Raises ``StoreError`` when the temporary file cannot be written."""
        self._held.append(records)
        self._held_bytes += records.nbytes
        if self._bits and self._held_bytes >= self._memory:
            self._spill()

    def sorted(self) -> Iterator[Records]:
        """All records by key, a bucket at a time; can be asked for again."""
        if self._file is None:
            yield self._in_order(self._held)
            return
        if self._held:
            self._spill()
        size = self._dtype.itemsize
        for bucket in range(1 << self._bits):
            parts = []
            for run in self._runs:
                begin, end = int(run[bucket]), int(run[bucket + 1])
                if begin < end:
                    self._file.seek(begin * size)
                    parts.append(np.frombuffer(self._file.read((end - begin) * size), dtype=self._dtype))
            if parts:
                yield self._in_order(parts)

    def close(self) -> None:
        """Give memory and disk back."""
        self._held = []
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _in_order(self, parts: list[Records]) -> Records:
        if not parts:
            return np.empty(0, dtype=self._dtype)
        whole = np.concatenate(parts)
        ordered: Records = whole[np.argsort(whole["key"], kind="stable")]
        return ordered

    def _spill(self) -> None:
        records = np.concatenate(self._held)
        self._held, self._held_bytes = [], 0
        bucket = (records["key"] >> np.uint64(64 - self._bits)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        counts = np.bincount(bucket, minlength=1 << self._bits)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="podium-")  # noqa: SIM115 - closed by close()
            self._file.seek(0, 2)
            self._file.write(records[order].data)
        except OSError as error:
            raise StoreError(
                f"no room to sort in {tempfile.gettempdir()}: {error.strerror or error}; set TMPDIR to a larger disk"
            ) from error
        self._runs.append(self._spilled + np.concatenate([[0], np.cumsum(counts)]))
        self._spilled += len(records)
