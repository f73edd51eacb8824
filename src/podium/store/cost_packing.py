"""A cost to and from one small MessagePack array. No SQL, no I/O.

Reasons why a figure is missing repeat in nearly every row: known ones are stored as their number, and what is estimated
is one bit per figure. Rows of earlier versions end sooner, what they lack is ``None``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.domain.cost import METERED, Cause, Cost, Method
from podium.domain.unmeasured import REASONS

_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder()
_CODES = {pair: code for code, pair in enumerate(REASONS)}
_METHODS = tuple(Method)
_LACKING: list[Any] = [None, None, None, 0, None, None, None, None, None]
"""What stands for the fields after the first nine where a row ends before them."""


def pack_cost(cost: Cost) -> bytes:
    """A cost as one MessagePack array."""
    bits = sum(1 << METERED.index(name) for name in cost.estimated)
    return _pack.encode(
        (
            cost.wall_ms,
            cost.cpu_ms,
            cost.peak_memory_mb,
            cost.energy_mwh,
            _METHODS.index(cost.energy_method),
            cost.input_tokens,
            cost.output_tokens,
            cost.tokens_per_s,
            [_CODES.get(pair, pair) for pair in cost.missing],
            cost.mean_memory_mb,
            cost.gpu_ms,
            cost.cached_tokens,
            bits,
            cost.price_microusd,
            cost.price_table,
            None if cost.cause is Cause.REQUEST else cost.cause.value,
            cost.charged_to,
            cost.mapped_memory_mb,
        )
    )


def unpack_cost(content: bytes) -> Cost:
    """The cost that ``pack_cost`` packed."""
    fields: list[Any] = _unpack.decode(content)
    wall, cpu, peak, energy, method, tokens_in, tokens_out, speed, missing = fields[:9]
    fields += _LACKING[len(fields) - 9 :]
    mean, gpu, cached, bits, price, table, cause, charged, mapped = fields[9:18]
    return Cost(
        wall_ms=wall,
        cpu_ms=cpu,
        gpu_ms=gpu,
        peak_memory_mb=peak,
        mean_memory_mb=mean,
        mapped_memory_mb=mapped,
        energy_mwh=energy,
        energy_method=_METHODS[method] if isinstance(method, int) else Method(method),
        input_tokens=tokens_in,
        cached_tokens=cached,
        output_tokens=tokens_out,
        tokens_per_s=speed,
        price_microusd=price,
        price_table=table,
        estimated=tuple(name for place, name in enumerate(METERED) if bits >> place & 1) if bits else (),
        cause=Cause.REQUEST if cause is None else Cause(cause),
        charged_to=charged,
        missing=tuple(REASONS[entry] if isinstance(entry, int) else (entry[0], entry[1]) for entry in missing),
    )
