"""The replay file: prompts in rows, models in columns. Checks it, adds it up, and gives it back shuffled.

One read of the file checks every cell, adds up the yardsticks and puts what is needed of each row into a sorter with
a random key; the stream then comes out of the sorter. Memory is bounded at any size of the file: two sorters of
``MEMORY_BYTES`` (held, and once more while a bucket is loaded), one chunk, and a table of tasks by models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from podium.core.replaying import Rows, Totals
from podium.datasets.shuffling import MEMORY_BYTES, Sorter
from podium.datasets.table import Chunk, Table, chunk_rows, complain, open_table
from podium.errors import InvalidRequest

QUALITY, LATENCY, COST = "q__", "lat__", "cost__"
MOST_MODELS, MOST_CELLS = 1_000, 2_000_000
"""Models, and tasks times models: every one of these costs memory for as long as a replay runs."""
_IDENTITY = np.dtype([("key", "u8"), ("low", "u8"), ("content", "u8"), ("row", "i8")])


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which columns there are. ``numbers`` are the qualities of all models, then latencies, then costs."""

    models: tuple[str, ...]
    latency: tuple[int, ...]
    """The models, by index, that have a column of latencies."""
    cost: tuple[int, ...]

    @property
    def numbers(self) -> tuple[str, ...]:
        timed, priced = ([self.models[index] for index in part] for part in (self.latency, self.cost))
        return (
            *(QUALITY + model for model in self.models),
            *(LATENCY + model for model in timed),
            *(COST + model for model in priced),
        )

    def split(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Qualities, latencies and costs, each of shape (n, models) with ``nan`` for a model without the column."""
        m, timed = len(self.models), len(self.latency)
        wide = []
        for part, columns in ((values[:, m : m + timed], self.latency), (values[:, m + timed :], self.cost)):
            whole = np.full((len(values), m), np.nan)
            whole[:, list(columns)] = part
            wide.append(whole)
        return values[:, :m], wide[0], wide[1]


class ReplayFile:
    """A replay file that was read once. Close it, or use it as a context manager; ``rows`` streams it."""

    def __init__(
        self,
        path: Path,
        seed: int,
        progress: Callable[[float], None] = lambda done: None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Read and check all of it; ``progress`` hears the share that is read.

        Raises ``InvalidRequest`` that names file, row and column of the first thing wrong.
        """
        self._table = table = open_table(path)
        self._layout = layout = _layout(table)
        self._seed = seed
        numbers = layout.numbers
        record = np.dtype([("key", "u8"), ("task", "i4"), ("values", "f8", (len(numbers),))])
        most = table.most_rows(("prompt_id", "task"), numbers)
        self.repeated = 0
        """Rows that say the same as an earlier row of the same ``prompt_id``."""
        with ExitStack() as opened:
            self._sorter = opened.enter_context(Sorter(record, most, memory_bytes))
            identities = opened.enter_context(Sorter(_IDENTITY, most, memory_bytes))
            self.totals = self._scan(record, identities, progress)
            self._check_identities(identities)
            identities.close()
            self._open = opened.pop_all()

    def rows(self) -> Iterator[Rows]:
        """All rows in the order of the seed, with their draws."""
        draws, step = np.random.default_rng([self._seed, 1]), chunk_rows(len(self._layout.numbers))
        for bucket in self._sorter.sorted():
            for start in range(0, len(bucket), step):
                part = bucket[start : start + step]
                quality, latency, cost = self._layout.split(part["values"])
                yield Rows(
                    task=part["task"],
                    quality=quality,
                    latency_s=latency if self._layout.latency else None,
                    cost_usd=cost if self._layout.cost else None,
                    draws=draws.random(len(part)),
                )

    def close(self) -> None:
        """Give memory and disk back."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _scan(self, record: np.dtype[Any], identities: Sorter, progress: Callable[[float], None]) -> Totals:
        layout, m = self._layout, len(self._layout.models)
        keys = np.random.default_rng([self._seed, 0]).bit_generator
        tasks: dict[str, int] = {}
        sums, counts = np.zeros((16, m)), np.zeros((16, m), dtype=np.int64)
        task_rows, rows = np.zeros(16, dtype=np.int64), 0
        for chunk in self._table.chunks(("prompt_id", "task"), layout.numbers):
            self._check_values(chunk)
            size = len(chunk.positions)
            ids, names = chunk.texts
            for name in names:
                tasks.setdefault(name, len(tasks))
            if len(tasks) * m > MOST_CELLS:
                raise InvalidRequest(
                    f"{self._table.path} has more than {MOST_CELLS // m} tasks for {m} models: is the column task right?",
                    param="task",
                )
            while len(tasks) > len(task_rows):
                sums, counts = (np.concatenate([table, np.zeros_like(table)]) for table in (sums, counts))
                task_rows = np.concatenate([task_rows, np.zeros_like(task_rows)])
            code = np.fromiter((tasks[name] for name in names), dtype=np.int32, count=size)
            quality = chunk.numbers[:, :m]
            np.add.at(sums, code, np.nan_to_num(quality))
            np.add.at(counts, code, ~np.isnan(quality))
            task_rows += np.bincount(code, minlength=len(task_rows))
            rows += size
            records = np.empty(size, dtype=record)
            records["key"] = keys.random_raw(size)
            records["task"], records["values"] = code, chunk.numbers
            self._sorter.add(records)
            identities.add(_identities(chunk, ids, code))
            progress(chunk.done)
        used = len(tasks)
        return Totals(
            tasks=tuple(tasks),
            models=layout.models,
            rows=rows,
            task_rows=task_rows[:used],
            counts=counts[:used],
            sums=sums[:used],
        )

    def _check_values(self, chunk: Chunk) -> None:
        """Scores within [0, 1], seconds and dollars not negative, at least one model run in every row."""
        m, names = len(self._layout.models), self._layout.numbers
        quality, rest = chunk.numbers[:, :m], chunk.numbers[:, m:]
        wrong = np.argwhere((quality < 0) | (quality > 1))
        if len(wrong):
            row, column = (int(index) for index in wrong[0])
            what = f"{quality[row, column]:.12g} is not a score between 0 and 1"
            raise complain(self._table, int(chunk.positions[row]), names[column], what)
        wrong = np.argwhere(rest < 0)
        if len(wrong):
            row, column = (int(index) for index in wrong[0])
            raise complain(
                self._table, int(chunk.positions[row]), names[m + column], f"{rest[row, column]:.12g} is negative"
            )
        bare = np.flatnonzero(np.isnan(quality).all(axis=1))
        if bare.size:
            position = int(chunk.positions[bare[0]])
            raise complain(self._table, position, f"{QUALITY}…", "no model has a score in this row; leave the row out")

    def _check_identities(self, identities: Sorter) -> None:
        """Refuse two different rows with one id. Rows that repeat an earlier one entirely are only counted."""
        for part in identities.sorted():
            same = np.flatnonzero((part["key"][1:] == part["key"][:-1]) & (part["low"][1:] == part["low"][:-1]))
            differs = same[part["content"][same] != part["content"][same + 1]]
            if differs.size:
                one, other = sorted((int(part["row"][differs[0]]), int(part["row"][differs[0] + 1])))
                what = f"is the same as in {self._table.unit} {one}, with other contents; one prompt, one row"
                raise complain(self._table, other, "prompt_id", what)
            self.repeated += len(same)


def _layout(table: Table) -> _Layout:
    """The columns by their prefixes. Raises ``InvalidRequest`` for what is missing or belongs to no model."""
    missing = [name for name in ("prompt_id", "task") if name not in table.names]
    models = tuple(name.removeprefix(QUALITY) for name in table.names if name.startswith(QUALITY))
    if missing or not models:
        wanted = ", ".join([*missing, *([] if models else ["q__MODEL (one for each model)"])])
        raise InvalidRequest(
            f"{table.path} lacks the columns {wanted}; it has {', '.join(table.names[:12]) or 'none'}", param=wanted
        )
    if len(models) == 1:
        raise InvalidRequest(f"{table.path} has one model only, {models[0]!r}: there is nothing to choose between")
    if len(models) > MOST_MODELS or "" in models:
        raise InvalidRequest(
            f"{table.path} has {len(models)} columns q__MODEL: at most {MOST_MODELS}, each with a name"
        )
    place = {model: index for index, model in enumerate(models)}
    extra = []
    for prefix in (LATENCY, COST):
        found = [name.removeprefix(prefix) for name in table.names if name.startswith(prefix)]
        odd = [model for model in found if model not in place]
        if odd:
            name = prefix + odd[0]
            raise InvalidRequest(f"{table.path}, column {name}: there is no column {QUALITY}{odd[0]}", param=name)
        extra.append(tuple(place[model] for model in found))
    return _Layout(models, extra[0], extra[1])


def _identities(chunk: Chunk, ids: Sequence[str], code: NDArray[np.int32]) -> NDArray[Any]:
    """One fixed-width record of what makes a row: 128 bits of its id, 64 bits of its contents, its position."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=16).digest() for name in ids)
    pairs = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    bits = np.ascontiguousarray(chunk.numbers).view(np.uint64)
    content = code.astype(np.uint64)
    for column in range(bits.shape[1]):
        content = _mix(content ^ bits[:, column])
    records = np.empty(len(ids), dtype=_IDENTITY)
    records["key"], records["low"], records["content"] = pairs[:, 0], pairs[:, 1], content
    records["row"] = chunk.positions
    return records


def _mix(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 (Steele, Lea, Flood 2014), wrapping at 64 bits."""
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
