"""Definitions of agreement: worked examples, brute force, and coverage of the intervals by Monte Carlo."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest

from podium.core import agreement
from podium.core.agreement import Floats, Ints

pytestmark = pytest.mark.requirement("JDG-6")


def drawn(rng: np.random.Generator, good: int, bad: int, gap: float) -> tuple[Floats, np.ndarray]:
    scores = np.concatenate([rng.normal(gap, 1, good), rng.normal(0, 1, bad)])
    return scores, np.arange(good + bad) < good


def test_auc_counts_pairs_in_the_right_order_and_ties_half() -> None:
    rng = np.random.default_rng(3)
    scores, passed = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, low in itertools.product(scores[passed], scores[~passed])
    ]
    assert agreement.auc(scores, passed) == pytest.approx(np.mean(pairs))
    assert agreement.auc(-scores, passed) == pytest.approx(1 - np.mean(pairs))
    weights = rng.integers(0, 3, 40).astype(float)
    repeated = np.repeat(np.arange(40), weights.astype(int))
    assert agreement.auc(scores, passed, weights) == pytest.approx(agreement.auc(scores[repeated], passed[repeated]))


def test_one_class_has_no_auc_and_no_kappa() -> None:
    scores, passed = np.array([0.1, 0.9]), np.array([True, True])
    assert agreement.auc(scores, passed) is None
    assert agreement.auc_interval(scores, passed) is None
    assert agreement.kappa(passed, passed) is None
    assert agreement.share(passed[:0]) is None
    assert agreement.ece(scores[:0], scores[:0]) is None
    assert agreement.spearman(np.ones(3), np.arange(3.0)) is None


@pytest.mark.parametrize(("good", "bad", "gap"), [(40, 60, 1.0), (5, 15, 2.0), (12, 200, 2.5)])
def test_the_interval_of_the_auc_covers_the_truth(good: int, bad: int, gap: float) -> None:
    """800 draws, seed 5: standard error of the coverage is 0.8 %."""
    truth, rng, hits = NormalDist().cdf(gap / 2**0.5), np.random.default_rng(5), 0
    for _ in range(800):
        found = agreement.auc_interval(*drawn(rng, good, bad, gap))
        assert found is not None
        hits += found.low <= truth <= found.high
    assert 0.925 <= hits / 800 <= 0.99


def test_a_perfect_order_of_few_rows_is_not_certain() -> None:
    scores = np.arange(10.0)
    few = agreement.auc_interval(scores, scores >= 5)
    many = agreement.auc_interval(np.arange(400.0), np.arange(400.0) >= 200)
    assert few is not None
    assert many is not None
    assert few.value == many.value == few.high == 1.0
    assert few.low < 0.85
    assert many.low > 0.97


def test_rows_that_repeat_each_other_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(8)
    scores, passed = drawn(rng, 30, 30, 1.0)
    once = agreement.auc_interval(scores, passed)
    groups: Ints = np.tile(np.arange(60), 10)
    told = agreement.auc_interval(np.tile(scores, 10), np.tile(passed, 10), groups)
    untold = agreement.auc_interval(np.tile(scores, 10), np.tile(passed, 10))
    assert once is not None
    assert told is not None
    assert untold is not None
    assert told.high - told.low == pytest.approx(once.high - once.low, rel=0.15)
    assert untold.high - untold.low < 0.5 * (once.high - once.low)


def test_kappa_of_the_textbook() -> None:
    """Cohen's example of 50 proposals: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: 0.4."""
    first = np.array([1] * 25 + [0] * 25)
    second = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
    assert agreement.kappa(first, second) == pytest.approx(0.4)
    assert agreement.kappa(first, first) == pytest.approx(1.0)


def test_graded_kappa_is_kappa_with_quadratic_weights() -> None:
    rng = np.random.default_rng(2)
    first = rng.integers(0, 5, 300)
    second = np.clip(first + rng.integers(-1, 2, 300), 0, 4)
    table = np.zeros((5, 5))
    np.add.at(table, (first, second), 1 / 300)
    far = (np.arange(5)[:, None] - np.arange(5)[None, :]) ** 2
    chance = np.outer(table.sum(1), table.sum(0))
    wanted = 1 - (far * table).sum() / (far * chance).sum()
    assert agreement.graded_kappa(first.astype(float), second.astype(float)) == pytest.approx(wanted)


def test_calibration_error_by_hand() -> None:
    said = np.array([0.05, 0.05, 0.95, 0.95])
    labels = np.array([0.0, 1.0, 1.0, 1.0])
    assert agreement.ece(said, labels) == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
    assert agreement.ece(np.array([0.5, 0.5]), np.array([0.0, 1.0])) == 0.0
    assert agreement.ece(np.array([1.0]), np.array([1.0])) == 0.0
    shown = agreement.reliability(said, labels)
    assert [(one.n, one.rate) for one in shown] == [(2, 0.5), (2, 1.0)]
    assert all(one.rate_low < one.rate_high for one in shown)


def test_rank_correlation_shares_the_rank_of_equal_values() -> None:
    assert agreement.spearman(np.array([1.0, 2, 2, 4]), np.array([10.0, 20, 20, 90])) == pytest.approx(1.0)
    assert agreement.spearman(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1.0)
    assert agreement.spearman(np.array([1.0, 2, 3, 4, 5]), np.array([5.0, 6, 7, 8, 7])) == pytest.approx(0.8207827)


@pytest.mark.no_cover
def test_the_bootstrap_of_a_share_covers_it() -> None:
    """400 draws of 80 rows, seed 1: standard error of the coverage is 1.1 %."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        rows = rng.random(80) < 0.7
        found = agreement.bootstrap(
            lambda weights, rows=rows: agreement.share(rows, weights), np.arange(80), rng, draws=200
        )
        assert found is not None
        hits += found.low <= 0.7 <= found.high
    assert 0.90 <= hits / 400 <= 0.98
