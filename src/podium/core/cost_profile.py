"""Profiles of what operations took: means, percentiles, totals, use of the machine. Pure; reads cells, decides nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from podium.core import cost_cells
from podium.core.cost_cells import BASE, FIGURES, Cell
from podium.domain.costing import CostProfile, Figure

QUANTILES = (0.5, 0.95, 0.99)
_NOBODY = "no answered operation is on record"
_WHY = {
    "price_microusd": "nobody bills it, or no price is known",
    "gpu_ms": "no GPU of this machine worked for it, or none can be read",
    "mean_memory_mb": "the model's process is not ours to measure",
    "ttft_ms": "no answer was streamed",
    "tokens_per_s": "the server reported no usage",
    "wait_ms": "not known of operations without a decision",
}
_PART = "_per_token"
_NO_TOKENS = "no operation has both the figure and a number of tokens"


def rank(share: float, n: int) -> int:
    """The rank of a quantile among ``n``, from 1: ``ceil(share * n)``."""
    return max(1, min(n, math.ceil(share * n - 1e-9)))


def figure(cell: Cell, name: str) -> Figure:
    """One figure of a cell, with the reason where there is none."""
    n = cost_cells.count(cell, name)
    if n == 0:
        return Figure(n=0, why=why_missing(cell, name))
    spread = cost_cells.variance(cell, name)
    low, high = cost_cells.extremes(cell, name) or (None, None)
    p50, p95, p99 = cost_cells.ranked(cell, name, [rank(share, n) for share in QUANTILES])
    return Figure(
        n=n,
        mean=cost_cells.mean(cell, name),
        sd=None if spread is None else math.sqrt(spread),
        least=low,
        p50=p50,
        p95=p95,
        p99=p99,
        most=high,
        total=None if name.endswith(_PART) or name == "tokens_per_s" else cost_cells.total(cell, name),
        estimated=cost_cells.estimates(cell, name),
    )


def why_missing(cell: Cell, name: str) -> str:
    """Why a cell has nothing of a figure, by what its operations said most often."""
    if cell.operations == cell.failed:
        return _NOBODY
    base = name.removesuffix(_PART)
    said: Counter[str] = Counter()
    for missing, why, number in cell.reasons:
        if missing == base:
            said[why] += number
    if said:
        return said.most_common(1)[0][0]
    if base != name and cost_cells.count(cell, base):
        return _NO_TOKENS
    return _WHY.get(base, "it was not measured")


def profile(
    cell: Cell, task: str | None, ref: str | None, *, busy: Cell | None = None, cores: int | None = None
) -> CostProfile:
    """The profile of a cell. ``busy``: the version on all tasks, with the time in which anything ran."""
    busy_ms = None if busy is None or busy.busy_ms <= 0 else busy.busy_ms
    shares: dict[str, float | None] = dict.fromkeys(("parallel", "cpu_share", "gpu_share"))
    if busy_ms is not None and busy is not None:
        shares["parallel"] = _over(cost_cells.total(busy, "wall_ms"), busy_ms)
        shares["cpu_share"] = _over(_whole(busy, "cpu_ms"), busy_ms * cores) if cores else None
        shares["gpu_share"] = _over(_whole(busy, "gpu_ms"), busy_ms)
    return CostProfile(
        task=task,
        ref=ref,
        operations=cell.operations,
        failed=cell.failed,
        left=cell.left,
        last_at=cell.last_at or None,
        figures={name: figure(cell, name) for name in FIGURES},
        busy_s=None if busy_ms is None else busy_ms / 1000,
        **shares,
    )


def _whole(cell: Cell, name: str) -> float | None:
    """The total, if at least nine of ten operations have the figure, scaled up to all."""
    n, have, found = cost_cells.count(cell, "wall_ms"), cost_cells.count(cell, name), cost_cells.total(cell, name)
    return found * n / have if found is not None and have >= 0.9 * n else None


def _over(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def rows(profiles: Iterable[CostProfile], names: Sequence[str] = BASE) -> list[dict[str, object]]:
    """One flat row for each profile and figure, for CSV: ``task, ref, operations, failed, figure`` and its numbers."""
    return [
        {
            "task": one.task or "",
            "ref": one.ref or "",
            "operations": one.operations,
            "failed": one.failed,
            "figure": name,
            **{part: getattr(one.figures[name], part) for part in Figure.__slots__},
        }
        for one in profiles
        for name in names
    ]
