"""What the learner believes about a version on a task. A ready figure, never raw observations."""

from __future__ import annotations

from dataclasses import dataclass


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
