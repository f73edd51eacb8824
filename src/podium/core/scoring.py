"""The deterministic score presets (SEL-3): weights, terms in [0, 1] and their weighted sum.

Owns the formulas and their documented defaults. Must not filter, rank or know where evidence comes from.

A version with fewer than ``MIN_SAMPLES`` outcomes for the task scores exactly ``UNPROVEN``. Otherwise

    quality      mean of the quality scores; 0.5 while nobody scored an answer
    latency      max(0, 1 - mean latency / limit); 0 when no request ever succeeded
    memory       max(0, 1 - memory / limit); the measured peak, else the footprint; 0.5 when neither is known
    reliability  successes / samples (called ``success`` in the classic preset)
    recency      max(0, 1 - age of the newest outcome / 7 days)

A limit is the caller's or the task's; without one it is 10 s and 8,192 MB. Recency falls in a straight line so
that the order of two versions does not change merely because time passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from podium.core import history
from podium.domain.evidence import Evidence
from podium.domain.task import Criteria, Preference, Weights
from podium.errors import InvalidRequest

MIN_SAMPLES = 10
UNPROVEN = 0.5
DEFAULT_LATENCY_LIMIT_MS = 10_000.0
DEFAULT_MEMORY_LIMIT_MB = 8_192.0
RECENCY_WINDOW_S = 7 * 86_400.0
TERM_NAMES = ("quality", "latency", "memory", "reliability", "recency")
BYTES_PER_MB = 1_048_576

PRESETS: Mapping[str, Weights] = MappingProxyType(
    {
        "balanced": Weights(quality=0.4, latency=0.3, memory=0.1, reliability=0.1, recency=0.1),
        "classic": Weights(quality=0.4, latency=0.3, memory=0.2, reliability=0.1, recency=0.0),
    }
)
"""The named presets. ``classic`` calls its reliability term success; it is the same fraction."""

PREFERENCES: Mapping[Preference, Weights] = MappingProxyType(
    {
        Preference.BALANCED: PRESETS["balanced"],
        Preference.FAST: Weights(quality=0.2, latency=0.6, memory=0.05, reliability=0.1, recency=0.05),
        Preference.QUALITY: Weights(quality=0.7, latency=0.1, memory=0.05, reliability=0.1, recency=0.05),
        Preference.LOW_MEMORY: Weights(quality=0.2, latency=0.1, memory=0.55, reliability=0.1, recency=0.05),
        # Joules follow the time a model computes and the memory it moves, so both stand in for energy.
        Preference.LOW_ENERGY: Weights(quality=0.2, latency=0.35, memory=0.3, reliability=0.1, recency=0.05),
        # So it is with money, as far as nobody bills it: the default strategy goes by prices and energy that were measured.
        Preference.LOW_COST: Weights(quality=0.2, latency=0.35, memory=0.3, reliability=0.1, recency=0.05),
    }
)
"""Weight sets a preference stands for; they replace the preset of the task's strategy."""


def validate(weights: Weights) -> Weights:
    """Return ``weights`` unchanged when each is finite and >= 0 and they sum to 1 within 1e-9.

    Raises ``InvalidRequest`` that names the offending weight or the sum.
    """
    for name in TERM_NAMES:
        value = getattr(weights, name)
        if not math.isfinite(value) or value < 0:
            raise InvalidRequest(f"weight {name} is {value}: give a number of at least 0", param=name)
    total = math.fsum(getattr(weights, name) for name in TERM_NAMES)
    if abs(total - 1.0) > 1e-9:
        raise InvalidRequest(
            f"the weights sum to {total:.12g}, not 1: divide each by {total:.6g}"
            if total > 0
            else "all weights are 0: give at least one of them a share, together 1",
            param="weights",
        )
    return weights


def weights_for(
    strategy: str, preference: Preference | None, custom: Mapping[str, Weights] = MappingProxyType({})
) -> tuple[str, Weights]:
    """The strategy's name as it is recorded and its weights. A preference wins over the strategy.

    ``custom`` holds configured weight sets by name and may redefine a preset. Raises ``InvalidRequest`` for an
    unknown strategy or for weights that are not valid.
    """
    if preference is not None:
        return f"prefer {preference.value}", PREFERENCES[preference]
    weights = custom.get(strategy) or PRESETS.get(strategy)
    if weights is None:
        known = ", ".join(sorted({*PRESETS, *custom}))
        raise InvalidRequest(f"unknown strategy {strategy!r}: use one of {known}", param="strategy")
    return strategy, validate(weights)


def below(value: float, limit: float) -> float:
    """``max(0, 1 - value / limit)``, at most 1; a limit of 0 or less is met by 0 only."""
    if limit <= 0:
        return 1.0 if value <= 0 else 0.0
    return min(1.0, max(0.0, 1.0 - value / limit))


def memory_mb(evidence: Evidence | None, footprint_bytes: int | None) -> float | None:
    """What a version needs in MB (2**20 bytes): the measured peak, else the estimate, else ``None``."""
    if evidence is not None and evidence.memory_mb_max is not None:
        return evidence.memory_mb_max
    return None if footprint_bytes is None else footprint_bytes / BYTES_PER_MB


def terms(
    evidence: Evidence, criteria: Criteria, footprint_bytes: int | None, now: float
) -> tuple[tuple[str, float], ...]:
    """The five terms, each in [0, 1], in the order of ``TERM_NAMES``. ``now`` is in Unix seconds."""
    quality = history.mean_quality(evidence)
    latency = history.mean_latency_ms(evidence)
    latency_limit = DEFAULT_LATENCY_LIMIT_MS if criteria.max_latency_ms is None else criteria.max_latency_ms
    memory = memory_mb(evidence, footprint_bytes)
    memory_limit = DEFAULT_MEMORY_LIMIT_MB if criteria.max_memory_mb is None else criteria.max_memory_mb
    return (
        ("quality", UNPROVEN if quality is None else min(1.0, max(0.0, quality))),
        ("latency", 0.0 if latency is None else below(latency, latency_limit)),
        ("memory", UNPROVEN if memory is None else below(memory, memory_limit)),
        ("reliability", history.success_rate(evidence) or 0.0),
        ("recency", 0.0 if evidence.last_at is None else below(max(0.0, now - evidence.last_at), RECENCY_WINDOW_S)),
    )


def score(
    evidence: Evidence | None, criteria: Criteria, footprint_bytes: int | None, weights: Weights, now: float
) -> tuple[float, tuple[tuple[str, float], ...]]:
    """The score in [0, 1] and the terms it is made of; ``(0.5, ())`` under ``MIN_SAMPLES`` outcomes."""
    if evidence is None or evidence.samples < MIN_SAMPLES:
        return UNPROVEN, ()
    parts = terms(evidence, criteria, footprint_bytes, now)
    total = (
        weights.quality * parts[0][1]
        + weights.latency * parts[1][1]
        + weights.memory * parts[2][1]
        + weights.reliability * parts[3][1]
        + weights.recency * parts[4][1]
    )
    return min(1.0, total), parts
