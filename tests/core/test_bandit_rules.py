"""Guard rails, newcomers, claims, predecessors and limits of the default policy."""

from __future__ import annotations

import numpy as np
import pytest

from podium.core.bandit import Bandit, Guard

ARMS = ["small@1", "middle@1", "large@1", "huge@1"]
TASKS = [f"task-{k}" for k in range(6)]
WORTH = np.array([0.35, 0.5, 0.75, 0.6])


def teach(policy: Bandit, arms: list[str], worth: np.ndarray, requests: int, seed: int, arrived: int = 0) -> float:
    """Pseudo-regret over ``requests``."""
    rng, regret = np.random.default_rng(seed), 0.0
    for _ in range(requests):
        task = TASKS[rng.integers(len(TASKS))]
        at = arms.index(policy.choose(task, arms, float(rng.random())).arm)
        policy.observe(task, arms[at], float(rng.random() < worth[at]))
        regret += float(worth.max() - worth[at])
    return regret


@pytest.mark.requirement("LRN-3")
def test_no_exploration_where_the_request_forbids_it() -> None:
    policy = Bandit(epsilon=0.5)
    teach(policy, ARMS, WORTH, 300, seed=1)
    for guard in (Guard(explore=False), Guard(budget=0.05, spent=0.05)):
        picks = {policy.choose("task-0", ARMS, draw, guard=guard) for draw in np.linspace(0, 0.999, 50)}
        assert len(picks) == 1
        (pick,) = picks
        assert pick.propensity == 1.0
        assert pick.arm == ARMS[int(policy.table("task-0", ARMS).mean.argmax())]


@pytest.mark.requirement("LRN-3")
def test_an_arm_surely_below_the_least_quality_is_not_drawn_and_the_others_odds_sum_to_one() -> None:
    policy = Bandit(epsilon=0.4)
    for _ in range(60):
        for arm, score in zip(ARMS, (0.0, 1.0, 1.0, 1.0), strict=True):
            policy.observe("task-0", arm, score)
    odds = {
        pick.arm: pick.propensity
        for draw in np.linspace(0, 0.9999, 400)
        if (pick := policy.choose("task-0", ARMS, float(draw), guard=Guard(min_quality=0.6)))
    }
    assert set(odds) == set(ARMS[1:])
    assert sum(p for p in odds.values() if p is not None) == pytest.approx(1.0)


@pytest.mark.requirement("LRN-3")
@pytest.mark.parametrize("seed", range(5))
def test_a_newcomer_is_tried_within_ten_requests_of_each_task(seed: int) -> None:
    policy = Bandit(epsilon=0.0001)
    teach(policy, ARMS, WORTH, 1_500, seed=seed)
    arms = [*ARMS, "new@1"]
    for task in TASKS[:1]:
        picked = []
        for _ in range(10):
            pick = policy.choose(task, arms, 0.0)
            picked.append(pick.arm)
            policy.observe(task, pick.arm, 0.75)
        assert "new@1" in picked


@pytest.mark.requirement("LRN-3")
@pytest.mark.no_cover
def test_claims_that_hold_save_exploration_and_false_ones_cost_little() -> None:
    # Twelve arms, 8 runs each, seeds 0 to 7; a run differs from another by about a fifth.
    arms = [f"model-{m}@1" for m in range(12)]
    worth = np.linspace(0.2, 0.8, 12)
    regret = {}
    for name, claimed in (("none", None), ("true", worth), ("reversed", worth[::-1])):
        runs = []
        for seed in range(8):
            policy = Bandit()
            for arm, value in zip(arms, () if claimed is None else claimed, strict=claimed is not None):
                policy.expect(arm, benchmark=float(value))
            runs.append(teach(policy, arms, worth, 250, seed))
        regret[name] = float(np.mean(runs))
    assert regret["true"] < 0.95 * regret["none"]
    assert regret["reversed"] < 1.6 * regret["none"]  # an adversary's worst; measured on data in benchmarks


@pytest.mark.requirement("LRN-1", "LRN-3")
def test_a_successor_starts_from_its_predecessor_and_drops_it_when_it_misleads() -> None:
    policy = Bandit()
    teach(policy, ARMS, WORTH, 1_500, seed=2)
    policy.succeed("large@2", "large@1")
    row = policy.table("task-0", ["large@1", "large@2", "unrelated@1"])
    assert abs(row.mean[1] - row.mean[0]) < abs(row.mean[2] - row.mean[0])
    assert row.sd[1] > row.sd[0]
    assert row.weight[1] == 0.0  # the predecessor's evidence never becomes its own
    before = policy.cells.n.copy()
    for _ in range(12):
        policy.observe("task-0", "large@2", 0.0)
    assert policy.table("task-0", ["large@2"]).mean[0] < 0.3
    # and it drops out elsewhere too, where the successor was never tried
    assert policy.table("task-1", ["large@2"]).mean[0] < policy.table("task-1", ["large@1"]).mean[0] - 0.1
    assert np.array_equal(policy.cells.n[:6, :4], before[:6, :4])


@pytest.mark.requirement("LRN-3")
@pytest.mark.no_cover
def test_an_arm_that_recovers_is_found_again() -> None:
    policy, rng = Bandit(), np.random.default_rng(6)
    shares = []
    for worth in ([0.5, 0.9], [0.5, 0.2], [0.5, 0.9]):
        picked = []
        for _ in range(1_500):
            arm = policy.choose("task-0", ARMS[:2], float(rng.random())).arm
            policy.observe("task-0", arm, float(rng.random() < worth[ARMS.index(arm)]))
            picked.append(arm == ARMS[1])
        shares.append(np.mean(picked[-300:]))
    assert policy.alarms > 0
    assert shares[0] > 0.95
    assert shares[1] < 0.1
    assert shares[2] > 0.9


def test_more_names_than_there_is_room_for_are_refused_and_change_nothing() -> None:
    policy = Bandit(max_tasks=3, max_arms=2)
    for task in ("a", "b", "c"):
        policy.observe(task, "x@1", 0.5)
    policy.observe("a", "y@1", 0.5)
    with pytest.raises(ValueError, match="3 tasks are known"):
        policy.observe("d", "x@1", 0.5)
    with pytest.raises(ValueError, match="2 arms are known"):
        policy.observe("a", "z@1", 0.5)
    assert policy.count == 4
    assert policy.choose("d", ["x@1", "z@1"], 0.5).arm in {"x@1", "z@1"}


def test_asking_about_names_never_met_changes_nothing() -> None:
    policy = Bandit()
    teach(policy, ARMS, WORTH, 100, seed=3)
    before = policy.table("task-0", ARMS).index
    for number in range(2_000):
        policy.choose(f"hostile-{number}", ["no@1", *ARMS], 0.5)
    assert len(policy.cells.tasks) == len(TASKS)
    assert np.array_equal(policy.table("task-0", ARMS).index, before)


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_a_claim_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Bandit().expect("a@1", benchmark=value)


def test_a_version_cannot_follow_itself() -> None:
    with pytest.raises(ValueError, match="follow itself"):
        Bandit().succeed("a@1", "a@1")
