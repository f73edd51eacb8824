"""A rollout in words: numbers with their unit, durations, verdicts, and what comes next. Pure text."""

from __future__ import annotations

from podium.core.picture.facts import (
    NextStep,
    Verdict,
    answered,
    limit_value,
    next_step,
    steps,
    verdict,
)
from podium.core.rollout_plan import shadow_length_s
from podium.domain.rollout import (
    MORE_IS_BETTER,
    Metric,
    Reading,
    Rollout,
    RolloutMode,
    RolloutPlan,
    RolloutReport,
    RolloutState,
)


def value(metric: Metric, number: float | None) -> str:
    """A value of a metric with its unit; ``-`` for none."""
    if number is None:
        return "-"
    match metric:
        case Metric.SUCCESS:
            return f"{100 * number:.1f} %"
        case Metric.QUALITY:
            return f"{number:.3f}"
        case Metric.LATENCY:
            return f"{_figures(number)} ms"
        case Metric.MEMORY:
            return f"{_figures(number)} MB"
        case Metric.ENERGY:
            return f"{_figures(number)} mWh"


def gap(metric: Metric, number: float | None) -> str:
    """A difference of a metric, signed."""
    if number is None:
        return "-"
    sign = "-" if number < 0 else "+"
    if metric is Metric.SUCCESS:
        return f"{sign}{100 * abs(number):.1f} points"
    return sign + value(metric, abs(number))


def bounds(reading: Reading) -> str:
    """``-3.1 to +0.2 points``: what holds for the difference at all times at once; ``-`` without bounds."""
    if reading.lower is None and reading.upper is None:
        return "-"
    low = "no bound" if reading.lower is None else gap(reading.metric, reading.lower)
    high = "no bound" if reading.upper is None else gap(reading.metric, reading.upper)
    if reading.lower is not None and reading.upper is not None:
        low = low.partition(" ")[0]
    return f"{low} to {high}"


def limit(plan: RolloutPlan, reading: Reading) -> str:
    """``at least 0.677`` or ``at most 842 ms``; ``-`` where nothing is guarded."""
    ratio = plan.limits.get(reading.metric)
    if ratio is None:
        return "-"
    at = limit_value(plan, reading.metric, reading.baseline)
    if at is None:
        return f"{ratio:g} of the baseline"
    least = "at least" if reading.metric in MORE_IS_BETTER else "at most"
    return f"{least} {value(reading.metric, at)}"


def judged(plan: RolloutPlan, reading: Reading, needed: int | None = None) -> str:
    """The verdict on one metric in a few words; ``needed``: answers of the candidate probably still needed."""
    match verdict(plan, reading):
        case Verdict.WORSE:
            return "worse"
        case Verdict.FINE:
            return "fine"
        case Verdict.WATCHED:
            return "no limit"
        case Verdict.MISSING:
            return reading.missing or "no numbers yet"
        case Verdict.OPEN:
            return "open" if needed is None else f"open: ~{needed:,} more answers"


def duration(seconds: float) -> str:
    """``2 h 10 min``, ``42 min``, ``38 s``; never negative."""
    left = max(0.0, seconds)
    if left < 1:
        return f"{left:.2g} s"
    if left < 10:
        return f"{round(left, 1):g} s"
    if left < 120:
        return f"{left:.0f} s"
    minutes = round(left / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def percent(share: float) -> str:
    """``10 %``."""
    return f"{100 * share:.3g} %"


def state(rollout: Rollout) -> str:
    """``canary, step 2 of 10, 20 % of the traffic``."""
    name = rollout.state.value.replace("_", " ")
    ramped = f", step {rollout.step} of {steps(rollout.plan)}" if rollout.plan.mode is RolloutMode.GRADUAL else ""
    match rollout.state:
        case RolloutState.CANARY:
            return f"{name}{ramped}, {percent(rollout.share)} of the traffic"
        case RolloutState.PAUSED if rollout.concluded:
            return "the comparison is over, and nothing moves by itself"
        case RolloutState.PAUSED:
            return f"{name}{ramped if rollout.step else ''}, none of the traffic"
        case RolloutState.SHADOW:
            return f"{name}, answers {percent(rollout.plan.shadow_sample)} of the requests unseen"
        case _:
            return name


def awaits(report: RolloutReport, now: float) -> str:
    """What happens next, in one sentence; empty once it has ended."""
    rollout, plan = report.rollout, report.rollout.plan
    match rollout.state:
        case RolloutState.CANARY if plan.mode is RolloutMode.AB:
            left = rollout.step_since + plan.max_s - now
            return f"the comparison ends in {duration(left)}, or as soon as every metric is certain"
        case RolloutState.CANARY:
            step = next_step(rollout, answered(report.readings))
            return "" if step is None else _growth(step, now)
        case RolloutState.SHADOW:
            then = "the comparison" if plan.mode is RolloutMode.SHADOW else "the shadow"
            return f"{then} ends in {duration(rollout.step_since + shadow_length_s(plan) - now)}"
        case RolloutState.PAUSED if rollout.concluded:
            return f"waits for `podium rollouts promote {rollout.id}` or `podium rollouts abort {rollout.id}`"
        case RolloutState.PAUSED:
            return f"waits for `podium rollouts resume {rollout.id}`; promote and abort work too"
        case RolloutState.REQUESTED | RolloutState.VALIDATING | RolloutState.WARMING:
            return f"traffic moves once {rollout.candidate} is checked and warm"
        case _:
            return ""


def _growth(step: NextStep, now: float) -> str:
    goal = "promotion" if step.share is None else percent(step.share)
    wait = step.not_before - now
    if step.answers:
        more = f"{step.answers} more answer{'s' if step.answers > 1 else ''} of the candidate"
        when = f"in {duration(wait)} at the earliest, and after {more}" if wait > 0 else f"after {more}"
        return f"{goal} {when}; without them it is rolled back in {duration(step.silence_at - now)}"
    return f"{goal} in {duration(wait)}, unless the evidence is against it" if wait > 0 else f"{goal} is due now"


def _figures(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
