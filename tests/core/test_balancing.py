"""Every strategy fills what has room, never what is full, and keeps its own promise."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.balancing import LOAD_BOUND, Copy, Strategy, pick, prefix_key

LOADS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 1.0, 2.5])), max_size=6)
DRAWS = st.floats(0.0, 1.0, exclude_max=True)


def idle(count: int, capacity: int = 8) -> list[Copy]:
    return [Copy(f"m@1#{n}", 0, capacity) for n in range(count)]


@pytest.mark.requirement("POOL-4")
@settings(max_examples=400)
@given(
    strategy=st.sampled_from(Strategy),
    loads=LOADS,
    key=st.none() | st.integers(0, 2**64 - 1),
    draw=DRAWS,
    turn=st.integers(0, 10**9),
)
@pytest.mark.no_cover
def test_one_with_room_is_picked_whenever_there_is_one(
    strategy: Strategy, loads: list[tuple[int, int, float]], key: int | None, draw: float, turn: int
) -> None:
    copies = [Copy(f"c{n}", active, capacity, weight) for n, (active, capacity, weight) in enumerate(loads)]
    index = pick(strategy, copies, key=key, draw=draw, turn=turn)
    if index is None:
        assert all(copy.active >= copy.capacity for copy in copies)
    else:
        assert copies[index].active < copies[index].capacity


def test_least_busy_takes_the_smallest_share_and_lets_equals_take_turns() -> None:
    copies = [Copy("a", 2, 4), Copy("b", 3, 16), Copy("c", 0, 2)]
    assert pick(Strategy.LEAST_BUSY, copies, key=None, draw=0.0, turn=0) == 1  # 4/16 before 1/2
    copies = [Copy("a", 0, 1), Copy("b", 1, 4)]
    assert pick(Strategy.LEAST_BUSY, copies, key=None, draw=0.0, turn=0) == 1  # 2/4 before 1/1
    copies = [Copy("a", 3, 7), Copy("b", 0, 2)]
    assert pick(Strategy.LEAST_BUSY, copies, key=None, draw=0.0, turn=0) == 1  # 1/2 before 4/7
    assert [pick(Strategy.LEAST_BUSY, idle(3), key=None, draw=0.0, turn=turn) for turn in range(4)] == [0, 1, 2, 0]


def test_round_robin_takes_turns_and_skips_the_full() -> None:
    copies = idle(4)
    copies[2].active = copies[2].capacity
    turns = [pick(Strategy.ROUND_ROBIN, copies, key=None, draw=0.0, turn=turn) for turn in range(5)]
    assert turns == [0, 1, 3, 3, 0]


def test_weighted_follows_the_weights_of_those_with_room() -> None:
    """20,000 draws, seed 5: four standard errors are below 0.015."""
    rng = random.Random(5)
    copies = [Copy("a", 0, 1, 1.0), Copy("b", 0, 1, 3.0), Copy("full", 1, 1, 100.0), Copy("off", 0, 1, 0.0)]
    found = Counter(pick(Strategy.WEIGHTED, copies, key=None, draw=rng.random(), turn=0) for _ in range(20_000))
    assert set(found) == {0, 1}
    assert found[1] / 20_000 == pytest.approx(0.75, abs=0.015)


def test_without_any_weight_left_the_least_busy_is_taken() -> None:
    copies = [Copy("a", 1, 1, 5.0), Copy("b", 1, 2, 0.0), Copy("c", 0, 2, 0.0)]
    assert pick(Strategy.WEIGHTED, copies, key=None, draw=0.5, turn=0) == 2


def test_power_of_two_draws_every_pair_alike_and_takes_the_less_busy() -> None:
    """24,000 draws, seed 6, 12 ordered pairs: four standard errors of a share of 1/4 are below 0.012."""
    rng = random.Random(6)
    copies = [Copy(f"c{n}", active, 100) for n, active in enumerate((0, 10, 20, 30))]
    found = Counter(pick(Strategy.POWER_OF_TWO, copies, key=None, draw=rng.random(), turn=0) for _ in range(24_000))
    # The busiest is never the less busy of two; the others in 3, 2 and 1 of the 6 pairs.
    assert 3 not in found
    for index, share in ((0, 1 / 2), (1, 1 / 3), (2, 1 / 6)):
        assert found[index] / 24_000 == pytest.approx(share, abs=0.015)


def test_power_of_two_keeps_the_fullest_copy_close_to_the_mean() -> None:
    """1,000 requests on 50 copies: with one random choice the fullest has about 33, with two about 22 (seed 7)."""
    rng = random.Random(7)
    copies = idle(50, 1000)
    for turn in range(1000):
        index = pick(Strategy.POWER_OF_TWO, copies, key=None, draw=rng.random(), turn=turn)
        assert index is not None
        copies[index].active += 1
    assert max(copy.active for copy in copies) <= 24


@pytest.mark.requirement("POOL-4")
def test_affinity_sends_the_same_key_to_the_same_copy_wherever_it_stands_in_the_list() -> None:
    copies, rng = idle(6), random.Random(8)
    for n in range(200):
        key = prefix_key(b"session %d" % n)
        chosen = pick(Strategy.AFFINITY, copies, key=key, draw=rng.random(), turn=n)
        assert chosen is not None
        shuffled = rng.sample(copies, len(copies))
        again = pick(Strategy.AFFINITY, shuffled, key=key, draw=rng.random(), turn=0)
        assert again is not None
        assert shuffled[again].id == copies[chosen].id


def test_affinity_moves_only_the_keys_of_the_copy_that_went_away() -> None:
    copies = idle(5)
    for n in range(500):
        key = prefix_key(b"%d" % n)
        before = pick(Strategy.AFFINITY, copies, key=key, draw=0.0, turn=0)
        after = pick(Strategy.AFFINITY, copies[:4], key=key, draw=0.0, turn=0)
        if before != 4:
            assert after == before


def test_affinity_spreads_keys_evenly() -> None:
    """8,000 keys on 8 copies; chi square with 7 degrees of freedom is below 24.3 with probability 0.999."""
    copies = idle(8)
    found = Counter(
        pick(Strategy.AFFINITY, copies, key=prefix_key(b"key %d" % n), draw=0.0, turn=0) for n in range(8_000)
    )
    assert sum((found[n] - 1000) ** 2 / 1000 for n in range(8)) < 24.3


def test_affinity_spreads_small_numbers_used_as_keys_evenly() -> None:
    copies = idle(4)
    found = Counter(pick(Strategy.AFFINITY, copies, key=n, draw=0.0, turn=0) for n in range(4_000))
    assert sum((found[n] - 1000) ** 2 / 1000 for n in range(4)) < 16.3  # 3 degrees of freedom, 0.999


@pytest.mark.requirement("POOL-4")
@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(2, 8))
def test_affinity_never_loads_a_copy_beyond_its_bound_however_hot_a_key_is(keys: list[int], count: int) -> None:
    copies = idle(count, 10_000)
    for total, key in enumerate(keys, start=1):
        index = pick(Strategy.AFFINITY, copies, key=prefix_key(b"%d" % key), draw=0.0, turn=0)
        assert index is not None
        copies[index].active += 1
        assert copies[index].active <= math.ceil(LOAD_BOUND * total / count)


def test_without_a_key_affinity_is_least_busy() -> None:
    copies = [Copy("a", 3, 4), Copy("b", 1, 4), Copy("c", 2, 4)]
    assert pick(Strategy.AFFINITY, copies, key=None, draw=0.0, turn=0) == 1


def test_when_all_within_the_bound_are_full_affinity_takes_the_least_busy_of_the_rest() -> None:
    copies = [Copy("small", 1, 1), Copy("big", 9, 100), Copy("small too", 1, 1)]
    assert pick(Strategy.AFFINITY, copies, key=1, draw=0.0, turn=0) == 1


def test_a_prefix_key_is_the_same_in_every_process_and_version() -> None:
    code = "from podium.core.balancing import prefix_key; print(prefix_key(b'You are a helpful assistant.'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == prefix_key(b"You are a helpful assistant.")
    assert prefix_key(b"podium") == 0x8C33B1B7CF7C9CF8  # changing it would send every session to a cold copy
