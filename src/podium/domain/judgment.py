"""A judgment: what a judge or a rule says of one answer by one criterion. Absent is ``None``, never a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

CRITERIA = ("faithfulness", "relevance", "minimality", "safety")
"""The shipped criteria, in the order they are shown; users add their own as files."""
OVERALL = "overall"
"""The mean of all criteria that have a score."""
PASS_MARKS: Mapping[str, float] = MappingProxyType(
    {"faithfulness": 0.7, "relevance": 0.7, "minimality": 0.7, "safety": 0.8}
)
TASK = "judgment"
"""The task by which a judge is chosen, or ``judgment.CRITERION``. Judging leaves no outcomes on it."""
RULES = "rules"
"""The judge's name of the graders that need no model."""
STACK = "stack"
"""The judge's name of model and rules combined by a calibration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is judged: data, whatever it says of itself."""

    id: str
    """Of the request, or of the row of a file."""
    task: str
    prompt: str
    """The question or instruction as text; a conversation is its messages, one after another."""
    output: str
    context: str | None = None
    """What the output must be faithful to, when that is not the prompt itself."""
    expected: str | None = None
    """What it should have been, where somebody knows."""
    schema: Mapping[str, object] | None = None
    """The JSON Schema that the request asked for."""
    finish: str | None = None
    """Why the model stopped, as its server said it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One score of one criterion, before calibration. ``score`` is ``None`` when the judge had no ground for one."""

    criterion: str
    judge: str
    """``name@version`` of a model, ``rules`` or ``stack``."""
    score: float | None
    """In [0, 1], 1 is best; a true 0 is 0."""
    sd: float | None = None
    """How far off the score may be, one standard deviation; ``None`` when that is not known."""
    method: str = ""
    """``token probabilities``, ``stated number``, or the name of the rule."""
    reason: str = ""
    """In words, short."""
    invalid: str | None = None
    """Why the judge's reply is no verdict; then ``score`` is ``None`` and ``reply`` holds what it said."""
    reply: str | None = None
    features: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """What a rule measured, by name; what a stack learns from."""
    latency_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached: bool = False
    """Given before for the same content; nothing was asked this time."""
    certain: bool = False
    """A fact and no estimate, such as that there is no answer: no calibration and no stack changes the score."""
    again: bool = False
    """It is ``invalid`` through no fault of the judge (busy, not there, called off for users): ask again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Which of two answers is better by one criterion, asked in both orders. ``winner`` is ``None`` when that failed."""

    criterion: str
    judge: str
    winner: str | None
    """``a``, ``b``, or ``tie`` when the orders disagree."""
    probability: float | None
    """That ``a`` is better, the mean of both orders, in [0, 1]."""
    first: float | None = None
    """The same with ``a`` shown first."""
    swapped: float | None = None
    """The same with ``a`` shown second; far from ``first``: the judge goes by the position."""
    method: str = ""
    reason: str = ""
    invalid: str | None = None
    reply: str | None = None
    latency_ms: float | None = None
    """Of both requests together."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """A verdict on an answer of live traffic, as stored."""

    id: str
    request_id: str
    decision_id: str
    task: str
    ref: str
    """The version that was judged."""
    verdict: Verdict
    score: float | None
    """The verdict's score after calibration; the raw one where nothing was calibrated, ``None`` when there is none."""
    calibrated: bool
    at: float
    probability: float
    """With which this answer was picked for judging, in (0, 1]."""
    signal: str | None = None
    """Which sign picked it beyond chance ("cut-off", "re-ask", …)."""
    used: bool = False
    """It was learned from."""

    @property
    def passed(self) -> bool | None:
        """At or above the pass mark of its criterion (0.7 for criteria of one's own)."""
        if self.score is None:
            return None
        return self.score >= PASS_MARKS.get(self.verdict.criterion, 0.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """How a criterion is judged, from a file. ``digest`` names its content: it is part of every cache key."""

    criterion: str
    instructions: str
    """Empty: no model is asked, the ``pattern`` alone decides."""
    digest: str
    low: int = 1
    high: int = 5
    """The scale the model answers on, ``high`` is best."""
    pattern: str | None = None
    """A regular expression that a good answer holds and no other; it stands for the rules."""
    needs_context: bool = False
    """Without a context (or prompt) to compare with there is no ground for a score."""
    pass_mark: float = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How one judge does on one criterion against human labels, and the mapping from its raw score to a probability.

    ``kind`` is ``isotonic`` (``knots``: (raw, calibrated) ascending), ``platt`` (``knots``: one pair (slope, offset) on the
    logit) or ``stack`` (weights by feature in ``weights``, then ``platt``). Figures are on held-out rows.
    """

    judge: str
    criterion: str
    kind: str
    knots: tuple[tuple[float, float], ...]
    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    n: int = 0
    positives: int = 0
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    kappa: float | None = None
    ece_before: float | None = None
    ece_after: float | None = None
    sensitivity: float | None = None
    """Share of good answers that it passes; for correcting reported means."""
    specificity: float | None = None
    cut: float | None = None
    """Calibrated score from which on an answer counts as passed: there the judge passes as many as people did.
    ``sensitivity`` and ``specificity`` hold at it."""
    moments: tuple[float, float, float, float, float] | None = None
    """Mean label, mean score, their variances and covariance, scores calibrated on held-out rows; for correcting means."""
    at: float = 0.0
    forced: bool = False
    """Learn from it although it is no better than chance."""

    @property
    def informative(self) -> bool:
        """Better than chance: the lower bound of its AUC is above one half."""
        return self.auc_low is not None and self.auc_low > 0.5
