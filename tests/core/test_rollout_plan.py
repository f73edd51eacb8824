"""What a plan may say: every nonsense is refused by the name of its field, with what to do."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.rollout import check_plan, first_state, share_of
from podium.core.rollout_plan import shadow_length_s
from podium.domain.rollout import Metric, RolloutMode, RolloutPlan, RolloutState
from podium.errors import InvalidRequest

PLAN = RolloutPlan()
pytestmark = pytest.mark.requirement("SWP-4")


def test_the_defaults_are_ten_percent_and_ten_more_every_hour():
    check_plan(PLAN)
    assert [share_of(PLAN, step) for step in range(1, 12)] == [
        0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0,
    ]  # fmt: skip
    assert (PLAN.step_s, set(PLAN.limits), set(PLAN.limits.values())) == (3600.0, set(Metric), {0.95})


@pytest.mark.parametrize("mode", RolloutMode)
def test_every_mode_passes_with_its_defaults(mode):
    check_plan(replace(PLAN, mode=mode))
    check_plan(replace(PLAN, mode=mode, shadow_s=60.0))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("start_share", 0.0, "0.1 %"),
        ("start_share", -0.1, "not -0.1"),
        ("start_share", 3.0, "did you mean 0.03"),
        ("start_share", 300.0, "100 %"),
        ("start_share", math.nan, "not nan"),
        ("start_share", 1.0, "immediate"),
        ("step_share", 0.0, "0.1 %"),
        ("step_share", 10, "did you mean 0.1"),
        ("step_share", math.inf, "not inf"),
        ("step_share", 1e-9, "0.1 %"),
        ("step_s", 0.0, "more than 0"),
        ("step_s", -3600.0, "more than 0"),
        ("step_s", math.nan, "not nan"),
        ("step_s", 1e12, "366 days"),
        ("silence_s", 0.0, "more than 0"),
        ("silence_s", math.inf, "not inf"),
        ("max_s", -1.0, "more than 0"),
        ("shadow_s", -1.0, "0 and at most"),
        ("shadow_sample", 0.0, "shadow_sample"),
        ("shadow_sample", 1.5, "did you mean 0.015"),
        ("split", 0.0, "split"),
        ("min_samples", 0, "whole number from 1"),
        ("min_samples", 2.5, "whole number"),
        ("min_samples", math.nan, "whole number"),
        ("min_samples", 10**9, "1,000,000"),
        ("false_alarm", 0.0, "above 0"),
        ("false_alarm", 0.51, "at most 0.5"),
        ("false_alarm", math.nan, "not nan"),
        ("limits", {}, "nothing could ever be rolled back"),
        ("limits", {Metric.QUALITY: 1.2}, "quality must be above 0 and at most 1, not 1.2"),
        ("limits", {Metric.QUALITY: 0.0}, "left out is only reported"),
        ("limits", {Metric.QUALITY: math.nan}, "not nan"),
        ("limits", {"speed": 0.9}, "'speed' is no metric; there are success, quality"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_field(field, value, says):
    with pytest.raises(InvalidRequest, match=says) as refused:
        check_plan(replace(PLAN, **{field: value}))
    assert refused.value.param == field


def test_a_comparison_with_nobody_on_the_other_side_is_refused():
    with pytest.raises(InvalidRequest, match="split below 1") as refused:
        check_plan(replace(PLAN, mode=RolloutMode.AB, split=1.0))
    assert refused.value.param == "split"
    check_plan(replace(PLAN, mode=RolloutMode.SHADOW, start_share=1.0))


@given(st.floats(0.001, 0.999), st.floats(0.001, 1.0))
def test_shares_grow_by_one_step_each_and_end_at_exactly_one(start, step_share):
    plan = replace(PLAN, start_share=start, step_share=step_share)
    check_plan(plan)
    shares = [share_of(plan, step) for step in range(1, 1002)]
    assert shares[0] == pytest.approx(start, abs=1e-8)
    for before, after in itertools.pairwise(shares):
        assert after == 1.0 or after - before == pytest.approx(step_share, abs=1e-8)
        assert after >= before
    assert shares[-1] == 1.0


def test_the_split_of_a_comparison_never_grows_and_steps_count_from_one():
    plan = replace(PLAN, mode=RolloutMode.AB, split=0.3)
    assert {share_of(plan, step) for step in (1, 2, 10)} == {0.3}
    with pytest.raises(ValueError, match="from 1"):
        share_of(PLAN, 0)


def test_a_plan_says_whether_the_candidate_goes_through_the_shadow_and_how_long():
    assert first_state(PLAN) is RolloutState.CANARY
    assert first_state(replace(PLAN, shadow_s=60.0)) is RolloutState.SHADOW
    shadow = replace(PLAN, mode=RolloutMode.SHADOW)
    assert (first_state(shadow), shadow_length_s(shadow)) == (RolloutState.SHADOW, 86400.0)
    assert shadow_length_s(replace(shadow, shadow_s=60.0)) == 60.0
    assert first_state(replace(PLAN, mode=RolloutMode.AB)) is RolloutState.CANARY
