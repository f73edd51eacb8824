"""Cells of costs: means and variances exact, percentiles within 2 %, adding up, and as bytes."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core import cost_cells
from podium.core.cost_cells import ACCURACY, FIGURES, Cell, Gathering, Spent, added, cell_of, dump, empty, load
from podium.core.cost_coverage import Coverage
from podium.core.cost_profile import figure, profile, rank
from podium.domain.cost import Cost, Method

pytestmark = pytest.mark.requirement("COST-2")


def spent(wall_ms: float = 100.0, *, success: bool = True, error: str | None = None, **cost: object) -> Spent:
    made = Cost(wall_ms=wall_ms, **cost)  # type: ignore[arg-type] # fields by name
    return Spent(success=success, error=error, at=1.7e9, cost=made, wait_ms=1.0, ttft_ms=None)


def walls(values: list[float]) -> Cell:
    return cell_of([spent(value) for value in values])


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_every_percentile_is_within_two_percent_of_the_operation_with_that_rank(values: list[float], share: float):
    cell = walls(values)
    place = rank(share, len(values))
    found = cost_cells.ranked(cell, "wall_ms", [place])[0]
    assert found == pytest.approx(sorted(values)[place - 1], rel=ACCURACY + 1e-9)


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), min_size=1, max_size=8))
@pytest.mark.no_cover
def test_cells_added_up_say_what_one_cell_of_everything_says(parts: list[list[float]]):
    whole, together = walls([x for part in parts for x in part]), added([walls(part) for part in parts])
    assert together.operations == whole.operations
    assert cost_cells.mean(together, "wall_ms") == pytest.approx(cost_cells.mean(whole, "wall_ms"), rel=1e-9, abs=1e-9)
    variance = cost_cells.variance(whole, "wall_ms")
    if variance is not None:
        assert cost_cells.variance(together, "wall_ms") == pytest.approx(variance, rel=1e-6, abs=1e-3)
    assert cost_cells.extremes(together, "wall_ms") == cost_cells.extremes(whole, "wall_ms")
    n = whole.operations
    assert cost_cells.ranked(together, "wall_ms", range(1, n + 1)) == cost_cells.ranked(
        whole, "wall_ms", range(1, n + 1)
    )


@pytest.mark.no_cover
def test_a_cell_comes_back_from_its_bytes_and_stays_small_however_many_there_are():
    rng = random.Random(1)
    parts = [
        [spent(rng.lognormvariate(6, 1), cpu_ms=rng.lognormvariate(5, 1), output_tokens=rng.randrange(1, 400)) for _ in range(500)]
        for _ in range(60)
    ]  # fmt: skip
    gathered = Gathering()
    for part in parts:
        gathered.add(cell_of(part))
    cell = gathered.cell()
    content = dump(cell)
    assert cell.operations == 30_000
    assert len(content) < 12_000
    again = load(content)
    assert again.reasons == cell.reasons
    assert np.array_equal(again.moments, cell.moments)
    assert np.array_equal(again.keys, cell.keys)
    assert np.array_equal(again.counts, cell.counts)


def test_cells_with_fewer_and_with_more_figures_are_read_all_the_same():
    cell = cell_of([spent(100.0, output_tokens=10)])
    fewer = Cell(
        1, 0, 0, 0.0, 0.0, cell.moments[:3], cell.keys[cell.keys < 3 * 2048], cell.counts[cell.keys < 3 * 2048]
    )
    assert cost_cells.mean(load(dump(fewer)), "wall_ms") == 100.0
    assert load(dump(fewer)).moments.shape == (len(FIGURES), 6)
    later = np.vstack([cell.moments, np.ones((1, 6))])
    keys = np.append(cell.keys, np.uint16(len(FIGURES) * 2048 + 5))
    more = Cell(1, 0, 0, 0.0, 0.0, later, keys, np.append(cell.counts, np.uint32(1)))
    assert np.array_equal(load(dump(more)).keys, cell.keys)


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x02" + bytes(80), dump(empty())[:-40]])
def test_what_is_no_cell_is_refused(content: bytes):
    with pytest.raises(ValueError, match=r"cell of costs|buffer"):
        load(content)


def test_failures_count_but_say_nothing_of_times_and_those_who_left_count_apart():
    cell = cell_of(
        [spent(100.0), spent(5.0, success=False, error="crashed"), spent(1.0, success=False, error="client_left")]
    )
    assert (cell.operations, cell.failed, cell.left) == (2, 1, 1)
    assert cost_cells.mean(cell, "wall_ms") == 100.0


def test_what_was_not_measured_is_none_with_its_reason():
    why = (("energy_mwh", "no energy counter is readable on this machine"),)
    cell = cell_of([spent(100.0, output_tokens=20, missing=why), spent(50.0, output_tokens=None, missing=why)])
    found = figure(cell, "energy_mwh")
    assert (found.n, found.mean, found.p99, found.total) == (0, None, None, None)
    assert found.why == "no energy counter is readable on this machine"
    assert figure(cell, "energy_mwh_per_token").why == "no energy counter is readable on this machine"
    assert figure(cell, "price_microusd").why == "nobody bills it, or no price is known"
    assert figure(cell, "output_tokens").n == 1
    assert (
        figure(cell_of([spent(1.0, success=False, error="crashed")]), "wall_ms").why
        == "no answered operation is on record"
    )


def test_figures_per_token_take_the_answer_and_where_nothing_is_generated_the_input():
    cell = cell_of([spent(100.0, input_tokens=5, output_tokens=20), spent(30.0, input_tokens=10, output_tokens=0)])
    assert cost_cells.ranked(cell, "wall_ms_per_token", [1, 2]) == pytest.approx([3.0, 5.0], rel=ACCURACY)


def test_estimates_are_counted_apart_also_per_token():
    measured = spent(10.0, energy_mwh=2.0, energy_method=Method.MEASURED, output_tokens=4)
    guessed = spent(10.0, energy_mwh=2.0, energy_method=Method.ESTIMATED, output_tokens=4)
    tokens = spent(10.0, energy_mwh=2.0, energy_method=Method.MEASURED, output_tokens=4, estimated=("output_tokens",))
    cell = cell_of([measured, guessed, tokens])
    assert figure(cell, "energy_mwh").estimated == 1
    assert figure(cell, "energy_mwh_per_token").estimated == 2
    assert figure(cell, "output_tokens").estimated == 1


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0])
def test_numbers_that_are_none_leave_no_trace(wrong: float):
    cell = cell_of([spent(100.0, cpu_ms=wrong), spent(100.0, cpu_ms=7.0)])
    assert figure(cell, "cpu_ms").n == 1
    assert figure(cell, "cpu_ms").mean == 7.0


def test_a_profile_says_how_much_of_the_machine_worked_while_anything_ran():
    cell = cell_of([spent(1_000.0, cpu_ms=2_000.0, gpu_ms=100.0)] * 4)
    busy = added([cell, empty(2_000.0)])
    found = profile(cell, None, "a@1", busy=busy, cores=8)
    assert (found.busy_s, found.parallel) == (2.0, 2.0)
    assert found.cpu_share == pytest.approx(8_000 / (2_000 * 8))
    assert found.gpu_share == pytest.approx(400 / 2_000)
    partly = cell_of([spent(1_000.0, cpu_ms=2_000.0), spent(1_000.0)])
    assert profile(partly, None, "a@1", busy=added([partly, empty(2_000.0)]), cores=8).cpu_share is None


def test_mean_and_deviation_are_exact():
    values = [random.Random(4).lognormvariate(4, 2) for _ in range(1_000)]
    found = figure(walls(values), "wall_ms")
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.sd == pytest.approx(statistics.stdev(values))
    assert (found.least, found.most) == (min(values), max(values))


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), max_size=60))
def test_covered_time_is_the_union_of_all_intervals_in_any_order(spans: list[tuple[int, int]]):
    coverage, seconds = Coverage(), set()
    total = 0.0
    for start, length in spans:
        total += coverage.add(start, start + length)
        seconds |= set(range(start, start + length))
    assert total == pytest.approx(len(seconds))
    assert Coverage(coverage.spans).spans == coverage.spans
    at_once = Coverage()
    intervals = [(start, start + length) for start, length in spans]
    assert at_once.add_all(intervals[::2]) + at_once.add_all(intervals[1::2]) == pytest.approx(len(seconds))
    assert at_once.add_all(intervals) == 0.0


def test_covered_time_is_remembered_in_bounded_memory():
    coverage = Coverage()
    for second in range(0, 20_000, 10):
        coverage.add(second, second + 1)
    assert len(coverage.spans) <= 256
    assert coverage.spans[0][0] >= 20_000 - 3_600 - 20
