"""The evidence of a rollout: what is remembered, what it says, and that nothing is lost when it is stored."""

from __future__ import annotations

import json
import time
import zlib

import numpy as np
import pytest

from podium.core.arms import FORMAT, MAGIC, Arms, Sample
from podium.domain.rollout import Arm, Metric, RolloutPlan

PLAN = RolloutPlan()
B, C = Arm.BASELINE, Arm.CANDIDATE


def sample(*, success: bool = True, latency: float | None = 100.0, **more: float | None) -> Sample:
    return Sample(success=success, latency_ms=latency, memory_mb=more.get("memory"), energy_mwh=more.get("energy"))


def busy(seed: int, requests: int = 600, quality: float = 0.5) -> Arms:
    """A rollout in the middle, with everything measured."""
    rng, arms = np.random.default_rng(seed), Arms(PLAN)
    for at in range(requests):
        arm = C if rng.random() < 0.3 else B
        arms.observe(
            arm,
            sample(
                success=bool(rng.random() < 0.95), latency=float(rng.lognormal(5, 0.5)), memory=90.0,
                energy=float(rng.lognormal(1, 0.5)),
            ),
        )  # fmt: skip
        arms.score(arm, float(rng.random() < (quality if arm is C else 0.7)), stratum=f"kind {at % 3}")
        if at % 4 == 0:
            arms.pair(float(rng.random() < 0.7), float(rng.random() < quality))
        if at % 50 == 0:
            arms.note(float(at), 0.1 + at // 100 * 0.1)
    return arms


def test_a_rollout_without_any_traffic_says_what_is_missing() -> None:
    readings = Arms(PLAN).readings()
    assert set(readings) == set(Metric)
    for reading in readings.values():
        assert reading.missing
        assert not reading.worse
        assert not reading.fine
        assert reading.lower is None
    assert readings[Metric.QUALITY].missing == "nobody scored an answer"
    assert readings[Metric.ENERGY].missing == "no energy counter is readable"


def test_what_only_one_arm_showed_is_missing_for_the_other() -> None:
    arms = Arms(PLAN)
    arms.observe(B, sample())
    arms.score(B, 1.0)
    assert arms.readings()[Metric.SUCCESS].missing == "no request was sent to the candidate yet"
    assert arms.readings()[Metric.QUALITY].missing == "nobody scored an answer of the candidate"
    assert arms.samples(B) == 1
    assert arms.samples(C) == 0


@pytest.mark.requirement("SWP-4")
def test_a_candidate_that_fails_everything_is_worse_within_ten_requests_at_a_share_of_one_in_ten() -> None:
    arms = Arms(PLAN)
    for at in range(1, 101):
        arms.observe(C if at % 10 == 0 else B, sample(success=at % 10 != 0))
        if arms.readings()[Metric.SUCCESS].worse:
            break
    assert arms.readings()[Metric.SUCCESS].worse
    assert 4 <= arms.samples(C) <= 8


@pytest.mark.requirement("SWP-4")
def test_each_metric_tells_a_bad_candidate_and_names_no_other() -> None:
    for metric in Metric:
        rng, arms = np.random.default_rng(7), Arms(PLAN)
        for at in range(1200):
            arm = C if at % 3 == 0 else B
            bad = arm is C
            slow = 3.0 if bad and metric is Metric.LATENCY else 1.0
            arms.observe(
                arm,
                sample(
                    success=bool(rng.random() < (0.6 if bad and metric is Metric.SUCCESS else 0.98)),
                    latency=slow * float(rng.lognormal(5, 0.4)),
                    memory=160.0 if bad and metric is Metric.MEMORY else 100.0,
                    energy=float(rng.lognormal(1, 0.4)) * (2.0 if bad and metric is Metric.ENERGY else 1.0),
                ),
            )
            arms.score(arm, float(rng.random() < (0.4 if bad and metric is Metric.QUALITY else 0.7)))
        found = {one for one, reading in arms.readings().items() if reading.worse}
        assert found == {metric}


def test_an_equal_candidate_becomes_fine_once_there_is_enough_evidence() -> None:
    arms = Arms(PLAN)
    for at in range(4000):
        arm = C if at % 2 else B
        arms.observe(arm, sample(latency=100.0 + at % 7, memory=100.0, energy=5.0 + at % 3))
        arms.score(arm, 0.7 + 0.1 * (at // 2 % 3))
    for reading in arms.readings().values():
        assert reading.fine, reading
        assert not reading.worse
    assert set(arms.needed().values()) == {0}


def test_few_perfect_answers_are_not_enough_to_be_fine() -> None:
    arms = Arms(PLAN)
    for at in range(40):
        arms.observe(C if at % 2 else B, sample())
        arms.score(C if at % 2 else B, 1.0)
        arms.pair(1.0, 1.0)
    readings = arms.readings()
    assert not readings[Metric.SUCCESS].fine
    assert not readings[Metric.QUALITY].fine
    assert not readings[Metric.LATENCY].fine
    assert arms.needed()[Metric.SUCCESS] > 0


def test_a_metric_without_a_limit_is_reported_and_guards_nothing() -> None:
    arms = Arms(RolloutPlan(limits={Metric.QUALITY: 0.95}))
    for at in range(200):
        arms.observe(C if at % 2 else B, sample(success=at % 2 == 0))
    reading = arms.readings()[Metric.SUCCESS]
    assert reading.upper is not None
    assert reading.upper < 0
    assert not reading.worse
    assert not reading.fine


def test_a_certain_loss_within_the_limit_is_not_worse() -> None:
    arms = Arms(PLAN)
    for at in range(6000):
        arm = C if at % 2 else B
        arms.score(arm, 0.800 if arm is B else 0.784)
    reading = arms.readings()[Metric.QUALITY]
    assert reading.upper is not None
    assert reading.upper < 0
    assert not reading.worse
    assert reading.fine


def test_a_score_that_is_taken_back_leaves_no_trace() -> None:
    arms, clean = busy(3), busy(3)
    arms.score(C, 0.25, weight=0.5, stratum="kind 1")
    arms.score(C, 0.25, weight=-0.5, stratum="kind 1")
    given, kept = arms.readings()[Metric.QUALITY], clean.readings()[Metric.QUALITY]
    assert given.candidate == pytest.approx(kept.candidate)
    assert given.lower == pytest.approx(kept.lower)
    assert given.candidate_n == kept.candidate_n


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_scores_outside_zero_to_one_are_refused(value: float) -> None:
    arms = Arms(PLAN)
    with pytest.raises(ValueError, match="between 0 and 1"):
        arms.score(B, value)
    with pytest.raises(ValueError, match="between 0 and 1"):
        arms.pair(0.5, value)


@pytest.mark.requirement("SWP-4")
def test_loaded_evidence_says_the_same_and_goes_on_the_same() -> None:
    arms = busy(1)
    again = Arms.load(arms.dump(), PLAN)
    assert again.readings() == arms.readings()
    assert again.trace() == arms.trace()
    assert again.needed() == arms.needed()
    for one in (arms, again):
        one.observe(C, sample(memory=80.0, energy=2.0))
        one.score(C, 1.0, stratum="new")
        one.pair(1.0, 0.5)
        one.note(9999.0, 0.9)
    assert again.dump() == arms.dump()


def test_bytes_of_another_format_are_refused() -> None:
    whole = busy(2, 50).dump()
    other = MAGIC + (FORMAT + 1).to_bytes(4, "little") + whole[len(MAGIC) + 4 :]
    hollow = zlib.compress(json.dumps({"requests": [1]}).encode())
    for content, words in (
        (b"", "no evidence"),
        (b"PK\x03\x04", "no evidence"),
        (other, "format"),
        (whole[:-3], "damaged"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "damaged"),
        (MAGIC + FORMAT.to_bytes(4, "little") + zlib.crc32(hollow).to_bytes(4, "little") + hollow, "understood"),
    ):
        with pytest.raises(ValueError, match=words):
            Arms.load(content, PLAN)


@pytest.mark.no_cover
def test_memory_does_not_grow_with_requests_kinds_phases_or_notes() -> None:
    rng, arms, sizes = np.random.default_rng(4), Arms(PLAN), []
    for at in range(12_000):
        arm = C if at % 2 else B
        arms.observe(arm, sample(latency=float(rng.lognormal(5, 3)), memory=1.0, energy=1.0))
        arms.score(arm, 0.5, stratum=f"kind {at}")
        if at % 5 == 0:
            arms.note(float(at), 0.05 + at % 90 / 100)
        if at in {5_999, 11_999}:
            sizes.append(len(arms.dump()))
    assert sizes[1] < 1.25 * sizes[0]
    assert sizes[1] < 200_000
    points = arms.trace()
    assert len(points) <= 5 * 240
    assert [one.at for one in points] == sorted(one.at for one in points)
    assert points[0].at == 0.0
    assert points[-1].at > 11_000


@pytest.mark.requirement("SWP-4")
def test_prompts_that_get_harder_during_a_ramp_do_not_condemn_an_equal_candidate() -> None:
    rng, arms, plain = np.random.default_rng(5), Arms(PLAN), Arms(PLAN)
    for step in range(9):
        share, quality = 0.1 + 0.1 * step, 0.9 - 0.08 * step
        arms.note(float(step), share)
        for _ in range(400):
            arm, score = (C if rng.random() < share else B), float(rng.random() < quality)
            arms.score(arm, score)
            plain.score(arm, score)
    assert plain.readings()[Metric.QUALITY].worse, "without the phases it would be condemned"
    assert not arms.readings()[Metric.QUALITY].worse


def test_taking_in_a_request_and_reading_are_quick() -> None:
    arms, given = busy(6), sample(memory=90.0, energy=3.0)
    for work, limit_s in (
        (lambda: arms.observe(C, given), 60e-6),
        (lambda: arms.score(B, 1.0, stratum="kind 2"), 100e-6),
        (arms.readings, 20e-3),
    ):
        best = min(_time(work) for _ in range(30))
        assert best < limit_s


def _time(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
