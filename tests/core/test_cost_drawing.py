"""Pictures of costs: well-formed, with what they name, and honest where there is nothing to draw."""

from __future__ import annotations

import random
from xml.etree import ElementTree as ET

import pytest

from podium.core.cost_cells import FIGURES, Spent, cell_of
from podium.core.cost_profile import profile, rows
from podium.core.cost_trends import trends
from podium.core.picture.costs import draw, titled
from podium.domain.cost import Cost
from podium.domain.costing import CostProfile, Trend, TrendPoint

pytestmark = pytest.mark.requirement("COST-2")


def measured(ref: str, n: int = 40, median: float = 5.0) -> CostProfile:
    rng = random.Random(1)
    spent = [
        Spent(success=True, error=None, at=0.0, cost=Cost(wall_ms=rng.lognormvariate(median, 0.5)), wait_ms=None, ttft_ms=None)
        for _ in range(n)
    ]  # fmt: skip
    return profile(cell_of(spent), "jobs", ref)


def rising(ref: str) -> list[Trend]:
    points = [TrendPoint(at=day * 86_400.0, n=50, mean=100.0 * 1.1**day) for day in range(9)]
    return trends({("jobs", ref): {"wall_ms": points}}, 86_400.0)


def words(svg: str) -> str:
    return " ".join(ET.fromstring(svg).itertext())


def test_every_version_has_its_row_and_every_trend_its_curve():
    svg = draw([measured("a@1"), measured("<b> & co@1", median=1.0)], rising("a@1"), "wall_ms")
    said = words(svg)
    assert "Costs: time of an answer, ms" in said
    assert "<b> & co@1 on jobs" in said
    assert "rising, +114%" in said
    assert svg.count("<path") == 1


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_that_nobody_has_says_why_in_the_place_of_a_picture(figure: str):
    said = words(draw([measured("a@1")], [], figure))
    assert titled(figure) in said
    assert ("Nothing to draw" in said) == (figure != "wall_ms")


def test_one_operation_and_equal_ones_are_drawn_too():
    assert "n 1" in words(draw([measured("a@1", n=1)], [], "wall_ms"))
    same = [Spent(success=True, error=None, at=0.0, cost=Cost(wall_ms=0.0), wait_ms=None, ttft_ms=None)] * 3
    assert "n 3" in words(draw([profile(cell_of(same), None, "zero@1")], [], "wall_ms"))


def test_trends_alone_are_drawn_without_a_word_of_nothing():
    assert "Nothing to draw" not in words(draw([], rising("a@1"), "wall_ms"))
    assert "Nothing to draw: nothing is on record." in words(draw([], [], "wall_ms"))


def test_the_flat_rows_of_csv_hold_every_figure_once():
    found = rows([measured("a@1"), measured("b@1")], FIGURES)
    assert [(row["ref"], row["figure"]) for row in found] == [(ref, name) for ref in ("a@1", "b@1") for name in FIGURES]
    assert found[0]["n"] == 40
    assert found[PLACE]["why"] == "it was not measured"


PLACE = FIGURES.index("energy_mwh")
