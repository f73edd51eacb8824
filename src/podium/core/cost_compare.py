"""Compares what two versions cost: differences of means and percentiles with 95 % intervals. Pure.

Means: Welch's interval. Percentiles: each by the ranks that hold it with 95 % (binomial, normal approximation), the
difference by putting both intervals together (Zou and Donner, Statistics in Medicine 27, 2008). Over several tasks
the difference on each is weighed by how often the task came to either, so that a version that got the hard tasks does
not look dear for that. Requests were not drawn at random for it: what differs may lie in the prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from podium.core import cost_cells
from podium.core.cost_cells import FIGURES, Cell
from podium.core.cost_profile import QUANTILES, rank, why_missing
from podium.core.evaluation import student
from podium.domain.costing import Comparison, Difference

LEVEL = 0.95
LEAST = 5
"""Operations of either below which nothing is said."""
_Z = 1.959964
_NAMES = {0.5: "p50", 0.95: "p95", 0.99: "p99"}
PERCENTILES = ("wall_ms", "wait_ms", "ttft_ms", "cpu_ms", "gpu_ms", "energy_mwh", "tokens_per_s", "wall_ms_per_token")


def compare(
    a: str, b: str, cells: Mapping[tuple[str, str], Cell], *, task: str | None = None, since: float | None = None
) -> Comparison:
    """B against A. ``cells``: by (task, ref). Without ``task``: over the tasks that both served."""
    of_a = {name: cell for (name, ref), cell in cells.items() if ref == a and task in (None, name)}
    of_b = {name: cell for (name, ref), cell in cells.items() if ref == b and task in (None, name)}
    tasks = tuple(sorted(set(of_a) & set(of_b)))
    notes = ["each interval holds by itself with 95 %; requests were not assigned at random"]
    alone = sorted(set(of_a) ^ set(of_b))
    if alone:
        notes.append(f"left out, because only one of them served it: {', '.join(alone)}")
    pairs = {name: (of_a[name], of_b[name]) for name in tasks}
    found: list[Difference] = []
    for figure in FIGURES:
        found.append(_means(figure, pairs))
        if len(tasks) == 1 and figure in PERCENTILES:
            found += [_percentiles(figure, *pairs[tasks[0]], share) for share in QUANTILES]
    if len(tasks) > 1:
        notes.append("percentiles only with one task: those of several do not add up")
    return Comparison(a=a, b=b, task=task, tasks=tasks, since=since, differences=tuple(found), notes=tuple(notes))


def _means(figure: str, pairs: Mapping[str, tuple[Cell, Cell]]) -> Difference:
    used = {name: pair for name, pair in pairs.items() if all(cost_cells.count(cell, figure) >= LEAST for cell in pair)}
    a_n, b_n = (sum(cost_cells.count(pair[side], figure) for pair in pairs.values()) for side in (0, 1))
    if not used:
        side = next((cell for pair in pairs.values() for cell in pair if not cost_cells.count(cell, figure)), None)
        why = f"fewer than {LEAST} operations of one of them have it" if side is None else why_missing(side, figure)
        why = why if pairs else "no task was served by both"
        return Difference(figure=figure, statistic="mean", a=None, b=None, a_n=a_n, b_n=b_n, why=why)
    sizes = {name: sum(cost_cells.count(cell, figure) for cell in pair) for name, pair in used.items()}
    whole = sum(sizes.values())
    a = b = spread = shrink = 0.0
    for name, pair in used.items():
        weight = sizes[name] / whole
        means = [cost_cells.mean(cell, figure) or 0.0 for cell in pair]
        a, b = a + weight * means[0], b + weight * means[1]
        for cell in pair:
            n = cost_cells.count(cell, figure)
            part = weight * weight * (cost_cells.variance(cell, figure) or 0.0) / n
            spread, shrink = spread + part, shrink + part * part / (n - 1)
    degrees = spread * spread / shrink if shrink > 0 else math.inf
    half = math.sqrt(spread) * (student(degrees, LEVEL) if math.isfinite(degrees) else _Z)
    return _said(figure, "mean", a, b, a_n, b_n, b - a - half, b - a + half)


def _percentiles(figure: str, one: Cell, other: Cell, share: float) -> Difference:
    a_n, b_n = (cost_cells.count(cell, figure) for cell in (one, other))
    name = _NAMES[share]
    if min(a_n, b_n) < LEAST:
        short = one if a_n <= b_n else other
        why = why_missing(short, figure) if min(a_n, b_n) == 0 else f"fewer than {LEAST} operations of one of them"
        return Difference(figure=figure, statistic=name, a=None, b=None, a_n=a_n, b_n=b_n, why=why)
    (a, a_low, a_high), (b, b_low, b_high) = (_quantile(cell, figure, share) for cell in (one, other))
    if a_low is None or a_high is None or b_low is None or b_high is None:
        needed = math.ceil(_Z * _Z * max(share, 1 - share) / min(share, 1 - share))
        why = f"an interval of {name} needs about {needed} operations of each"
        return Difference(
            figure=figure, statistic=name, a=a, b=b, a_n=a_n, b_n=b_n, difference=b - a, ratio=b / a if a else None, why=why
        )  # fmt: skip
    low = b - a - math.hypot(b - b_low, a_high - a)
    high = b - a + math.hypot(b_high - b, a - a_low)
    return _said(figure, name, a, b, a_n, b_n, low, high)


def _quantile(cell: Cell, figure: str, share: float) -> tuple[float, float | None, float | None]:
    """(value, lower, upper bound); a bound is ``None`` where the rank is beyond what there is."""
    n = cost_cells.count(cell, figure)
    half = _Z * math.sqrt(n * share * (1 - share))
    low, high = math.floor(n * share - half), math.ceil(n * share + half) + 1
    ranks = [rank(share, n), max(1, low), min(n, high)]
    value, lower, upper = cost_cells.ranked(cell, figure, ranks)
    return value, lower if low >= 1 else None, upper if high <= n else None


def _said(figure: str, statistic: str, a: float, b: float, a_n: int, b_n: int, low: float, high: float) -> Difference:
    verdict = "more" if low > 0 else "less" if high < 0 else "no clear difference"
    return Difference(
        figure=figure, statistic=statistic, a=a, b=b, a_n=a_n, b_n=b_n,
        difference=b - a, low=low, high=high, ratio=b / a if a else None, verdict=verdict,
    )  # fmt: skip
