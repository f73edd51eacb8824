"""Two versions compared, and trends: intervals that hold as often as they say, and what is said where there is too little."""

from __future__ import annotations

import math
import random

import pytest

from podium.core.cost_cells import Cell, Spent, cell_of
from podium.core.cost_compare import compare
from podium.core.cost_trends import thinned, trends
from podium.domain.cost import Cost
from podium.domain.costing import Comparison, Difference, Trend, TrendPoint

pytestmark = pytest.mark.requirement("COST-2")
DAY = 86_400.0


def cell(values: list[float], **cost: float) -> Cell:
    return cell_of(
        [
            Spent(success=True, error=None, at=1.7e9, cost=Cost(wall_ms=value, **cost), wait_ms=None, ttft_ms=None)  # type: ignore[arg-type] # fields by name
            for value in values
        ]
    )


def drawn(rng: random.Random, n: int, median: float = 100.0, sigma: float = 0.5) -> list[float]:
    return [rng.lognormvariate(math.log(median), sigma) for _ in range(n)]


def one(found: Comparison, statistic: str = "mean", figure: str = "wall_ms") -> Difference:
    return next(item for item in found.differences if (item.figure, item.statistic) == (figure, statistic))


@pytest.mark.parametrize("statistic", ["mean", "p50", "p95"])
@pytest.mark.no_cover
def test_intervals_hold_the_true_difference_about_as_often_as_they_say(statistic: str):
    # 150 repetitions: the standard error of .95 is .018; percentiles are read within 2 %.
    rng, held, sigma = random.Random(2), 0, 0.5
    z = {"mean": sigma**2 / 2, "p50": 0.0, "p95": 1.6448536 * sigma}[statistic]
    truth = (130.0 - 100.0) * math.exp(z)
    for _ in range(150):
        cells = {("t", "a"): cell(drawn(rng, 300)), ("t", "b"): cell(drawn(rng, 300, 130.0))}
        found = one(compare("a", "b", cells, task="t"), statistic)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert 0.89 <= held / 150 <= 1.0


@pytest.mark.no_cover
def test_equal_versions_are_rarely_said_to_differ_and_slower_ones_are():
    rng, said = random.Random(3), 0
    for _ in range(200):
        cells = {("t", "a"): cell(drawn(rng, 200)), ("t", "b"): cell(drawn(rng, 200))}
        said += one(compare("a", "b", cells, task="t")).verdict != "no clear difference"
    assert said / 200 <= 0.09
    slower = compare("a", "b", {("t", "a"): cell(drawn(rng, 200)), ("t", "b"): cell(drawn(rng, 200, 150.0))}, task="t")
    assert one(slower).verdict == "more"
    assert one(slower).ratio == pytest.approx(1.5, rel=0.15)


def test_a_version_that_got_the_hard_tasks_does_not_look_slow_for_that():
    rng = random.Random(4)
    cells = {
        ("easy", "a"): cell(drawn(rng, 900)), ("easy", "b"): cell(drawn(rng, 100)),
        ("hard", "a"): cell(drawn(rng, 100, 1_000.0)), ("hard", "b"): cell(drawn(rng, 900, 1_000.0)),
    }  # fmt: skip
    found = compare("a", "b", cells)
    assert found.tasks == ("easy", "hard")
    assert one(found).verdict == "no clear difference"
    assert not any(item.statistic == "p95" for item in found.differences)
    assert "percentiles only with one task: those of several do not add up" in found.notes


def test_tasks_of_one_version_alone_are_left_out_and_named():
    cells = {("t", "a"): cell([1.0] * 9), ("t", "b"): cell([2.0] * 9), ("other", "b"): cell([99.0] * 9)}
    found = compare("a", "b", cells)
    assert one(found).b == 2.0
    assert "left out, because only one of them served it: other" in found.notes
    nothing = compare("a", "b", {("t", "a"): cell([1.0] * 9), ("u", "b"): cell([1.0] * 9)})
    assert one(nothing).a is None
    assert one(nothing).why == "no task was served by both"


def test_too_few_operations_say_so_in_the_place_of_an_interval():
    few = compare("a", "b", {("t", "a"): cell([1.0] * 4), ("t", "b"): cell([2.0] * 900)}, task="t")
    assert one(few).difference is None
    assert one(few).why == "fewer than 5 operations of one of them have it"
    some = one(compare("a", "b", {("t", "a"): cell([1.0] * 50), ("t", "b"): cell([2.0] * 50)}, task="t"), "p99")
    assert (some.low, some.verdict) == (None, "unknown")
    assert some.why == "an interval of p99 needs about 381 operations of each"
    energy = one(few, figure="energy_mwh")
    assert (energy.a, energy.why) == (None, "it was not measured")


# ---------------------------------------------------------------- trends


def series(means: list[float], n: int = 50) -> list[TrendPoint]:
    return [TrendPoint(at=place * DAY, n=n, mean=mean) for place, mean in enumerate(means)]


def trend(means: list[float], figure: str = "wall_ms") -> Trend:
    return trends({("t", "a@1"): {figure: series(means)}}, DAY)[0]


def test_what_rises_every_day_is_told_with_its_size():
    found = trend([100.0 * 1.05**day for day in range(12)])
    assert (found.direction, found.worse) == ("rising", True)
    assert found.change == pytest.approx(1.05**11 - 1)
    assert found.p is not None
    assert found.p < 1e-4


def test_a_version_that_gets_faster_is_better_and_fewer_tokens_a_second_are_worse():
    down = [100.0 * 0.93**day for day in range(10)]
    assert trend(down).worse is False
    assert trend(down, "tokens_per_s").worse is True
    assert trend(down, "output_tokens").worse is None


def test_one_slow_day_is_no_trend():
    rng = random.Random(5)
    means = [100.0 * math.exp(rng.gauss(0, 0.03)) for _ in range(14)]
    means[-1] = 1_000.0
    assert trend(means).direction == "no trend"


def test_few_windows_are_not_asked():
    found = trend([100.0, 120.0, 140.0])
    assert (found.direction, found.p) == ("unknown", None)
    assert found.why == "3 windows with 5 operations or more; 6 are needed"


@pytest.mark.parametrize(("windows", "likeness"), [(8, 0.0), (30, 0.0), (40, 0.5)])
def test_where_nothing_changes_a_trend_is_seldom_seen_even_when_neighbours_resemble_each_other(
    windows: int, likeness: float
):
    # 200 repetitions; the correction for likeness is known to be a little too small for short series.
    rng, seen = random.Random(6), 0
    for _ in range(200):
        level, means = 0.0, []
        for _ in range(windows):
            level = likeness * level + rng.gauss(0, 0.2)
            means.append(100.0 * math.exp(level))
        seen += trend(means).direction != "no trend"
    assert seen / 200 <= (0.08 if likeness == 0.0 else 0.15)


@pytest.mark.no_cover
def test_many_questions_at_once_raise_the_bar():
    rng = random.Random(7)
    false = 0
    for _ in range(40):
        many = {
            (f"t{task}", "a@1"): {"wall_ms": series([rng.lognormvariate(4, 0.2) for _ in range(10)])}
            for task in range(50)
        }
        false += any(item.direction != "no trend" for item in trends(many, DAY))
    assert false / 40 <= 0.15


def test_windows_put_together_keep_operations_and_means():
    points = series([float(day) for day in range(1, 132)], n=3)
    short = thinned(points, 60)
    assert len(short) <= 60
    assert sum(point.n for point in short) == 131 * 3
    assert sum(point.n * point.mean for point in short) == pytest.approx(sum(3.0 * day for day in range(1, 132)))
