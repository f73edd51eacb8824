"""Remembers verdicts by the content they are about. Bounded, in memory, the least recently used forgotten first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

V = TypeVar("V")
MOST_KEPT = 4_096
Key = bytes


def key_of(parts: Iterable[str | None]) -> Key:
    """One digest of all parts, none of which can be mistaken for its neighbour; ``None`` differs from an empty text."""
    digest = hashlib.sha256()
    for part in parts:
        raw = b"" if part is None else part.encode("utf-8", "surrogatepass")
        digest.update(b"-" if part is None else b"+" + len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.digest()


class Cache(Generic[V]):
    """``most`` values at most; 0 keeps nothing."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[Key, V] = OrderedDict()

    def get(self, key: Key) -> V | None:
        """What is kept under ``key``."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def put(self, key: Key, value: V) -> None:
        """Keep it; the one that was asked for longest ago goes when there are too many."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)
