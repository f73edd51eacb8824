"""Text as a short vector of hashed words and parts of words. Pure; the text cannot be read back from the vector.

Owns the hashing and its version. Must not keep text, know tasks, or read more than the ends of a long prompt.

Five kinds of feature are hashed with a sign into the same ``BUCKETS`` (feature hashing: Weinberger et al., ICML
2009): words, pairs of words, the first and the last words (there the instruction stands), and runs of 3 to 5 bytes
within a word. Every kind has a weight of its own, so that a long document does not drown the words that ask.
Sums are damped by the square root, the ``KEPT`` largest stay, and the whole has length 1. All digits are alike.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

HASHING = 1
"""Version of the hashing: vectors of another one mean nothing to this code."""
BUCKETS = 1 << 14
KEPT = 256
HEAD_CHARS = 700
TAIL_CHARS = 300
WORD_CHARS = 24
LEAST_BYTES = 6
"""Shorter than this, a prompt says too little: one feature would decide alone."""
LEAD_WORDS = 6
LAST_WORDS = 8
_RUNS = (3, 4, 5)
_SPACE = 0x20
_TOKEN = re.compile(r"[^\W_]+|[?{}=<>+*/\\`|]")
_DIGITS = str.maketrans("123456789", "000000000")
_WORD, _PAIR, _LEAD, _LAST, _RUN = 1.0, 0.8, 1.2, 0.5, 2.0
_MULTIPLIER = np.uint32(0x9E3779B1)
Hashes: TypeAlias = NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """``indices``: rising buckets, ``values``: their weights; both of the same length, at most ``KEPT``."""

    indices: NDArray[np.uint16]
    values: NDArray[np.float32]

    @property
    def empty(self) -> bool:
        """Whether there was nothing, or next to nothing, to read."""
        return len(self.indices) == 0


EMPTY = Features(np.zeros(0, np.uint16), np.zeros(0, np.float32))


def clip(text: str) -> str:
    """The part of a prompt that is read: its first ``HEAD_CHARS`` and last ``TAIL_CHARS`` characters."""
    return text if len(text) <= HEAD_CHARS + TAIL_CHARS else f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"


def features(text: str) -> Features:
    """Hash one prompt; never raises on any text."""
    found = _TOKEN.findall(clip(text).lower().translate(_DIGITS))
    if not found:
        return EMPTY
    crc = zlib.crc32
    words = [word[:WORD_CHARS].encode("utf-8", "replace") for word in found]
    if sum(map(len, words)) < LEAST_BYTES:
        return EMPTY
    hashed = np.array([crc(word) for word in words], dtype=np.uint32)
    kinds = (
        (hashed, _WORD),
        (hashed[:-1] * _MULTIPLIER + hashed[1:], _PAIR),
        (hashed[:LEAD_WORDS], _LEAD),
        (hashed[-LAST_WORDS:], _LAST),
        (_runs(b" " + b" ".join(words) + b" "), _RUN),
    )
    salted = [part ^ np.uint32(0x85EBCA6B * (salt + 1) & 0xFFFFFFFF) for salt, (part, _) in enumerate(kinds)]
    weights = np.repeat([weight / max(1, len(part)) ** 0.5 for part, weight in kinds], [len(part) for part, _ in kinds])
    return _sparse(_mixed(np.concatenate(salted)), weights)


def _runs(raw: bytes) -> Hashes:
    """Rolling hashes of the runs of bytes that do not go beyond one word and the space around it."""
    data = np.frombuffer(raw, np.uint8).astype(np.uint32)
    space = data == _SPACE
    rolling, inside, found = data, np.ones(len(data), np.bool_), []
    for length in range(2, _RUNS[-1] + 1):
        count = len(data) - length + 1
        if count <= 0:
            break
        rolling = rolling[:count] * _MULTIPLIER + data[length - 1 :]
        if length > 2:
            inside = inside[:count] & ~space[length - 2 : length - 2 + count]
        if length in _RUNS:
            found.append(rolling[inside[:count]])
    return np.concatenate(found) if found else np.zeros(0, np.uint32)


def _mixed(hashes: Hashes) -> Hashes:
    """The finaliser of MurmurHash3."""
    mixed = hashes ^ (hashes >> np.uint32(16))
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def _sparse(hashes: Hashes, weights: NDArray[np.float64]) -> Features:
    signed = np.where(hashes >> np.uint32(31), weights, -weights)
    buckets = (hashes & np.uint32(BUCKETS - 1)).astype(np.uint16)
    order = np.argsort(buckets, kind="stable")  # a radix sort for 16 bits
    buckets = buckets[order]
    starts = np.flatnonzero(np.concatenate(([True], buckets[1:] != buckets[:-1])))
    indices, values = buckets[starts], np.add.reduceat(signed[order], starts)
    if not values.all():
        indices, values = indices[values != 0.0], values[values != 0.0]
    if len(indices) > KEPT:
        strongest = np.sort(np.argpartition(np.abs(values), len(values) - KEPT)[-KEPT:])
        indices, values = indices[strongest], values[strongest]
    values = np.sign(values) * np.sqrt(np.abs(values))
    norm = float(np.sqrt(values @ values))
    if norm == 0.0:
        return EMPTY
    return Features(indices.astype(np.uint16), (values / norm).astype(np.float32))
