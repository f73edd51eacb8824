"""The training export as Parquet, by pyarrow (the extra ``podium[replay]``), and the chain read back from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from podium.core.hash_chain import FINAL, HASH, PREVIOUS, ROW, START, Checker
from podium.datasets.export_jsonl import link_of
from podium.errors import InvalidRequest
from podium.services.export import SCHEMA, Sealed

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as missing:
    raise InvalidRequest(
        "Parquet needs pyarrow, which is not installed: pip install 'podium[replay]' (--format jsonl works without)"
    ) from missing

BATCH_ROWS = 500
GROUP_BYTES = 8 << 20
"""Of Arrow's memory in one row group."""
_TEXT, _NUMBER, _WHOLE, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_NUMBERS, _TEXTS = pa.map_(_TEXT, _NUMBER), pa.map_(_TEXT, _TEXT)
_CONSIDERED = pa.struct(
    [
        ("ref", _TEXT),
        ("score", _NUMBER),
        ("terms", _NUMBERS),
        ("samples", _WHOLE),
        ("dropped", _TEXT),
        ("flags", pa.list_(_TEXT)),
    ]
)
_JUDGMENT = pa.struct(
    [
        ("criterion", _TEXT),
        ("judge", _TEXT),
        ("score", _NUMBER),
        ("raw", _NUMBER),
        ("sd", _NUMBER),
        ("calibrated", _FLAG),
        ("method", _TEXT),
        ("probability", _NUMBER),
        ("signal", _TEXT),
        ("valid", _FLAG),
    ]
)
COLUMNS = pa.schema(
    [
        ("schema", _TEXT),
        ("key", _TEXT),
        (ROW, _WHOLE),
        ("id", _TEXT),
        ("request", _TEXT),
        ("parent", _TEXT),
        ("at", _NUMBER),
        ("finished_at", _NUMBER),
        ("task", _TEXT),
        ("classified_by", _TEXT),
        ("task_confidence", _NUMBER),
        ("strategy", _TEXT),
        ("confidence", _NUMBER),
        ("reason", _TEXT),
        ("expected_quality", _NUMBER),
        ("expected_latency_ms", _NUMBER),
        ("expected_memory_mb", _NUMBER),
        ("expected_samples", _WHOLE),
        ("candidates", pa.list_(_TEXT)),
        ("considered", pa.list_(_CONSIDERED)),
        ("fallbacks", pa.list_(_TEXT)),
        ("chosen", _TEXT),
        ("propensity", _NUMBER),
        ("exploration", _NUMBER),
        ("evaluable", _FLAG),
        ("success", _FLAG),
        ("error", _TEXT),
        ("streamed", _FLAG),
        ("latency_ms", _NUMBER),
        ("ttft_ms", _NUMBER),
        ("reward", _NUMBER),
        ("rewards", _NUMBERS),
        ("judgments", pa.list_(_JUDGMENT)),
        ("wall_ms", _NUMBER),
        ("cpu_ms", _NUMBER),
        ("gpu_ms", _NUMBER),
        ("peak_memory_mb", _NUMBER),
        ("mean_memory_mb", _NUMBER),
        ("mapped_memory_mb", _NUMBER),
        ("energy_mwh", _NUMBER),
        ("energy_method", _TEXT),
        ("input_tokens", _WHOLE),
        ("cached_tokens", _WHOLE),
        ("output_tokens", _WHOLE),
        ("tokens_per_s", _NUMBER),
        ("price_microusd", _WHOLE),
        ("price_table", _TEXT),
        ("estimated", pa.list_(_TEXT)),
        ("cause", _TEXT),
        ("unmeasured", _TEXTS),
        (PREVIOUS, _TEXT),
        (FINAL, _FLAG),
        (HASH, _TEXT),
    ],
    metadata={"podium.schema": SCHEMA},
)
"""The columns of ``services/export``, in the order people read them."""


class ParquetWriter:
    """Writes to an open file, which stays open."""

    def __init__(self, file: BinaryIO) -> None:
        self._writer = pq.ParquetWriter(file, COLUMNS, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._batches: list[Any] = []
        self._bytes = 0
        self.rows = 0
        self.left_out = 0
        self.last = START

    def write(self, sealed: Sealed) -> None:
        """One row."""
        self._rows.append(sealed.row)
        self.rows += 1
        self.last = str(sealed.row[HASH])
        if len(self._rows) >= BATCH_ROWS:
            self._gather()

    def close(self) -> None:
        """Write what is left, and the footer without which the file cannot be read."""
        self._gather()
        self._put()
        self._writer.close()

    def _gather(self) -> None:
        if self._rows:
            batch = pa.RecordBatch.from_pylist(self._rows, schema=COLUMNS)
            self._rows = []
            self._batches.append(batch)
            self._bytes += batch.nbytes
            if self._bytes >= GROUP_BYTES:
                self._put()

    def _put(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches, COLUMNS))
            self._batches, self._bytes = [], 0


def check_parquet(path: Path, checker: Checker, progress: Callable[[float], None]) -> None:
    """Feed every row to ``checker``. Raises ``InvalidRequest`` when the file cannot be read as Parquet, ``OSError``."""
    place = 0
    try:
        with pq.ParquetFile(path, memory_map=False, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    place += 1
                    try:
                        checker.add(place, link_of(row))
                    except ValueError as error:
                        checker.broken(place, str(error))
                progress(place / file.metadata.num_rows)
    except (pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        words = " ".join(str(error).split())[:200]
        raise InvalidRequest(
            f"{path} cannot be read as Parquet after row {place} ({words}): it is damaged or was not copied completely"
        ) from error
