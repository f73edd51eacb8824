"""What callers labelled: a bounded sample of hashed prompts per task. Pure; holds no text.

Owns the sample and its format. A new name enters by the rule of Misra and Gries (Science of Computer Programming,
1982): when the table is full, tasks lose one unit of standing each and those without any leave, so that what is used
often stays however many other names arrive. Tasks with ``ENOUGH`` prompts are spared as long as there are others.
Within a task, prompts are kept by reservoir sampling that leans to recent ones; one that is like a kept one is not counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from podium.core.ngrams import BUCKETS, HASHING, KEPT, Features

FORMAT = 1
MAX_TASKS = 32
MAX_PROMPTS = 40
"""Kept per task."""
ENOUGH = 20
"""Different prompts from which a task can be learned."""
MAX_BYTES = 1_100_000
"""No more than this is ever packed: ``MAX_TASKS * MAX_PROMPTS`` prompts of at most 774 bytes, names and numbers."""
_MEMORY = 8 * MAX_PROMPTS
"""Prompts after which every new one has the same chance to replace an old one."""
_HEAD = struct.Struct("<4sHHH")
_TASK = struct.Struct("<HIIH")
_ROW = struct.Struct("<Hf")
_MAGIC = b"PODX"
_MOST = 2**32 - 1


@dataclass(slots=True)
class _Kept:
    standing: int = 0
    seen: int = 0
    rows: list[bytes] = field(default_factory=list)


class Examples:
    """Mutable; one owner. ``draw(n)`` returns a whole number in [0, n)."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self._draw = draw
        self._tasks: dict[str, _Kept] = {}

    def add(self, task: str, found: Features) -> bool:
        """Note a labelled prompt; whether the sample changed."""
        if found.empty:
            return False
        kept = self._tasks.get(task)
        if kept is None:
            if len(self._tasks) >= MAX_TASKS and not self._make_room():
                return False
            kept = self._tasks[task] = _Kept()
        kept.standing = min(kept.standing + 1, _MOST)
        row = _packed(found)
        if row in kept.rows:
            return False
        kept.seen = min(kept.seen + 1, _MOST)
        if len(kept.rows) < MAX_PROMPTS:
            kept.rows.append(row)
            return True
        at = self._draw(min(kept.seen, _MEMORY))
        if at >= MAX_PROMPTS:
            return False
        kept.rows[at] = row
        return True

    def _make_room(self) -> bool:
        weak = [kept for kept in self._tasks.values() if len(kept.rows) < ENOUGH]
        for kept in weak or self._tasks.values():
            kept.standing -= 1
        self._tasks = {name: kept for name, kept in self._tasks.items() if kept.standing > 0}
        return len(self._tasks) < MAX_TASKS

    def of(self, tasks: Container[str]) -> Iterator[tuple[str, bytes]]:
        """The kept prompts of some tasks, each as ``features_of`` takes it."""
        for name, kept in self._tasks.items():
            if name in tasks:
                for row in kept.rows:
                    yield name, row

    def counts(self) -> Mapping[str, int]:
        """Prompts kept, by task."""
        return {name: len(kept.rows) for name, kept in self._tasks.items()}

    def seen(self) -> Mapping[str, int]:
        """Different labelled prompts so far, by task."""
        return {name: kept.seen for name, kept in self._tasks.items()}

    def clear(self) -> None:
        """Forget everything."""
        self._tasks = {}

    def size(self) -> int:
        """Bytes ``pack`` gives."""
        return _HEAD.size + sum(
            _TASK.size + len(name.encode()) + sum(map(len, kept.rows)) for name, kept in self._tasks.items()
        )

    def pack(self) -> bytes:
        """At most ``MAX_BYTES``."""
        parts = [_HEAD.pack(_MAGIC, FORMAT, HASHING, len(self._tasks))]
        for name, kept in self._tasks.items():
            raw = name.encode()
            parts += [_TASK.pack(len(raw), kept.standing, kept.seen, len(kept.rows)), raw, *kept.rows]
        return b"".join(parts)

    def unpack(self, data: bytes) -> None:
        """Take in what ``pack`` wrote, instead of what is there. Raises ``ValueError`` for anything else."""
        try:
            self._tasks = _read(data)
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"not a sample of prompts: {error}") from None


def features_of(row: bytes) -> Features:
    """A kept prompt; its values are rounded to one byte each. Raises ``ValueError`` when it is damaged."""
    size, scale = _ROW.unpack_from(row)
    if not 0 < size <= KEPT or len(row) != _ROW.size + 3 * size or not 0.0 < scale < 1.0:
        raise ValueError("a prompt is damaged")
    indices = np.frombuffer(row, "<u2", size, _ROW.size).astype(np.uint16)
    values = np.frombuffer(row, np.int8, size, _ROW.size + 2 * size).astype(np.float32) * np.float32(scale)
    if int(indices.max()) >= BUCKETS:
        raise ValueError("a prompt is damaged")
    return Features(indices, values)


def _packed(found: Features) -> bytes:
    scale = np.float32(np.abs(found.values).max() / np.float32(127.0))
    steps = np.rint(found.values / scale).astype(np.int8)
    kept = steps != 0
    indices = found.indices[kept].astype("<u2")
    return b"".join((_ROW.pack(len(indices), float(scale)), indices.tobytes(), steps[kept].tobytes()))


def _read(data: bytes) -> dict[str, _Kept]:
    magic, version, hashing, count = _HEAD.unpack_from(data)
    if (magic, version, hashing) != (_MAGIC, FORMAT, HASHING) or count > MAX_TASKS:
        raise ValueError("written by another version")
    tasks: dict[str, _Kept] = {}
    at = _HEAD.size
    for _ in range(count):
        length, standing, seen, rows = _TASK.unpack_from(data, at)
        at += _TASK.size
        name = data[at : at + length].decode()
        at += length
        if rows > MAX_PROMPTS:
            raise ValueError("too many prompts")
        kept = tasks[name] = _Kept(standing=standing, seen=seen)
        for _ in range(rows):
            size, _scale = _ROW.unpack_from(data, at)
            row = data[at : at + _ROW.size + 3 * size]
            features_of(row)
            kept.rows.append(row)
            at += len(row)
    return tasks
