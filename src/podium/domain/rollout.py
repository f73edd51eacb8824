"""A rollout: one version takes over a task from another step by step, as far as the evidence carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from podium.domain.swap import Compatibility


class RolloutState(StrEnum):
    """Steps of a rollout, persisted one by one."""

    REQUESTED = "requested"
    VALIDATING = "validating"
    WARMING = "warming"
    SHADOW = "shadow"
    CANARY = "canary"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    ABORTED = "aborted"


FINAL = frozenset({RolloutState.PROMOTED, RolloutState.ROLLED_BACK, RolloutState.FAILED, RolloutState.ABORTED})


class RolloutMode(StrEnum):
    """``gradual``: a growing share of the traffic; ``shadow``: answers are judged and not returned; ``ab``: a fixed
    split that ends with a report and moves nothing by itself.
    """

    GRADUAL = "gradual"
    SHADOW = "shadow"
    AB = "ab"


class Arm(StrEnum):
    """One side of a comparison: the version that serves, or the one that wants to."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


class Metric(StrEnum):
    """What the arms are compared by. Success and quality: more is better; the others: less is better."""

    SUCCESS = "success"
    QUALITY = "quality"
    LATENCY = "latency"
    """The 95th percentile of answered requests, in milliseconds."""
    MEMORY = "memory"
    """Peak of the instance, in MB."""
    ENERGY = "energy"
    """Mean per request, in mWh."""


MORE_IS_BETTER = frozenset({Metric.SUCCESS, Metric.QUALITY})


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """How a rollout goes. Shares are in (0, 1], times in seconds.

    ``limits``: by metric, the smallest ratio of candidate to baseline that is let pass (for metrics where less is
    better: of baseline to candidate); a metric that is not in it is reported and guards nothing.
    """

    mode: RolloutMode = RolloutMode.GRADUAL
    start_share: float = 0.10
    step_share: float = 0.10
    step_s: float = 3600.0
    min_samples: int = 10
    """Answered requests of the candidate per step, before the share may grow."""
    silence_s: float = 86400.0
    """A step that has not gathered ``min_samples`` after this long ends in a roll back, and so does one whose candidate looks
    worse for this long beyond ``step_s``.
    """
    shadow_s: float = 0.0
    """Length of a shadow phase before the canary; 0: none. For mode ``shadow``: of the whole comparison, 0: one day."""
    shadow_sample: float = 0.25
    """Share of the task's requests that the candidate answers too while in the shadow."""
    false_alarm: float = 0.02
    """Probability, over the whole rollout and all metrics together, that a candidate that is no worse is rolled back."""
    limits: Mapping[Metric, float] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(Metric, 0.95)))
    strict: bool = False
    """Compatibility is checked strictly (SWP-3)."""
    split: float = 0.5
    """The candidate's share in mode ``ab``."""
    max_s: float = 7 * 86400.0
    """Mode ``ab``: ends with its report after this long, decided or not."""
    validate: bool = True
    """Run the task's validation set on the candidate before any traffic."""
    early: bool = False
    """A step ends before ``step_s`` once every guarded metric is certain to be fine. No step is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the evidence says about one metric now. Pure numbers; the state machine decides what they mean.

    ``lower`` and ``upper`` bound the difference candidate minus baseline at all times at once (an anytime-valid
    confidence sequence), in the metric's unit. ``worse``: it is certain at the plan's level that the candidate is
    worse, and its estimate is below the limit. ``fine``: it is certain that the candidate does not fall below the limit.
    """

    metric: Metric
    baseline_n: int = 0
    candidate_n: int = 0
    baseline: float | None = None
    candidate: float | None = None
    lower: float | None = None
    upper: float | None = None
    worse: bool = False
    fine: bool = False
    method: str = ""
    """Name of the test."""
    missing: str | None = None
    """Why there are no numbers, if there are none."""

    @property
    def ratio(self) -> float | None:
        """Candidate to baseline (baseline to candidate where less is better): below 1 the candidate is worse."""
        if self.baseline is None or self.candidate is None:
            return None
        over, under = self.candidate, self.baseline
        if self.metric not in MORE_IS_BETTER:
            over, under = under, over
        return over / under if under else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What a validation set showed before traffic moved. Scores in [0, 1]; ``None`` without one."""

    suite: str | None = None
    items: int = 0
    baseline_score: float | None = None
    candidate_score: float | None = None
    lower: float | None = None
    upper: float | None = None
    """Bounds of candidate minus baseline over the same items."""
    baseline_latency_ms: float | None = None
    candidate_latency_ms: float | None = None
    """Medians over the same items."""
    missing: str | None = None
    """Why there is no score, or why it rests on fewer items than were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One rollout, as recorded."""

    id: str
    task: str
    baseline: str
    candidate: str
    plan: RolloutPlan
    state: RolloutState
    requested_at: float
    by: str
    reason: str = ""
    share: float = 0.0
    """The candidate's share of the traffic now, in [0, 1]."""
    step: int = 0
    """Number of the ramp step, from 1; 0 before the canary."""
    step_since: float = 0.0
    """Unix time the present state or ramp step began."""
    step_samples: int = 0
    """Answers of the candidate when the present step began."""
    paused_from: RolloutState | None = None
    paused_at: float | None = None
    finished_at: float | None = None
    ending: str | None = None
    """Why it ended, in words."""
    compatibility: Compatibility | None = None
    validation: Validation | None = None
    batch: str | None = None
    """Rollouts ordered together as one unit share this id."""
    notes: tuple[str, ...] = ()
    """What whoever ordered it was told then, most important first."""
    detects: str | None = None
    """What loss it can see and after how many requests, said before it starts."""

    @property
    def open(self) -> bool:
        """It has not ended."""
        return self.state not in FINAL

    @property
    def concluded(self) -> bool:
        """A comparison that moves nothing by itself is over and its report complete: it waits for promote or abort."""
        return self.state is RolloutState.PAUSED and self.ending is not None

    @property
    def routed(self) -> bool:
        """The candidate gets a share of the traffic."""
        return self.state is RolloutState.CANARY and self.share > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStep:
    """One transition of a rollout, for the record."""

    rollout: str
    at: float
    before: RolloutState
    after: RolloutState
    share: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How a task's traffic is divided while a rollout runs."""

    rollout: str
    baseline: str
    candidate: str
    share: float
    """Of the candidate, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A version that auto-swap leaves alone on a task until its evidence there changes."""

    task: str
    ref: str
    at: float
    reason: str
    samples: int
    """Its samples on the task when it was barred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePoint:
    """How one metric stood at one time, for the picture of a rollout. Fields as in ``Reading``."""

    at: float
    share: float
    metric: Metric
    baseline_n: int
    candidate_n: int
    baseline: float | None
    candidate: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport:
    """All there is to show of a rollout: what it is, what happened, what the evidence says, how it got there."""

    rollout: Rollout
    steps: tuple[RolloutStep, ...] = ()
    readings: tuple[Reading, ...] = ()
    trace: tuple[TracePoint, ...] = ()
    """Oldest first; thinned out, never more than some hundred points per metric."""
    needed: Mapping[Metric, int] = field(default_factory=lambda: MappingProxyType({}))
    """Answers of the candidate that are probably still needed before a metric is decided, where that can be told."""
    requests: int = 0
    """Requests counted for either version, failed ones too."""
    stayed: int = 0
    """Those of them that went to the baseline undrawn, because their conversation had begun there."""
