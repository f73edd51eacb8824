"""What was learned is written whole and read back bit for bit; anything else is refused with the way out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from podium.core.bandit import Bandit
from podium.core.belief_file import FORMAT, MAGIC, UnreadableBeliefs, dump, load

ARMS = [f"model-{m}@1" for m in range(7)]
TASKS = [f"task {k} ä" for k in range(5)]


def lived(requests: int = 600, seed: int = 3) -> Bandit:
    policy, rng = Bandit(), np.random.default_rng(seed)
    policy.expect(ARMS[0], benchmark=0.6, log2_size=3.0)
    policy.succeed(ARMS[6], ARMS[5])
    truth = rng.random((len(TASKS), len(ARMS)))
    for t in range(requests):
        if t == requests // 2:
            truth = truth[:, ::-1]
        more(policy, truth, rng)
    return policy


def more(policy: Bandit, truth: np.ndarray, rng: np.random.Generator) -> str:
    k = int(rng.integers(len(TASKS)))
    arm = policy.choose(TASKS[k], ARMS, float(rng.random())).arm
    policy.observe(TASKS[k], arm, float(rng.random() < truth[k, ARMS.index(arm)]))
    return arm


@pytest.mark.requirement("LRN-4")
def test_after_a_restart_every_belief_and_every_later_decision_is_the_same_bit_for_bit() -> None:
    one = lived()
    assert one.alarms > 0  # so that what the watch remembers and forgets is part of it
    two = load(dump(one))
    assert dump(two) == dump(one)
    for task in [*TASKS, "never met"]:
        for name in ("index", "mean", "sd", "weight"):
            assert np.array_equal(getattr(one.table(task, ARMS), name), getattr(two.table(task, ARMS), name))
    truth = np.random.default_rng(9).random((len(TASKS), len(ARMS)))
    first, second = np.random.default_rng(10), np.random.default_rng(10)
    for _ in range(400):
        assert more(one, truth, first) == more(two, truth, second)
    assert dump(one) == dump(two)


@pytest.mark.requirement("LRN-4")
def test_the_state_follows_from_the_log_alone_however_often_it_was_written_or_asked() -> None:
    rng = np.random.default_rng(4)
    log = [(TASKS[rng.integers(5)], ARMS[rng.integers(7)], float(rng.random())) for _ in range(500)]
    once, often = Bandit(), Bandit()
    for number, (task, arm, score) in enumerate(log):
        once.observe(task, arm, score)
        often.observe(task, arm, score)
        often.table(task, ARMS)
        if number % 50 == 0:
            often = load(dump(often))
    assert dump(once) == dump(often)


def test_a_cell_takes_at_most_one_kilobyte() -> None:
    policy, rng = Bandit(), np.random.default_rng(5)
    for k in range(20):
        for m in range(30):
            policy.observe(f"task-{k}", f"model-{m}@1", float(rng.random()))
    assert len(dump(policy)) / (20 * 30) <= 1_024 / 6


def test_an_empty_policy_is_read_back() -> None:
    assert dump(load(dump(Bandit()))) == dump(Bandit())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no learned beliefs"),
        (b"SQLite format 3", "no learned beliefs"),
        (MAGIC + (FORMAT + 1).to_bytes(4, "little") + bytes(40), "format 2"),
        (MAGIC, "format 0"),
    ],
)
def test_what_is_no_state_of_this_format_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UnreadableBeliefs, match=words):
        load(data)


def test_a_state_that_was_cut_off_or_changed_is_refused() -> None:
    data = dump(lived(50))
    for cut in (len(MAGIC) + 9, len(data) // 2, len(data) - 1):
        with pytest.raises(UnreadableBeliefs, match="rebuild"):
            load(data[:cut])
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    with pytest.raises(UnreadableBeliefs, match="damaged"):
        load(bytes(changed))


def test_claims_that_are_missing_stay_missing() -> None:
    policy = Bandit()
    policy.expect("a@1", log2_size=3.0)
    assert math.isnan(load(dump(policy)).claims["a@1"][0])
