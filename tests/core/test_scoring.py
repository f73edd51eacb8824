"""Score presets against values computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core import scoring
from podium.domain.evidence import Evidence
from podium.domain.task import Criteria, Preference, Weights
from podium.errors import InvalidRequest

NOW = 1_000_000_000.0
DAY = 86_400.0
# 20 outcomes, 18 delivered with 2,000 ms each, 10 scores that sum to 8.5, 1,024 MB, newest one day old.
PROVEN = Evidence(
    samples=20,
    successes=18,
    latency_ms_sum=36_000.0,
    quality_sum=8.5,
    quality_samples=10,
    memory_mb_max=1_024.0,
    last_at=NOW - DAY,
)


@pytest.mark.requirement("SEL-3")
def test_balanced_equals_the_hand_computation_with_the_callers_limits() -> None:
    criteria = Criteria(max_latency_ms=5_000, max_memory_mb=2_048)
    value, terms = scoring.score(PROVEN, criteria, None, scoring.PRESETS["balanced"], NOW)
    # quality 8.5/10 = 0.85; latency 1 - 2000/5000 = 0.6; memory 1 - 1024/2048 = 0.5;
    # reliability 18/20 = 0.9; recency 1 - 1/7 = 6/7 = 0.857142857
    assert dict(terms) == pytest.approx(
        {"quality": 0.85, "latency": 0.6, "memory": 0.5, "reliability": 0.9, "recency": 0.857142857142857}
    )
    # 0.4*0.85 + 0.3*0.6 + 0.1*0.5 + 0.1*0.9 + 0.1*6/7 = 0.34 + 0.18 + 0.05 + 0.09 + 0.0857142857
    assert value == pytest.approx(0.7457142857142857, abs=1e-12)


@pytest.mark.requirement("SEL-3")
def test_classic_equals_the_hand_computation_with_the_callers_limits() -> None:
    criteria = Criteria(max_latency_ms=5_000, max_memory_mb=2_048)
    value, _ = scoring.score(PROVEN, criteria, None, scoring.PRESETS["classic"], NOW)
    # 0.4*0.85 + 0.3*0.6 + 0.2*0.5 + 0.1*0.9 = 0.34 + 0.18 + 0.10 + 0.09
    assert value == pytest.approx(0.71, abs=1e-12)


@pytest.mark.requirement("SEL-3")
def test_without_limits_the_documented_defaults_of_ten_seconds_and_8192_mb_count() -> None:
    value, terms = scoring.score(PROVEN, Criteria(), None, scoring.PRESETS["balanced"], NOW)
    # latency 1 - 2000/10000 = 0.8; memory 1 - 1024/8192 = 0.875
    assert dict(terms)["latency"] == pytest.approx(0.8)
    assert dict(terms)["memory"] == pytest.approx(0.875)
    # 0.34 + 0.3*0.8 + 0.1*0.875 + 0.09 + 0.0857142857 = 0.34 + 0.24 + 0.0875 + 0.09 + 0.0857142857
    assert value == pytest.approx(0.8432142857142857, abs=1e-12)


@pytest.mark.requirement("SEL-3")
@pytest.mark.parametrize("samples", [0, 1, 9])
@pytest.mark.parametrize("preset", ["balanced", "classic"])
def test_under_ten_samples_a_version_scores_exactly_one_half(samples: int, preset: str) -> None:
    bad = Evidence(samples=samples, quality_sum=0.0, quality_samples=samples)
    assert scoring.score(bad, Criteria(), None, scoring.PRESETS[preset], NOW) == (0.5, ())


def test_no_evidence_at_all_scores_one_half_and_ten_samples_score_for_real() -> None:
    assert scoring.score(None, Criteria(), None, scoring.PRESETS["balanced"], NOW)[0] == 0.5
    ten = replace(PROVEN, samples=10, successes=10, latency_ms_sum=20_000.0)
    assert scoring.score(ten, Criteria(), None, scoring.PRESETS["balanced"], NOW)[0] != 0.5


def test_a_value_over_its_limit_makes_the_term_zero_not_negative() -> None:
    _, terms = scoring.score(
        PROVEN, Criteria(max_latency_ms=500, max_memory_mb=100), None, scoring.PRESETS["balanced"], NOW
    )
    assert dict(terms)["latency"] == 0.0
    assert dict(terms)["memory"] == 0.0


def test_what_was_never_measured_is_neutral_and_never_succeeding_is_not() -> None:
    failing = Evidence(samples=12, successes=0, last_at=NOW)
    _, terms = scoring.score(failing, Criteria(), None, scoring.PRESETS["balanced"], NOW)
    assert dict(terms) == {"quality": 0.5, "latency": 0.0, "memory": 0.5, "reliability": 0.0, "recency": 1.0}


def test_the_footprint_stands_in_until_memory_was_measured() -> None:
    blank = replace(PROVEN, memory_mb_max=None)
    _, terms = scoring.score(blank, Criteria(max_memory_mb=1_000), 250 * 2**20, scoring.PRESETS["balanced"], NOW)
    assert dict(terms)["memory"] == pytest.approx(0.75)


@pytest.mark.requirement("SEL-3")
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (Weights(quality=-0.1, latency=0.5, memory=0.2, reliability=0.2, recency=0.2), "quality is -0.1"),
        (Weights(quality=0.4, latency=0.3, memory=0.1, reliability=0.1, recency=0.2), "sum to 1.1"),
        (Weights(quality=0.0, latency=0.0, memory=0.0, reliability=0.0, recency=0.0), "all weights are 0"),
        (Weights(quality=float("nan"), latency=1, memory=0, reliability=0, recency=0), "quality is nan"),
        (Weights(quality=float("inf"), latency=0, memory=0, reliability=0, recency=0), "quality is inf"),
    ],
)
def test_weights_that_are_negative_or_do_not_sum_to_one_are_refused_by_name(weights: Weights, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        scoring.validate(weights)


def test_every_preset_and_preference_is_a_valid_set_of_weights() -> None:
    assert set(scoring.PREFERENCES) == set(Preference)
    for weights in (*scoring.PRESETS.values(), *scoring.PREFERENCES.values()):
        assert scoring.validate(weights) is weights


def test_a_sum_within_1e_9_of_one_passes_and_beyond_it_does_not() -> None:
    scoring.validate(Weights(quality=1 - 5e-10, latency=0, memory=0, reliability=0, recency=0))
    with pytest.raises(InvalidRequest):
        scoring.validate(Weights(quality=1 - 2e-9, latency=0, memory=0, reliability=0, recency=0))


def test_a_preference_wins_over_the_strategy_and_an_unknown_strategy_lists_the_known_ones() -> None:
    own = Weights(quality=1, latency=0, memory=0, reliability=0, recency=0)
    assert scoring.weights_for("mine", None, {"mine": own}) == ("mine", own)
    name, weights = scoring.weights_for("mine", Preference.FAST, {"mine": own})
    assert (name, weights.latency) == ("prefer fast", 0.6)
    with pytest.raises(InvalidRequest, match="balanced, classic, mine"):
        scoring.weights_for("best", None, {"mine": own})


@given(
    samples=st.integers(0, 10_000),
    failed=st.integers(0, 10_000),
    latency=st.floats(0, 1e9),
    quality=st.floats(0, 1),
    memory=st.none() | st.floats(0, 1e9),
    limit=st.none() | st.floats(0, 1e9),
    age=st.floats(-1e6, 1e9),
)
def test_score_and_terms_stay_within_zero_and_one(
    samples: int, failed: int, latency: float, quality: float, memory: float | None, limit: float | None, age: float
) -> None:
    successes = max(0, samples - failed)
    evidence = Evidence(
        samples=samples,
        successes=successes,
        latency_ms_sum=latency * successes,
        quality_sum=quality * samples,
        quality_samples=samples,
        memory_mb_max=memory,
        last_at=NOW - age,
    )
    criteria = Criteria(max_latency_ms=limit, max_memory_mb=limit)
    for weights in (*scoring.PRESETS.values(), *scoring.PREFERENCES.values()):
        value, terms = scoring.score(evidence, criteria, None, weights, NOW)
        assert 0.0 <= value <= 1.0
        assert all(0.0 <= term <= 1.0 for _, term in terms)
