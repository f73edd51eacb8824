"""A decision (why a version was chosen) and its outcome (what was measured afterwards)."""

from __future__ import annotations

from dataclasses import dataclass

from podium.domain.cost import Cost
from podium.domain.record import record


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One version as the decision saw it. ``dropped`` is the reason it was filtered out, else ``None``."""

    ref: str
    score: float | None = None
    terms: tuple[tuple[str, float], ...] = ()
    """(term name, value in [0, 1]) in the order of the preset."""
    samples: int = 0
    dropped: str | None = None
    flags: tuple[str, ...] = ()
    """Limits that could not be checked for lack of evidence ("best effort: …")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the chosen version's own history promises for this task; ``None`` without history."""

    quality: float | None = None
    latency_ms: float | None = None
    memory_mb: float | None = None
    samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The pure result of choosing: shared by all requests that ask the same of the same snapshot."""

    task: str
    strategy: str
    chosen: str
    propensity: float
    """Probability with which ``chosen`` was picked; 1.0 for a deterministic strategy."""
    fallbacks: tuple[str, ...]
    reason: str
    confidence: float
    candidates: tuple[Candidate, ...]
    expected: Expected = Expected()
    alternatives: tuple[str, ...] = ()
    """Versions that could be drawn instead of ``chosen``, to learn; empty for a deterministic choice."""
    exploration: float = 0.0
    """The probability with which each of them is drawn while it is loaded."""
    rollout: str | None = None
    """Id of the rollout that divided the traffic this request belongs to."""


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One choice made for one request (or for one fallback attempt: then ``parent`` is set)."""

    id: str
    request_id: str
    at: float
    choice: Choice
    served: str
    """The version this attempt went to: ``choice.chosen``, or a fallback of it."""
    propensity: float
    parent: str | None = None
    classified_by: str = "explicit"
    task_confidence: float = 1.0


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to one decision. ``success`` is about delivery; quality comes by feedback or judge."""

    decision_id: str
    request_id: str
    task: str
    ref: str
    at: float
    success: bool
    error: str | None
    """Error code, ``client_left`` when the caller went away (then not counted as a failure)."""
    streamed: bool
    latency_ms: float
    ttft_ms: float | None
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What somebody said of an answer. At most one per decision and source; a later one replaces it."""

    request_id: str
    decision_id: str
    task: str
    ref: str
    score: float | None
    """In [0, 1]; ``None`` when only words were given."""
    at: float
    source: str = "user"
    comment: str | None = None
    label: str | None = None
    """A short text such as "wrong language"; counted per task."""
    correction_hash: str | None = None
    """SHA-256 of the text the answer should have been, in hex; the text itself is not kept."""
    correction_chars: int | None = None
    weight: float = 1.0
    """What the score is worth beside others of its source, in (0, 1]: it may be unsure. Not stored."""
    extra: bool = False
    """The answer was picked because it looked bad: the score counts where weights count, and in no plain mean. Not stored."""
