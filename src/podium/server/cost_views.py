"""What things cost, as JSON. Figures that were not measured are null and say why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podium.core.energy import CpuPower
from podium.core.spending import together
from podium.domain.cost import METERED, Cost, Method, Operation, SpentRow
from podium.domain.unmeasured import NO_ANE

Json = dict[str, Any]


def operation(item: Operation) -> Json:
    """Work that no decision was made for."""
    return {
        "id": item.id,
        "at": item.at,
        "task": item.task,
        "ref": item.ref,
        "success": item.success,
        "request_id": item.request_id,
        "cost": cost(item.cost),
    }


def cost(item: Cost) -> Json:
    """One operation."""
    return {
        "wall_ms": item.wall_ms,
        "cpu_ms": item.cpu_ms,
        "gpu_ms": item.gpu_ms,
        "peak_memory_mb": item.peak_memory_mb,
        "mean_memory_mb": item.mean_memory_mb,
        "mapped_memory_mb": item.mapped_memory_mb,
        "energy_mwh": item.energy_mwh,
        "energy_method": item.energy_method,
        "input_tokens": item.input_tokens,
        "cached_tokens": item.cached_tokens,
        "output_tokens": item.output_tokens,
        "tokens_per_s": item.tokens_per_s,
        "price_microusd": item.price_microusd,
        "price_table": item.price_table,
        "cause": item.cause,
        "charged_to": item.charged_to,
        "estimated": list(item.estimated),
        "cpu_use": _part(item.cpu_ms, item.wall_ms),
        "gpu_use": _part(item.gpu_ms, item.wall_ms),
        "ane_use": None,
        "methods": {**{name: item.method(name) for name in METERED}, "ane_use": Method.UNAVAILABLE},
        "missing": {**dict(item.missing), "ane_use": NO_ANE},
    }


def _part(used_ms: float | None, wall_ms: float) -> float | None:
    """How many of them worked at a time."""
    return used_ms / wall_ms if used_ms is not None and wall_ms > 0 else None


def spent(rows: Iterable[SpentRow]) -> Json:
    """Sums of many operations, with the share of them that each figure is known of."""
    total = SpentRow()
    for row in rows:
        total = together(total, row)
    return {
        "operations": total.operations,
        "failed": total.failed,
        "wall_s": total.wall_ms / 1000,
        "cpu_s": total.cpu_ms / 1000 if total.cpu_samples else None,
        "gpu_s": total.gpu_ms / 1000 if total.gpu_samples else None,
        "energy_mwh": total.energy_mwh if total.energy_samples else None,
        "energy_estimated": total.energy_estimated,
        "mean_memory_mb": total.memory_mb_ms / total.memory_wall_ms if total.memory_wall_ms else None,
        "peak_memory_mb": total.peak_memory_mb,
        "input_tokens": total.input_tokens if total.token_samples else None,
        "cached_tokens": total.cached_tokens if total.token_samples else None,
        "output_tokens": total.output_tokens if total.token_samples else None,
        "tokens_estimated": total.tokens_estimated,
        "price_usd": total.price_microusd / 1e6 if total.price_samples else None,
        "known_of": {
            "cpu_s": total.cpu_samples,
            "gpu_s": total.gpu_samples,
            "energy_mwh": total.energy_samples,
            "tokens": total.token_samples,
            "price_usd": total.price_samples,
        },
    }


def power(item: CpuPower) -> Json:
    """What a CPU second costs here, and how that is known."""
    return {name: getattr(item, name) for name in type(item).__slots__}
