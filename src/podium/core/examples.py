"""What callers labelled: a bounded sample of hashed prompts per task. Pure; holds no text.

Owns the sample and its format. A new name enters by the rule of Misra and Gries (Science of Computer Programming,
1982): when the table is full, tasks lose one unit of standing each and those without any leave, so that what is used
often stays however many other names arrive. Tasks with ``ENOUGH`` prompts are spared as long as there are others.
Within a task, prompts are kept by reservoir sampling that leans to recent ones; one that is like a kept one is not counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

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


@dataclass(slots=True)
class _Kept:
    standing: int = 0
    seen: int = 0
    rows: list[Features] = field(default_factory=list)
    marks: list[bytes] = field(default_factory=list)


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
        kept.standing += 1
        row = _rounded(found)
        mark = blake2b(row.indices.tobytes() + row.values.tobytes(), digest_size=8).digest()
        if mark in kept.marks:
            return False
        kept.seen += 1
        if len(kept.rows) < MAX_PROMPTS:
            kept.rows.append(row)
            kept.marks.append(mark)
            return True
        at = self._draw(min(kept.seen, _MEMORY))
        if at >= MAX_PROMPTS:
            return False
        kept.rows[at], kept.marks[at] = row, mark
        return True

    def _make_room(self) -> bool:
        weak = [kept for kept in self._tasks.values() if len(kept.rows) < ENOUGH]
        for kept in weak or self._tasks.values():
            kept.standing -= 1
        self._tasks = {name: kept for name, kept in self._tasks.items() if kept.standing > 0}
        return len(self._tasks) < MAX_TASKS

    def __iter__(self) -> Iterator[tuple[str, Features]]:
        for name, kept in self._tasks.items():
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
        self._tasks.clear()

    def pack(self) -> bytes:
        """At most ``MAX_BYTES``."""
        parts = [_HEAD.pack(_MAGIC, FORMAT, HASHING, len(self._tasks))]
        for name, kept in self._tasks.items():
            raw = name.encode()
            parts += [
                _TASK.pack(len(raw), min(kept.standing, 2**32 - 1), min(kept.seen, 2**32 - 1), len(kept.rows)),
                raw,
            ]
            for row in kept.rows:
                scale = _scale(row)
                parts += [
                    _ROW.pack(len(row.indices), scale),
                    row.indices.astype("<u2").tobytes(),
                    np.rint(row.values / np.float32(scale)).astype(np.int8).tobytes(),
                ]
        return b"".join(parts)

    def unpack(self, data: bytes) -> None:
        """Take in what ``pack`` wrote, instead of what is there. Raises ``ValueError`` for anything else."""
        try:
            self._tasks = _read(data)
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"not a sample of prompts: {error}") from None


def _scale(row: Features) -> float:
    return float(np.float32(np.abs(row.values).max() / np.float32(127.0)))


def _rounded(found: Features) -> Features:
    """The same vector with values that survive being stored in one byte each."""
    scale = np.float32(_scale(found))
    steps = np.rint(found.values / scale).astype(np.int8)
    kept = steps != 0
    return Features(found.indices[kept], steps[kept].astype(np.float32) * scale)


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
            size, scale = _ROW.unpack_from(data, at)
            at += _ROW.size
            if size > KEPT or at + 3 * size > len(data) or not 0.0 < scale < 1.0:
                raise ValueError("a prompt is damaged")
            indices = np.frombuffer(data, "<u2", size, at).astype(np.uint16)
            values = np.frombuffer(data, np.int8, size, at + 2 * size).astype(np.float32) * np.float32(scale)
            at += 3 * size
            if size == 0 or int(indices.max()) >= BUCKETS:
                raise ValueError("a prompt is damaged")
            kept.rows.append(Features(indices, values))
            kept.marks.append(blake2b(indices.tobytes() + values.tobytes(), digest_size=8).digest())
    return tasks
