"""Corrected means hold the truth as often as they say: Monte Carlo with seeds and error rates in each test."""

from __future__ import annotations

import numpy as np
import pytest

from podium.core.correction import Moments, ppi_mean, rogan_gladen, student

pytestmark = pytest.mark.requirement("JDG-6")


@pytest.mark.parametrize(
    ("truth", "sensitivity", "specificity", "n", "positives", "negatives"),
    [
        (0.7, 0.85, 0.75, 500, 120, 80),
        (0.95, 0.8, 0.9, 300, 60, 40),
        (0.3, 0.7, 0.6, 2000, 300, 300),
        (0.5, 0.9, 0.9, 60, 25, 25),
    ],
)
def test_rogan_gladen_covers_the_true_share(
    truth: float, sensitivity: float, specificity: float, n: int, positives: int, negatives: int
) -> None:
    """1,500 draws, seed 1: standard error of the coverage is 0.6 %; the nominal level is 95 %."""
    rng, hits, errors, reported = np.random.default_rng(1), 0, [], []
    for _ in range(1500):
        seen = rng.binomial(n, truth * sensitivity + (1 - truth) * (1 - specificity)) / n
        found = rogan_gladen(
            seen,
            n,
            sensitivity=rng.binomial(positives, sensitivity) / positives,
            positives=positives,
            specificity=rng.binomial(negatives, specificity) / negatives,
            negatives=negatives,
        )
        if found.value is None:
            continue
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
        errors.append(found.value - truth)
        reported.append(found.reported - truth)
    assert len(errors) > 1450
    assert hits / len(errors) > 0.93
    assert abs(np.mean(errors)) < 0.03
    if truth != 0.5:
        assert abs(np.mean(errors)) < abs(np.mean(reported)) / 3


def test_a_judge_close_to_chance_corrects_nothing() -> None:
    found = rogan_gladen(0.6, 100, sensitivity=0.61, positives=50, specificity=0.4, negatives=50)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.missing is not None
    assert "nearly alike" in found.missing
    assert found.reported == 0.6
    assert rogan_gladen(0.6, 0, sensitivity=0.9, positives=50, specificity=0.9, negatives=50).missing is not None
    assert rogan_gladen(0.6, 10, sensitivity=0.9, positives=50, specificity=0.9, negatives=0).missing is not None


def test_a_perfect_judge_is_left_as_it_is() -> None:
    found = rogan_gladen(0.62, 100_000, sensitivity=1.0, positives=100_000, specificity=1.0, negatives=100_000)
    assert found.value == pytest.approx(0.62)
    assert found.low == pytest.approx(0.62, abs=0.005)
    assert found.high == pytest.approx(0.62, abs=0.005)


def population(rng: np.random.Generator, n: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, 70 % pass, and scores that are 0.15 too high on average."""
    labels = (rng.random(n) < 0.7).astype(float)
    scores = np.clip(0.15 + 0.7 * (1 - skill) + skill * labels + rng.normal(scale=0.1, size=n) * (1 - skill), 0, 1)
    return labels, scores


@pytest.mark.parametrize(("skill", "n"), [(0.9, 60), (0.5, 60), (0.1, 60), (0.9, 400), (0.5, 25)])
@pytest.mark.no_cover
def test_prediction_powered_means_cover_the_true_mean(skill: float, n: int) -> None:
    """800 draws, seed 2: standard error of the coverage is 0.8 %; the nominal level is 95 %."""
    rng, hits, widths, plain = np.random.default_rng(2), 0, [], []
    for _ in range(800):
        labels, scores = population(rng, n, skill)
        fresh = population(rng, 2000, skill)[1]
        found = ppi_mean(Moments.of(labels.tolist(), scores.tolist()), fresh.tolist())
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.7 <= found.high
        widths.append(found.high - found.low)
        plain.append(2 * student(0.975, n - 1) * labels.std(ddof=1) / np.sqrt(n))
    assert hits / 800 > 0.925
    assert np.mean(widths) < np.mean(plain) * 1.01
    if skill == 0.9:
        assert np.mean(widths) < 0.6 * np.mean(plain)


def test_a_useless_judge_leaves_the_labelled_rows_alone() -> None:
    labels = [1.0, 0.0] * 20
    found = ppi_mean(Moments.of(labels, [0.9, 0.9, 0.1, 0.1] * 10), [0.9] * 50 + [0.1] * 500)
    assert found.value == pytest.approx(0.5, abs=0.01)


def test_rows_drawn_with_unequal_odds_are_weighted_back() -> None:
    """Bad answers were sampled four times as often; 400 draws, seed 3."""
    rng, hits = np.random.default_rng(3), 0
    for _ in range(400):
        labels, scores = population(rng, 200, 0.8)
        truth, all_scores = population(rng, 4000, 0.8)
        odds = np.where(truth > 0.5, 0.1, 0.4)
        taken = rng.random(4000) < odds
        found = ppi_mean(
            Moments.of(labels.tolist(), scores.tolist()), all_scores[taken].tolist(), weights=(1 / odds[taken]).tolist()
        )
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.7 <= found.high
    assert hits / 400 > 0.91


def test_too_little_says_so() -> None:
    few = Moments(n=1, label=1, score=1, label_variance=0, score_variance=0, covariance=0)
    assert ppi_mean(few, [0.5, 0.6]).missing is not None
    assert ppi_mean(Moments.of([0.0, 1.0], [0.0, 1.0]), []).value is None


@pytest.mark.parametrize(("freedom", "wanted"), [(5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)])
def test_student_quantiles_of_the_tables(freedom: int, wanted: float) -> None:
    assert student(0.975, freedom) == pytest.approx(wanted, rel=0.01)
