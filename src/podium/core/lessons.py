"""Reads lessons from what is known of a task, in numbers and words, and sharpens criteria with them (LRN-2). Pure.

Owns when there is enough to say something. What people set by hand is never touched, and what is added is soft: it
ranks and is flagged, it never drops a version, so sharpening can leave no request without a candidate.

``confidence = n / (n + 30)``, for a trend times how far its interval stays from the point where the answer changes.

A trend is the slope of the score per doubling of latency (or length) within versions, by least squares, with its
standard error; it counts as one when it is ``SURE`` standard errors from 0 and at least ``MATTERS``. It counts as
absent when everything within ``SURE`` standard errors is smaller than ``MATTERS``; between the two nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from podium.core.knowledge import Buckets, top
from podium.domain.evidence import Evidence
from podium.domain.knowledge import SCORE_BINS, Lesson, TaskKnowledge, Trend
from podium.domain.task import Criteria, Preference

ENOUGH = 30
"""Observations below which nothing is said."""
SURE = 2.6
"""Standard errors: 99 % of a normal distribution lie within."""
MATTERS = 0.02
"""The smallest change of the score per doubling that is worth acting on."""
CONTENT = 0.8
"""Share of the good answers the optimal latency covers."""
GOOD_SHARE = 0.75
"""The rank (of all scores) that the target quality stands for."""

Lessons = Mapping[str, Lesson]


@dataclass(frozen=True, slots=True)
class _Slope:
    """Change of the score per doubling, and its standard error."""

    value: float
    error: float


def read_lessons(known: TaskKnowledge, row: Mapping[str, Evidence]) -> Lessons:
    """Every lesson by name, those without a value too. ``row`` is the history of the versions on the task."""
    slope = _slope(known.by_latency)
    lessons = (
        _optimal_latency(known, slope),
        _target_quality(known),
        _usual_quality(known),
        _preference(known, slope),
        _length(known),
        _difficulty(known),
        _spread(row),
        _tokens("prompt_tokens", "prompts", known.prompt_tokens),
        _tokens("answer_tokens", "answers", known.answer_tokens),
        _share("share_streamed", "answers are streamed", known.streamed, known.answered),
        _share("share_with_tools", "answers come from requests that offer tools", known.with_tools, known.answered),
        _busy(known),
    )
    return {lesson.name: lesson for lesson in lessons}


def enhance_criteria(criteria: Criteria, lessons: Lessons) -> tuple[Criteria, tuple[str, ...]]:
    """The criteria with what was learned in the places they leave open, and one sentence for each.

    ``criteria`` are those of task and request together. Fields filled here are named in ``soft``.
    """
    said: list[str] = []
    soft = set(criteria.soft)
    quality = lessons.get("usual_quality")
    if criteria.min_quality is None and quality is not None and isinstance(quality.value, float):
        floor = math.floor(100.0 * max(0.0, quality.value - SURE * _error(quality))) / 100.0
        if floor >= 0.05:
            criteria = replace(criteria, min_quality=floor)
            soft.add("min_quality")
            said.append(f"a mean quality below {floor:g} is pointed out: {quality.says}")
    latency = lessons.get("optimal_latency_ms")
    if criteria.max_latency_ms is None and latency is not None and isinstance(latency.value, float):
        limit = two_digits(latency.value)
        criteria = replace(criteria, max_latency_ms=limit)
        soft.add("max_latency_ms")
        said.append(f"answers within {limit:,.0f} ms are favoured: {latency.says}")
    wish = lessons.get("preference")
    if criteria.preference is None and wish is not None and isinstance(wish.value, str):
        criteria = replace(criteria, preference=Preference(wish.value))
        said.append(f"{wish.value} is favoured: {wish.says}")
    return replace(criteria, soft=frozenset(soft)), tuple(said)


def two_digits(value: float) -> float:
    """Rounded up to two digits, so that a lesson that hardly moved stays the same."""
    if value <= 0.0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(math.ceil(value / step - 1e-9) * step)


def _optimal_latency(known: TaskKnowledge, slope: _Slope | None) -> Lesson:
    n = sum(count for _, count, _ in known.latencies)
    if n < ENOUGH:
        return _not_yet("optimal_latency_ms", "ms", n, "scored answers")
    fall = _fall(known.latencies) if slope is not None and slope.value < 0.0 and _clear(slope) else None
    if fall is not None:
        edge, before, after = fall
        says = (
            f"scores fall from {before:.2f} to {after:.2f} beyond {two_digits(edge):,.0f} ms ({n:.0f} scored answers)"
        )
        return _lesson("optimal_latency_ms", edge, "ms", n, says)
    at = _quantile([(index, total) for index, _, total in known.latencies], CONTENT)
    if at is None:
        return _not_yet("optimal_latency_ms", "ms", 0, "answers with a score above 0")
    says = f"{CONTENT:.0%} of what was scored well came within {two_digits(at):,.0f} ms ({n:.0f} scored answers)"
    return _lesson("optimal_latency_ms", at, "ms", n, says)


def _fall(rows: Sequence[tuple[int, float, float]]) -> tuple[float, float, float] | None:
    """(latency, mean score up to it, mean score beyond) where two means differ most; ``None`` without a clear fall.

    The largest of many statistics is large by chance: 3.5 standard errors are asked for, with binomial variances.
    """
    n, total = sum(count for _, count, _ in rows), sum(scores for _, _, scores in rows)
    best, found = 3.5, None
    left = left_total = 0.0
    for index, count, scores in rows[:-1]:
        left, left_total = left + count, left_total + scores
        right = n - left
        if min(left, right) < ENOUGH / 3:
            continue
        before, after = left_total / left, (total - left_total) / right
        p = min(0.95, max(0.05, total / n))
        z = (before - after) / math.sqrt(p * (1.0 - p) * (1.0 / left + 1.0 / right))
        if z > best:
            best, found = z, (top(index), before, after)
    return found


def _target_quality(known: TaskKnowledge) -> Lesson:
    n = known.score.n
    if n < ENOUGH:
        return _not_yet("target_quality", "score", n, "scores")
    seen, place = 0.0, 0
    for place, count in enumerate(known.scores):  # noqa: B007 - the last place is what is looked for
        seen += count
        if seen >= GOOD_SHARE * sum(known.scores) - 1e-9:
            break
    value = place / (SCORE_BINS - 1)
    says = f"a good answer scores {value:.2f}: {GOOD_SHARE:.0%} of {n:.0f} scores are at most that"
    return _lesson("target_quality", value, "score", n, says)


def _usual_quality(known: TaskKnowledge) -> Lesson:
    n = known.score.n
    if n < ENOUGH:
        return _not_yet("usual_quality", "score", n, "scores")
    mean = known.score.total / n
    return _lesson("usual_quality", mean, "score", n, f"answers score {mean:.2f} on average ({n:.0f} scores)")


def _error(usual: Lesson) -> float:
    """Standard error of a mean score, from above: scores spread at most like right and wrong ones."""
    p = usual.value if isinstance(usual.value, float) else 0.5
    return math.sqrt(max(0.01, p * (1.0 - p)) / max(1, usual.n))


def _preference(known: TaskKnowledge, slope: _Slope | None) -> Lesson:
    n = known.by_latency.n
    if slope is None:
        return _not_yet("preference", "", n, "scores of versions that were scored before")
    change = f"{slope.value:+.3f} ± {SURE * slope.error:.3f} per doubling of latency ({n:.0f} scores)"
    if _clear(slope) and slope.value < 0.0:
        return _lesson(
            "preference", Preference.FAST.value, "", n, f"scores fall with waiting: {change}", _margin(slope)
        )
    if abs(slope.value) + SURE * slope.error < MATTERS or (_clear(slope) and slope.value > 0.0):
        return _lesson(
            "preference", Preference.QUALITY.value, "", n, f"scores do not fall with waiting: {change}", _margin(slope)
        )
    return Lesson(name="preference", value=None, unit="", n=int(n), confidence=0.0, says=f"not clear yet: {change}")


def _length(known: TaskKnowledge) -> Lesson:
    slope, n = _slope(known.by_length), known.by_length.n
    if slope is None:
        return _not_yet("preferred_length", "", n, "scores of answers whose length is known")
    change = f"{slope.value:+.3f} ± {SURE * slope.error:.3f} per doubling of length ({n:.0f} scores)"
    if _clear(slope):
        word, verb = ("shorter", "fall") if slope.value < 0.0 else ("longer", "rise")
        return _lesson("preferred_length", word, "", n, f"scores {verb} with length: {change}", _margin(slope))
    return Lesson(
        name="preferred_length", value=None, unit="", n=int(n), confidence=0.0, says=f"no clear wish: {change}"
    )


def _difficulty(known: TaskKnowledge) -> Lesson:
    n = known.score.n
    if n < ENOUGH:
        return _not_yet("difficulty", "share", n, "scores")
    value = 1.0 - known.score.total / n
    return _lesson("difficulty", value, "share", n, f"{value:.0%} of the score is missed on average ({n:.0f} scores)")


def _spread(row: Mapping[str, Evidence]) -> Lesson:
    """Standard deviation between versions, less what chance alone would show (method of moments)."""
    scored = [one for one in row.values() if one.quality_samples >= ENOUGH / 3]
    n = sum(one.quality_samples for one in scored)
    if len(scored) < 2:
        return _not_yet("spread_between_models", "score", len(scored), "versions with 10 scores each", 2)
    means = [one.quality_sum / one.quality_samples for one in scored]
    middle = sum(means) / len(means)
    chance = sum(max(0.0025, m * (1 - m)) / one.quality_samples for m, one in zip(means, scored, strict=True))
    between = sum((m - middle) ** 2 for m in means) / (len(means) - 1) - chance / len(means)
    value = math.sqrt(max(0.0, between))
    says = f"{len(means)} versions score {min(means):.2f} to {max(means):.2f} on average ({n} scores)"
    return _lesson("spread_between_models", value, "score", n, says)


def _tokens(name: str, what: str, buckets: Buckets) -> Lesson:
    n = sum(count for _, count in buckets)
    if n < ENOUGH:
        return _not_yet(name, "tokens", n, f"{what} of known length")
    middle, high = _quantile(buckets, 0.5) or 0.0, _quantile(buckets, 0.9) or 0.0
    says = f"half of the {what} have up to {middle:,.0f} tokens, 90% up to {high:,.0f} ({n:.0f} {what})"
    return _lesson(name, middle, "tokens", n, says)


def _share(name: str, what: str, part: float, whole: float) -> Lesson:
    if whole < ENOUGH:
        return _not_yet(name, "share", whole, "answers")
    return _lesson(name, part / whole, "share", whole, f"{part / whole:.0%} of the {what} ({whole:.0f} answers)")


def _busy(known: TaskKnowledge) -> Lesson:
    n = sum(known.hours)
    if n < ENOUGH:
        return _not_yet("busiest_hour_utc", "hour", n, "answers")
    hour = max(range(len(known.hours)), key=lambda at: known.hours[at])
    says = f"{known.hours[hour] / n:.0%} of {n:.0f} answers were made from {hour}:00 to {hour}:59 UTC"
    return _lesson("busiest_hour_utc", float(hour), "hour", n, says)


def _slope(trend: Trend) -> _Slope | None:
    if trend.n < ENOUGH or trend.sxx <= 1e-6 * trend.n:
        return None
    value = trend.sxy / trend.sxx
    rest = max(0.0, trend.syy - value * trend.sxy)
    error = math.sqrt(max(rest, 1e-4 * trend.n) / (trend.n - 1.0) / trend.sxx)
    return _Slope(value, error)


def _clear(slope: _Slope) -> bool:
    return abs(slope.value) >= max(MATTERS, SURE * slope.error)


def _margin(slope: _Slope) -> float:
    return min(1.0, abs(abs(slope.value) - MATTERS) / (SURE * slope.error)) if slope.error > 0.0 else 1.0


def _quantile(buckets: Sequence[tuple[int, float]], q: float) -> float | None:
    total = sum(count for _, count in buckets)
    seen = 0.0
    for index, count in buckets:
        seen += count
        if count > 0.0 and seen >= q * total - 1e-9:
            return top(index)
    return None


def _lesson(name: str, value: float | str, unit: str, n: float, says: str, margin: float = 1.0) -> Lesson:
    return Lesson(name=name, value=value, unit=unit, n=int(n), confidence=n / (n + 30.0) * margin, says=says)


def _not_yet(name: str, unit: str, n: float, what: str, needed: int = ENOUGH) -> Lesson:
    lacking = f"{n:.0f} of {needed} {what}" if n < needed else f"{n:.0f} {what}, but they differ too little to tell"
    return Lesson(name=name, value=None, unit=unit, n=int(n), confidence=0.0, says=f"not known yet: {lacking}")
