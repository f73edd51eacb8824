"""The tests of rollouts: what they say, and by simulation how often they say it wrongly. Seeds and rates are stated."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from podium.core.sensitivity import answers, detects
from podium.core.sequential.boundary import START, critical, critical_at
from podium.core.sequential.means import amount_bounds, clock, contrast, rate_bounds, score_bounds
from podium.core.sequential.pairs import Pairs, pair_bounds
from podium.core.sequential.quantiles import Histogram, difference_bounds, quantile_bounds
from podium.domain.rollout import Metric, RolloutMode, RolloutPlan

Array = NDArray[np.float64]
LEVEL, RUNS, LENGTH = 0.05, 400, 600
MOST = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)
"""Three standard deviations above the level: a correct test fails one seed in 700."""


def running(values: Array, mine: NDArray[np.bool_]) -> Array:
    """(R, T, 1, 4): sums of one arm after every request."""
    terms = np.stack([mine, mine * values, mine * values**2, mine], axis=-1)
    return np.cumsum(terms, axis=1)[:, :, None, :].astype(np.float64)


def ever(
    values: Array, turns: NDArray[np.bool_], bounds: Callable[..., tuple[Array, Array]], level: float = LEVEL
) -> NDArray[np.bool_]:
    """(R, T): the candidate is certainly below the baseline at this look (above, for amounts)."""
    sums = running(values, ~turns), running(values, turns)
    ready = (sums[0][..., 0, 0] > 1) & (sums[1][..., 0, 0] > 1)
    for one in sums:
        one[~ready] = (2.0, 1.0, 1.0, 2.0)
    seen = contrast(*sums, bounded=bounds is score_bounds)
    grid = np.concatenate([np.arange(START, 64, 0.25), np.geomspace(64, 4096, 400)])
    z = np.where(seen.clock < START, np.inf, np.interp(seen.clock, grid, critical(level, grid)))
    lower, upper = bounds(seen, np.where(np.isfinite(z), z, 50.0))
    beyond = upper < 0 if bounds is score_bounds else lower > 0
    return np.asarray(ready & np.isfinite(z) & beyond)


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize("level", [0.02, 0.05])
def test_a_path_without_drift_crosses_the_boundary_no_more_often_than_the_level(level: float) -> None:
    # 2,000 paths of 2,000 looks, seed 1
    walk = np.cumsum(np.random.default_rng(1).standard_normal((2000, 2000)), axis=1)
    time = np.arange(1, 2001.0)
    crossed = (walk / np.sqrt(time) >= critical(level, time)).any(axis=1).mean()
    assert 0.3 * level <= crossed <= level + 3 * math.sqrt(level / 2000)


def test_the_boundary_opens_at_its_start_and_grows_with_certainty() -> None:
    assert math.isinf(critical_at(0.02, START - 0.01))
    assert 2.5 < critical_at(0.02, 100.0) < critical_at(0.002, 100.0) < critical_at(0.0002, 100.0) < 6
    assert 3.0 < critical_at(0.02, 1e5) < 4.5
    single = [critical_at(0.02, float(t)) for t in (8, 50, 4000)]
    assert critical(0.02, np.array([8.0, 50.0, 4000.0])) == pytest.approx(single)


@pytest.mark.no_cover
@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("rate", [0.05, 0.3, 0.62, 0.9, 0.97])
def test_an_equal_candidate_is_condemned_no_more_often_than_the_level_looking_after_every_request(
    rate: float, share: float
) -> None:
    rng = np.random.default_rng([11, int(rate * 100), int(share * 100)])
    values = (rng.random((RUNS, LENGTH)) < rate).astype(np.float64)
    alarms = ever(values, rng.random((RUNS, LENGTH)) < share, score_bounds)
    assert alarms.any(axis=1).mean() <= MOST


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_graded_scores_with_many_ties_keep_the_level(share: float) -> None:
    rng = np.random.default_rng([12, int(share * 100)])
    values = rng.choice([0.0, 0.5, 0.7, 1.0], p=[0.1, 0.1, 0.5, 0.3], size=(RUNS, LENGTH))
    alarms = ever(values, rng.random((RUNS, LENGTH)) < share, score_bounds)
    assert alarms.any(axis=1).mean() <= MOST


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_amounts_with_a_heavy_tail_keep_the_level(share: float) -> None:
    rng = np.random.default_rng([13, int(share * 100)])
    values = rng.lognormal(1.0, 0.7, (RUNS, LENGTH))
    alarms = ever(values, rng.random((RUNS, LENGTH)) < share, amount_bounds)
    assert alarms.any(axis=1).mean() <= MOST


@pytest.mark.requirement("SWP-4")
def test_a_candidate_of_half_the_quality_is_found_within_forty_odd_answers_per_arm() -> None:
    # seed 14, 400 runs: the median over an even split
    rng = np.random.default_rng(14)
    turns = np.broadcast_to(np.arange(LENGTH) % 2 == 1, (RUNS, LENGTH))
    values = (rng.random((RUNS, LENGTH)) < np.where(turns, 0.31, 0.62)).astype(np.float64)
    alarms = ever(values, turns, score_bounds, 0.02)
    assert alarms.any(axis=1).mean() > 0.99
    assert np.median(alarms.argmax(axis=1) / 2) <= 45


def test_all_answers_of_the_larger_arm_count() -> None:
    few, many = np.array([[30.0, 18.0, 18.0, 30.0]]), np.array([[270.0, 162.0, 162.0, 270.0]])
    even, tenth = contrast(few, few, bounded=True), contrast(many, few, bounded=True)
    assert tenth.clock == pytest.approx(2 * 30 * 270 / 300)
    assert np.subtract(*score_bounds(tenth, 2.8)[::-1]) < 0.8 * np.subtract(*score_bounds(even, 2.8)[::-1])


def test_one_cell_gives_the_plain_difference_and_cells_remove_what_they_explain() -> None:
    rng = np.random.default_rng(15)
    kind = rng.random(2000) < 0.5
    arm = rng.random(2000) < np.where(kind, 0.3, 0.7)  # the candidate gets more of the hard prompts
    score = (rng.random(2000) < np.where(kind, 0.95, 0.15)).astype(np.float64)

    def sums(mine: NDArray[np.bool_], cells: list[NDArray[np.bool_]]) -> Array:
        each = [mine & cell for cell in cells]
        return np.array([[m.sum(), score[m].sum(), (score[m] ** 2).sum(), m.sum()] for m in each], dtype=np.float64)

    whole = [np.ones(2000, np.bool_)]
    plain = contrast(sums(~arm, whole), sums(arm, whole), bounded=True)
    assert plain.candidate - plain.baseline == pytest.approx(score[arm].mean() - score[~arm].mean())
    assert plain.candidate_n == pytest.approx(arm.sum())
    fair = contrast(sums(~arm, [kind, ~kind]), sums(arm, [kind, ~kind]), bounded=True)
    assert plain.candidate - plain.baseline < -0.2
    assert abs(fair.candidate - fair.baseline) < 0.05
    assert fair.candidate_spread < 0.6 * plain.candidate_spread


def test_rate_bounds_are_where_the_divergence_reaches_its_room() -> None:
    for x in (0.0, 0.02, 0.5, 0.97, 1.0):
        for room in (1e-4, 0.02, 0.4, 2.0):
            low, high = (float(one[0]) for one in rate_bounds(np.array([x]), np.array([room])))
            assert 0 <= low <= x <= high <= 1
            for p in (low, high):
                if 1e-9 < p < 1 - 1e-9 and p != x:
                    own = (x * math.log(x / p) if x else 0.0) + (
                        (1 - x) * math.log((1 - x) / (1 - p)) if x < 1 else 0.0
                    )
                    assert own == pytest.approx(room, rel=1e-5)


def test_arms_that_never_vary_are_told_apart_and_are_not_certain_too_early() -> None:
    def arm(n: float, value: float) -> Array:
        return np.array([[n, n * value, n * value**2, n]])

    _, upper = score_bounds(contrast(arm(30, 0.8), arm(30, 0.5), bounded=True), 2.9)
    assert upper < 0
    _, upper = score_bounds(contrast(arm(500, 1.0), arm(1, 0.0), bounded=True), 2.9)
    assert upper > -0.9
    lower, _ = score_bounds(contrast(arm(40, 1.0), arm(40, 1.0), bounded=True), 2.9, 0.95)
    assert lower < 0
    low, high = amount_bounds(contrast(arm(20, 100.0), arm(20, 120.0), bounded=False), 2.9)
    assert 0 < low < 20 < high


@pytest.mark.requirement("SWP-5")
def test_pairs_keep_the_level_and_find_a_loss_that_separate_prompts_hide() -> None:
    rng = np.random.default_rng(16)
    hard = rng.random((RUNS, 200, 1)) < 0.4
    both = np.where(hard, rng.random((RUNS, 200, 2)) < 0.1, rng.random((RUNS, 200, 2)) < 0.95).astype(np.float64)
    z = critical(LEVEL, np.arange(1, 201.0))

    def condemned(x: Array, y: Array) -> NDArray[np.bool_]:
        terms = (np.ones_like(x), x, y, x * x, y * y, x * y)
        _, _, upper = pair_bounds(Pairs(*(np.cumsum(term, axis=1) for term in terms)), np.minimum(z, 50.0))
        return np.asarray((upper < 0).any(axis=1))

    assert condemned(both[..., 0], both[..., 1]).mean() <= MOST
    worse = both[..., 0] * (rng.random((RUNS, 200)) < 0.8)
    assert condemned(both[..., 0], worse).mean() > 0.95


def test_a_few_pairs_without_a_difference_do_not_prove_that_there_is_none() -> None:
    few = Pairs(20.0, 20.0, 20.0, 20.0, 20.0, 20.0)
    _, lower, upper = pair_bounds(few, 2.9)
    assert lower < -0.05
    assert upper == 0


def test_the_histogram_tells_a_quantile_to_one_per_cent() -> None:
    values = np.random.default_rng(17).lognormal(6, 0.8, 5000)
    histogram = Histogram()
    for value in values.tolist():
        histogram.add(value)
    for level in (0.05, 0.5, 0.95):
        assert histogram.values([level])[0] == pytest.approx(np.quantile(values, level), rel=0.02)
    low, middle, high = quantile_bounds(histogram, 0.95, 3.0)
    assert low < middle < high < 1.3 * middle
    assert Histogram({}).values([0.5]) == [0.0]


def test_nobody_knows_the_95th_percentile_of_ten_answers() -> None:
    assert math.isinf(quantile_bounds(Histogram({200: 10}), 0.95, 2.9)[2])


@pytest.mark.requirement("SWP-4")
@pytest.mark.no_cover
def test_equal_latencies_keep_the_level() -> None:
    # 200 runs, 40 looks each (every 10 requests), seed 18, level 5 %
    rng, alarms = np.random.default_rng(18), 0
    for _ in range(200):
        arms = Histogram(), Histogram()
        for at in range(400):
            arms[rng.random() < 0.3].add(float(rng.lognormal(5, 0.7)))
            if at % 10 == 9 and arms[0].n and arms[1].n:
                z = critical_at(LEVEL, float(clock(np.float64(arms[0].n), np.float64(arms[1].n))))
                if math.isfinite(z):
                    both = [quantile_bounds(arm, 0.95, z) for arm in arms]
                    if difference_bounds(both[0], both[1])[0] > 0:
                        alarms += 1
                        break
    assert alarms / 200 <= LEVEL + 3 * math.sqrt(LEVEL / 200)


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize("loss", [0.5, 0.3])
def test_what_is_said_before_a_rollout_comes_true_in_about_four_of_five_runs(loss: float) -> None:
    plan = RolloutPlan(mode=RolloutMode.AB, limits={Metric.QUALITY: 0.95})
    count = answers(plan, loss, 0.62, None, None)
    assert count is not None
    rng = np.random.default_rng([19, int(loss * 10)])
    turns = np.broadcast_to(np.arange(2 * count) % 2 == 1, (RUNS, 2 * count))
    values = (rng.random(turns.shape) < np.where(turns, 0.62 * (1 - loss), 0.62)).astype(np.float64)
    assert 0.72 < ever(values, turns, score_bounds, 0.02).any(axis=1).mean() < 0.93


def test_the_sentence_follows_plan_quality_spread_and_traffic() -> None:
    plain = detects(RolloutPlan(), 0.62, None, None)
    assert "50%" in plain
    assert "prompts answered by both" in plain
    assert "hours" in detects(RolloutPlan(), 0.62, None, 100.0)
    assert "not before the ramp is over" in detects(RolloutPlan(), 0.62, None, 20.0)
    assert "both to the same prompt" in detects(RolloutPlan(mode=RolloutMode.SHADOW), 0.62, None, 100.0)
    assert "assumed" in detects(RolloutPlan(), None, None, None)
    assert "guards nothing" in detects(RolloutPlan(limits={Metric.SUCCESS: 0.9}), 0.6, None, None)
    counts = [answers(RolloutPlan(), loss, 0.62, None, None) for loss in (0.5, 0.3, 0.2, 0.1)]
    assert all(one is not None for one in counts)
    assert counts == sorted(counts, key=lambda one: one or 0)
    narrow = answers(RolloutPlan(), 0.1, 0.62, 0.1, None)
    assert narrow is not None
    assert narrow < 0.2 * (counts[-1] or 0)


@pytest.mark.requirement("SWP-4")
@pytest.mark.no_cover
def test_a_ramp_of_nine_phases_keeps_the_level_at_a_low_rate() -> None:
    # seed 20, 400 runs of 450 requests; a phase whose few answers all failed once looked like one without any spread
    rng, steps, each = np.random.default_rng(20), 9, 50
    phase = np.repeat(np.arange(steps), each)
    turns = rng.random((RUNS, phase.size)) < (phase + 1) / 10
    values = (rng.random(turns.shape) < 0.1).astype(np.float64)
    own = (phase[:, None] == np.arange(steps)).astype(np.float64)
    alarms = 0
    for mine, value in zip(turns, values, strict=True):
        sums = [
            np.cumsum(np.stack([arm, arm * value, arm * value, arm], axis=-1)[:, None, :] * own[..., None], axis=0)
            for arm in (~mine, mine)
        ]
        ready = (sums[0][..., 0].sum(-1) > 0) & (sums[1][..., 0].sum(-1) > 0)
        seen = contrast(sums[0][ready], sums[1][ready], bounded=True)
        z = critical(LEVEL, seen.clock)
        alarms += bool(((score_bounds(seen, np.minimum(z, 50.0))[1] < 0) & np.isfinite(z)).any())
    assert alarms / RUNS <= MOST
