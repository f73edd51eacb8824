"""Folds outcomes into evidence and reads rates, means and quantiles from it. Pure; owns the histogram's maths.

The latency histogram is log-scaled as in DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable
quantile sketch", VLDB 2019). With the relative accuracy ``a`` and ``g = (1 + a) / (1 - a)``:

- a latency ``x`` ms falls into bucket ``i = ceil(log_g x)``, which covers ``(g^(i-1), g^i]``;
- the bucket is read as ``2 g^i / (g + 1)``, the value whose relative distance to both ends is exactly ``a``.

So every quantile is within ``a`` = 4 % of the sample with that rank. Latencies are clamped to 10 µs … 10⁸ ms,
which bounds a histogram to 288 buckets; a real one has a few dozen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from podium.domain.decision import Outcome
from podium.domain.evidence import Evidence

CLIENT_LEFT = "client_left"
NOT_ITS_DOING = frozenset(
    {
        CLIENT_LEFT,
        "budget_busy",
        "budget_deferred",
        "context_length_exceeded",
        "insufficient_quota",
        "model_does_not_fit",
        "not_supported",
        "overloaded",
        "provider_rejected",
        "queue_full",
        "queue_timeout",
    }
)
"""Error codes of outcomes that say nothing about a model: the caller, the request or the pool was at fault."""

ACCURACY = 0.04
"""Largest relative error of a quantile."""
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
_SHORTEST_MS, _LONGEST_MS = 1e-2, 1e8


def bucket(latency_ms: float) -> int:
    """Index of the bucket a latency falls into."""
    clamped = min(max(latency_ms, _SHORTEST_MS), _LONGEST_MS)
    return math.ceil(math.log(clamped) / _LOG_GAMMA - 1e-12)


def bucket_ms(index: int) -> float:
    """The latency in milliseconds a bucket stands for."""
    return float(2 * _GAMMA**index / (_GAMMA + 1))


def fold(evidence: Evidence, outcome: Outcome) -> Evidence:
    """Evidence with one more outcome in it; unchanged when it says nothing about the model."""
    return fold_all(evidence, (outcome,))


def fold_all(evidence: Evidence, outcomes: Iterable[Outcome]) -> Evidence:
    """Evidence with many outcomes of the same (task, version) in it: one new value instead of one per outcome.

    Latency, first token, speed and CPU time come from successes only: a fast failure is not a fast model.
    """
    counted = [outcome for outcome in outcomes if outcome.error not in NOT_ITS_DOING]
    if not counted:
        return evidence
    good = [outcome for outcome in counted if outcome.success]
    ttft = [outcome.ttft_ms for outcome in good if outcome.ttft_ms is not None]
    speed = [outcome.cost.tokens_per_s for outcome in good if outcome.cost.tokens_per_s is not None]
    cpu = [outcome.cost.cpu_ms for outcome in good if outcome.cost.cpu_ms is not None]
    memory = [outcome.cost.held_memory_mb for outcome in counted if outcome.cost.held_memory_mb is not None]
    if evidence.memory_mb_max is not None:
        memory.append(evidence.memory_mb_max)
    newest = max(outcome.at for outcome in counted)
    return replace(
        evidence,
        samples=evidence.samples + len(counted),
        successes=evidence.successes + len(good),
        latency_ms_sum=evidence.latency_ms_sum + sum(outcome.latency_ms for outcome in good),
        latency_buckets=_merge(evidence.latency_buckets, [bucket(outcome.latency_ms) for outcome in good]),
        ttft_ms_sum=evidence.ttft_ms_sum + sum(ttft),
        ttft_samples=evidence.ttft_samples + len(ttft),
        tokens_per_s_sum=evidence.tokens_per_s_sum + sum(speed),
        tokens_per_s_samples=evidence.tokens_per_s_samples + len(speed),
        memory_mb_max=max(memory, default=None),
        cpu_ms_sum=evidence.cpu_ms_sum + sum(cpu),
        cpu_samples=evidence.cpu_samples + len(cpu),
        last_at=newest if evidence.last_at is None else max(evidence.last_at, newest),
    )


def fold_feedback(evidence: Evidence, score: float) -> Evidence:
    """Evidence with one more quality score in [0, 1]. Raises ``ValueError`` outside of it (validate at the edge)."""
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"a score is between 0 and 1, not {score}")
    return replace(evidence, quality_sum=evidence.quality_sum + score, quality_samples=evidence.quality_samples + 1)


def revise_feedback(evidence: Evidence, old: float, new: float) -> Evidence:
    """Evidence with the score ``new`` in the place of ``old``, which was folded before. Raises ``ValueError``."""
    if not (0.0 <= old <= 1.0 and 0.0 <= new <= 1.0):
        raise ValueError(f"scores are between 0 and 1, not {old} and {new}")
    if evidence.quality_samples == 0:
        return fold_feedback(evidence, new)
    total = min(float(evidence.quality_samples), max(0.0, evidence.quality_sum + new - old))
    return replace(evidence, quality_sum=total)


def success_rate(evidence: Evidence) -> float | None:
    """Share of outcomes that were delivered, in [0, 1]; ``None`` without outcomes."""
    return evidence.successes / evidence.samples if evidence.samples else None


def mean_latency_ms(evidence: Evidence) -> float | None:
    """Mean latency of successes in milliseconds; ``None`` without any."""
    return evidence.latency_ms_sum / evidence.successes if evidence.successes else None


def latency_quantile_ms(evidence: Evidence, q: float) -> float | None:
    """The latency with rank ``ceil(q n)`` (the smallest for ``q = 0``) within 4 %; ``None`` without successes."""
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"a quantile is between 0 and 1, not {q}")
    total = sum(count for _, count in evidence.latency_buckets)
    rank, seen = max(1, math.ceil(q * total)), 0
    for index, count in evidence.latency_buckets:
        seen += count
        if seen >= rank:
            return bucket_ms(index)
    return None


def mean_ttft_ms(evidence: Evidence) -> float | None:
    """Mean time to the first token in milliseconds; ``None`` when it was never measured."""
    return evidence.ttft_ms_sum / evidence.ttft_samples if evidence.ttft_samples else None


def mean_tokens_per_s(evidence: Evidence) -> float | None:
    """Mean generation speed; ``None`` when it was never measured."""
    return evidence.tokens_per_s_sum / evidence.tokens_per_s_samples if evidence.tokens_per_s_samples else None


def mean_quality(evidence: Evidence) -> float | None:
    """Mean score in [0, 1]; ``None`` when nobody gave one."""
    return evidence.quality_sum / evidence.quality_samples if evidence.quality_samples else None


def mean_cpu_ms(evidence: Evidence) -> float | None:
    """Mean CPU time per answer in milliseconds; ``None`` when it was never measured."""
    return evidence.cpu_ms_sum / evidence.cpu_samples if evidence.cpu_samples else None


def _merge(buckets: tuple[tuple[int, int], ...], indexes: list[int]) -> tuple[tuple[int, int], ...]:
    if not indexes:
        return buckets
    counts = dict(buckets)
    for index in indexes:
        counts[index] = counts.get(index, 0) + 1
    return tuple(sorted(counts.items()))
