"""Calibrations on record: kept whole, replaced, removed; and what they do to the means that are reported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from sqlalchemy import update

from podium import Podium
from podium.core.calibration import fit
from podium.core.stacking import stack
from podium.domain.judgment import RULES, Calibration, Judgment, Verdict
from podium.errors import StoreError
from podium.store import open_store, schema

pytestmark = pytest.mark.requirement("JDG-6")
RAW = [0.9, 0.8, 0.7, 0.95, 0.6, 0.3] * 10
LABELS = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0] * 10


def made() -> tuple[Calibration, Calibration, Calibration]:
    features = [{"rules.length": score, "rules.odd": float(index % 2)} for index, score in enumerate(RAW)]
    steps = fit(RAW, LABELS, kind="isotonic", judge="critic@1", criterion="safety")
    curve = dataclasses.replace(fit(RAW, LABELS, kind="platt", judge=RULES, criterion="safety"), at=12.5, forced=True)
    return steps, curve, stack(features, LABELS, criterion="safety")


async def test_they_come_back_as_they_were_one_for_each_judge_and_criterion(tmp_path: Path) -> None:
    steps, curve, together = made()
    path = tmp_path / "podium.db"
    store = open_store(path)
    for one in (curve, together, steps, dataclasses.replace(curve, criterion="relevance"), curve):
        await store.save_calibration(one)
    await store.close()
    store = open_store(path)
    found = await store.calibrations()
    assert [(one.judge, one.criterion) for one in found] == [
        ("critic@1", "safety"), (RULES, "relevance"), (RULES, "safety"), ("stack", "safety"),
    ]  # fmt: skip
    assert found[0] == steps
    assert found[2] == curve
    assert found[3] == together
    assert await store.remove_calibration(RULES, "safety") is True
    assert await store.remove_calibration(RULES, "safety") is False
    assert len(await store.calibrations()) == 3
    await store.close()


async def test_a_row_that_is_none_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path / "podium.db")
    await store.save_calibration(made()[1])
    await store._writer.run(lambda connection: connection.execute(update(schema.calibrations).values(content="{}")))  # type: ignore[arg-type, return-value] # damages the row
    with pytest.raises(StoreError, match="calibration of rules on safety"):
        await store.calibrations()
    await store.close()


def judgment(number: int, score: float, *, calibrated: bool = True, judge: str = RULES) -> Judgment:
    return Judgment(
        id=f"j{number}", request_id=f"r{number}", decision_id=f"d{number}", task="chat", ref="m@1",
        verdict=Verdict(criterion="safety", judge=judge, score=score), score=score, calibrated=calibrated, at=100.0 + number,
        probability=1.0,
    )  # fmt: skip


async def test_reported_means_are_corrected_for_the_judge_where_all_scores_were_calibrated(
    home: Path,
) -> None:
    """The judge's mean is 0.8; on labelled rows it said 0.7 where people said 0.5."""
    kind = dataclasses.replace(made()[1], forced=False, n=400, moments=(0.5, 0.7, 0.25, 0.04, 0.06))
    store = open_store(home / "podium.db")
    await store.save_calibration(kind)
    await store.save_judgments([judgment(number, 0.7 + 0.2 * (number % 2)) for number in range(60)])
    await store.save_judgments([judgment(100, 0.7, judge="critic@1"), judgment(101, 0.7, judge="critic@1")])
    await store.close()
    async with Podium.open(home=home) as podium:
        estimates = {one["judge"]: one for one in (await podium.call("GET", "/api/v1/judgments/stats"))["estimates"]}
    found = estimates[RULES]
    assert found["mean"] == pytest.approx(0.8)
    corrected = found["corrected"]
    assert corrected["labels"] == 400
    assert 0.55 < corrected["mean"] < 0.66
    assert corrected["low"] < 0.6 < corrected["high"]
    assert corrected["high"] < found["low"]
    assert estimates["critic@1"]["corrected"] is None
    assert estimates["critic@1"]["pass_rate"] is None


async def test_the_share_of_passes_is_corrected_by_rogan_and_gladen_and_says_so(home: Path) -> None:
    """Of 60 answers the judge passes 45 (its cut is 0.6); with sensitivity .9 and specificity .6 people pass .7."""
    kind = dataclasses.replace(
        made()[1], n=400, positives=200, cut=0.6, sensitivity=0.9, specificity=0.6, moments=(0.5, 0.7, 0.25, 0.04, 0.06)
    )
    store = open_store(home / "podium.db")
    await store.save_calibration(kind)
    await store.save_calibration(dataclasses.replace(kind, judge="blind@1", sensitivity=0.5, specificity=0.5))
    scores = [0.8 if number % 4 else 0.3 for number in range(60)]
    await store.save_judgments([judgment(number, score) for number, score in enumerate(scores)])
    await store.save_judgments([judgment(100 + number, score, judge="blind@1") for number, score in enumerate(scores)])
    await store.close()
    async with Podium.open(home=home) as podium:
        estimates = {one["judge"]: one for one in (await podium.call("GET", "/api/v1/judgments/stats"))["estimates"]}
    found = estimates[RULES]["pass_rate"]
    assert found["share"] == pytest.approx(0.75)
    assert found["low"] < 0.75 < found["high"]
    corrected = found["corrected"]
    assert corrected["method"] == "Rogan-Gladen"
    assert corrected["labels"] == 400
    assert corrected["share"] == pytest.approx((0.75 + 0.6 - 1) / (0.9 + 0.6 - 1))
    assert corrected["high"] - corrected["low"] > found["high"] - found["low"]
    blind = estimates["blind@1"]["pass_rate"]["corrected"]
    assert blind["share"] is None
    assert "alike" in blind["missing"]
    assert estimates[RULES]["corrected"]["method"] == "prediction-powered"


async def test_a_mean_of_scores_from_before_the_calibration_is_not_corrected(home: Path) -> None:
    store = open_store(home / "podium.db")
    await store.save_calibration(made()[1])
    await store.save_judgments([judgment(number, 0.8, calibrated=number > 0) for number in range(40)])
    await store.close()
    async with Podium.open(home=home) as podium:
        [found] = (await podium.call("GET", "/api/v1/judgments/stats"))["estimates"]
    assert found["corrected"] is None
