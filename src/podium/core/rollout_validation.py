"""What a validation set says before any traffic moves: which items, the paired difference, and the verdict. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import replace

from podium.core.sequential.pairs import Pairs, pair_bounds
from podium.domain.benchmark import GraderKind, Item, ItemResult, Suite
from podium.domain.rollout import Metric, RolloutPlan, Validation

PART = 0.25
"""One-sided level of the bounds, as a part of the plan's false alarms. It comes on top of the plan's, is used once, and
fails only a candidate whose bound is below the limit, which is further off than no difference.
"""
Known = Collection[tuple[str, str]]
"""(digest, item) of answers that are there already."""


def choose(suites: Sequence[Suite], baseline: Known, candidate: Known, most: int) -> tuple[Suite, ...]:
    """``suites`` cut down to ``most`` items together, taken in turn from each; a suite that gets none is left out.

    Items the baseline answered before come first, then those of the candidate, so that little is measured twice; items
    that need a judge come last.
    """

    def rank(digest: str, item: Item) -> tuple[bool, bool, bool]:
        key = (digest, item.id)
        return item.grader.kind is GraderKind.JUDGE, key not in baseline, key not in candidate

    queues = [[(rank(suite.digest, item), item) for item in suite.items] for suite in suites]
    queues = [sorted(queue, key=lambda one: one[0]) for queue in queues]
    kept: list[list[Item]] = [[] for _ in suites]
    left, turn = min(most, sum(map(len, queues))), 0
    while left > 0:
        for at, queue in enumerate(queues):
            if turn < len(queue) and left > 0:
                kept[at].append(queue[turn][1])
                left -= 1
        turn += 1
    return tuple(replace(suite, items=tuple(items)) for suite, items in zip(suites, kept, strict=True) if items)


def compare(
    baseline: Sequence[ItemResult], candidate: Sequence[ItemResult], plan: RolloutPlan, *, missing: str | None = None
) -> Validation:
    """The paired difference over the items both answered, with bounds at ``PART`` of the plan's false alarms per side.

    Bounds: Student's ratio at a fixed number of pairs (``core/sequential/pairs``); below seven pairs they say nothing.
    ``missing`` says why there are fewer items than were wanted.
    """
    old = {(result.digest, result.item): result for result in baseline}
    pairs = [(old[key], new) for new in candidate if (key := (new.digest, new.item)) in old]
    if not pairs:
        alone = candidate or baseline
        return Validation(
            suite=_names(alone),
            items=len(alone),
            baseline_score=_mean(baseline),
            candidate_score=_mean(candidate),
            baseline_latency_ms=_latency(baseline),
            candidate_latency_ms=_latency(candidate),
            missing=missing or "no item was answered by both versions",
        )
    x, y = [one.score for one, _ in pairs], [other.score for _, other in pairs]
    sums = Pairs(
        n=float(len(pairs)),
        x=sum(x),
        y=sum(y),
        xx=sum(one * one for one in x),
        yy=sum(one * one for one in y),
        xy=sum(one * other for one, other in zip(x, y, strict=True)),
    )
    z = statistics.NormalDist().inv_cdf(1 - PART * plan.false_alarm)
    _, lower, upper = pair_bounds(sums, z)
    return Validation(
        suite=_names([new for _, new in pairs]),
        items=len(pairs),
        baseline_score=statistics.fmean(x),
        candidate_score=statistics.fmean(y),
        lower=float(lower),
        upper=float(upper),
        baseline_latency_ms=_latency([one for one, _ in pairs]),
        candidate_latency_ms=_latency([other for _, other in pairs]),
        missing=missing,
    )


def verdict(validation: Validation, plan: RolloutPlan) -> str | None:
    """Why no traffic may move: even the upper bound of the difference is below the limit of quality. ``None``: it may."""
    limit, old, new = plan.limits.get(Metric.QUALITY), validation.baseline_score, validation.candidate_score
    if limit is None or old is None or new is None or validation.upper is None or validation.lower is None:
        return None
    if validation.upper >= (limit - 1) * old:
        return None
    return (
        f"the validation set says it is worse: mean score {new:.3f} against {old:.3f} on {validation.items} items of "
        f"{validation.suite}, difference between {validation.lower:+.3f} and {validation.upper:+.3f}, where "
        f"{limit:g} of the old is the limit"
    )


def doubt(validation: Validation, plan: RolloutPlan) -> str | None:
    """A warning: the candidate scored below the limit, and that may be chance. ``None`` when it did not, or is certain."""
    limit, old, new = plan.limits.get(Metric.QUALITY), validation.baseline_score, validation.candidate_score
    if limit is None or old is None or new is None or new >= limit * old or verdict(validation, plan) is not None:
        return None
    return (
        f"scores lower on {validation.suite}: {new:.3f} against {old:.3f} on {validation.items} items, too few to be "
        f"certain; the canary decides"
    )


def _names(results: Sequence[ItemResult]) -> str | None:
    return ", ".join(sorted({result.suite for result in results})) or None


def _mean(results: Sequence[ItemResult]) -> float | None:
    return statistics.fmean(result.score for result in results) if results else None


def _latency(results: Sequence[ItemResult]) -> float | None:
    return statistics.median(result.latency_ms for result in results) if results else None
