"""Reads the plan of a rollout from a request. Says which field is of the wrong kind; what it may hold is core's to say."""

from __future__ import annotations

from dataclasses import fields

from pydantic import BaseModel, ConfigDict, Field, StrictFloat
from pydantic.config import JsonDict

from podium.core.rollout_plan import LONGEST_S, MOST_SAMPLES, SMALLEST_SHARE, check_plan
from podium.domain.rollout import Metric, RolloutMode, RolloutPlan
from podium.errors import InvalidRequest

_SHARE = {"minimum": SMALLEST_SHARE, "maximum": 1}
_SECONDS = {"exclusiveMinimum": 0, "maximum": LONGEST_S}
_DEFAULT = RolloutPlan()


def _field(name: str, says: str, **schema: float) -> float:
    """A number whose bounds stand in the document and are checked by ``check_plan``, which knows the better words."""
    extra: JsonDict = dict(schema.items())
    made: float = Field(
        default=getattr(_DEFAULT, name), description=says, strict=True, allow_inf_nan=False, json_schema_extra=extra
    )
    return made


class PlanBody(BaseModel):
    """How a rollout goes. Everything has a default; times are seconds, shares are in (0, 1]."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    mode: RolloutMode | None = Field(default=None, description="As the order's own mode; may be left out.")
    start_share: float = _field("start_share", "The candidate's share in the first step.", **_SHARE)
    step_share: float = _field("step_share", "Added by every step.", **_SHARE)
    step_s: float = _field("step_s", "Length of a step.", **_SECONDS)
    early: bool = Field(
        default=_DEFAULT.early, strict=True, description="A step may end as soon as every metric is certain."
    )
    min_samples: int = Field(
        default=_DEFAULT.min_samples,
        strict=True,
        description="Answers of the candidate a step needs.",
        json_schema_extra={"minimum": 1, "maximum": MOST_SAMPLES},
    )
    silence_s: float = _field("silence_s", "A step without them is rolled back after this.", **_SECONDS)
    shadow_s: float = _field("shadow_s", "A shadow before the canary; 0: none.", minimum=0, maximum=LONGEST_S)
    shadow_sample: float = _field("shadow_sample", "Share of the requests answered in the shadow too.", **_SHARE)
    false_alarm: float = _field(
        "false_alarm",
        "Probability that a candidate that is no worse is rolled back.",
        exclusiveMinimum=0,
        maximum=0.5,
    )
    limits: dict[Metric, StrictFloat] = Field(
        default_factory=lambda: dict(_DEFAULT.limits),
        description="Smallest ratio to the baseline that is let pass, by metric; others are only reported.",
    )
    strict: bool = Field(default=_DEFAULT.strict, strict=True, description="Also refuse what did worse before.")
    split: float = _field("split", "The candidate's share in mode ab.", **_SHARE)
    max_s: float = _field("max_s", "Mode ab ends after this.", **_SECONDS)
    validate_first: bool = Field(
        default=_DEFAULT.validate,
        alias="validate",
        strict=True,
        description="Run the task's validation set before any traffic.",
    )


def read_plan(body: PlanBody | None, mode: RolloutMode, *, strict: bool) -> RolloutPlan:
    """The plan of an order. Raises ``InvalidRequest`` whose ``param`` is the field at fault."""
    given = body or PlanBody()
    if given.mode is not None and given.mode is not mode:
        raise InvalidRequest(f"plan.mode is {given.mode} and mode is {mode}; leave one of them out", param="plan.mode")
    names = {one.name for one in fields(RolloutPlan)} - {"mode", "strict", "validate", "limits"}
    plan = RolloutPlan(
        **{name: getattr(given, name) for name in names},
        mode=mode,
        strict=strict or given.strict,
        validate=given.validate_first,
        limits=dict(given.limits),
    )
    try:
        check_plan(plan)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, param=f"plan.{error.param}", code=error.code) from None
    return plan
