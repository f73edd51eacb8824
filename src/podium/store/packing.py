"""Domain values to and from what columns hold (JSON text, MessagePack blobs). No SQL, no I/O.

A choice is one compact MessagePack array: term names once, scores and terms as full doubles. It is stored once per
content (BLAKE2b-128 is its key), because many requests in a row get the same choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import msgspec

from podium.domain.decision import Candidate, Choice, Expected


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON; use JSON values only")


_json = msgspec.json.Encoder(order="deterministic", enc_hook=_plain)
_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder()


def to_json(value: object) -> str:
    """JSON text; sets become sorted arrays, read-only mappings become objects."""
    return _json.encode(value).decode()


def from_json(text: str) -> Any:
    """The JSON value in ``text``."""
    return msgspec.json.decode(text)


def frozen(value: Mapping[str, object]) -> Mapping[str, object]:
    """A read-only view."""
    return MappingProxyType(dict(value))


def pack_choice(choice: Choice) -> tuple[bytes, bytes]:
    """(digest, content) of a choice."""
    names: list[str] = []
    for candidate in choice.candidates:
        names += [name for name, _ in candidate.terms if name not in names]
    places = {name: place for place, name in enumerate(names)}
    rows = []
    for candidate in choice.candidates:
        order = [places[name] for name, _ in candidate.terms]
        rows.append(
            (
                candidate.ref,
                candidate.score,
                [value for _, value in candidate.terms],
                candidate.samples,
                candidate.dropped,
                candidate.flags,
                None if order == list(range(len(names))) else order,
            )
        )
    expected = choice.expected
    content = _pack.encode(
        (
            choice.task,
            choice.strategy,
            choice.chosen,
            choice.propensity,
            choice.fallbacks,
            choice.reason,
            choice.confidence,
            (expected.quality, expected.latency_ms, expected.memory_mb, expected.samples),
            names,
            rows,
            choice.alternatives,
            choice.exploration,
            choice.rollout,
        )
    )
    return blake2b(content, digest_size=16).digest(), content


def unpack_choice(content: bytes) -> Choice:
    """The choice that ``pack_choice`` packed."""
    fields = _unpack.decode(content)
    task, strategy, chosen, propensity, fallbacks, reason, confidence, expected, names, rows = fields[:10]
    alternatives, exploration = fields[10:12] or ((), 0.0)  # rows of earlier versions end before them
    rollout = fields[12] if len(fields) > 12 else None
    quality, latency_ms, memory_mb, samples = expected
    return Choice(
        task=task,
        strategy=strategy,
        chosen=chosen,
        propensity=propensity,
        fallbacks=tuple(fallbacks),
        reason=reason,
        confidence=confidence,
        candidates=tuple(_candidate(row, names) for row in rows),
        expected=Expected(quality=quality, latency_ms=latency_ms, memory_mb=memory_mb, samples=samples),
        alternatives=tuple(alternatives),
        exploration=exploration,
        rollout=rollout,
    )


def pack_pairs(pairs: tuple[tuple[int, int], ...]) -> bytes:
    """A histogram."""
    return _pack.encode(pairs)


def unpack_pairs(content: bytes) -> tuple[tuple[int, int], ...]:
    """The histogram that ``pack_pairs`` packed."""
    return tuple((index, count) for index, count in _unpack.decode(content))


def _candidate(row: list[Any], names: list[str]) -> Candidate:
    ref, score, values, samples, dropped, flags, order = row
    places = range(len(values)) if order is None else order
    return Candidate(
        ref=ref,
        score=score,
        terms=tuple((names[place], value) for place, value in zip(places, values, strict=True)),
        samples=samples,
        dropped=dropped,
        flags=tuple(flags),
    )
