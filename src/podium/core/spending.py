"""Sums of what operations cost. Pure: owns the additions, keeps nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from podium.domain.cost import Cost, Method, SpentRow

HOUR_S = 3600.0
_SUMS = tuple(field.name for field in fields(SpentRow) if field.name != "peak_memory_mb")


def hour_of(at: float) -> int:
    """The hour since 1970 that a Unix time falls into."""
    return int(at // HOUR_S)


def spend(row: SpentRow, cost: Cost, *, success: bool) -> SpentRow:
    """The sums with one more operation."""
    return spend_all(row, ((cost, success),))


def spend_all(row: SpentRow, operations: Iterable[tuple[Cost, bool]]) -> SpentRow:
    """The sums with many more, each a cost and whether it succeeded: one new value instead of one per operation."""
    count, failed, wall_ms, peak = row.operations, row.failed, row.wall_ms, row.peak_memory_mb
    cpu_ms, cpu_samples, gpu_ms, gpu_samples = row.cpu_ms, row.cpu_samples, row.gpu_ms, row.gpu_samples
    energy, energy_samples, energy_estimated = row.energy_mwh, row.energy_samples, row.energy_estimated
    memory_mb_ms, memory_wall_ms = row.memory_mb_ms, row.memory_wall_ms
    read, cached, written = row.input_tokens, row.cached_tokens, row.output_tokens
    token_samples, tokens_estimated = row.token_samples, row.tokens_estimated
    price, price_samples = row.price_microusd, row.price_samples
    for cost, success in operations:
        count += 1
        failed += not success
        wall_ms += cost.wall_ms
        if cost.cpu_ms is not None:
            cpu_ms, cpu_samples = cpu_ms + cost.cpu_ms, cpu_samples + 1
        if cost.gpu_ms is not None:
            gpu_ms, gpu_samples = gpu_ms + cost.gpu_ms, gpu_samples + 1
        if cost.energy_mwh is not None:
            energy, energy_samples = energy + cost.energy_mwh, energy_samples + 1
            energy_estimated += cost.energy_method is Method.ESTIMATED
        if cost.mean_memory_mb is not None:
            memory_mb_ms, memory_wall_ms = (
                memory_mb_ms + cost.mean_memory_mb * cost.wall_ms,
                memory_wall_ms + cost.wall_ms,
            )
        peak = _larger(peak, cost.peak_memory_mb)
        if cost.input_tokens is not None or cost.output_tokens is not None:
            token_samples += 1
            read, written = read + (cost.input_tokens or 0), written + (cost.output_tokens or 0)
        cached += cost.cached_tokens or 0
        if cost.estimated:
            tokens_estimated += "input_tokens" in cost.estimated or "output_tokens" in cost.estimated
        if cost.price_microusd is not None:
            price, price_samples = price + cost.price_microusd, price_samples + 1
    return SpentRow(
        operations=count,
        failed=failed,
        wall_ms=wall_ms,
        cpu_ms=cpu_ms,
        cpu_samples=cpu_samples,
        gpu_ms=gpu_ms,
        gpu_samples=gpu_samples,
        energy_mwh=energy,
        energy_samples=energy_samples,
        energy_estimated=energy_estimated,
        memory_mb_ms=memory_mb_ms,
        memory_wall_ms=memory_wall_ms,
        peak_memory_mb=peak,
        input_tokens=read,
        cached_tokens=cached,
        output_tokens=written,
        token_samples=token_samples,
        tokens_estimated=tokens_estimated,
        price_microusd=price,
        price_samples=price_samples,
    )


def together(one: SpentRow, other: SpentRow) -> SpentRow:
    """The sums of both."""
    sums = {name: getattr(one, name) + getattr(other, name) for name in _SUMS}
    return SpentRow(peak_memory_mb=_larger(one.peak_memory_mb, other.peak_memory_mb), **sums)


def _larger(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
