"""CPU seconds of a shared instance are split in equal parts and never lost or counted twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.attribution import CpuSplit


def test_one_request_alone_gets_all_of_it() -> None:
    split = CpuSplit()
    split.start("a", 10.0, 5.0)
    part = split.stop("a", 12.0, 6.5)
    assert part is not None
    assert (part.cpu_s, part.wall_s) == (1.5, 2.0)


def test_overlapping_requests_share_only_the_overlap() -> None:
    split = CpuSplit()
    split.start("a", 0.0, 0.0)
    split.start("b", 1.0, 1.0)  # a alone: 1 s
    first = split.stop("a", 3.0, 5.0)  # a and b: 4 s, 2 s each
    second = split.stop("b", 4.0, 8.0)  # b alone: 3 s
    assert first is not None
    assert second is not None
    assert (first.cpu_s, second.cpu_s) == (3.0, 5.0)
    assert split.total_s == 8.0


def test_time_between_requests_belongs_to_nobody() -> None:
    split = CpuSplit()
    split.observe(0.0, 0.0)
    split.start("a", 1.0, 2.0)
    split.stop("a", 2.0, 3.0)
    split.observe(3.0, 3.5)
    assert (split.idle_s, split.total_s) == (2.5, 3.5)


def test_a_part_is_read_exactly_once() -> None:
    split = CpuSplit()
    split.start("a", 0.0, 0.0)
    assert split.stop("a", 1.0, 1.0) is not None
    assert split.stop("a", 2.0, 2.0) is None
    assert split.stop("never", 2.0, 2.0) is None


def test_starting_twice_does_not_restart() -> None:
    split = CpuSplit()
    split.start("a", 0.0, 0.0)
    split.start("a", 1.0, 1.0)
    part = split.stop("a", 2.0, 2.0)
    assert part is not None
    assert (part.cpu_s, split.active) == (2.0, 0)


def test_a_counter_or_a_clock_that_goes_back_is_no_progress() -> None:
    split = CpuSplit()
    split.start("a", 5.0, 100.0)
    split.observe(4.0, 1.0)  # the process was replaced
    part = split.stop("a", 4.5, 3.0)
    assert part is not None
    assert (part.cpu_s, part.wall_s) == (2.0, 0.0)


_events = st.lists(
    st.tuples(
        st.sampled_from(["start", "stop", "observe"]),
        st.integers(0, 6),
        st.floats(0, 10, allow_subnormal=False),
        st.floats(0, 100, allow_subnormal=False),
    ),
    max_size=80,
)


@pytest.mark.requirement("COST-1")
@given(_events)
def test_the_parts_and_the_idle_time_sum_to_the_total(events: list[tuple[str, int, float, float]]) -> None:
    split, at, cpu = CpuSplit(), 0.0, 0.0
    given_out = 0.0
    open_ids: set[str] = set()
    split.observe(at, cpu)
    for kind, number, later, more in events:
        at, cpu, request = at + later, cpu + more, f"r{number}"
        if kind == "start":
            split.start(request, at, cpu)
            open_ids.add(request)
        elif kind == "stop":
            part = split.stop(request, at, cpu)
            assert (part is not None) == (request in open_ids)
            open_ids.discard(request)
            if part is not None:
                assert part.cpu_s >= -1e-9
                given_out += part.cpu_s
        else:
            split.observe(at, cpu)
        assert split.active == len(open_ids)
    for request in sorted(open_ids):
        part = split.stop(request, at, cpu)
        assert part is not None
        given_out += part.cpu_s
    assert split.total_s == pytest.approx(cpu)
    assert given_out + split.idle_s == pytest.approx(cpu, abs=1e-6)


@given(_events)
def test_it_agrees_with_walking_over_every_interval(events: list[tuple[str, int, float, float]]) -> None:
    split, at, cpu = CpuSplit(), 0.0, 0.0
    expected: dict[str, float] = {}
    split.observe(at, cpu)
    for kind, number, later, more in events:
        at, cpu, request = at + later, cpu + more, f"r{number}"
        for active in expected:
            expected[active] += more / len(expected)
        if kind == "start":
            split.start(request, at, cpu)
            expected.setdefault(request, 0.0)
        elif kind == "stop":
            part = split.stop(request, at, cpu)
            if part is not None:
                assert part.cpu_s == pytest.approx(expected.pop(request), abs=1e-6)
        else:
            split.observe(at, cpu)
