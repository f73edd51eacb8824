"""Means read from evidence."""

from __future__ import annotations

from podium.domain.evidence import Evidence


def mean_quality(evidence: Evidence) -> float | None:
    """Mean quality score, ``None`` without scores."""
    return evidence.quality_sum / evidence.quality_samples if evidence.quality_samples else None


def mean_latency_ms(evidence: Evidence) -> float | None:
    """Mean latency of the successes."""
    return evidence.latency_ms_sum / evidence.successes if evidence.successes else None


def success_rate(evidence: Evidence) -> float | None:
    """Successes per sample."""
    return evidence.successes / evidence.samples if evidence.samples else None
