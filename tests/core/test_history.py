"""Folding and reading evidence."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_samples import attempt
from podium.core import history
from podium.domain.cost import Cost
from podium.domain.decision import Outcome
from podium.domain.evidence import Evidence

latencies = st.floats(min_value=0.05, max_value=1e7)
outcomes = st.builds(
    lambda ms, ok, left, ttft, speed: attempt(
        latency_ms=ms,
        success=ok,
        error="client_left" if left else None,
        ttft_ms=ttft,
        cost=Cost(wall_ms=ms, tokens_per_s=speed),
    )[1],
    latencies,
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1e4),
    st.none() | st.floats(0, 1e4),
)


@given(st.lists(outcomes, max_size=30), st.randoms())
@pytest.mark.no_cover
def test_the_order_of_folding_changes_no_count(items: list[Outcome], rng: object) -> None:
    shuffled = list(items)
    rng.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    one = Evidence()
    for item in items:
        one = history.fold(one, item)
    other = history.fold_all(Evidence(), shuffled)
    for name in ("samples", "successes", "latency_buckets", "ttft_samples", "tokens_per_s_samples", "last_at"):
        assert getattr(one, name) == getattr(other, name)
    assert math.isclose(one.latency_ms_sum, other.latency_ms_sum, rel_tol=1e-9)


@given(st.lists(latencies, min_size=1, max_size=100), st.floats(0, 1))
def test_a_quantile_is_within_five_percent_of_the_sample_of_its_rank(values: list[float], q: float) -> None:
    evidence = history.fold_all(Evidence(), [attempt(latency_ms=value)[1] for value in values])
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = history.latency_quantile_ms(evidence, q)
    assert found is not None
    assert abs(found - exact) <= 0.05 * exact


def test_means_are_those_computed_by_hand_and_failures_have_no_speed() -> None:
    evidence = history.fold_all(
        Evidence(),
        [
            attempt(latency_ms=100.0, ttft_ms=10.0, cost=Cost(wall_ms=100, tokens_per_s=20, cpu_ms=4))[1],
            attempt(latency_ms=300.0, ttft_ms=None, cost=Cost(wall_ms=300, peak_memory_mb=70, cpu_ms=6))[1],
            attempt(latency_ms=1.0, success=False, error="provider_unreachable", cost=Cost(wall_ms=1))[1],
            attempt(latency_ms=9.0, success=False, error="client_left", cost=Cost(wall_ms=9))[1],
        ],
    )
    evidence = history.fold_feedback(history.fold_feedback(evidence, 1.0), 0.5)
    assert (evidence.samples, evidence.successes, evidence.memory_mb_max) == (3, 2, 70)
    assert history.success_rate(evidence) == pytest.approx(2 / 3)
    assert history.mean_latency_ms(evidence) == 200
    assert history.mean_ttft_ms(evidence) == 10
    assert history.mean_tokens_per_s(evidence) == 20
    assert history.mean_cpu_ms(evidence) == 5
    assert history.mean_quality(evidence) == 0.75


def test_nothing_is_read_from_no_evidence() -> None:
    readers = (history.success_rate, history.mean_latency_ms, history.mean_ttft_ms, history.mean_tokens_per_s,
               history.mean_quality, history.mean_cpu_ms)  # fmt: skip
    assert [read(Evidence()) for read in readers] == [None] * 6
    assert history.latency_quantile_ms(Evidence(), 0.5) is None


def test_a_client_that_left_changes_nothing() -> None:
    assert history.fold(Evidence(), attempt(error="client_left", success=False)[1]) == Evidence()


def test_scores_and_quantiles_outside_of_zero_and_one_are_refused() -> None:
    with pytest.raises(ValueError, match="score"):
        history.fold_feedback(Evidence(), 1.5)
    with pytest.raises(ValueError, match="quantile"):
        history.latency_quantile_ms(Evidence(), -0.1)
