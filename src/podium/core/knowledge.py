"""Learns what is known of a task from outcomes and feedback. Pure; the lessons are read in core/lessons.

Owns the sums and their fading. Versions are told apart only to measure trends within each (see ``Trend``): the means
that takes are the caller's (``Centre``) and are no part of the knowledge.

Buckets are logarithmic, four to the octave: ``i = floor(4 log2 x)`` covers ``[2^(i/4), 2^((i+1)/4))``. When the weight
of what was counted passes ``REQUESTS_KEPT`` (``SCORES_KEPT`` for what scores say), everything counted so far is halved:
half of what is known is then from about the last ``REQUESTS_KEPT / 2`` requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from podium.core.history import NOT_ITS_DOING
from podium.domain.decision import Feedback, Outcome
from podium.domain.knowledge import SCORE_BINS, Tally, TaskKnowledge, Trend

PER_OCTAVE = 4
REQUESTS_KEPT, SCORES_KEPT = 4_000.0, 2_000.0
LABELS_KEPT = 32
OTHER_LABELS = "(others)"
Buckets = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Centre:
    """Means of one version on one task, to measure trends around."""

    n: int = 0
    latency: float = 0.0
    length: float = 0.0
    lengths: int = 0
    score: float = 0.0
    length_score: float = 0.0
    """Mean score of the answers whose length is known."""


def bucket(value: float) -> int:
    """Index of the bucket of a latency in milliseconds or a number of tokens; what is below 1 counts as 1."""
    return math.floor(PER_OCTAVE * math.log2(max(1.0, min(value, 1e12))) + 1e-9)


def top(index: int) -> float:
    """The upper end of a bucket."""
    return float(2.0 ** ((index + 1) / PER_OCTAVE))


def observe(known: TaskKnowledge, outcomes: Iterable[tuple[Outcome, bool]]) -> TaskKnowledge:
    """Knowledge with more outcomes of the same task in it, each with whether its request offered tools."""
    counted = [pair for pair in outcomes if pair[0].error not in NOT_ITS_DOING]
    if not counted:
        return known
    good = [(outcome, tools) for outcome, tools in counted if outcome.success]
    hours = list(known.hours)
    for outcome, _ in good:
        hours[int(outcome.at // 3600) % len(hours)] += 1.0
    times = [outcome.at for outcome, _ in counted]
    after = replace(
        known,
        since=min(times) if known.since is None else known.since,
        last_at=max(times) if known.last_at is None else max(known.last_at, *times),
        requests=known.requests + len(counted),
        answered=known.answered + len(good),
        streamed=known.streamed + sum(outcome.streamed for outcome, _ in good),
        with_tools=known.with_tools + sum(tools for _, tools in good),
        hours=tuple(hours),
        prompt_tokens=_counted(known.prompt_tokens, [outcome.cost.input_tokens for outcome, _ in good]),
        answer_tokens=_counted(known.answer_tokens, [outcome.cost.output_tokens for outcome, _ in good]),
    )
    while after.requests > REQUESTS_KEPT:
        after = _fade_requests(after)
    return after


def score(
    known: TaskKnowledge, outcome: Outcome, said: Feedback, earlier: Feedback | None, centre: Centre
) -> tuple[TaskKnowledge, Centre]:
    """Knowledge with feedback to an answer of the task in it, in the place of what the same source said before.

    ``centre`` are the means of the version that answered; the second value is what they are now.
    """
    old = None if earlier is None else earlier.score
    after = replace(
        known,
        labels=_labelled(known.labels, said.label, None if earlier is None else earlier.label),
        corrections=known.corrections
        + (said.correction_hash is not None)
        - (earlier is not None and earlier.correction_hash is not None),
    )
    new = said.score
    if new is None or new == old:
        return after, centre
    tally = after.score
    after = replace(
        after,
        last_score_at=said.at if after.last_score_at is None else max(after.last_score_at, said.at),
        scores=_binned(after.scores, new, old),
        score=Tally(
            n=tally.n + (old is None),
            total=max(0.0, tally.total + new - (old or 0.0)),
            squares=max(0.0, tally.squares + new * new - (old or 0.0) ** 2),
        ),
        latencies=_timed(after.latencies, bucket(outcome.latency_ms), new, old) if outcome.success else after.latencies,
    )
    if outcome.success:
        after, centre = _trends(after, outcome, new, old, centre)
    while after.score.n > SCORES_KEPT:
        after = _fade_scores(after)
    return after, centre


def _trends(
    known: TaskKnowledge, outcome: Outcome, new: float, old: float | None, centre: Centre
) -> tuple[TaskKnowledge, Centre]:
    """Pooled sums of products within versions, by the update of Welford (1962) and its kin for products."""
    x = math.log2(max(1.0, outcome.latency_ms))
    tokens = outcome.cost.output_tokens
    length = None if not tokens or tokens < 1 else math.log2(tokens)
    if old is not None:  # around means that are not there any more nothing can be said
        if centre.n:
            by_latency = _revised(known.by_latency, x - centre.latency, centre.score, new, old)
            known = replace(known, by_latency=by_latency)
        if length is not None and centre.lengths:
            by_length = _revised(known.by_length, length - centre.length, centre.length_score, new, old)
            known = replace(known, by_length=by_length)
        return known, centre
    n = centre.n + 1
    dx, dy = x - centre.latency, new - centre.score
    known = replace(known, by_latency=_added(known.by_latency, dx, dy, centre.n))
    centre = replace(centre, n=n, latency=centre.latency + dx / n, score=centre.score + dy / n)
    if length is not None:
        m = centre.lengths + 1
        dx, dy = length - centre.length, new - centre.length_score
        known = replace(known, by_length=_added(known.by_length, dx, dy, centre.lengths))
        centre = replace(centre, lengths=m, length=centre.length + dx / m, length_score=centre.length_score + dy / m)
    return known, centre


def _added(trend: Trend, dx: float, dy: float, before: int) -> Trend:
    """``dx, dy`` are distances to the means of the ``before`` earlier observations of the version."""
    if before == 0:
        return trend
    share = before / (before + 1.0)
    return Trend(
        n=trend.n + 1.0,
        sxx=trend.sxx + share * dx * dx,
        sxy=trend.sxy + share * dx * dy,
        syy=trend.syy + share * dy * dy,
    )


def _revised(trend: Trend, dx: float, mean: float, new: float, old: float) -> Trend:
    """Close to exact while the means hardly move."""
    syy = max(0.0, trend.syy + (new - mean) ** 2 - (old - mean) ** 2)
    return replace(trend, sxy=trend.sxy + dx * (new - old), syy=syy)


def _counted(buckets: Buckets, values: Sequence[int | None]) -> Buckets:
    found = [bucket(value) for value in values if value is not None and value > 0]
    if not found:
        return buckets
    counts = dict(buckets)
    for index in found:
        counts[index] = counts.get(index, 0.0) + 1.0
    return tuple(sorted(counts.items()))


def _timed(
    rows: tuple[tuple[int, float, float], ...], index: int, new: float, old: float | None
) -> tuple[tuple[int, float, float], ...]:
    found = {at: (n, total) for at, n, total in rows}
    n, total = found.get(index, (0.0, 0.0))
    n = n + 1.0 if old is None or n <= 0.0 else n
    found[index] = (n, min(n, max(0.0, total + new - (old or 0.0))))
    return tuple((at, *pair) for at, pair in sorted(found.items()))


def _binned(bins: tuple[float, ...], new: float, old: float | None) -> tuple[float, ...]:
    changed = list(bins)
    if old is not None:
        at = round(old * (SCORE_BINS - 1))
        changed[at] = max(0.0, changed[at] - 1.0)
    changed[round(new * (SCORE_BINS - 1))] += 1.0
    return tuple(changed)


def _labelled(labels: tuple[tuple[str, float], ...], new: str | None, old: str | None) -> tuple[tuple[str, float], ...]:
    if new == old or new is None:
        return labels
    counts = dict(labels)
    for label, step in ((old, -1.0), (new, 1.0)):
        if label is not None:
            known = label if label in counts or (step > 0 and len(counts) < LABELS_KEPT) else OTHER_LABELS
            counts[known] = counts.get(known, 0.0) + step
    return tuple(sorted(((name, n) for name, n in counts.items() if n > 0.0), key=lambda item: (-item[1], item[0])))


def _fade_requests(known: TaskKnowledge) -> TaskKnowledge:
    return replace(
        known,
        requests=known.requests / 2,
        answered=known.answered / 2,
        streamed=known.streamed / 2,
        with_tools=known.with_tools / 2,
        hours=tuple(n / 2 for n in known.hours),
        prompt_tokens=tuple((at, n / 2) for at, n in known.prompt_tokens),
        answer_tokens=tuple((at, n / 2) for at, n in known.answer_tokens),
    )


def _fade_scores(known: TaskKnowledge) -> TaskKnowledge:
    tally = known.score
    return replace(
        known,
        latencies=tuple((at, n / 2, total / 2) for at, n, total in known.latencies),
        scores=tuple(n / 2 for n in known.scores),
        score=Tally(n=tally.n / 2, total=tally.total / 2, squares=tally.squares / 2),
        labels=tuple((name, n / 2) for name, n in known.labels if n > 0.25),
        corrections=known.corrections / 2,
        by_latency=_faded(known.by_latency),
        by_length=_faded(known.by_length),
    )


def _faded(trend: Trend) -> Trend:
    return Trend(n=trend.n / 2, sxx=trend.sxx / 2, sxy=trend.sxy / 2, syy=trend.syy / 2)
