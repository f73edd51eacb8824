"""Which items validate a candidate, and what their scores prove."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from podium.core.rollout_validation import PART, choose, compare, doubt, verdict
from podium.core.suites import read_suite
from podium.domain.benchmark import ItemResult
from podium.domain.rollout import Metric, RolloutPlan, Validation

PLAN = RolloutPlan()
pytestmark = pytest.mark.requirement("SWP-3")


def suite(name, count, **more):
    head = {"title": "T", "task": "sums", "licence": "MIT", "defaults": {"grader": "numeric"}}
    items = [{"id": f"i{n:02}", "prompt": f"{name}{n}", "number": n, **more} for n in range(count)]
    return read_suite(name, head, items, lambda schema: None)


def results(ref, scores, *, suite="sums", latency=10.0):
    return [
        ItemResult(
            suite=suite, digest="d", task="sums", item=f"i{n:03}", ref=ref, score=float(score), why="",
            latency_ms=latency, input_tokens=None, output_tokens=None, answer_hash="", at=0.0,
        )
        for n, score in enumerate(scores)
    ]  # fmt: skip


def found(old, new):
    return compare(results("a@1", old), results("b@1", new, latency=20.0), PLAN)


# ------------------------------------------------------------ items


def test_items_come_in_turn_from_every_suite_and_never_more_than_asked():
    big, small = suite("big", 30), suite("small", 3)
    chosen = choose([big, small], set(), set(), 10)
    assert [(one.name, len(one.items), one.digest) for one in chosen] == [
        ("big", 7, big.digest),
        ("small", 3, small.digest),
    ]
    assert [len(one.items) for one in choose([big, small], set(), set(), 1000)] == [30, 3]
    assert choose([big, small], set(), set(), 1) == (replace(big, items=big.items[:1]),)


def test_what_the_baseline_answered_before_is_asked_first_and_what_needs_a_judge_last():
    one = suite("one", 6)
    chosen = choose([one], {(one.digest, "i03"), (one.digest, "i05"), ("other", "i00")}, {(one.digest, "i05")}, 3)
    assert [item.id for item in chosen[0].items] == ["i05", "i03", "i00"]
    mixed = read_suite(
        "mixed",
        {"title": "T", "task": "t", "licence": "MIT"},
        [
            {"id": "a", "prompt": "1", "grader": "judge", "rubric": "short"},
            {"id": "b", "prompt": "1", "grader": "exact", "expected": "1"},
        ],
        lambda schema: None,
    )
    assert [item.id for item in choose([mixed], set(), set(), 5)[0].items] == ["b", "a"]


# ------------------------------------------------------------ verdicts


def test_only_items_both_answered_are_compared():
    got = compare(results("a@1", [1, 1, 0, 1]), results("b@1", [1, 0]), PLAN, missing="b@1: stopped")
    assert (got.items, got.baseline_score, got.candidate_score, got.missing) == (2, 1.0, 0.5, "b@1: stopped")
    assert (got.lower, got.upper) == (-1.0, 1.0), "two pairs prove nothing"
    assert (got.suite, got.baseline_latency_ms, got.candidate_latency_ms) == ("sums", 10.0, 10.0)


def test_without_a_common_item_the_means_are_shown_and_no_difference():
    got = compare([], results("b@1", [1, 0]), PLAN, missing="a@1: no memory")
    assert (got.items, got.baseline_score, got.candidate_score, got.upper) == (2, None, 0.5, None)
    assert got.missing == "a@1: no memory"
    assert compare([], [], PLAN).missing == "no item was answered by both versions"
    assert verdict(got, PLAN) is doubt(got, PLAN) is None


def test_a_proven_loss_fails_with_all_numbers():
    got = found([1] * 30, [1] * 12 + [0] * 18)
    reason = verdict(got, PLAN)
    assert "mean score 0.400 against 1.000 on 30 items of sums, difference between -" in reason
    assert "0.95 of the old is the limit" in reason
    assert doubt(got, PLAN) is None
    assert verdict(got, replace(PLAN, limits={Metric.SUCCESS: 0.95})) is None, "quality guards nothing here"
    assert verdict(got, replace(PLAN, limits={Metric.QUALITY: 0.3})) is None, "so much was allowed"


def test_weak_evidence_only_warns_and_no_loss_says_nothing():
    weak = found([1] * 10 + [0] * 2, [1] * 8 + [0] * 4)
    assert verdict(weak, PLAN) is None
    assert "0.667 against 0.833 on 12 items, too few to be certain" in doubt(weak, PLAN)
    for scores in ([1] * 20, [0] * 20, [1, 0] * 10):
        same = found(scores, scores)
        assert (verdict(same, PLAN), doubt(same, PLAN)) == (None, None)
    assert verdict(Validation(missing="there is none"), PLAN) is None


@pytest.mark.no_cover
def test_monte_carlo_equal_candidates_pass_and_halved_ones_are_caught():
    """50 items, each with its own difficulty; 4,000 runs, seed 5. One-sided level 0.5 % before the limit is counted."""
    rng = np.random.default_rng(5)
    kept = {ref: [results(ref, [score] * 50) for score in (0, 1)] for ref in ("a@1", "b@1")}

    def answers(ref, right):
        return [kept[ref][int(one)][at] for at, one in enumerate(right)]

    failed = dict.fromkeys((1.0, 0.9, 0.7, 0.5), 0)
    for _ in range(4000):
        hard = rng.beta(4, 1.5, 50)
        old = answers("a@1", rng.random(50) < hard)
        for ratio in failed:
            new = answers("b@1", rng.random(50) < hard * ratio)
            failed[ratio] += verdict(compare(old, new, PLAN), PLAN) is not None
    assert failed[1.0] / 4000 <= PART * PLAN.false_alarm, failed
    assert failed[0.5] / 4000 >= 0.75, failed
    assert failed[0.9] < failed[0.7] < failed[0.5]
