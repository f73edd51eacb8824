"""Ranks versions by what they showed on the suites of a task. Pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from podium.core.grading import wilson
from podium.domain.benchmark import ItemResult, Standing


def rank(results: Sequence[ItemResult]) -> tuple[Standing, ...]:
    """One row per (task, ref): tasks by name, best mean first, then the faster one."""
    groups: defaultdict[tuple[str, str], list[ItemResult]] = defaultdict(list)
    for result in results:
        groups[result.task, result.ref].append(result)
    rows = sorted(
        (_standing(task, ref, items) for (task, ref), items in groups.items()),
        key=lambda row: (row.task, -row.mean, row.latency_ms, row.ref),
    )
    best: dict[str, str] = {}
    for row in rows:
        best.setdefault(row.task, row.ref)
    return tuple(
        row if row.ref == best[row.task] else replace(row, p_best=_against(groups, row, best[row.task])) for row in rows
    )


def _against(groups: Mapping[tuple[str, str], list[ItemResult]], row: Standing, best: str) -> float | None:
    mine, theirs = groups[row.task, row.ref], groups[row.task, best]
    if {(item.digest, item.item) for item in mine}.isdisjoint((item.digest, item.item) for item in theirs):
        return None
    return paired(theirs, mine)[2]


def _standing(task: str, ref: str, items: Sequence[ItemResult]) -> Standing:
    mean = statistics.fmean(item.score for item in items)
    low, high = wilson(mean, len(items))
    tokens = [item.output_tokens for item in items if item.output_tokens is not None]
    return Standing(
        task=task,
        ref=ref,
        suites=tuple(sorted({item.suite for item in items})),
        n=len(items),
        mean=mean,
        low=low,
        high=high,
        latency_ms=statistics.median(item.latency_ms for item in items),
        output_tokens=statistics.fmean(tokens) if tokens else None,
    )


def paired(one: Sequence[ItemResult], other: Sequence[ItemResult]) -> tuple[int, int, float]:
    """(items where ``one`` is better, where ``other`` is, two-sided p) over the items both answered.

    The exact sign test, for right/wrong scores McNemar's (McNemar 1947): under no difference the better one of a pair
    is a fair coin. No pairs that differ give p = 1.
    """
    theirs = {(result.digest, result.item): result.score for result in other}
    pairs = [(result.score, theirs[key]) for result in one if (key := (result.digest, result.item)) in theirs]
    better = sum(mine > his for mine, his in pairs)
    worse = sum(mine < his for mine, his in pairs)
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1)) / 2**n
    return better, worse, min(1.0, 2 * tail)
