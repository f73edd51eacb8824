"""The sample of judged answers: known probabilities, unbiased means, honest intervals, a budget that holds."""

from __future__ import annotations

import math
import random

import pytest

from podium.core.judge_budget import BURST_S, Budget, Limits
from podium.core.sampling import (
    Odds,
    Thinning,
    hajek,
    looking,
    place,
    sums_of,
    sureness,
    teaching_weight,
)

pytestmark = pytest.mark.requirement("JDG-5")


def answers(rng: random.Random, count: int) -> list[tuple[float, bool]]:
    """(score, shows a sign): one in eight looks bad and mostly is."""
    made = []
    for _ in range(count):
        bad = rng.random() < 0.125
        made.append((max(0.0, min(1.0, rng.gauss(0.15 if bad else 0.8, 0.15))), bad))
    return made


def test_a_decision_lies_where_its_id_says_and_places_are_uniform():
    places = [place(f"dec_{number:x}") for number in range(20_000)]
    assert places[7] == place("dec_7")
    assert all(0.0 <= one < 1.0 for one in places)
    for tenth in range(10):
        share = sum(tenth / 10 <= one < (tenth + 1) / 10 for one in places) / len(places)
        assert share == pytest.approx(0.1, abs=0.01)


def test_a_sign_raises_the_probability_and_never_lowers_it():
    odds = Odds(0.1, 1.0, 0.4)
    assert odds.inclusion(sign=False) == 0.1
    assert odds.inclusion(sign=True) == 0.4, "only two in five are looked at"
    assert Odds(0.5, 0.2).inclusion(sign=True) == 0.5
    assert Odds(0.1, 0.0).interesting() == 0.1
    assert odds.interesting() == 0.4
    assert (looking(10, 50), looking(200, 50)) == (1.0, 0.25)


@pytest.mark.no_cover
def test_the_weighted_mean_is_unbiased_whatever_picked_the_answers():
    """Monte Carlo, seed 3: 300 samples of 1,000 answers; the plain mean of what was judged is far off."""
    rng = random.Random(3)
    weighted, plain, truth = [], [], []
    for run in range(300):
        made = answers(rng, 1_000)
        truth.append(sum(score for score, _ in made) / len(made))
        odds = Odds(0.1, 1.0, 0.6)
        picked = []
        for number, (score, bad) in enumerate(made):
            probability = odds.inclusion(sign=bad)
            if place(f"{run}-{number}") < probability:
                picked.append((score, probability))
        weighted.append(hajek(sums_of(picked)).mean)
        plain.append(sum(score for score, _ in picked) / len(picked))
    error = sum(w - t for w, t in zip(weighted, truth, strict=True)) / 300
    spread = math.sqrt(sum((w - t) ** 2 for w, t in zip(weighted, truth, strict=True)) / 300)
    assert abs(error) < 3.5 * spread / math.sqrt(300), (error, spread)
    assert sum(plain) / 300 < sum(truth) / 300 - 0.15


def test_making_room_keeps_the_mean_unbiased_and_the_line_at_its_limit():
    """Monte Carlo, seed 5: a queue of 40 that is filled with 200 and emptied at random times."""
    rng = random.Random(5)
    errors = []
    for run in range(400):
        made = answers(rng, 200)
        thinning, line, judged = Thinning(40), {}, []
        for number, (score, bad) in enumerate(made):
            probability = Odds(0.5, 1.0).inclusion(sign=bad)
            where = place(f"{run}:{number}")
            if where < probability * thinning.share:
                line[number] = (where, probability, thinning.share, score)
            while thinning.over(len(line)):
                line = {
                    key: (at, odds, min(share, thinning.share), value)
                    for key, (at, odds, share, value) in line.items()
                    if at < odds * min(share, thinning.share)
                }
            assert len(line) <= 40
            if rng.random() < 0.05 and line:
                for key in list(line)[:20]:
                    _, odds, share, value = line.pop(key)
                    judged.append((value, odds * share))
                thinning.relax(len(line))
        judged += [(value, odds * share) for _, odds, share, value in line.values()]
        total = sum(value / probability for value, probability in judged)  # Horvitz-Thompson: exactly unbiased
        errors.append(total / len(made) - sum(score for score, _ in made) / len(made))
    spread = math.sqrt(sum(one * one for one in errors) / len(errors))
    assert abs(sum(errors) / len(errors)) < 3.5 * spread / math.sqrt(len(errors))


@pytest.mark.no_cover
def test_the_interval_covers_what_a_version_is_worth():
    """Monte Carlo, seed 11: 95 % nominal; 400 runs, so 92.5 % to 98.5 % is within four standard errors and Wilson's care."""
    rng = random.Random(11)
    worth = 0.125 * 0.15 + 0.875 * 0.8
    hits = 0
    for run in range(400):
        picked = []
        for number, (score, bad) in enumerate(answers(rng, 500)):
            probability = Odds(0.1, 1.0).inclusion(sign=bad)
            if place(f"{run}/{number}") < probability:
                picked.append((score, probability))
        found = hajek(sums_of(picked))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= worth <= found.high
    assert 0.925 <= hits / 400 <= 0.985, hits


def test_few_answers_give_a_wide_interval_and_none_gives_nothing():
    assert hajek(sums_of([])).mean is None
    one = hajek(sums_of([(0.5, 0.1)]))
    assert (one.mean, one.low) == (0.5, None)
    same = hajek(sums_of([(1.0, 0.5)] * 3))
    assert same.low is not None
    assert same.low < 0.6
    assert same.high == pytest.approx(1.0)


@pytest.mark.no_cover
def test_a_learner_that_weighs_what_signs_picked_learns_the_mean_of_all():
    """Monte Carlo, seed 17: the weighted mean a learner sees, over 200,000 answers."""
    rng = random.Random(17)
    odds, total, weights, truth = Odds(0.2, 1.0), 0.0, 0.0, 0.0
    made = answers(rng, 200_000)
    for number, (score, bad) in enumerate(made):
        truth += score
        probability = odds.inclusion(sign=bad)
        if place(f"l{number}") < probability:
            weight = teaching_weight(odds.sample, probability)
            total, weights = total + weight * score, weights + weight
    assert total / weights == pytest.approx(truth / len(made), abs=0.005)


def test_an_unsure_verdict_is_worth_less():
    assert sureness(None) == 1.0
    assert sureness(0.0) == 1.0
    assert sureness(0.2) > sureness(0.4) > 0.4


@pytest.mark.requirement("JDG-5")
def test_a_budget_holds_over_time_and_says_what_is_short():
    budget = Budget(Limits(compute_share=0.1, tokens_per_hour=36_000), 0.0)
    now, used = 0.0, 0.0
    while now < 7_200:
        if budget.short_of(now) is None:
            budget.spend(3.0, 100, now)
            used += 3.0
        now += 1.0
    assert used <= 0.1 * (7_200 + BURST_S) + 3.0
    assert used >= 0.09 * 7_200
    budget = Budget(Limits(compute_share=None, tokens_per_hour=3_600), 0.0)
    budget.spend(0.1, 10_000, 0.0)
    assert budget.short_of(0.0) == "tokens"
    assert budget.wait_s(0.0) == pytest.approx(10_000 - BURST_S, rel=0.01)
    assert budget.short_of(20_000.0) is None


def test_energy_is_estimated_from_watts_or_not_at_all():
    assert Budget(Limits(), 0.0).spent().energy_mwh is None
    budget = Budget(Limits(compute_share=None, energy_mwh_per_hour=100.0, watts=36.0), 0.0)
    budget.spend(10.0, 5, 0.0)
    assert budget.spent().energy_mwh == pytest.approx(100.0)
    assert budget.short_of(0.0) == "energy"
    nothing = Budget(Limits(compute_share=0.0), 0.0)
    assert nothing.short_of(1e9) == "compute seconds"
