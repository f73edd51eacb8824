"""The default strategy: ranks by what was learned, trades quality for speed only as far as it may, states its odds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.constraints import Option
from podium.core.selection import ANY_TASK, EXPLORATION, PolicySnapshot, Query, choose, drawn
from podium.domain.belief import Belief, Gauge, Performance
from podium.domain.evidence import Evidence
from podium.domain.task import Binding, Criteria, Preference, TaskSpec

CHAT = frozenset({"chat"})


def option(ref: str, **more) -> Option:
    return Option(ref=ref, capabilities=CHAT, **more)


def belief(index: float, success: float = 1.0) -> Belief:
    return Belief(mean=index - 0.05, sd=0.02, index=index, weight=50, success=success)


def measured(latency_ms: float, samples: int = 40) -> Evidence:
    return Evidence(samples=samples, successes=samples, latency_ms_sum=latency_ms * samples)


def snapshot(beliefs: dict[str, Belief], spec: TaskSpec | None = None, **more) -> PolicySnapshot:
    spec = spec or TaskSpec(name="jobs", strategy="default")
    return PolicySnapshot(
        options=tuple(option(ref, footprint_bytes=size) for ref, size in (("a@1", 10), ("b@1", 20), ("c@1", 30))),
        tasks={"jobs": spec},
        beliefs={"jobs": beliefs},
        **more,
    )


THREE = {"a@1": belief(0.60), "b@1": belief(0.90), "c@1": belief(0.89)}


@pytest.mark.requirement("SEL-4", "LRN-3")
def test_the_highest_index_is_chosen_and_the_odds_are_exact():
    choice = choose(snapshot(THREE), Query(task="jobs"))
    assert choice.chosen == "b@1"
    assert choice.strategy == "default"
    assert set(choice.alternatives) == {"a@1", "c@1"}
    assert choice.propensity + choice.exploration * 2 == pytest.approx(1.0)
    assert choice.exploration == pytest.approx(EXPLORATION / 3)
    quality = next(c for c in choice.candidates if c.ref == "b@1").terms
    assert dict(quality)["quality"] == pytest.approx(0.85)


def test_a_version_that_often_fails_is_worth_less():
    beliefs = {**THREE, "b@1": belief(0.90, success=0.5)}
    assert choose(snapshot(beliefs), Query(task="jobs")).chosen == "c@1"


def test_a_task_nobody_met_goes_by_what_is_believed_in_general():
    known = snapshot(THREE)
    general = PolicySnapshot(
        options=known.options, tasks={"new": TaskSpec(name="new", strategy="default")}, beliefs={ANY_TASK: THREE}
    )
    assert choose(general, Query(task="new")).chosen == "b@1"


def test_a_version_the_learner_has_not_met_is_tried():
    beliefs = {"a@1": belief(0.6), "b@1": belief(0.9)}
    assert choose(snapshot(beliefs), Query(task="jobs")).chosen == "c@1"


@pytest.mark.requirement("SEL-1")
def test_speed_is_bought_with_quality_only_within_the_allowed_loss():
    rows = {"jobs": {"b@1": measured(900), "c@1": measured(90), "a@1": measured(10)}}
    plain = snapshot(THREE, evidence=rows)
    assert choose(plain, Query(task="jobs")).chosen == "b@1"
    fast = choose(plain, Query(task="jobs", criteria=Criteria(preference=Preference.FAST)))
    assert fast.chosen == "c@1"
    assert "gives up 1.1% of b@1" in fast.reason
    assert "90 ms against 900 ms" in fast.reason
    strict = Criteria(preference=Preference.FAST, max_quality_loss=0.0)
    assert choose(plain, Query(task="jobs", criteria=strict)).chosen == "b@1"
    loose = Criteria(preference=Preference.FAST, max_quality_loss=0.5)
    assert choose(plain, Query(task="jobs", criteria=loose)).chosen == "a@1"


def test_memory_is_saved_where_that_is_preferred():
    low = Criteria(preference=Preference.LOW_MEMORY, max_quality_loss=0.5)
    assert choose(snapshot(THREE), Query(task="jobs", criteria=low)).chosen == "a@1"


def lately(known: Belief, **figures: float) -> Belief:
    gauges = {name: Gauge(40.0, math.log(value) - 0.005, 0.01) for name, value in figures.items()}
    return replace(known, performance=Performance(answered=40.0, asked=40.0, **gauges))


@pytest.mark.requirement("SEL-1", "LRN-1")
def test_the_fastest_is_the_one_that_was_fast_lately_whatever_it_was_long_ago():
    rows = {"jobs": {"b@1": measured(900), "c@1": measured(90)}}
    beliefs = {
        **THREE,
        "b@1": lately(THREE["b@1"], latency_ms=80.0),
        "c@1": lately(THREE["c@1"], latency_ms=700.0),
    }
    fast = Criteria(preference=Preference.FAST)
    assert choose(snapshot(THREE, evidence=rows), Query(task="jobs", criteria=fast)).chosen == "c@1"
    assert choose(snapshot(beliefs, evidence=rows), Query(task="jobs", criteria=fast)).chosen == "b@1"


@pytest.mark.requirement("LRN-1")
def test_energy_is_compared_in_milliwatt_hours_only_where_all_have_it():
    low = Criteria(preference=Preference.LOW_ENERGY, max_quality_loss=0.05)
    both = {
        **THREE,
        "b@1": lately(THREE["b@1"], latency_ms=100.0, energy_mwh=9.0),
        "c@1": lately(THREE["c@1"], latency_ms=500.0, energy_mwh=0.5),
    }
    choice = choose(snapshot(both), Query(task="jobs", criteria=low))
    assert choice.chosen == "c@1"
    assert "for energy: 0.50 mWh against 9.00 mWh" in choice.reason
    one = {**both, "c@1": lately(THREE["c@1"], latency_ms=500.0)}
    assert choose(snapshot(one), Query(task="jobs", criteria=low)).chosen == "b@1"


@pytest.mark.requirement("COST-2", "SEL-1")
def test_money_decides_where_somebody_bills_and_what_nobody_bills_costs_none():
    low = Criteria(preference=Preference.LOW_COST, max_quality_loss=0.05)
    billed = {
        **THREE,
        "b@1": lately(THREE["b@1"], latency_ms=100.0, price_microusd=900.0),
        "c@1": lately(THREE["c@1"], latency_ms=500.0, price_microusd=40.0),
    }
    choice = choose(snapshot(billed), Query(task="jobs", criteria=low))
    assert choice.chosen == "c@1"
    assert "for cost: 40 millionths of a dollar against 900 millionths of a dollar" in choice.reason
    local = {**billed, "c@1": lately(THREE["c@1"], latency_ms=500.0)}
    choice = choose(snapshot(local), Query(task="jobs", criteria=low))
    assert choice.chosen == "c@1"
    assert "no bill on record against 900 millionths of a dollar" in choice.reason


@pytest.mark.requirement("COST-2", "SEL-1")
def test_where_nobody_bills_energy_or_what_stands_in_for_it_decides_and_the_reason_says_so():
    low = Criteria(preference=Preference.LOW_COST, max_quality_loss=0.05)
    measured_energy = {
        **THREE,
        "b@1": lately(THREE["b@1"], latency_ms=100.0, energy_mwh=9.0),
        "c@1": lately(THREE["c@1"], latency_ms=500.0, energy_mwh=0.5),
    }
    choice = choose(snapshot(measured_energy), Query(task="jobs", criteria=low))
    assert choice.chosen == "c@1"
    assert "for cost (nobody bills them, so energy decides): 0.50 mWh against 9.00 mWh" in choice.reason
    no_counter = {
        **THREE,
        "b@1": lately(THREE["b@1"], latency_ms=900.0, memory_mb=100.0),
        "c@1": lately(THREE["c@1"], latency_ms=100.0, memory_mb=100.0),
    }
    choice = choose(snapshot(no_counter), Query(task="jobs", criteria=low))
    assert choice.chosen == "c@1"
    assert "ms x MB" in choice.reason


@pytest.mark.requirement("SEL-2", "LRN-1")
def test_a_version_that_has_become_too_slow_is_dropped_and_comes_back_when_it_is_fast_again():
    limit = Criteria(max_latency_ms=500)
    slow = {**THREE, "b@1": lately(THREE["b@1"], latency_ms=2_000.0)}
    rows = {"jobs": {"b@1": measured(100, samples=1_000)}}
    choice = choose(snapshot(slow, evidence=rows), Query(task="jobs", criteria=limit))
    assert choice.chosen == "c@1"
    quick = {**THREE, "b@1": lately(THREE["b@1"], latency_ms=200.0)}
    rows = {"jobs": {"b@1": measured(5_000, samples=1_000)}}
    assert choose(snapshot(quick, evidence=rows), Query(task="jobs", criteria=limit)).chosen == "b@1"


@pytest.mark.requirement("LRN-3")
def test_nothing_is_explored_where_it_may_not_be():
    bound = snapshot(THREE, bindings={"jobs": Binding(task="jobs", ref="a@1")})
    for choice in (
        choose(bound, Query(task="jobs")),
        choose(snapshot(THREE), Query(task="jobs", refs=("a@1",))),
        choose(snapshot(THREE, TaskSpec(name="jobs", strategy="default", exploration=0.0)), Query(task="jobs")),
        choose(snapshot(THREE, TaskSpec(name="jobs", strategy="balanced")), Query(task="jobs")),
    ):
        assert choice.alternatives == ()
        assert choice.propensity == 1.0


@given(st.floats(0.01, 1.0), st.sets(st.sampled_from(["a@1", "c@1"])))
def test_the_odds_of_all_outcomes_of_a_draw_add_up_to_one(share: float, loaded: set[str]):
    spec = TaskSpec(name="jobs", strategy="default", exploration=share)
    choice = choose(snapshot(THREE, spec), Query(task="jobs"))
    able = tuple(ref for ref in choice.alternatives if ref in loaded)
    outcomes = [drawn(choice, ref, able) for ref in (choice.chosen, *able)]
    assert sum(outcome.propensity for outcome in outcomes) == pytest.approx(1.0)
    for outcome in outcomes:
        assert {outcome.chosen, *outcome.alternatives} == {choice.chosen, *able}
        assert set(outcome.fallbacks) == {"a@1", "b@1", "c@1"} - {outcome.chosen}


def test_a_reused_judgement_is_the_same_as_a_new_one():
    before = snapshot(THREE)
    first = choose(before, Query(task="jobs"))
    after = snapshot({**THREE, "a@1": belief(0.99)})
    again = choose(after, Query(task="jobs"), (before, first))
    assert again == choose(after, Query(task="jobs"))
    assert again.chosen == "a@1"
