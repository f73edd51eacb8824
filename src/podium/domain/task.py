"""A task: a named kind of work, and what a caller wants of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from podium.domain.record import record

DEFAULT_TASK = "general"


class Preference(StrEnum):
    """What to favour among the models that satisfy the limits."""

    BALANCED = "balanced"
    FAST = "fast"
    QUALITY = "quality"
    LOW_MEMORY = "low_memory"
    LOW_ENERGY = "low_energy"
    LOW_COST = "low_cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Limits and wishes for one request or one task. ``None`` means no limit."""

    capabilities: frozenset[str] = frozenset()
    min_quality: float | None = None
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    hardware: frozenset[str] | None = None
    """Accelerators that may be used; ``None`` allows all that are there."""
    preference: Preference | None = None
    min_context: int = 0
    """Tokens the prompt and the answer need, at least."""
    max_quality_loss: float | None = None
    """Share of the best version's quality that may be given up for what ``preference`` favours, in [0, 1)."""
    soft: frozenset[str] = frozenset()
    """Which of ``min_quality`` and ``max_latency_ms`` only rank and flag, and drop nobody: what was learned, not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights of the five score terms (SEL-3): each >= 0, together 1."""

    quality: float
    latency: float
    memory: float
    reliability: float
    recency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task as configured: its criteria, strategy and where it is bound."""

    name: str
    criteria: Criteria = Criteria()
    strategy: str = "balanced"
    exploration: float | None = None
    """Share of requests that may go to versions that do not look best; ``None``: the policy's own, 0: none."""
    keywords: frozenset[str] = frozenset()
    """Words that make ``auto`` recognise this task, beside the built-in rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The version that serves a task now, and the ones before it (newest first)."""

    task: str
    ref: str
    previous: tuple[str, ...] = ()
    since: float = 0.0
    by: str = ""
    reason: str = ""


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """Which task a request belongs to. ``rule`` says why; abstaining gives the default task."""

    task: str
    confidence: float
    rule: str
    abstained: bool = False
    scores: Mapping[str, float] | None = None
    difficulty: float | None = None
    """How hard the prompt looks, in [0, 1); ``None`` when nobody looked: the caller named the task."""
