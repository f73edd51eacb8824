"""What the learner believes about a version on a task. Ready figures, never raw observations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gauge:
    """A positive figure (a time, a speed, an amount) as its logarithm is distributed; old measurements count less."""

    weight: float
    """Measurements it rests on, discounted; above 0."""
    log_mean: float
    log_var: float
    """Variance of one measurement's logarithm, around ``log_mean``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What was measured of a version on a task lately. ``None``: never. ``core/posterior`` reads means and bounds."""

    answered: float
    """Requests answered, discounted."""
    asked: float
    """Requests, discounted."""
    latency_ms: Gauge | None = None
    ttft_ms: Gauge | None = None
    tokens_per_s: Gauge | None = None
    memory_mb: Gauge | None = None
    energy_mwh: Gauge | None = None
    price_microusd: Gauge | None = None
    """Of requests that somebody billed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Quality is in [0, 1]; the index may be above it. Made off the request path, read on it."""

    mean: float
    """Expected quality of an answer."""
    sd: float
    """Posterior standard deviation of ``mean``."""
    index: float
    """``mean`` plus what not knowing better is worth: versions are ranked by it."""
    weight: float
    """Observations it rests on, discounted."""
    success: float = 1.0
    """Expected share of requests that are answered at all."""
    performance: Performance | None = None
    """``None`` while nothing was measured on this task."""
