"""Sums of what operations cost. Pure: owns the additions, keeps nothing."""

from __future__ import annotations

from dataclasses import fields

from podium.domain.cost import Cost, Method, SpentRow

HOUR_S = 3600.0
_SUMS = tuple(field.name for field in fields(SpentRow) if field.name != "peak_memory_mb")


def hour_of(at: float) -> int:
    """The hour since 1970 that a Unix time falls into."""
    return int(at // HOUR_S)


def spend(row: SpentRow, cost: Cost, *, success: bool) -> SpentRow:
    """The sums with one more operation."""
    memory = cost.mean_memory_mb
    estimated = cost.estimated
    tokens = cost.input_tokens is not None or cost.output_tokens is not None
    return SpentRow(
        operations=row.operations + 1,
        failed=row.failed + (not success),
        wall_ms=row.wall_ms + cost.wall_ms,
        cpu_ms=row.cpu_ms + (cost.cpu_ms or 0.0),
        cpu_samples=row.cpu_samples + (cost.cpu_ms is not None),
        gpu_ms=row.gpu_ms + (cost.gpu_ms or 0.0),
        gpu_samples=row.gpu_samples + (cost.gpu_ms is not None),
        energy_mwh=row.energy_mwh + (cost.energy_mwh or 0.0),
        energy_samples=row.energy_samples + (cost.energy_mwh is not None),
        energy_estimated=row.energy_estimated
        + (cost.energy_mwh is not None and cost.energy_method is Method.ESTIMATED),
        memory_mb_ms=row.memory_mb_ms + (0.0 if memory is None else memory * cost.wall_ms),
        memory_wall_ms=row.memory_wall_ms + (0.0 if memory is None else cost.wall_ms),
        peak_memory_mb=_larger(row.peak_memory_mb, cost.peak_memory_mb),
        input_tokens=row.input_tokens + (cost.input_tokens or 0),
        cached_tokens=row.cached_tokens + (cost.cached_tokens or 0),
        output_tokens=row.output_tokens + (cost.output_tokens or 0),
        token_samples=row.token_samples + tokens,
        tokens_estimated=row.tokens_estimated + ("input_tokens" in estimated or "output_tokens" in estimated),
        price_microusd=row.price_microusd + (cost.price_microusd or 0),
        price_samples=row.price_samples + (cost.price_microusd is not None),
    )


def together(one: SpentRow, other: SpentRow) -> SpentRow:
    """The sums of both."""
    sums = {name: getattr(one, name) + getattr(other, name) for name in _SUMS}
    return SpentRow(peak_memory_mb=_larger(one.peak_memory_mb, other.peak_memory_mb), **sums)


def _larger(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
