"""The baselines: what each chooses, and that the probability it states is the one it chooses with."""

from __future__ import annotations

import math

import numpy as np
import pytest

from podium.core.baselines import BASELINES, EpsilonGreedy, LinUcb, Preset, Thompson, Ucb1, pick
from podium.core.scoring import PRESETS, score
from podium.domain.evidence import Evidence
from podium.domain.task import Criteria

ARMS = ("a", "b", "c", "d")
NAMES = tuple(BASELINES)


def taught(name, rounds=60, seed=3):
    """A policy that saw some outcomes, the arms being worth .2, .5, .55 and .4."""
    policy, rng = BASELINES[name](), np.random.default_rng(seed)
    for _ in range(rounds):
        arm = policy.choose("t", ARMS, float(rng.random())).arm
        worth = dict(zip(ARMS, (0.2, 0.5, 0.55, 0.4), strict=True))[arm]
        policy.observe("t", arm, float(rng.random() < worth))
    return policy


@pytest.mark.no_cover
@pytest.mark.requirement("TRK-4")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rounds", [0, 5, 60])
def test_simulated_frequencies_match_the_stated_propensities(name, rounds):
    # Seed 3; 20,000 draws; every frequency within 4.5 standard errors: a false alarm in 10^5 comparisons.
    policy, draws = taught(name, rounds), 20_000
    seen: dict[str, list[float]] = {}
    for draw in np.random.default_rng(3).random(draws):
        one = policy.choose("t", ARMS, float(draw))
        seen.setdefault(one.arm, []).append(one.propensity)
    assert sum(stated[0] for stated in seen.values()) == pytest.approx(1.0, abs=1e-3)
    for arm, stated in seen.items():
        assert len(set(stated)) == 1, arm
        error = math.sqrt(stated[0] * (1 - stated[0]) / draws)
        assert len(stated) / draws == pytest.approx(stated[0], abs=4.5 * error + 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_choosing_changes_nothing_and_the_same_draw_gives_the_same_choice(name):
    policy = taught(name)
    first = [policy.choose("t", ARMS, draw / 50) for draw in range(50)]
    assert first == [policy.choose("t", ARMS, draw / 50) for draw in range(50)]


@pytest.mark.parametrize("name", NAMES)
def test_only_offered_arms_are_chosen_and_none_is_an_error(name):
    policy = taught(name)
    assert {policy.choose("t", ("d", "b"), draw / 20).arm for draw in range(20)} <= {"b", "d"}
    assert policy.choose("unseen task", ("x",), 0.99) == policy.choose("t", ("x",), 0.0)
    with pytest.raises(ValueError, match="no arm"):
        policy.choose("t", (), 0.5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("value", "weight"), [(1.1, 1), (-0.1, 1), (math.nan, 1), (1, 0), (1, math.inf)])
def test_scores_out_of_range_and_impossible_weights_are_refused(name, value, weight):
    with pytest.raises(ValueError, match=r"score|weight"):
        BASELINES[name]().observe("t", "a", value, weight=weight)


def test_a_draw_just_below_one_never_falls_on_an_arm_without_a_share():
    assert pick(("a", "b", "c"), (0.1, 0.2, 0.7 - 1e-16), 1 - 2**-53).arm == "c"
    assert pick(("a", "b"), (1.0, 0.0), 1 - 2**-53).arm == "a"


def test_epsilon_greedy_tries_every_arm_and_then_keeps_to_the_best_mean():
    policy = EpsilonGreedy(0.2)
    assert policy.distribution("t", ARMS) == pytest.approx([0.25] * 4)
    for arm, value in (("a", 0.5), ("b", 0.9), ("c", 0.1)):
        policy.observe("t", arm, value)
    assert policy.distribution("t", ARMS) == pytest.approx([0.05, 0.05, 0.05, 0.85])
    policy.observe("t", "d", 0.0)
    assert policy.distribution("t", ARMS) == pytest.approx([0.05, 0.85, 0.05, 0.05])


def test_ucb1_is_the_formula_of_the_paper():
    policy, values = Ucb1(), {"a": [0.5] * 6, "b": [0.9], "c": [0.7, 0.7]}
    for arm, scores in values.items():
        for value in scores:
            policy.observe("t", arm, value)
    index = {arm: np.mean(v) + math.sqrt(2 * math.log(9) / len(v)) for arm, v in values.items()}
    assert policy.choose("t", ("a", "b", "c"), 0.5).arm == max(index, key=lambda arm: index[arm])


def test_linucb_is_the_ridge_regression_it_stands_for():
    rng, policy, tasks = np.random.default_rng(5), LinUcb(0.7), ("t", "u", "v")
    design: dict[str, list] = {arm: [] for arm in ARMS}
    for _ in range(80):
        task, arm, value = rng.integers(3), ARMS[rng.integers(4)], float(rng.random())
        policy.observe(tasks[task], arm, value)
        design[arm].append((np.eye(3)[task], value))
    for task in range(3):
        x, index = np.eye(3)[task], []
        for arm in ARMS:
            inverse = np.linalg.inv(np.eye(3) + sum(np.outer(z, z) for z, _ in design[arm]))
            theta = inverse @ sum(z * y for z, y in design[arm])
            index.append(x @ theta + 0.7 * math.sqrt(x @ inverse @ x))
        assert policy.choose(tasks[task], ARMS, 0.5).arm == ARMS[int(np.argmax(index))]


@pytest.mark.parametrize(
    "seen",
    [
        [(0, 0), (3, 1), (10, 9), (40, 20)],
        [(2000, 1200), (1800, 1100), (5, 1), (1, 1)],
        [(100_000, 50_000), (100_000, 50_100), (50, 10), (0, 0)],
        [(30, 0), (30, 30), (29, 29), (1, 0)],
    ],
)
def test_thompson_states_the_probabilities_of_sampling_its_posteriors(seen):
    # Seed 7; 200,000 draws: standard error .0011 at most, so .005 is the quadrature's .001 and 3.5 errors.
    policy = Thompson()
    for arm, (count, total) in zip(ARMS, seen, strict=True):
        if total:
            policy.observe("t", arm, 1.0, weight=total)
        if count > total:
            policy.observe("t", arm, 0.0, weight=count - total)
    table = np.array(seen, dtype=float)
    samples = np.random.default_rng(7).beta(1 + table[:, 1], 1 + table[:, 0] - table[:, 1], (200_000, 4))
    simulated = np.bincount(samples.argmax(axis=1), minlength=4) / 200_000
    assert policy.distribution("t", ARMS) == pytest.approx(simulated, abs=0.005)


@pytest.mark.requirement("SEL-3")
@pytest.mark.parametrize("name", ["balanced", "classic"])
def test_presets_are_the_products_own_scores(name):
    policy = Preset(name)
    for arm, value, latency in (("b", 0.3, 2.0), ("c", 0.9, 4.0)):
        for _ in range(12):
            policy.observe("t", arm, value, latency_s=latency)

    def product(value, latency_s, last_at):
        known = Evidence(
            samples=12,
            successes=12,
            latency_ms_sum=12_000 * latency_s,
            quality_sum=12 * value,
            quality_samples=12,
            last_at=last_at,
        )
        return score(known, Criteria(), None, PRESETS[name], 24.0)[0]

    expected = {"a": 0.5, "b": product(0.3, 2.0, 12.0), "c": product(0.9, 4.0, 24.0)}
    chosen = policy.choose("t", ("a", "b", "c"), 0.5)
    assert (chosen.arm, chosen.propensity) == (max(expected, key=lambda arm: expected[arm]), 1.0)


def test_a_preset_keeps_to_the_first_acceptable_arm_and_the_alphabet_breaks_ties():
    policy = Preset("balanced")
    assert policy.choose("t", ("c", "b"), 0.9).arm == "b"
    for _ in range(10):
        policy.observe("t", "b", 0.6)
    assert policy.choose("t", ("a", "b", "c"), 0.9).arm == "b"
