"""What is known of a task, whoever serves it: sums to learn from, and the lessons read from them.

No model appears in here: what one version showed is ``Evidence``. Learning and reading live in core/knowledge.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 1
HOURS = 24
SCORE_BINS = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A count, a sum and a sum of squares."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Sums of squares and products of (x, score) around the mean of whichever version answered.

    Taken within versions, so that a slow model that is also a bad one does not look like people minding slowness.
    """

    n: float = 0.0
    """Degrees of freedom: observations beyond the first of their version."""
    sxx: float = 0.0
    sxy: float = 0.0
    syy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKnowledge:
    """Sums over the requests and the feedback of one task. Old observations fade by halves, so counts are not whole."""

    format: int = FORMAT
    since: float | None = None
    """Unix seconds of the first outcome."""
    last_at: float | None = None
    last_score_at: float | None = None
    requests: float = 0.0
    """Outcomes whose caller stayed."""
    answered: float = 0.0
    streamed: float = 0.0
    """Of the answered ones; so are the next three."""
    with_tools: float = 0.0
    hours: tuple[float, ...] = (0.0,) * HOURS
    """By hour of the day, UTC."""
    prompt_tokens: tuple[tuple[int, float], ...] = ()
    """(bucket, answers), ascending; see core/knowledge for the grain."""
    answer_tokens: tuple[tuple[int, float], ...] = ()
    latencies: tuple[tuple[int, float, float], ...] = ()
    """(bucket, scored answers, sum of their scores), ascending."""
    scores: tuple[float, ...] = (0.0,) * SCORE_BINS
    """By score, in steps of 0.05."""
    score: Tally = Tally()
    labels: tuple[tuple[str, float], ...] = ()
    """Most frequent first; one of them stands for all others."""
    corrections: float = 0.0
    by_latency: Trend = Trend()
    """x is the logarithm to base 2 of the latency in milliseconds."""
    by_length: Trend = Trend()
    """x is the logarithm to base 2 of the tokens of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One thing learned of a task. ``value`` is ``None`` while there is too little to say it; ``says`` tells why."""

    name: str
    value: float | str | None
    unit: str
    n: int
    """Observations it rests on."""
    confidence: float
    """In [0, 1]."""
    says: str
