"""Discounted posteriors: right intervals, quick forgetting, no harm from odd numbers or odd clocks."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace

import pytest

from ledger_samples import attempt
from podium.core import posterior
from podium.core.measurements import Measurements
from podium.domain.belief import Gauge
from podium.domain.cost import Cost, Method
from podium.domain.decision import Outcome

BASE = attempt()[1]
HOUR = 3_600.0


def outcome(
    latency_ms: float = 100.0, *, at: float = 1_000_000.0, success: bool = True, **cost: float | None
) -> Outcome:
    measured = Cost(wall_ms=latency_ms, energy_method=Method.MEASURED, **cost)
    return replace(
        BASE, task="jobs", ref="a@1", at=at, success=success, error=None if success else "x",
        latency_ms=latency_ms, ttft_ms=None, cost=measured,
    )  # fmt: skip


def folded(outcomes: list[Outcome]) -> Measurements:
    measured = Measurements()
    measured.fold(outcomes)
    return measured


def latency(measured: Measurements) -> posterior.Estimate:
    known = measured.of("jobs", "a@1")
    assert known is not None
    assert known.latency_ms is not None
    return posterior.estimate(known.latency_ms)


@pytest.mark.requirement("LRN-1")
@pytest.mark.parametrize(("samples", "spread"), [(10, 0.3), (10, 0.8), (30, 0.5), (100, 0.8)])
@pytest.mark.no_cover
def test_the_interval_of_a_mean_holds_the_true_mean_nine_times_in_ten(samples: int, spread: float) -> None:
    # 2,000 repetitions: the standard error of a share of .9 is .0067; the discount makes intervals a little too wide.
    rng, hits, above, rounds = random.Random(3), 0, 0, 2_000
    true = 400.0 * math.exp(spread**2 / 2)
    for _ in range(rounds):
        cell = posterior.empty()
        for _ in range(samples):
            posterior.fold(cell, outcome(400.0 * math.exp(rng.gauss(0.0, spread))))
        gauge = posterior.performance(cell, 0.0).latency_ms
        assert gauge is not None
        found = posterior.estimate(gauge)
        hits += found.low <= true <= found.high
        above += found.low > true
    assert 0.87 <= hits / rounds <= 0.995
    assert above / rounds <= 0.065  # the error a hard limit makes: dropping a version that keeps it


@pytest.mark.requirement("LRN-1")
def test_the_next_measurement_is_below_p95_nineteen_times_in_twenty() -> None:
    rng, below, rounds = random.Random(4), 0, 3_000
    for _ in range(rounds):
        cell = posterior.empty()
        for _ in range(15):
            posterior.fold(cell, outcome(math.exp(rng.gauss(5.0, 0.6))))
        gauge = posterior.performance(cell, 0.0).latency_ms
        assert gauge is not None
        found = posterior.estimate(gauge)
        assert found.p95 is not None
        below += math.exp(rng.gauss(5.0, 0.6)) <= found.p95
    assert below / rounds == pytest.approx(0.95, abs=0.02)


@pytest.mark.requirement("LRN-1")
def test_what_was_is_forgotten_within_some_hundred_requests() -> None:
    measured = folded([outcome(100.0)] * 2_000 + [outcome(1_000.0)] * 150)
    found = latency(measured)
    assert found.mean == pytest.approx(1_000.0, rel=0.25)
    assert found.weight == pytest.approx(1.0 / (1.0 - posterior.MEMORY), rel=0.01)
    measured.fold([outcome(1_000.0)] * 300)
    assert latency(measured).mean == pytest.approx(1_000.0, rel=0.01)


def test_sums_are_those_of_all_measurements_weighted_by_age() -> None:
    rng = random.Random(5)
    values = [math.exp(rng.gauss(3.0, 1.0)) for _ in range(80)]
    cell = posterior.empty()
    for value in values:
        posterior.fold(cell, outcome(value))
    weights = [posterior.MEMORY ** (len(values) - 1 - at) for at in range(len(values))]
    mean = sum(w * math.log(x) for w, x in zip(weights, values, strict=True)) / sum(weights)
    squares = sum(w * (math.log(x) - mean) ** 2 for w, x in zip(weights, values, strict=True))
    assert list(cell[3:6]) == pytest.approx([sum(weights), mean, squares], rel=1e-9)


def test_every_figure_has_a_posterior_of_its_own_and_none_is_made_up() -> None:
    measured = folded([outcome(50.0, tokens_per_s=20.0, energy_mwh=2.0)] * 5 + [outcome(7.0, success=False)] * 5)
    known = measured.of("jobs", "a@1")
    assert known is not None
    assert known.ttft_ms is None
    assert known.memory_mb is None
    assert [posterior.mean(x) for x in (known.tokens_per_s, known.energy_mwh) if x is not None] == pytest.approx(
        [20.0, 2.0], rel=0.1
    )
    assert latency(measured).mean == pytest.approx(50.0, rel=0.1), "a fast failure is not a fast model"
    assert (known.answered, known.asked) == (pytest.approx(4.3, abs=0.3), pytest.approx(9.2, abs=0.2))


@pytest.mark.parametrize(
    ("answered", "asked", "low", "high"),
    [(50.0, 50.0, 0.9625, 1.0), (10.0, 20.0, 0.3241, 0.6759), (0.0, 0.0, 0.0062, 0.9938)],
)
def test_the_share_of_answers_has_the_interval_of_its_beta_posterior(
    answered: float, asked: float, low: float, high: float
) -> None:
    # Quantiles of Beta(answered + .5, asked - answered + .5) at .05 and .95, from tables.
    cell = posterior.empty()
    cell[0], cell[1] = answered, asked
    found = posterior.success(posterior.performance(cell, 0.0))
    assert found.low == pytest.approx(low, abs=2e-3)
    assert found.high == pytest.approx(high, abs=2e-3)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1.0, 0.0])
def test_figures_that_cannot_be_are_left_out(wrong: float) -> None:
    measured = folded([outcome(100.0)] * 3)
    before = latency(measured)
    measured.fold([outcome(wrong, tokens_per_s=wrong, energy_mwh=wrong, peak_memory_mb=wrong, at=wrong)])
    assert latency(measured) == before
    known = measured.of("jobs", "a@1")
    assert known is not None
    assert (known.tokens_per_s, known.energy_mwh, known.memory_mb) == (None, None, None)


def test_what_nobody_renews_counts_for_less_and_less_until_it_proves_nothing() -> None:
    measured = folded([outcome(100.0, at=1_000_000.0 + at) for at in range(200)])
    fresh = latency(measured)
    measured.fold([replace(outcome(at=1_000_000.0 + 3 * 24 * HOUR), ref="b@1")])
    old = latency(measured)
    assert old.weight == pytest.approx(fresh.weight / 8, rel=0.05)
    assert old.low < fresh.low < fresh.high < old.high


@pytest.mark.requirement("LRN-1")
def test_a_clock_that_jumps_there_and_back_leaves_everything_as_it_was() -> None:
    steady = folded([outcome(100.0 + at, at=1_000_000.0 + at) for at in range(60)])
    jumping = folded(
        [
            outcome(100.0 + at, at=1_000_000.0 + at + (10**9 if at == 20 else -(10**6) if at == 40 else 0))
            for at in range(60)
        ]
    )
    assert latency(jumping) == latency(steady)
    assert jumping.dump() == steady.dump()


@pytest.mark.requirement("LRN-4")
def test_measurements_come_back_bit_for_bit_and_go_on_alike() -> None:
    rng = random.Random(6)
    stream = [
        replace(outcome(rng.lognormvariate(5, 1), at=1e9 + 60 * at), task=f"t{at % 7}", ref=f"m{at % 5}@1")
        for at in range(700)
    ]
    measured = folded(stream[:400])
    again = Measurements()
    again.load(*measured.dump())
    for one in (measured, again):
        one.fold(stream[400:])
    assert again.dump() == measured.dump()
    assert all(again.of(f"t{k}", f"m{m}@1") == measured.of(f"t{k}", f"m{m}@1") for k in range(7) for m in range(5))


def test_memory_is_bounded_and_the_pair_used_longest_ago_goes() -> None:
    measured = Measurements(limit=3)
    measured.fold([replace(outcome(), ref=f"m{number}@1") for number in (1, 2, 3, 1, 4)])
    assert len(measured) == 3
    assert measured.of("jobs", "m2@1") is None
    assert measured.of("jobs", "m1@1") is not None
    assert "m2@1" in measured.touched["jobs"]


@pytest.mark.parametrize(
    "numbers", [b"", b"\x00" * 8, b"\xff" * 8 * posterior.SLOTS, b"\x00" * 7 + b"\xc0" + b"\x00" * 136]
)
def test_numbers_that_are_no_cell_are_refused(numbers: bytes) -> None:
    with pytest.raises(ValueError, match=r"cell|read"):
        Measurements().load(0.0, [("jobs", "a@1", numbers)])


@pytest.mark.requirement("LRN-1")
def test_twenty_thousand_updates_a_second_in_a_fifth_of_a_kilobyte_each() -> None:
    stream = [
        replace(
            outcome(100.0, tokens_per_s=9.0, energy_mwh=1.0, peak_memory_mb=90.0),
            task=f"task-{at % 50}",
            ref=f"m{at % 7}@1",
        )
        for at in range(20_000)
    ]
    measured = Measurements()
    begin = time.process_time()
    measured.fold(stream)
    assert time.process_time() - begin < 1.0
    size = sum(len(task) + len(ref) + len(numbers) for task, ref, numbers in measured.dump()[1])
    assert size / len(measured) <= 200


def test_bounds_stay_finite_for_absurd_spreads() -> None:
    found = posterior.estimate(Gauge(0.01, 20.0, 100.0))
    assert all(math.isfinite(x) for x in (found.mean, found.low, found.high, found.p95 or 0.0))


@pytest.mark.requirement("COST-2")
def test_prices_are_known_of_what_is_billed_and_what_was_kept_before_prices_is_taken_over():
    known = folded([outcome(50.0, price_microusd=120), outcome(60.0, price_microusd=80), outcome(70.0)]).of(
        "jobs", "a@1"
    )
    assert known is not None
    assert known.price_microusd is not None
    assert 80 < posterior.mean(known.price_microusd) < 125
    now, rows = folded([outcome(50.0)]).dump()
    earlier = Measurements()
    earlier.load(now, [(task, ref, packed[: 8 * posterior.BEFORE_PRICES]) for task, ref, packed in rows])
    old = earlier.of("jobs", "a@1")
    assert old is not None
    assert old.latency_ms is not None
    assert old.price_microusd is None
