"""The state machine of rollouts: (rollout, evidence, now) → a move with its reason, or nothing. Pure.

Owns every decision: when a share grows, when a candidate is promoted, when it is sent back. It measures nothing and
tests nothing (``core/arms`` reads the evidence) and moves no traffic. A share grows by one step at a time, after the
step's time and with its answers, while these do not look worse; neither silence nor doubt promotes and, when they last,
they send the candidate back. What a plan may say is in ``core/rollout_plan``, which moves are legal in
``core/rollout_moves``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, assert_never

from podium.core import rollout_reasons as words
from podium.core.rollout_moves import LEGAL, Move, apply, move_to
from podium.core.rollout_plan import check_plan, first_state, shadow_length_s, share_of
from podium.domain.rollout import FINAL, Arm, Metric, Reading, Rollout, RolloutMode, RolloutState
from podium.errors import Conflict

__all__ = [
    "LEGAL",
    "Move",
    "advance",
    "apply",
    "check_plan",
    "command",
    "doubtful",
    "enter",
    "fail",
    "first_state",
    "resume",
    "share_of",
    "waits_for",
]

S = RolloutState
Order = Literal["pause", "resume", "promote", "abort", "rollback"]
CLOCK_SLACK_S = 600.0
"""Somebody looks about once a second. A limit found overstepped by more than this was not watched: the machine slept,
the gateway was down, or the clock jumped."""
ANSWERS = frozenset({Metric.SUCCESS, Metric.QUALITY})
"""What tells whether answers are good."""
KEPT_CONCLUDED_S = 7 * 86400.0
"""A comparison that is over waits this long for somebody to promote or abort it."""


def advance(
    rollout: Rollout, readings: Mapping[Metric, Reading], samples: Mapping[Arm, int], now: float
) -> Move | None:
    """What the evidence allows at Unix time ``now``: at most one step; ``None``: nothing yet.

    ``samples`` counts requests observed by arm. Only ``shadow`` and ``canary`` move, and a comparison that is over
    and that nobody wanted.
    """
    match rollout.state:
        case S.SHADOW | S.CANARY:
            return _watched(rollout, readings, samples, now)
        case S.PAUSED if rollout.concluded and now - (rollout.paused_at or now) >= KEPT_CONCLUDED_S:
            return move_to(
                rollout, S.ABORTED, f"nobody promoted it for {words.span(KEPT_CONCLUDED_S)}; {rollout.ending}"
            )
        case _:
            return None


def _watched(
    rollout: Rollout, readings: Mapping[Metric, Reading], samples: Mapping[Arm, int], now: float
) -> Move | None:
    plan = rollout.plan
    worse = [reading for reading in map(readings.get, _guards(rollout)) if reading is not None and reading.worse]
    if worse:
        return move_to(rollout, S.ROLLED_BACK, f"{rollout.candidate} is worse: {words.why_worse(worse, plan)}")
    if now < rollout.step_since - CLOCK_SLACK_S:
        back = words.span(rollout.step_since - now)
        return move_to(rollout, rollout.state, f"the clock went back by {back}: the time of this step starts anew")
    elapsed = max(0.0, now - rollout.step_since)
    fresh = _answered(rollout, readings, samples) - rollout.step_samples
    if fresh < plan.min_samples or not _known(rollout, readings):
        return _silent(rollout, readings, fresh, elapsed)
    if rollout.state is S.SHADOW:
        return _shadowed(rollout, readings, samples, fresh, elapsed)
    return _ramped(rollout, readings, samples, fresh, elapsed)


def _silent(rollout: Rollout, readings: Mapping[Metric, Reading], fresh: int, elapsed: float) -> Move | None:
    """Too little evidence: wait, and after the limit give up, unless nobody was there to see the time pass."""
    limit = rollout.plan.silence_s
    if elapsed < limit:
        return None
    if elapsed > limit + CLOCK_SLACK_S:
        return move_to(rollout, rollout.state, f"{_unwatched(elapsed)}: the time of this step starts anew")
    lacking = f"{max(0, fresh)} of {rollout.plan.min_samples} answers of {rollout.candidate} it needs"
    if fresh >= rollout.plan.min_samples:
        success = readings.get(Metric.SUCCESS)
        why = success.missing if success is not None and success.missing else "one side has no answers"
        lacking = f"no comparison of success ({why})"
    return move_to(
        rollout,
        S.ROLLED_BACK,
        f"no evidence: in {words.span(elapsed)} the step gathered {lacking}; silence promotes nothing",
    )


def _unwatched(elapsed: float) -> str:
    return f"{words.span(elapsed)} passed unwatched (the gateway was down, asleep, or the clock jumped)"


def _shadowed(
    rollout: Rollout, readings: Mapping[Metric, Reading], samples: Mapping[Arm, int], fresh: int, elapsed: float
) -> Move | None:
    plan = rollout.plan
    if elapsed < shadow_length_s(plan) and not (plan.early and _decided(rollout, readings)):
        return None
    seen = f"{fresh} answers in the shadow, and nothing is certain to be worse: {words.standing(readings, plan)}"
    if plan.mode is RolloutMode.SHADOW:
        return _conclude(rollout, readings, seen)
    started = replace(rollout, state=S.CANARY, step=1)
    answered = _answered(started, readings, samples)
    return move_to(rollout, S.CANARY, seen, samples=answered)


def _ramped(
    rollout: Rollout, readings: Mapping[Metric, Reading], samples: Mapping[Arm, int], fresh: int, elapsed: float
) -> Move | None:
    plan = rollout.plan
    held = f"{words.percent(rollout.share)} held for {words.span(elapsed)} with {fresh} answers, and nothing is certain to be worse"
    seen = f"{held}: {words.standing(readings, plan)}"
    if plan.mode is RolloutMode.AB:
        over = elapsed >= plan.max_s or _decided(rollout, readings)
        return _conclude(rollout, readings, seen) if over else None
    if elapsed < plan.step_s and not (plan.early and _decided(rollout, readings)):
        return None
    if worse := doubtful(rollout, readings):
        return _doubted(rollout, worse, elapsed)
    if rollout.share >= 1:
        return move_to(rollout, S.PROMOTED, seen)
    return move_to(rollout, S.CANARY, seen, samples=_answered(rollout, readings, samples))


def _doubted(rollout: Rollout, worse: list[Reading], elapsed: float) -> Move | None:
    """It is not certain that the answers are worse, but they look so: more of them decide, within a limit."""
    plan = rollout.plan
    limit = plan.step_s + plan.silence_s
    if elapsed < limit:
        return None
    if elapsed > limit + CLOCK_SLACK_S:
        return move_to(rollout, rollout.state, f"{_unwatched(elapsed)}: the time of this step starts anew")
    looks = words.why_worse(worse, plan)
    return move_to(
        rollout,
        S.ROLLED_BACK,
        f"{rollout.candidate} looked worse for {words.span(elapsed - plan.step_s)} longer than the step lasts, and never "
        f"well enough to get more: {looks}. That is not certain: it takes more answers",
    )


def _conclude(rollout: Rollout, readings: Mapping[Metric, Reading], seen: str) -> Move:
    found = words.better(readings)
    verdict = f"{rollout.candidate} is certainly better in {', '.join(found)}" if found else "no difference is certain"
    reason = f"the comparison is over, {verdict}; {seen}. Nothing moves by itself: promote or abort it"
    return replace(move_to(rollout, S.PAUSED, reason), concludes=True)


# ------------------------------------------------------------ evidence


def _guards(rollout: Rollout) -> tuple[Metric, ...]:
    """Metrics that can send the candidate back now. In the shadow it answers last in line: its latency says nothing."""
    out = {Metric.LATENCY} if rollout.state is S.SHADOW else set()
    return tuple(metric for metric in Metric if metric in rollout.plan.limits and metric not in out)


def doubtful(rollout: Rollout, readings: Mapping[Metric, Reading]) -> list[Reading]:
    """Of what the answers are worth: metrics whose estimate is below the limit, certain or not. The share of such a
    candidate does not grow. Times, memory and energy scatter too much to be held against it before they are certain.
    """
    found = [readings[metric] for metric in _guards(rollout) if metric in ANSWERS and metric in readings]
    limits = rollout.plan.limits
    return [one for one in found if not one.fine and one.ratio is not None and one.ratio < limits[one.metric]]


def _answered(rollout: Rollout, readings: Mapping[Metric, Reading], samples: Mapping[Arm, int]) -> int:
    """Requests the candidate really answered so far; failed ones are evidence against it, not for the next step.

    Every answer to a user has a latency, so the latency's count is theirs; the success rate is an estimate and only the
    second choice. In the shadow, where latencies need not be kept, prompts that both sides answered and somebody judged
    count too.
    """
    seen = samples.get(Arm.CANDIDATE, 0)
    latency, success, quality = map(readings.get, (Metric.LATENCY, Metric.SUCCESS, Metric.QUALITY))
    shadow = rollout.state is S.SHADOW
    if not shadow and latency is not None and (latency.candidate_n or latency.baseline_n):
        seen = min(seen, latency.candidate_n)
    elif success is not None and success.candidate is not None:
        seen = min(seen, round(success.candidate * success.candidate_n))
    return max(seen, quality.candidate_n) if shadow and quality is not None else seen


def _known(rollout: Rollout, readings: Mapping[Metric, Reading]) -> bool:
    """Success of both sides is known (in the shadow: or quality). Without it nothing was compared."""
    wanted = (Metric.SUCCESS, Metric.QUALITY) if rollout.state is S.SHADOW else (Metric.SUCCESS,)
    found = (readings.get(metric) for metric in wanted)
    return any(one is not None and one.candidate is not None and one.baseline is not None for one in found)


def _decided(rollout: Rollout, readings: Mapping[Metric, Reading]) -> bool:
    """Every guarded metric with numbers is certain to be fine. Quality, when guarded, must have numbers: the answer is
    not certain while nobody looked at the answers.
    """
    found = {metric: reading for metric in _guards(rollout) if (reading := readings.get(metric)) is not None}
    measured = {metric: one for metric, one in found.items() if one.candidate is not None and one.baseline is not None}
    if Metric.QUALITY in rollout.plan.limits and Metric.QUALITY not in measured:
        return False
    return bool(measured) and all(reading.fine for reading in measured.values())


def waits_for(
    rollout: Rollout, readings: Mapping[Metric, Reading], samples: Mapping[Arm, int], now: float
) -> str | None:
    """What a rollout in the shadow or on canary still waits for, in words; ``None`` in other states."""
    if rollout.state not in (S.SHADOW, S.CANARY):
        return None
    plan = rollout.plan
    length = plan.max_s if plan.mode is RolloutMode.AB else plan.step_s
    length = shadow_length_s(plan) if rollout.state is S.SHADOW else length
    missing = plan.min_samples - (_answered(rollout, readings, samples) - rollout.step_samples)
    left = length - max(0.0, now - rollout.step_since)
    parts = [f"{missing} more answers of {rollout.candidate}"] if missing > 0 else []
    parts += [words.span(left)] if left > 0 else []
    if not _known(rollout, readings):
        parts.append("a comparison of success")
    if rollout.state is S.CANARY and plan.mode is RolloutMode.GRADUAL and (worse := doubtful(rollout, readings)):
        parts.append(f"answers that do not look worse ({words.pairs(worse)})")
    return " and ".join(parts) or "the next look"


# ------------------------------------------------------------ orders


def enter(rollout: Rollout, state: RolloutState, now: float, reason: str) -> Move:
    """The next state on the way to traffic: requested → validating → warming → shadow or canary, as planned.

    Raises ``ValueError`` when ``state`` does not follow.
    """
    if rollout.state not in (S.REQUESTED, S.VALIDATING, S.WARMING) or state in FINAL:
        raise ValueError(f"a rollout does not enter {state} from {rollout.state}; use advance, command or fail")
    move = move_to(rollout, state, reason, samples=0 if state is S.CANARY else None)
    apply(rollout, move, now)
    return move


def fail(rollout: Rollout, reason: str, now: float) -> Move:
    """Ends it because something could not be done. Raises ``ValueError`` when it has ended already."""
    move = move_to(rollout, S.FAILED, reason)
    apply(rollout, move, now)
    return move


def command(rollout: Rollout, order: Order, now: float) -> Move:
    """A person's order. Raises ``Conflict`` where it makes no sense, with what does."""
    if (problem := _senseless(rollout, order)) is not None:
        raise Conflict(f"rollout {rollout.id} {problem}")
    match order:
        case "pause":
            return move_to(rollout, S.PAUSED, f"paused at {words.percent(rollout.share)}")
        case "resume":
            held = words.span(max(0.0, now - (rollout.paused_at or now)))
            return move_to(rollout, rollout.paused_from or S.CANARY, f"resumed after {held}")
        case "promote":
            return move_to(rollout, S.PROMOTED, "promoted by hand")
        case "abort":
            return move_to(rollout, S.ABORTED, "aborted by hand")
        case "rollback":
            return move_to(rollout, S.ROLLED_BACK, "rolled back by hand")
        case _:
            assert_never(order)


def _senseless(rollout: Rollout, order: Order) -> str | None:
    state = rollout.state
    if state in FINAL:
        return f"has ended as {state} ({rollout.ending}); nothing more can be ordered"
    if state in (S.REQUESTED, S.VALIDATING, S.WARMING) and order != "abort":
        return f"is {state} and no traffic has moved: it cannot {order} yet; wait for it, or abort it"
    if order == "pause" and state is S.PAUSED:
        return "is paused already; resume, promote or abort it"
    if order == "resume" and rollout.concluded:
        return "has compared enough and is over; promote or abort it"
    if order == "resume" and state is not S.PAUSED:
        return f"is not paused but {state}; there is nothing to resume"
    return None


def resume(rollout: Rollout, *, bound_to: str | None, now: float) -> Move | None:
    """What a restart does: ``None`` goes on in the state it is in, whose work can be done twice.

    ``bound_to``: the version the task is bound to. When that is the candidate, the traffic had moved before the stop;
    when it is a third version, somebody swapped meanwhile and the comparison is about nothing.
    """
    if not rollout.open or bound_to is None or bound_to == rollout.baseline:
        return None
    if bound_to != rollout.candidate:
        return move_to(
            rollout, S.ABORTED, f"{rollout.task} was bound to {bound_to} meanwhile, not to {rollout.baseline}"
        )
    if rollout.state in (S.SHADOW, S.CANARY, S.PAUSED):
        return move_to(rollout, S.PROMOTED, f"{rollout.task} had moved to {rollout.candidate} before the restart")
    return move_to(rollout, S.ABORTED, f"{rollout.task} is served by {rollout.candidate} already")
