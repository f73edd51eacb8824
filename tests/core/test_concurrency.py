"""The limit finds what a server can really do, from refusals or from queueing, and keeps to its bounds."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.concurrency import REMEMBER_S, AdaptiveLimit


def use(limit: AdaptiveLimit, rounds: int, *, in_flight: int | None = None, latency_s: float | None = None) -> None:
    for _ in range(rounds):
        under_way = limit.limit if in_flight is None else in_flight
        limit.finished(limit.started(), in_flight=under_way, latency_s=latency_s, now=0.0)


def test_it_grows_by_about_one_place_per_round_of_requests() -> None:
    limit = AdaptiveLimit(initial=4, ceiling=32)
    use(limit, 5)
    assert limit.limit == 5
    use(limit, 6)
    assert limit.limit == 6


def test_it_does_not_grow_when_most_of_it_was_not_used() -> None:
    limit = AdaptiveLimit(initial=10, ceiling=32)
    use(limit, 1000, in_flight=7)
    assert limit.limit == 10
    use(limit, 11, in_flight=8)
    assert limit.limit == 11


def test_a_burst_of_refusals_is_one_cut() -> None:
    limit = AdaptiveLimit(initial=20, ceiling=32)
    tokens = [limit.started() for _ in range(20)]
    for token in tokens:
        limit.overloaded(token, now=0.0)
    assert limit.limit == 14
    limit.overloaded(limit.started(), now=0.1)
    assert limit.limit == 10


def test_a_cut_is_to_70_percent_rounded_up_but_one_place_at_least() -> None:
    after = []
    for initial in (1, 2, 3, 4, 5, 10, 11, 17):
        limit = AdaptiveLimit(initial, ceiling=32)
        limit.overloaded(limit.started(), now=0.0)
        after.append(limit.limit)
    assert after == [1, 1, 2, 3, 4, 7, 8, 12]


def test_what_started_before_a_cut_does_not_make_it_grow_again() -> None:
    limit = AdaptiveLimit(initial=10, ceiling=32)
    tokens = [limit.started() for _ in range(10)]
    limit.overloaded(tokens[0], now=0.0)
    for token in tokens[1:]:
        limit.finished(token, in_flight=10, latency_s=None, now=0.1)
    assert limit.limit == 7
    use(limit, 8)
    assert limit.limit == 8


def test_the_level_of_the_last_refusal_is_approached_slowly_and_forgotten_in_time() -> None:
    def rounds_to_ten(now: float) -> int:
        limit = AdaptiveLimit(initial=10, ceiling=32)
        limit.overloaded(limit.started(), now=0.0)
        count = 0
        while limit.limit < 10:
            limit.finished(limit.started(), in_flight=limit.limit, latency_s=None, now=now)
            count += 1
        return count

    assert rounds_to_ten(1.0) > 3 * rounds_to_ten(REMEMBER_S + 1.0)


def test_beyond_the_level_of_an_old_refusal_it_grows_at_full_speed_again() -> None:
    limit = AdaptiveLimit(initial=10, ceiling=64)
    limit.overloaded(limit.started(), now=0.0)
    while limit.limit < 11:
        use(limit, 1)
    use(limit, 12)
    assert limit.limit == 12


def test_a_slow_first_byte_under_load_stops_growth_and_does_not_cut() -> None:
    limit = AdaptiveLimit(initial=8, ceiling=32)
    use(limit, 5, in_flight=1, latency_s=0.1)
    use(limit, 200, latency_s=0.5)
    assert limit.limit == 8
    use(limit, 40, latency_s=0.1)
    assert limit.limit > 8


def test_a_server_that_became_slower_for_good_is_measured_anew_at_low_load() -> None:
    limit = AdaptiveLimit(initial=8, ceiling=32)
    limit.finished(limit.started(), in_flight=1, latency_s=0.1, now=0.0)
    for second in range(20):  # a bigger prompt template, say: everything takes 0.5 s now
        limit.finished(limit.started(), in_flight=1, latency_s=0.5, now=REMEMBER_S + 1.0 + second)
    for _ in range(10):
        limit.finished(limit.started(), in_flight=8, latency_s=0.5, now=REMEMBER_S + 30.0)
    assert limit.limit == 9


@pytest.mark.parametrize(("in_flight", "grown"), [(4, 9), (5, 8)])
def test_low_load_is_half_of_the_limit(in_flight: int, grown: int) -> None:
    limit = AdaptiveLimit(initial=8, ceiling=32)
    limit.finished(limit.started(), in_flight=1, latency_s=0.1, now=0.0)
    for _ in range(30):
        limit.finished(limit.started(), in_flight=in_flight, latency_s=0.5, now=REMEMBER_S + 1.0)
    for _ in range(10):
        limit.finished(limit.started(), in_flight=8, latency_s=0.5, now=REMEMBER_S + 2.0)
    assert limit.limit == grown


def test_when_not_adaptive_nothing_moves_it() -> None:
    limit = AdaptiveLimit(initial=4, ceiling=8, adaptive=False)
    use(limit, 100)
    limit.overloaded(limit.started(), now=0.0)
    assert limit.limit == 4


@pytest.mark.parametrize(("ceiling", "floor"), [(4, 0), (4, 5), (0, 0)])
def test_impossible_bounds_are_refused(ceiling: int, floor: int) -> None:
    with pytest.raises(ValueError, match="floor <= ceiling"):
        AdaptiveLimit(initial=1, ceiling=ceiling, floor=floor)


@given(
    initial=st.integers(-5, 100),
    bounds=st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted),
    events=st.lists(
        st.tuples(st.sampled_from(["started", "finished", "overloaded"]), st.integers(0, 50), st.floats(0, 100)),
        max_size=150,
    ),
)
def test_whatever_happens_it_stays_within_its_bounds_and_only_refusals_make_it_smaller(
    initial: int, bounds: list[int], events: list[tuple[str, int, float]]
) -> None:
    floor, ceiling = bounds
    limit = AdaptiveLimit(initial, ceiling, floor)
    tokens, now = [limit.started()], 0.0
    for what, number, size in events:
        before, now = limit.limit, now + size
        token = tokens[number % len(tokens)]
        match what:
            case "started":
                tokens.append(limit.started())
                assert tokens[-1] > tokens[-2]
            case "finished":
                limit.finished(token, in_flight=number, latency_s=size if number % 2 else None, now=now)
                assert before <= limit.limit <= before + 1
            case _:
                limit.overloaded(token, now=now)
                assert limit.limit <= before
        assert floor <= limit.limit <= ceiling


@dataclass
class Server:
    """``slots`` requests at once, each 1 s on average after 0.1 s to the first byte; beyond that it refuses or queues.

    The client always has more to send and sends whatever the limit allows.
    """

    slots: int
    queues: bool
    rng: random.Random
    refused: int = 0
    done: int = 0
    history: list[tuple[float, int]] = field(default_factory=list)

    def run(self, limit: AdaptiveLimit, seconds: float) -> None:
        now = 0.0
        ends: list[tuple[float, int, float]] = []  # (when, token, time to the first byte)
        free = [0.0] * self.slots  # when each slot is free, for the queueing server
        while now < seconds:
            while len(ends) < limit.limit:
                token = limit.started()
                if not self.queues and len(ends) >= self.slots:
                    self.refused += 1
                    limit.overloaded(token, now=now)
                    continue
                begin = max(now, heapq.heappop(free)) if self.queues else now
                end = begin + 0.1 + self.rng.expovariate(1.0)
                if self.queues:
                    heapq.heappush(free, end)
                heapq.heappush(ends, (end, token, begin + 0.1 - now))
            self.history.append((now, limit.limit))
            in_flight = len(ends)
            now, token, first_byte = heapq.heappop(ends)
            self.done += 1
            limit.finished(token, in_flight=in_flight, latency_s=first_byte, now=now)

    def share_within(self, low: float, high: float, after: float) -> float:
        """The share of the time after ``after`` in which the limit was within these bounds."""
        inside = total = 0.0
        for (at, limit), (until, _) in zip(self.history, self.history[1:], strict=False):
            if at >= after:
                total += until - at
                inside += (until - at) * (low <= limit <= high)
        return inside / total


@pytest.mark.requirement("POOL-7")
@pytest.mark.parametrize("slots", [1, 2, 3, 4, 8, 16, 32])
@pytest.mark.parametrize("initial", [1, 4, 64])
def test_against_a_server_that_refuses_it_settles_within_30_percent_of_the_true_slots(slots: int, initial: int) -> None:
    """Simulated for 400 s, seed 3. At least 95 % of the second half within [0.7 K, 1.3 K], few refusals."""
    server = Server(slots, queues=False, rng=random.Random(3))
    server.run(AdaptiveLimit(initial, ceiling=64), 400.0)
    assert server.share_within(0.7 * slots, 1.3 * slots, after=200.0) >= 0.95
    assert server.refused <= 0.05 * server.done + 10


@pytest.mark.parametrize("slots", [2, 4, 8, 16])
def test_against_a_server_that_queues_it_stops_growing_soon_after_the_true_slots(slots: int) -> None:
    """Simulated for 400 s, seed 4: without the latency signal it would reach the ceiling of 64."""
    server = Server(slots, queues=True, rng=random.Random(4))
    limit = AdaptiveLimit(1, ceiling=64)
    server.run(limit, 400.0)
    assert slots <= limit.limit <= 1.5 * slots + 2


@settings(max_examples=30, deadline=None)
@given(before=st.integers(2, 24), after=st.integers(2, 24), seed=st.integers(0, 2**32))
def test_it_follows_a_server_whose_slots_change(before: int, after: int, seed: int) -> None:
    limit, rng = AdaptiveLimit(4, ceiling=64), random.Random(seed)
    Server(before, queues=False, rng=rng).run(limit, 60.0)
    server = Server(after, queues=False, rng=rng)
    server.run(limit, 120.0)
    assert server.share_within(0.6 * after, 1.4 * after, after=60.0) >= 0.9
