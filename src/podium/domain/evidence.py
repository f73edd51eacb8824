"""Measured history of one (task, version): aggregates, never single rows. Folding lives in core/history."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Aggregates over all outcomes of one (task, version). Sums, so a fold is one addition per field.

    ``latency_buckets`` is a log-scaled histogram (see ``core/history``) from which quantiles are read.
    Requests whose client went away count nowhere.
    """

    samples: int = 0
    successes: int = 0
    latency_ms_sum: float = 0.0
    latency_buckets: tuple[tuple[int, int], ...] = ()
    """(bucket index, count), ascending; successes only."""
    ttft_ms_sum: float = 0.0
    ttft_samples: int = 0
    tokens_per_s_sum: float = 0.0
    tokens_per_s_samples: int = 0
    quality_sum: float = 0.0
    quality_samples: int = 0
    memory_mb_max: float | None = None
    cpu_ms_sum: float = 0.0
    cpu_samples: int = 0
    last_at: float | None = None
    """Unix seconds of the newest outcome."""
