"""How long refused requests wait, on a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from podium.server.patience import ADDRESS, ALL, CREDENTIAL, MOST_S, SLOT_S, SOURCES, Patience

pytestmark = pytest.mark.requirement("OPS-2")


class Clock:
    """A clock and the timers set on it."""

    def __init__(self) -> None:
        self.at = 1_000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.set = 0

    def now(self) -> float:
        return self.at

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.set += 1
        self.timers.append((self.at + delay_s, call))

    def to(self, at: float) -> None:
        """Turn the clock, calling what is due on the way."""
        while due := [one for one in self.timers if one[0] <= at]:
            first = min(due, key=lambda one: one[0])
            self.timers.remove(first)
            self.at = first[0]
            first[1]()
        self.at = at


class Waiting:
    """Somebody who waits; notes when it was called."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.called: list[float] = []

    def reconsider(self) -> None:
        self.called.append(self.clock.at)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock: Clock) -> Patience:
    return Patience(clock.now, clock.later)


def test_mistakes_are_answered_at_once_and_a_loop_of_them_waits_ever_longer_up_to_a_second(
    clock: Clock, patience: Patience
) -> None:
    waits = [patience.refused("here", b"bad") for _ in range(int(CREDENTIAL.burst) + 500)]
    free = int(CREDENTIAL.burst)
    assert not any(waits[:free])
    assert waits[free : free + 3] == pytest.approx([1 / CREDENTIAL.per_s * n for n in (1, 2, 3)])
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(MOST_S)


def test_a_source_that_keeps_its_pace_is_never_delayed_however_long_it_goes_on(
    clock: Clock, patience: Patience
) -> None:
    for _ in range(2_000):
        assert patience.refused("here", b"bad") == 0.0
        clock.at += 1.01 / CREDENTIAL.per_s


def test_the_wait_is_gone_soon_after_the_loop_ends(clock: Clock, patience: Patience) -> None:
    for _ in range(5_000):
        patience.refused("here", b"bad")
    clock.at += MOST_S + 2 / CREDENTIAL.per_s
    assert patience.refused("here", b"bad") == 0.0


def test_one_bad_key_in_a_loop_leaves_a_neighbours_mistake_from_the_same_address_alone(
    clock: Clock, patience: Patience
) -> None:
    for _ in range(1_000):  # a closed loop: the next comes when the last is answered
        clock.at += patience.refused("here", b"bad")
    assert patience.refused("here", b"bad") > 0.0
    assert patience.refused("here", b"other") == 0.0


def test_guessing_another_key_each_time_meets_the_pace_of_the_address(clock: Clock, patience: Patience) -> None:
    waits = [patience.refused("here", number) for number in range(int(ADDRESS.burst) + 300)]
    assert not any(waits[: int(ADDRESS.burst)])
    assert waits[-1] == pytest.approx(MOST_S)
    assert patience.refused("elsewhere", b"mistaken") == 0.0


def test_many_keys_from_many_addresses_meet_the_pace_of_all(clock: Clock, patience: Patience) -> None:
    waits = [patience.refused(number, number) for number in range(int(ALL.burst) + 600)]
    assert not any(waits[: int(ALL.burst)])
    assert waits[-1] == pytest.approx(MOST_S)


def test_memory_is_bounded_and_those_who_go_on_are_not_forgotten(clock: Clock, patience: Patience) -> None:
    for number in range(3 * SOURCES):
        patience.refused("here", number)
    assert patience.sources == SOURCES
    assert patience.refused("here", "new") == pytest.approx(MOST_S)


def test_one_timer_serves_all_who_wait_and_none_runs_when_nobody_does(clock: Clock, patience: Patience) -> None:
    began = clock.at
    waiting = [Waiting(clock) for _ in range(100)]
    for number, one in enumerate(waiting):
        patience.hold(one, number / 100)
    assert (patience.waiting, clock.set) == (100, 1)
    clock.to(began + 2.0)
    for number, one in enumerate(waiting):
        assert len(one.called) == 1
        assert number / 100 <= one.called[0] - began + 1e-9 <= number / 100 + 2 * SLOT_S
    assert (patience.waiting, clock.timers) == (0, [])
    assert clock.set <= 1.0 / SLOT_S + 3
