"""What a plan of a rollout may say, and which share each step of it has. Pure; decides nothing about evidence."""

from __future__ import annotations

import math

from podium.domain.rollout import Metric, RolloutMode, RolloutPlan, RolloutState
from podium.errors import InvalidRequest

LONGEST_S = 366 * 86400.0
SMALLEST_SHARE = 0.001
"""Smaller shares and steps would take thousands of steps, or never meet a request."""
MOST_SAMPLES = 1_000_000
DAY_S = 86400.0


def check_plan(plan: RolloutPlan) -> None:
    """Return when ``plan`` can be carried out. Raises ``InvalidRequest`` whose ``param`` is the field at fault."""
    for field, value in (
        ("start_share", plan.start_share),
        ("step_share", plan.step_share),
        ("shadow_sample", plan.shadow_sample),
        ("split", plan.split),
    ):
        _share(field, value)
    if plan.mode is RolloutMode.GRADUAL and plan.start_share >= 1:
        raise InvalidRequest(
            "start_share 1 leaves no request to compare with; start below 1, or order the swap with mode immediate",
            param="start_share",
        )
    if plan.mode is RolloutMode.AB and plan.split >= 1:
        raise InvalidRequest("split 1 leaves no request to compare with; give a split below 1", param="split")
    for field, value in (("step_s", plan.step_s), ("silence_s", plan.silence_s), ("max_s", plan.max_s)):
        _seconds(field, value, zero=False)
    _seconds("shadow_s", plan.shadow_s, zero=True)
    if not 1 <= plan.min_samples <= MOST_SAMPLES or plan.min_samples != int(plan.min_samples):
        raise InvalidRequest(
            f"min_samples must be a whole number from 1 to {MOST_SAMPLES:,}, not {plan.min_samples}",
            param="min_samples",
        )
    if not 0 < plan.false_alarm <= 0.5:  # also refuses NaN
        raise InvalidRequest(
            f"false_alarm must be a probability above 0 and at most 0.5, not {plan.false_alarm}; 0.02 is the default",
            param="false_alarm",
        )
    _limits(plan)


def share_of(plan: RolloutPlan, step: int) -> float:
    """The candidate's share in ramp step ``step`` (from 1), in (0, 1]; the one split in mode ``ab``.

    Raises ``ValueError`` below 1.
    """
    if step < 1:
        raise ValueError(f"steps count from 1, not {step}")
    if plan.mode is RolloutMode.AB:
        return plan.split
    share = round(plan.start_share + (step - 1) * plan.step_share, 9)
    return 1.0 if share >= 1 - 1e-6 else share


def first_state(plan: RolloutPlan) -> RolloutState:
    """Where a warm candidate goes: into the shadow when the plan has one, else on canary."""
    if plan.mode is RolloutMode.SHADOW or plan.shadow_s > 0:
        return RolloutState.SHADOW
    return RolloutState.CANARY


def shadow_length_s(plan: RolloutPlan) -> float:
    """Seconds in the shadow; one day when mode ``shadow`` does not say."""
    return plan.shadow_s or (DAY_S if plan.mode is RolloutMode.SHADOW else 0.0)


def _share(field: str, value: float) -> None:
    if not SMALLEST_SHARE <= value <= 1:  # also refuses NaN
        hint = f"; did you mean {value / 100:g}?" if math.isfinite(value) and 1 < value <= 100 else ""
        raise InvalidRequest(
            f"{field} must be a share from {SMALLEST_SHARE} (0.1 %) to 1 (100 %), not {value:g}{hint}", param=field
        )


def _seconds(field: str, value: float, *, zero: bool) -> None:
    if not 0 <= value <= LONGEST_S or (value == 0 and not zero):
        least = "0" if zero else "more than 0"
        raise InvalidRequest(
            f"{field} must be {least} and at most {LONGEST_S:.0f} seconds (366 days), not {value:g}", param=field
        )


def _limits(plan: RolloutPlan) -> None:
    for metric, limit in plan.limits.items():
        if metric not in set(Metric):
            known = ", ".join(Metric)
            raise InvalidRequest(f"limits: {metric!r} is no metric; there are {known}", param="limits")
        if not 0 < limit <= 1:
            raise InvalidRequest(
                f"limits: {metric} must be above 0 and at most 1, not {limit:g}; 0.95 rolls back below 95 % of the old "
                f"version, and a metric that is left out is only reported",
                param="limits",
            )
    if not plan.limits:
        raise InvalidRequest(
            "limits is empty, so nothing could ever be rolled back; name at least one metric, for example success",
            param="limits",
        )
