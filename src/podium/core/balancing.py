"""Which of several copies of a version gets the next request (POOL-4). Pure.

Owns the strategies. Must not count, lock or keep state: loads, randomness and the turn are arguments. It runs once
per request over few copies, so it walks them in plain loops and builds nothing.

``least_busy``    the smallest share of places taken, this request included; equals take turns
``power_of_two``  the less busy of two drawn at random (Mitzenmacher 2001)
``affinity``      the same key goes to the same copy, whose cache is warm: rendezvous hashing (Thaler and
                  Ravishankar 1998) with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2018), see ``LOAD_BOUND``
``weighted``      at random in proportion to the weights of the copies that have room
``round_robin``   the next one that has room
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import assert_never

LOAD_BOUND = 1.25
"""By affinity a copy takes at most this multiple of the mean load, rounded up; the next by hash takes the rest."""
_MASK = 2**64 - 1
_MIX = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio, odd: multiplicative hashing (Knuth 6.4). Key and seeds are hashes already."""


class Strategy(StrEnum):
    """How requests are spread over the copies of a version."""

    LEAST_BUSY = "least_busy"
    POWER_OF_TWO = "power_of_two"
    AFFINITY = "affinity"
    WEIGHTED = "weighted"
    ROUND_ROBIN = "round_robin"


@dataclass(slots=True)
class Copy:
    """One copy: requests in it, places it has (0 takes none), and its weight.

    Mutable on purpose: keep one per instance and update ``active``, instead of building a list per request.
    """

    id: str
    active: int
    capacity: int
    weight: float = 1.0
    seed: int = field(init=False, repr=False, compare=False)
    """Hash of ``id``, made once; rendezvous hashing mixes it with the key."""

    def __post_init__(self) -> None:
        self.seed = prefix_key(self.id.encode())


def prefix_key(text: bytes) -> int:
    """A 64-bit hash of a prompt prefix or session id, the same in every process and version (BLAKE2b)."""
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def pick(strategy: Strategy, copies: Sequence[Copy], *, key: int | None, draw: float, turn: int) -> int | None:
    """The index of the copy that gets the request, or ``None`` when all are full.

    ``key`` is a 64-bit hash (only ``affinity`` reads it; without one it is least busy), ``draw`` is uniform in
    [0, 1), ``turn`` a counter that grows by one per request.
    """
    match strategy:
        case Strategy.LEAST_BUSY:
            return _least_busy(copies, turn)
        case Strategy.POWER_OF_TWO:
            return _power_of_two(copies, draw, turn)
        case Strategy.AFFINITY:
            return _least_busy(copies, turn) if key is None else _affinity(copies, key, turn)
        case Strategy.WEIGHTED:
            return _weighted(copies, draw, turn)
        case Strategy.ROUND_ROBIN:
            return _round_robin(copies, turn)
        case _:
            assert_never(strategy)


def _least_busy(copies: Sequence[Copy], turn: int) -> int | None:
    count = len(copies)
    best, best_load = None, math.inf
    for step in range(count):
        index = (turn + step) % count
        copy = copies[index]
        if copy.active < copy.capacity:
            load = (copy.active + 1) / copy.capacity
            if load < best_load:
                best, best_load = index, load
    return best


def _power_of_two(copies: Sequence[Copy], draw: float, turn: int) -> int | None:
    count = len(copies)
    if count < 2:
        return _least_busy(copies, turn)
    scaled = draw * count
    first = min(int(scaled), count - 1)
    second = min(int((scaled - first) * (count - 1)), count - 2)  # what is left of the draw is uniform again
    second += second >= first
    one, two = copies[first], copies[second]
    one_free, two_free = one.active < one.capacity, two.active < two.capacity
    if one_free and two_free:
        return first if (one.active + 1) * two.capacity <= (two.active + 1) * one.capacity else second
    if one_free:
        return first
    return second if two_free else _least_busy(copies, turn)


def _affinity(copies: Sequence[Copy], key: int, turn: int) -> int | None:
    if not copies:
        return None
    total, best, best_score = 1, -1, -1  # in all, this request included
    for index, copy in enumerate(copies):
        active = copy.active
        total += active
        if active < copy.capacity:
            score = ((key ^ copy.seed) * _MIX) & _MASK
            if score > best_score:
                best, best_score = index, score
    if best < 0:
        return None
    bound = math.ceil(LOAD_BOUND * total / len(copies))
    if copies[best].active < bound:
        return best
    best, best_score = -1, -1  # seldom: the one the key belongs to has enough to do
    for index, copy in enumerate(copies):
        if copy.active < bound and copy.active < copy.capacity:
            score = ((key ^ copy.seed) * _MIX) & _MASK
            if score > best_score:
                best, best_score = index, score
    return _least_busy(copies, turn) if best < 0 else best


def _weighted(copies: Sequence[Copy], draw: float, turn: int) -> int | None:
    total = 0.0
    for copy in copies:
        if copy.active < copy.capacity and copy.weight > 0.0:
            total += copy.weight
    left = draw * total
    last = None
    for index, copy in enumerate(copies):
        if copy.active < copy.capacity and copy.weight > 0.0:
            if left < copy.weight:
                return index
            left -= copy.weight
            last = index  # rounding may leave a crumb after the last one
    return _least_busy(copies, turn) if last is None else last


def _round_robin(copies: Sequence[Copy], turn: int) -> int | None:
    count = len(copies)
    for step in range(count):
        index = (turn + step) % count
        copy = copies[index]
        if copy.active < copy.capacity:
            return index
    return None
