"""What calls for another version, and that it is never called for twice within one pause."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.autoswap import (
    PRESETS,
    AutoSwapRules,
    Cause,
    Cooldowns,
    Preset,
    Watch,
    Window,
    interval,
    judge,
    passes,
)

RULES = AutoSwapRules(enabled=True)


def window(outcomes: str, scores: tuple[float, ...] = (), *, size: int = 50, weight: float = 1.0) -> Window:
    """``+`` is an answer, ``-`` a failure."""
    made = Window("m@1", size)
    for sign in outcomes:
        made.outcome(sign == "+")
    for number, score in enumerate(scores):
        made.score(f"dec{number}", "user", score, weight)
    return made


@pytest.mark.requirement("SWP-6")
def test_below_four_of_five_answered_requests_calls_for_another_version_with_the_numbers():
    found = judge("jobs", window("++-++-++-+").standing(), RULES, None)
    assert found is not None
    assert (found.cause, found.value, found.limit, found.samples) == (Cause.SUCCESS, 0.7, 0.8, 10)
    assert not found.hard
    assert "7 of its last 10" in found.reason
    assert "40% to 89%" in found.reason


@pytest.mark.requirement("SWP-6")
@pytest.mark.parametrize("outcomes", ["++++-++-++", "---", "---------", "+" * 60])
def test_exactly_four_of_five_or_fewer_than_ten_requests_call_for_nothing(outcomes):
    assert judge("jobs", window(outcomes).standing(), RULES, None) is None


@pytest.mark.requirement("SWP-6")
def test_failures_in_a_row_are_failing_hard_even_while_the_window_is_good():
    found = judge("jobs", window("+" * 45 + "-----").standing(), RULES, None)
    assert found is not None
    assert found.cause is Cause.STREAK
    assert found.hard
    assert judge("jobs", window("+" * 46 + "----").standing(), RULES, None) is None


@pytest.mark.requirement("SWP-6")
def test_hardly_any_answer_is_failing_hard_without_a_row_of_failures():
    found = judge("jobs", window("---+---+---+-+-").standing(), RULES, None)
    assert found is not None
    assert found.cause is Cause.SUCCESS
    assert found.hard


@pytest.mark.requirement("SWP-6", "SWP-13")
def test_quality_is_held_against_nine_tenths_of_what_the_task_asks_for():
    low = window("", (0.7,) * 10).standing()
    found = judge("jobs", low, RULES, 0.8)
    assert found is not None
    assert (found.cause, found.samples, found.hard) == (Cause.QUALITY, 10, False)
    assert found.limit == pytest.approx(0.72)
    assert judge("jobs", low, RULES, 0.7 / 0.9) is None, "exactly at the limit"
    assert judge("jobs", low, RULES, None) is None, "nobody asked for a quality"
    assert judge("jobs", window("", (0.0,) * 9).standing(), RULES, 0.8) is None, "nine scores"


def test_a_later_word_of_the_same_source_replaces_its_earlier_one():
    made = window("")
    made.score("dec1", "user", 0.0, 1.0)
    made.score("dec1", "judge", 1.0, 0.5)
    made.score("dec1", "user", 1.0, 1.0)
    assert made.standing().scores == 2
    assert made.standing().quality == 1.0


def test_a_judges_score_weighs_half_a_users():
    made = window("")
    made.score("dec1", "user", 1.0, 1.0)
    made.score("dec2", "judge", 0.4, 0.5)
    assert made.standing().quality == pytest.approx(0.8)


def test_only_the_newest_outcomes_and_scores_count():
    made = window("-" * 100 + "+" * 50, (0.0,) * 60 + (1.0,) * 50)
    assert made.standing().success == 1.0
    assert made.standing().quality == 1.0
    made.resize(10)
    assert (made.standing().samples, made.standing().scores) == (10, 10)


@pytest.mark.requirement("SWP-6")
def test_the_presets_are_the_documented_ones():
    slow, quick = PRESETS[Preset.CONSERVATIVE], PRESETS[Preset.AGGRESSIVE]
    assert (slow.cooldown_s, slow.min_samples, slow.min_success, slow.quality_ratio) == (300.0, 10, 0.8, 0.9)
    assert (quick.cooldown_s, quick.min_samples, quick.min_success) == (10.0, 3, 0.9)
    assert not slow.enabled
    assert not quick.enabled


def test_another_version_and_another_period_of_service_begin_with_an_empty_window():
    watch = Watch()
    for _ in range(10):
        watch.serves("jobs", "m@1", 1, RULES).outcome(success=False)
    assert watch.trigger("jobs", RULES, None, 0.0) is not None
    watch.serves("jobs", "m@2", 2, RULES)
    assert watch.trigger("jobs", RULES, None, 0.0) is None
    watch.serves("jobs", "m@1", 3, RULES)
    standing = watch.standing("jobs")
    assert standing is not None
    assert standing.samples == 0


def test_switched_off_nothing_is_called_for():
    watch = Watch()
    for _ in range(20):
        watch.serves("jobs", "m@1", 1, RULES).outcome(success=False)
    assert watch.trigger("jobs", AutoSwapRules(enabled=False), None, 0.0) is None
    assert watch.trigger("other", RULES, None, 0.0) is None


def test_when_nothing_can_be_done_it_is_quiet_for_a_while():
    watch = Watch()
    for _ in range(20):
        watch.serves("jobs", "m@1", 1, RULES).outcome(success=False)
    watch.quiet("jobs", 60.0)
    assert watch.trigger("jobs", RULES, None, 59.0) is None
    assert watch.trigger("jobs", RULES, None, 60.0) is not None


def test_a_version_with_a_bad_history_does_not_pass():
    assert passes(9, 0, RULES)
    assert passes(10, 8, RULES)
    assert not passes(10, 7, RULES)


def test_the_interval_of_a_share_is_wilsons():
    low, high = interval(7, 10)
    assert (low, high) == (pytest.approx(0.3968, abs=1e-4), pytest.approx(0.8922, abs=1e-4))
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(10, 10)[1] == 1.0


@pytest.mark.requirement("SWP-6")
@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.booleans(),
            st.one_of(st.none(), st.floats(0, 1)),
            st.one_of(st.floats(0, 120), st.floats(-4e7, 4e7), st.just(31_536_000.0)),
        ),
        max_size=120,
    ),
    preset=st.sampled_from(list(Preset)),
    moves=st.booleans(),
)
@pytest.mark.no_cover
def test_at_most_one_swap_per_cooldown_whatever_the_outcomes_and_the_clock_do(steps, preset, moves):
    """The clock jumps back and forth; ``moves``: orders really change who serves, or come to nothing."""
    rules = AutoSwapRules(**{**_fields(PRESETS[preset]), "enabled": True})
    watch, now, serving, period, ordered = Watch(), 0.0, 0, 0, []
    for success, score, step in steps:
        now += step
        window = watch.serves("jobs", f"m@{serving}", period, rules)
        window.outcome(success=success)
        if score is not None:
            window.score(f"dec{len(ordered)}-{now}", "judge", score, 0.5)
        if watch.trigger("jobs", rules, 0.9, now) is not None:
            ordered.append(now)
            watch.cooldowns.start("jobs", now)
            if moves:
                serving, period = 1 - serving, period + 1
    gaps = [after - before for before, after in pairwise(ordered)]
    assert all(gap >= rules.cooldown_s - 1e-6 for gap in gaps)


@settings(max_examples=200, deadline=None)
@given(times=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20), cooldown=st.floats(1, 1e6))
@pytest.mark.no_cover
def test_a_pause_never_ends_early_by_a_clock_that_goes_back(times, cooldown):
    pauses = Cooldowns()
    for at in times:
        pauses.start("jobs", at)
    assert pauses.left("jobs", cooldown, max(times)) == pytest.approx(cooldown)
    assert pauses.left("other", cooldown, max(times)) == 0.0


def _fields(rules: AutoSwapRules) -> dict[str, object]:
    return {name: getattr(rules, name) for name in AutoSwapRules.__slots__}
