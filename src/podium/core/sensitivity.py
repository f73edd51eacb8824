"""What a rollout will be able to see, said before it starts.

Owns the forecast: after how many answers of the candidate a loss of a given size is found, for a plan, a baseline and a
traffic. Must not look at evidence: what is still needed once there is some is told by ``arm_readings.needed``.

A loss is found with probability ``POWER`` once the bounds, narrowed by the luck of four in five runs, leave 0 out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from podium.core.arm_readings import level_of
from podium.core.sequential.boundary import critical
from podium.core.sequential.means import Contrast, clock, score_bounds
from podium.domain.rollout import Metric, RolloutMode, RolloutPlan

Array = NDArray[np.float64]

POWER = 0.8
_LUCK = 0.8416
"""Standard normal quantile of ``POWER``."""
LOSSES = (0.5, 0.3, 0.2, 0.1, 0.05)
ALIKE = 0.5
"""Correlation of both arms' scores on the same prompt, where nothing else is known."""
_ASSUMED_QUALITY = 0.7
_MOST, _MANY = 1e6, 1000
_POINTS = 240
_PATIENCE_H = 14 * 24.0
"""Waiting longer than this for a verdict is no plan."""


def answers(
    plan: RolloutPlan, loss: float, quality: float, spread: float | None, requests_per_hour: float | None
) -> int | None:
    """Scored answers of the candidate until a relative ``loss`` of quality is found in four of five runs.

    ``None``: not before the ramp is over, or not within a million. ``spread``: standard deviation of a score, ``None``: right or wrong.
    """
    candidate_n = np.geomspace(1.0, _MOST, _POINTS)
    baseline_n = _baseline_answers(plan, candidate_n, requests_per_hour)
    lower = quality * (1.0 - loss)
    ratio = _dispersion(quality, spread)
    seen = Contrast(
        np.full(_POINTS, quality),
        np.full(_POINTS, lower),
        np.full(_POINTS, ratio * quality * (1.0 - quality)),
        np.full(_POINTS, ratio * lower * (1.0 - lower)),
        baseline_n,
        candidate_n,
    )
    z = critical(level_of(Metric.QUALITY, plan), clock(baseline_n, candidate_n))
    error = np.sqrt(seen.baseline_spread / baseline_n + seen.candidate_spread / candidate_n)
    _, upper = score_bounds(seen, z)
    inside = candidate_n <= _ramp_answers(plan, requests_per_hour)
    return _first(inside & np.isfinite(z) & (upper + _LUCK * error < 0), candidate_n)


def pairs(plan: RolloutPlan, loss: float, quality: float, spread: float | None) -> int | None:
    """Prompts answered by both arms until a relative ``loss`` is found in four of five runs. As ``answers``."""
    n = np.geomspace(1.0, _MOST, _POINTS)
    lower = quality * (1.0 - loss)
    ratio = _dispersion(quality, spread)
    one, other = ratio * quality * (1.0 - quality), ratio * lower * (1.0 - lower)
    square = one + other - 2.0 * ALIKE * math.sqrt(one * other)
    z = critical(level_of(Metric.QUALITY, plan), n)
    room = np.maximum(n - np.square(z), 1e-9)
    half = np.where(np.isfinite(z), z, 0.0) * np.sqrt(square / room) + _LUCK * np.sqrt(square / n)
    return _first(np.isfinite(z) & (n > np.square(z)) & (half < quality - lower), n)


def detects(
    plan: RolloutPlan, baseline_quality: float | None, spread: float | None, requests_per_hour: float | None
) -> str:
    """What loss of quality the plan can see and when, in words for the one who orders it.

    ``spread``: standard deviation of the baseline's scores, ``None``: right or wrong. ``requests_per_hour``: scored
    requests of the task, ``None``: not known.
    """
    if Metric.QUALITY not in plan.limits:
        return "Quality guards nothing in this plan: a loss of quality is reported and rolls nothing back."
    assumed = baseline_quality is None
    quality = _ASSUMED_QUALITY if baseline_quality is None else min(1.0, max(0.0, baseline_quality))
    if quality < 0.01:
        return "The version that serves scores almost 0: there is no quality to lose, and no loss of it can be seen."
    shadow = plan.mode is RolloutMode.SHADOW
    parts: list[str] = []
    late = None
    for loss in LOSSES:
        if loss <= 1.0 - plan.limits[Metric.QUALITY] and loss != LOSSES[-1]:
            continue
        if shadow:
            count = pairs(plan, loss, quality, spread)
            rate = (requests_per_hour or 0.0) * plan.shadow_sample
            hours = None if count is None or rate <= 0 else count / rate
        else:
            count = answers(plan, loss, quality, spread, requests_per_hour)
            hours = None if count is None else _hours(plan, count, requests_per_hour)
        if count is None or count > _MANY or (hours or 0.0) > _PATIENCE_H:
            late = loss
            break
        of = "" if parts else " by both to the same prompt" if shadow else " of the candidate"
        parts.append(f"{loss:.0%} after about {_round(count)} answers{of}{_duration(hours)}")
    text = "Sees a loss of quality of " + ", ".join(parts) if parts else "Sees no loss of quality in reasonable time"
    if late is not None:
        both = pairs(plan, late, quality, spread)
        alone = answers(plan, late, quality, spread, requests_per_hour)
        text += f"; of {late:.0%} "
        if shadow:
            text += "not in reasonable time" if both is None else f"only after about {_round(both)} answers"
        else:
            text += "not before the ramp is over" if alone is None else f"only after about {_round(alone)} answers"
        if both is not None and not shadow:
            text += f", but with about {_round(both)} prompts answered by both in the shadow"
    what = "right-or-wrong scores" if spread is None else f"scores that spread by {spread:.2f}"
    known = f"a quality of {quality:.2f}{' (assumed: none was measured yet)' if assumed else ''}"
    return f"{text}. Four runs in five are that fast; for {what} and {known}, every answer scored."


def _dispersion(quality: float, spread: float | None) -> float:
    most = max(quality * (1.0 - quality), 1e-4)
    return 1.0 if spread is None else min(1.0, max(0.02, spread**2 / most))


def _shares(plan: RolloutPlan) -> tuple[list[float], float]:
    """Shares of the candidate, step by step, and the length of a step in hours (the last one never ends)."""
    if plan.mode is RolloutMode.AB:
        return [plan.split], math.inf
    shares = [plan.start_share]
    while plan.step_share > 0 and shares[-1] + plan.step_share < 1.0 - 1e-9 and len(shares) < 1000:
        shares.append(shares[-1] + plan.step_share)
    return shares, plan.step_s / 3600.0


def _baseline_answers(plan: RolloutPlan, candidate_n: Array, rate: float | None) -> Array:
    """Answers of the baseline by the time the candidate has so many."""
    shares, step_h = _shares(plan)
    if rate is None or rate <= 0 or not math.isfinite(step_h):
        even: Array = candidate_n * (1.0 - shares[0]) / shares[0]
        return even
    gained = np.cumsum([0.0, *(rate * step_h * share for share in shares)])
    other = np.cumsum([0.0, *(rate * step_h * (1.0 - share) for share in shares)])
    answered: Array = np.maximum(np.interp(candidate_n, gained, other), 1e-9)
    return answered


def _ramp_answers(plan: RolloutPlan, rate: float | None) -> float:
    """Answers of the candidate by the end of a ramp that nothing holds up: after it there is no comparison."""
    shares, step_h = _shares(plan)
    if rate is None or rate <= 0 or not math.isfinite(step_h):
        return math.inf
    return rate * step_h * sum(shares)


def _hours(plan: RolloutPlan, count: int, rate: float | None) -> float | None:
    if rate is None or rate <= 0:
        return None
    shares, step_h = _shares(plan)
    hours, left = 0.0, float(count)
    for share in shares:
        if not math.isfinite(step_h) or left <= rate * share * step_h:
            return hours + left / (rate * share)
        left -= rate * share * step_h
        hours += step_h
    return hours + left / rate


def _first(found: NDArray[np.bool_], n: Array) -> int | None:
    return math.ceil(n[int(found.argmax())]) if found.any() else None


def _round(count: int) -> str:
    """Two digits are all a forecast is worth."""
    return f"{round(count, 2 - len(str(count))) if count >= 100 else count:,}"


def _duration(hours: float | None) -> str:
    if hours is None:
        return ""
    if hours < 0.75:
        return f" (about {max(1, round(hours * 60))} minutes at the task's traffic)"
    if hours < 1.5:
        return " (about an hour at the task's traffic)"
    return f" (about {hours:.0f} hours at the task's traffic)"
