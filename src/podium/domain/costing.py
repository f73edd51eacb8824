"""What the recorded costs add up to: figures, profiles, comparisons, trends, advice. Values only, no mathematics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

EVERY = "*"
"""In the place of a task or a version: all of them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure over the operations that have it. Everything is ``None`` when none has, and ``why`` says so."""

    n: int
    mean: float | None = None
    sd: float | None = None
    """Of one operation, not of the mean."""
    least: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    """Percentiles are within 2 % of the operation with that rank."""
    most: float | None = None
    total: float | None = None
    estimated: int = 0
    """Of ``n``, those that are estimates and no measurements."""
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostProfile:
    """What operations of one version (or all: ``None``) on one task (or all: ``None``) took."""

    task: str | None
    ref: str | None
    operations: int
    failed: int
    left: int
    """Ended for a reason that says nothing about the version: the caller left, no place in time. In no figure."""
    last_at: float | None
    """Unix time of the newest."""
    figures: Mapping[str, Figure]
    busy_s: float | None = None
    """Time in which at least one operation ran; of a version on all tasks only."""
    parallel: float | None = None
    """Operations that ran at the same time, on average while any ran."""
    cpu_share: float | None = None
    """Of the machine's logical cores, while any operation ran."""
    gpu_share: float | None = None
    """Of the time of one GPU, while any operation ran; above 1 when several worked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """B minus A of one figure, with the interval that holds it with 95 %. ``verdict`` is about B."""

    figure: str
    statistic: str
    """``mean``, ``p50``, ``p95``, ``p99``."""
    a: float | None
    b: float | None
    a_n: int
    b_n: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    verdict: str = "unknown"
    """``less``, ``more``, ``no clear difference`` or ``unknown``."""
    why: str | None = None
    """Why something is ``None``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two versions on one task, or (``None``) on those tasks both served, each task weighed as often as it came."""

    a: str
    b: str
    task: str | None
    tasks: tuple[str, ...]
    since: float | None
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """One window of time."""

    at: float
    """Unix time of its start."""
    n: int
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Whether one figure of a version on a task rises or falls over windows of time."""

    task: str
    ref: str
    figure: str
    window_s: float
    points: tuple[TrendPoint, ...]
    direction: str
    """``rising``, ``falling``, ``no trend`` or ``unknown``."""
    change: float | None = None
    """From the first window to the last along the slope, as a share of the first: .1 is 10 % more."""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Probability of so clear a tendency without any, corrected for the number of figures that were looked at."""
    worse: bool | None = None
    """It gets slower or dearer; ``None``: no trend, or the figure is neither good nor bad."""
    why: str | None = None


class AdviceKind(StrEnum):
    """What a piece of advice is about."""

    IDLE_COMPUTE = "idle-compute"
    WAITS_WITH_ROOM = "waits-with-room"
    OVERLOADED = "overloaded"
    HARDLY_USED = "hardly-used"
    DEARER_NO_BETTER = "dearer-no-better"
    GETTING_WORSE = "getting-worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Something to change, with the numbers that say so."""

    kind: AdviceKind
    ref: str
    task: str | None
    says: str
    """The evidence, in words with its numbers."""
    do: str
    """What to do."""
    command: str | None
    """By which command; ``None`` when it is a matter of configuration that ``do`` names."""
    evidence: Mapping[str, float | int | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAdvised:
    """A question that could not be looked into, and why."""

    kind: AdviceKind
    ref: str | None
    why: str
