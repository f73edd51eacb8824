"""An alert: something is worse than it was, or than it should be, and when that began and ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Cause(StrEnum):
    """``regression``: a version is worse than it was itself; ``objective``: a task uses up its error budget."""

    REGRESSION = "regression"
    OBJECTIVE = "objective"


class Aspect(StrEnum):
    """What is worse. Latency is the 95th percentile in milliseconds, quality a mean score, errors a share."""

    LATENCY = "latency"
    QUALITY = "quality"
    ERRORS = "errors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. Of an objective ``before`` is the objective, ``now`` what was measured in the long window."""

    id: str
    task: str
    cause: Cause
    aspect: Aspect
    opened_at: float
    says: str
    """What was measured, in a sentence."""
    ref: str | None = None
    """The version, of a regression."""
    speed: str | None = None
    """``fast`` or ``slow``, of an objective."""
    before: float | None = None
    now: float | None = None
    limit: float | None = None
    """Ratio of the 95th percentiles, share of the quality that is lost, added share of errors; of an objective the burn
    rate.
    """
    samples: int = 0
    """Observations that ``now`` rests on."""
    closed_at: float | None = None
    ending: str | None = None
    """Why it was closed, in words."""
    kept: Mapping[str, float] = field(default_factory=dict)
    """What a restart needs to tell when it is over."""

    @property
    def open(self) -> bool:
        """It is not over."""
        return self.closed_at is None

    @property
    def key(self) -> tuple[str, str | None, Aspect, str | None]:
        """At most one with the same key is open."""
        return self.task, self.ref, self.aspect, self.speed
