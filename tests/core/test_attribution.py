"""What a shared instance spends is split by tokens, else in equal parts, and never lost or counted twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.attribution import MOST_PIECES, Counters, SharedWork


def cpu(seconds: float) -> Counters:
    return Counters(seconds, seconds / 2, seconds * 3)


class Stream:
    """Pieces that a request streamed so far."""

    def __init__(self) -> None:
        self.pieces = 0

    def __call__(self) -> int:
        return self.pieces


def test_one_request_alone_gets_all_of_it() -> None:
    split = SharedWork()
    split.start("a", 10.0, cpu(5.0))
    assert split.stop("a", 12.0, cpu(6.5)) == Counters(1.5, 0.75, 4.5)


@pytest.mark.requirement("COST-1")
def test_requests_of_which_no_tokens_are_known_share_the_overlap_in_equal_parts() -> None:
    split = SharedWork()
    split.start("a", 0.0, cpu(0.0))
    split.start("b", 1.0, cpu(1.0))  # a alone: 1 s
    first = split.stop("a", 3.0, cpu(5.0))  # a and b: 4 s, 2 s each
    second = split.stop("b", 4.0, cpu(8.0))  # b alone: 3 s
    assert first is not None
    assert second is not None
    assert (first.cpu_s, second.cpu_s) == (3.0, 5.0)
    assert split.total.cpu_s == 8.0


@pytest.mark.requirement("COST-1")
def test_who_streams_three_times_as_much_pays_three_times_as_much() -> None:
    split, fast, slow = SharedWork(), Stream(), Stream()
    for name, stream in (("fast", fast), ("slow", slow)):
        sharer = split.start(name, 0.0, cpu(0.0))
        sharer.prompt, sharer.first_at, sharer.pieces = 0.0, 0.0, stream
    fast.pieces, slow.pieces = 30, 10
    split.observe(1.0, cpu(4.0))
    fast.pieces = 31  # the slow one stands still
    first = split.stop("fast", 2.0, cpu(5.0))
    second = split.stop("slow", 2.0, cpu(5.0))
    assert first is not None
    assert second is not None
    assert (first.cpu_s, second.cpu_s) == (pytest.approx(3.0 + 1.0), pytest.approx(1.0))


@pytest.mark.requirement("COST-1")
def test_a_prompt_counts_from_its_start_to_its_first_token() -> None:
    split, reading, writing = SharedWork(), Stream(), Stream()
    one = split.start("writes", 0.0, cpu(0.0))
    one.prompt, one.first_at, one.pieces = 0.0, 0.0, writing
    other = split.start("reads", 0.0, cpu(0.0))
    other.prompt, other.pieces = 90.0, reading
    writing.pieces = 10
    split.observe(1.0, cpu(1.0))
    other.first_at = 1.0  # the prompt took the first second, whole
    writing.pieces, reading.pieces = 20, 10
    ended = split.stop("reads", 2.0, cpu(2.0))
    assert ended is not None
    assert ended.cpu_s == pytest.approx(0.9 + 0.5)


def test_one_whole_answer_among_streams_makes_the_parts_equal() -> None:
    split, stream = SharedWork(), Stream()
    sharer = split.start("stream", 0.0, cpu(0.0))
    sharer.prompt, sharer.first_at, sharer.pieces = 0.0, 0.0, stream
    split.start("whole", 0.0, cpu(0.0))
    stream.pieces = 1000
    ended = split.stop("stream", 1.0, cpu(1.0))
    assert ended is not None
    assert ended.cpu_s == 0.5


def test_time_between_requests_belongs_to_nobody() -> None:
    split = SharedWork()
    split.observe(0.0, cpu(0.0))
    split.start("a", 1.0, cpu(2.0))
    split.stop("a", 2.0, cpu(3.0))
    split.observe(3.0, cpu(3.5))
    assert (split.idle.cpu_s, split.total.cpu_s) == (2.5, 3.5)


def test_a_part_is_read_exactly_once_and_starting_twice_does_not_restart() -> None:
    split = SharedWork()
    split.start("a", 0.0, cpu(0.0))
    split.start("a", 1.0, cpu(1.0))
    assert split.stop("a", 2.0, cpu(2.0)) == cpu(2.0)
    assert split.stop("a", 3.0, cpu(3.0)) is None
    assert split.stop("never", 3.0, cpu(3.0)) is None
    assert split.active == 0


def test_a_counter_or_a_clock_that_goes_back_is_no_progress_and_is_not_counted_again() -> None:
    split = SharedWork()
    split.start("a", 5.0, cpu(100.0))
    assert split.observe(4.0, cpu(1.0)) == 5.0
    split.observe(4.5, cpu(101.0))
    assert split.stop("a", 4.5, cpu(102.0)) == cpu(2.0)


def test_a_process_that_vanished_leaves_what_was_read_of_it() -> None:
    split = SharedWork()
    split.start("a", 0.0, cpu(0.0))
    split.observe(1.0, cpu(3.0))
    assert split.stop("a", 2.0, None) == cpu(3.0)


def test_a_request_of_hours_does_not_keep_every_reading() -> None:
    split = SharedWork()
    split.start("long", 0.0, cpu(0.0))
    for number in range(10 * MOST_PIECES):
        split.observe(float(number), cpu(float(number)))
    assert len(split._pieces) == MOST_PIECES
    ended = split.stop("long", 1e6, cpu(1e6))
    assert ended is not None
    assert ended.cpu_s == pytest.approx(1e6)


_events = st.lists(
    st.tuples(
        st.sampled_from(["start", "stop", "observe", "first", "lie"]),
        st.integers(0, 6),
        st.floats(-1, 10, allow_subnormal=False),
        st.floats(-5, 100, allow_subnormal=False),
        st.integers(0, 50),
    ),
    max_size=80,
)


@pytest.mark.requirement("COST-1")
@given(_events)
def test_the_parts_and_the_idle_time_sum_to_the_total_whatever_is_said_of_tokens(
    events: list[tuple[str, int, float, float, int]],
) -> None:
    split, at, counter, highest, given_out = SharedWork(), 0.0, 0.0, 0.0, 0.0
    streams = {f"r{number}": Stream() for number in range(7)}
    open_ids: set[str] = set()
    split.observe(at, cpu(counter))
    for kind, number, later, more, tokens in events:
        at, counter, request = at + later, max(0.0, counter + more), f"r{number}"
        highest = max(highest, counter)
        streams[request].pieces += tokens
        if kind == "start":
            sharer = split.start(request, at, cpu(counter))
            if number % 2:
                sharer.prompt, sharer.pieces = float(tokens), streams[request]
            open_ids.add(request)
        elif kind == "stop":
            part = split.stop(request, at, cpu(counter))
            assert (part is not None) == (request in open_ids)
            open_ids.discard(request)
            if part is not None:
                assert part.cpu_s >= 0
                given_out += part.cpu_s
        elif kind in ("first", "lie") and request in open_ids:
            sharer = split.start(request, at, cpu(counter))
            sharer.first_at = at if kind == "first" else at - 100.0
            sharer.prompt = float(tokens) * 1e6
        else:
            split.observe(at, cpu(counter))
        assert split.active == len(open_ids)
    for request in sorted(open_ids):
        part = split.stop(request, at, cpu(counter))
        assert part is not None
        given_out += part.cpu_s
    assert split.total.cpu_s == pytest.approx(highest, abs=1e-6)
    assert given_out + split.idle.cpu_s == pytest.approx(highest, abs=1e-6)
