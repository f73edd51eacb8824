"""A cost to and from one small MessagePack array. No SQL, no I/O.

Reasons why a figure is missing repeat in nearly every row: known ones are stored as their number, and what is estimated
is one bit per figure. Rows of earlier versions end sooner, what they lack is ``None``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from podium.domain.cost import METERED, Cause, Cost, Method
from podium.domain.unmeasured import REASONS


class _Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The array. Rows of earlier versions end after any field from the ninth on."""

    wall_ms: float
    cpu_ms: float | None
    peak_memory_mb: float | None
    energy_mwh: float | None
    method: int | str
    input_tokens: int | None
    output_tokens: int | None
    tokens_per_s: float | None
    missing: tuple[int | tuple[str, str], ...]
    mean_memory_mb: float | None = None
    gpu_ms: float | None = None
    cached_tokens: int | None = None
    estimated: int = 0
    price_microusd: int | None = None
    price_table: str | None = None
    cause: str | None = None
    charged_to: str | None = None
    mapped_memory_mb: float | None = None


_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder(_Row)
_CODES = {pair: code for code, pair in enumerate(REASONS)}
_METHODS = tuple(Method)
_METHOD_AT = {method: place for place, method in enumerate(_METHODS)}


def pack_cost(cost: Cost) -> bytes:
    """A cost as one MessagePack array."""
    return _pack.encode(
        (
            cost.wall_ms,
            cost.cpu_ms,
            cost.peak_memory_mb,
            cost.energy_mwh,
            _METHOD_AT[cost.energy_method],
            cost.input_tokens,
            cost.output_tokens,
            cost.tokens_per_s,
            _coded(cost.missing),
            cost.mean_memory_mb,
            cost.gpu_ms,
            cost.cached_tokens,
            _bits(cost.estimated) if cost.estimated else 0,
            cost.price_microusd,
            cost.price_table,
            None if cost.cause is Cause.REQUEST else cost.cause.value,
            cost.charged_to,
            cost.mapped_memory_mb,
        )
    )


def unpack_cost(content: bytes) -> Cost:
    """The cost that ``pack_cost`` packed."""
    row = _unpack.decode(content)
    method, cause = row.method, row.cause
    return Cost(
        wall_ms=row.wall_ms,
        cpu_ms=row.cpu_ms,
        gpu_ms=row.gpu_ms,
        peak_memory_mb=row.peak_memory_mb,
        mean_memory_mb=row.mean_memory_mb,
        mapped_memory_mb=row.mapped_memory_mb,
        energy_mwh=row.energy_mwh,
        energy_method=_METHODS[method] if isinstance(method, int) else Method(method),
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        tokens_per_s=row.tokens_per_s,
        price_microusd=row.price_microusd,
        price_table=row.price_table,
        estimated=_estimated(row.estimated) if row.estimated else (),
        cause=Cause.REQUEST if cause is None else Cause(cause),
        charged_to=row.charged_to,
        missing=_reasons(row.missing),
    )


@lru_cache(maxsize=256)
def _bits(estimated: tuple[str, ...]) -> int:
    return sum(1 << METERED.index(name) for name in estimated)


@lru_cache(maxsize=256)
def _estimated(bits: int) -> tuple[str, ...]:
    return tuple(name for place, name in enumerate(METERED) if bits >> place & 1)


@lru_cache(maxsize=1024)
def _coded(missing: tuple[tuple[str, str], ...]) -> tuple[int | tuple[str, str], ...]:
    return tuple(_CODES.get(pair, pair) for pair in missing)


@lru_cache(maxsize=1024)
def _reasons(missing: tuple[Any, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(REASONS[entry] if isinstance(entry, int) else (entry[0], entry[1]) for entry in missing)
