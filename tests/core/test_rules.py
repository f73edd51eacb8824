"""A rule fires once when its condition comes true, and never on what cannot be measured."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.rules import METRICS, Fact, Rule, RuleState, Verdict, evaluate, fired

RULE = Rule(name="tight", task="jobs", metric="memory_used", above=0.9, clear=0.8, to="small@1", cooldown_s=0)


def run(rule: Rule, values: list[float | None], step_s: float = 1.0) -> list[Verdict]:
    """Look at each value, ``step_s`` apart; whatever fires is acted on."""
    state, verdicts = RuleState(), []
    for number, value in enumerate(values):
        state, verdict = evaluate(rule, Fact(value=value, missing="no counter"), state, number * step_s)
        if verdict.fires:
            state = fired(state, number * step_s)
        verdicts.append(verdict)
    return verdicts


def fires(rule: Rule, values: list[float | None], step_s: float = 1.0) -> list[int]:
    return [at for at, verdict in enumerate(run(rule, values, step_s)) if verdict.fires]


@pytest.mark.requirement("SWP-9")
def test_it_fires_once_at_the_edge_and_again_only_after_the_fact_went_back_far_enough():
    assert fires(RULE, [0.5, 0.95, 0.99, 0.85, 0.95, 0.79, 0.95, 0.96]) == [1, 6]


@pytest.mark.requirement("SWP-9")
def test_below_is_the_mirror_of_above():
    rule = Rule(name="r", task="jobs", metric="quality", below=0.7, clear=0.8, cooldown_s=0)
    assert fires(rule, [0.9, 0.65, 0.6, 0.75, 0.65, 0.8, 0.69]) == [1, 6]


@pytest.mark.requirement("SWP-9")
def test_an_accelerator_that_disappears_and_one_that_appears():
    gone = Rule(name="gone", task="jobs", metric="accelerators", device="cuda", below=1, cooldown_s=0)
    back = Rule(name="back", task="jobs", metric="accelerators", device="cuda", above=0, cooldown_s=0)
    counts = [1, 1, 0, 0, 1, 1, 0]
    assert fires(gone, counts) == [2, 6]
    assert fires(back, counts) == [0, 4]


def test_the_first_look_counts_as_an_edge():
    assert fires(RULE, [0.95, 0.95]) == [0]


@pytest.mark.requirement("SWP-9")
def test_what_cannot_be_measured_never_fires_and_says_why():
    verdicts = run(RULE, [None, float("nan"), float("inf")])
    assert not any(verdict.fires for verdict in verdicts)
    assert {verdict.holds for verdict in verdicts} == {None}
    assert verdicts[0].why == "unavailable: no counter"


def test_a_gap_in_the_measurements_does_not_arm_a_rule_again():
    assert fires(RULE, [0.95, None, 0.95, None, 0.95]) == [0]


def test_the_condition_must_hold_as_long_as_asked_without_a_break():
    rule = Rule(name="r", task="jobs", metric="memory_used", above=0.9, for_s=3, cooldown_s=0)
    assert fires(rule, [0.95, 0.95, 0.5, 0.95, 0.95, 0.95, 0.95]) == [6]


def test_the_pause_between_two_fires_is_kept():
    rule = Rule(name="r", task="jobs", metric="memory_used", above=0.9, cooldown_s=10)
    assert fires(rule, [0.95, 0.5] * 12) == [0, 10, 20]


def test_too_few_samples_fire_nothing():
    rule = Rule(name="r", task="jobs", metric="success", below=0.8)
    _, verdict = evaluate(rule, Fact(value=0.0, samples=9), RuleState(), 0.0)
    assert not verdict.fires
    assert verdict.why == "9 of 10 samples"
    _, verdict = evaluate(rule, Fact(value=0.0, samples=10), RuleState(), 0.0)
    assert verdict.fires


def test_a_rule_that_is_switched_off_fires_nothing():
    rule = Rule(name="r", task="jobs", metric="success", below=0.8, enabled=False)
    assert not evaluate(rule, Fact(value=0.0, samples=10), RuleState(), 0.0)[1].fires


def test_an_order_that_could_not_be_taken_yet_is_tried_again():
    state, first = evaluate(RULE, Fact(value=0.95), RuleState(), 0.0)
    _, second = evaluate(RULE, Fact(value=0.95), state, 1.0)
    assert first.fires
    assert second.fires


def test_unless_told_a_fact_goes_back_five_percent_of_the_line():
    rule = Rule(name="r", task="jobs", metric="latency_ms", above=1000.0, cooldown_s=0)
    assert fires(rule, [1100, 960, 1100, 950, 1100]) == [0, 4]
    assert rule.condition == "latency_ms above 1000"
    budget = Rule(name="r", task="jobs", metric="energy_mwh", above=5.0, period="hour", for_s=60)
    assert budget.condition == "energy_mwh per hour above 5 for 60 s"


@pytest.mark.requirement("SWP-9")
@settings(max_examples=150, deadline=None)
@given(
    metric=st.sampled_from(sorted(METRICS)),
    looks=st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-2, 2), st.just(float("nan"))),
            st.one_of(st.floats(0, 60), st.floats(-1e8, 1e8)),
        ),
        max_size=40,
    ),
    line=st.floats(-1, 1),
    above=st.booleans(),
)
def test_whatever_happens_no_two_fires_within_a_pause_and_none_without_going_back(metric, looks, line, above):
    rule = Rule(
        name="r",
        task="jobs",
        metric=metric,
        above=line if above else None,
        below=None if above else line,
        cooldown_s=30,
        min_samples=0,
    )
    state, now, last, went_back = RuleState(), 0.0, None, True
    for value, step in looks:
        now += step
        state, verdict = evaluate(rule, Fact(value=value), state, now)
        if value is not None and rule.cleared(value):
            went_back = True
        if verdict.fires:
            assert value is not None
            assert rule.holds(value)
            assert went_back
            assert last is None or now - last >= 30
            state, last, went_back = fired(state, now), now, False
