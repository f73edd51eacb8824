"""Curves of traffic: what counts, where it counts, and that nothing grows for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.traffic import Ring, counted
from podium.domain.cost import Cause, Cost
from podium.domain.decision import Outcome

pytestmark = pytest.mark.requirement("OPS-8")
DONE = Outcome(
    decision_id="d", request_id="r", task="t", ref="m@1", at=0.0, success=True, error=None, streamed=False,
    latency_ms=100.0, ttft_ms=None, cost=Cost(wall_ms=100.0, output_tokens=10),
)  # fmt: skip


def at(time: float, **changes: object) -> Outcome:
    return replace(DONE, at=time, **changes)  # type: ignore[arg-type]


def caused(cause: Cause) -> Cost:
    return Cost(wall_ms=1.0, cause=cause)


def test_a_rate_is_what_came_in_the_complete_seconds_before_now() -> None:
    ring = Ring(1, 600)
    ring.fold(counted(at(100 + tenth / 10) for tenth in range(100)))  # ten a second, from 100 to 110
    level = ring.level(110.5, 10)
    assert level.requests_per_s == pytest.approx(10)
    assert level.tokens_per_s == pytest.approx(100)
    assert ring.level(115.0, 10).requests_per_s == pytest.approx(5)
    assert ring.level(125.0, 10).requests_per_s == 0


def test_a_curve_has_equal_spans_the_newest_of_them_complete_and_none_without_an_answer() -> None:
    ring = Ring(60, 1440)
    ring.fold(counted([at(600.0), at(659.0), at(660.0)]))
    curve = ring.curve(now=725.0, seconds=600, points=10)
    assert (curve.step_s, len(curve.at)) == (60, 10)
    assert curve.at[-1] == 660.0
    assert [level.requests_per_s * 60 for level in curve.levels][-3:] == pytest.approx([0, 2, 1])
    assert curve.levels[-1].p50_ms == pytest.approx(100, rel=0.04)
    assert curve.levels[-3].p50_ms is None


def test_percentiles_of_a_span_are_those_of_all_its_answers() -> None:
    ring = Ring(60, 1440)
    ring.fold(counted(at(60.0 * minute, latency_ms=float(ms)) for minute in range(5) for ms in range(1, 101)))
    level = ring.curve(now=300.0, seconds=300, points=1).levels[0]
    assert level.p50_ms == pytest.approx(50, rel=0.05)
    assert level.p95_ms == pytest.approx(95, rel=0.05)


def test_retries_are_no_requests_and_what_nobody_waits_for_is_no_traffic() -> None:
    ring = Ring(1, 600)
    failed = {"success": False, "error": "provider_timeout"}
    ring.fold(counted([at(5.0, **failed), at(5.0, cost=caused(Cause.RETRY)), at(5.0, cost=caused(Cause.CANARY))]))
    ring.fold(counted([at(5.0, success=False, error="client_left")]))
    ring.fold(counted(at(5.0, cost=caused(cause)) for cause in (Cause.JUDGE, Cause.SHADOW, Cause.BENCHMARK)))
    level = ring.level(6.0, 1)
    assert (level.requests_per_s, level.failed_per_s) == (3, 1)


def test_a_clock_that_jumps_leaves_a_bounded_ring() -> None:
    ring = Ring(1, 10)
    ring.fold(counted([at(1000.0), at(1001.0), at(999.0), at(10.0)]))
    assert [step.number for step in ring.steps()] == [1000, 1001]
    assert sum(step.requests for step in ring.steps()) == 3, "a little late counts, an hour late does not"
    ring.fold(counted([at(5000.0)]))
    assert [step.number for step in ring.steps()] == [5000]


@given(st.lists(st.floats(0, 5000), max_size=200))
def test_a_ring_is_ordered_and_bounded_whatever_order_outcomes_come_in(times: list[float]) -> None:
    ring = Ring(1, 50)
    ring.fold(counted(at(time) for time in times))
    numbers = [step.number for step in ring.steps()]
    assert numbers == sorted(set(numbers))
    assert not numbers or numbers[-1] - numbers[0] < 50
    assert sum(step.requests for step in ring.steps()) <= len(times)


def test_what_an_earlier_run_counted_stays_in_front_of_what_is_new() -> None:
    earlier, ring = Ring(60, 10), Ring(60, 10)
    earlier.fold(counted([at(60.0), at(120.0)]))
    ring.restore(earlier.steps())
    ring.fold(counted([at(120.0), at(180.0)]))
    assert [(step.number, step.requests) for step in ring.steps()] == [(1, 1), (2, 2), (3, 1)]
