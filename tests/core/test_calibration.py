"""The mappings of one judge and the stack of several: honest on few labels, better than the raw score on many."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from podium.core import agreement
from podium.core.calibration import apply, apply_all, calibrate, fit, pool
from podium.core.held_out import cut_at, figures
from podium.core.pair_calibration import compare_features, compare_scores
from podium.core.stacking import apply_stack, features_of, stack, stack_up
from podium.domain.judgment import RULES, Verdict
from podium.errors import InvalidRequest

pytestmark = pytest.mark.requirement("JDG-6")


def judged(n: int, seed: int, *, skill: float = 1.5, optimism: float = 1.5) -> tuple[list[float], list[float]]:
    """Raw scores of a judge that is too kind, and labels: 60 % pass."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.6).astype(float)
    raw = 1 / (1 + np.exp(-(rng.normal(size=n) + skill * labels + optimism)))
    return raw.tolist(), labels.tolist()


def test_pooling_adjacent_violators_by_hand() -> None:
    found = pool(np.array([1.0, 3.0, 2.0, 2.0, 5.0]), np.array([1.0, 1.0, 1.0, 2.0, 1.0]))
    assert found.tolist() == pytest.approx([1.0, 2.25, 2.25, 2.25, 5.0])
    rng = np.random.default_rng(4)
    values, weights = rng.normal(size=60), rng.random(60) + 0.1
    best = pool(values, weights)
    assert (np.diff(best) >= 0).all()
    for _ in range(200):
        other = np.sort(best + rng.normal(scale=0.05, size=60))
        assert weights @ (values - best) ** 2 <= weights @ (values - other) ** 2 + 1e-12


@pytest.mark.parametrize("kind", ["isotonic", "platt", "auto"])
def test_a_mapping_removes_the_calibration_error_and_never_turns_answers_around(kind: str) -> None:
    raw, labels = judged(1500, 1)
    found = fit(raw, labels, kind=kind)  # type: ignore[arg-type] # the three kinds
    assert found.ece_before is not None
    assert found.ece_after is not None
    assert found.ece_before > 0.2
    assert found.ece_after < 0.05
    mapped = apply_all(found, np.linspace(0, 1, 301).tolist())
    assert all(0 <= one <= other <= 1 for one, other in itertools.pairwise(mapped))
    assert apply(found, 0.37) == pytest.approx(apply_all(found, [0.37])[0])


@pytest.mark.no_cover
def test_auto_takes_steps_where_a_curve_cannot_follow_and_the_curve_where_labels_are_few() -> None:
    rng = np.random.default_rng(2)
    raw = rng.random(3000)
    chance = np.where(raw < 0.5, 0.15, np.where(raw < 0.52, 0.5, 0.85))
    assert fit(raw.tolist(), (rng.random(3000) < chance).astype(float).tolist()).kind == "isotonic"
    chosen = [fit(*judged(40, seed), seed=seed).kind for seed in range(12)]
    assert chosen.count("platt") > 6


def test_few_labels_never_map_to_certainty() -> None:
    labels = [0.0] * 12 + [1.0] * 12
    for kind in ("isotonic", "platt"):
        found = fit(np.linspace(0, 1, 24).tolist(), labels, kind=kind)  # type: ignore[arg-type] # the two kinds
        assert 0.01 < apply(found, 0.0) < 0.35
        assert 0.65 < apply(found, 1.0) < 0.99


def test_held_out_error_is_honest_about_a_judge_that_knows_nothing() -> None:
    """Over 25 judges of noise (seeds 0 to 24) the bound of the AUC is above one half as rarely as it promises."""
    called = 0
    for seed in range(25):
        raw, labels = judged(100, seed, skill=0.0)
        fitted = calibrate(raw, labels, seed=seed)
        called += fitted.calibration.informative
        shown = figures(fitted.held, np.random.default_rng(seed), draws=5)
        assert shown.log_loss < shown.log_loss_of_base_rate + 0.05
    assert called <= 3


def test_a_judge_that_prefers_bad_answers_is_mapped_to_the_base_rate() -> None:
    raw, labels = judged(400, 3, skill=-2.0)
    found = fit(raw, labels, kind="platt")
    assert apply(found, 0.1) == apply(found, 0.99) == pytest.approx(np.mean(labels), abs=0.01)
    assert not found.informative


@pytest.mark.parametrize(
    ("raw", "labels", "said"),
    [
        ([0.5] * 3, [1.0, 0.0, 1.0], "3 labels are too few"),
        ([0.5] * 40, [1.0] * 40, "0 of 40 labels fail"),
        ([0.5] * 40, [0.0] * 38 + [1.0] * 2, "2 of 40 labels pass"),
        ([0.5] * 40, [1.0] * 20 + [2.0] * 20, r"labels must be numbers in \[0, 1\]"),
        ([0.5] * 40, [math.nan] * 40, r"labels must be numbers in \[0, 1\]"),
        ([0.5] * 39, [0.0, 1.0] * 20, "a raw score"),
        ([1e9] * 40, [0.0, 1.0] * 20, "a raw score"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_the_reason(raw: list[float], labels: list[float], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        fit(raw, labels)


def test_a_constant_judge_is_calibrated_and_not_informative() -> None:
    found = fit([0.8] * 60, [1.0] * 40 + [0.0] * 20)
    assert found.auc == 0.5
    assert not found.informative
    assert apply(found, 0.8) == pytest.approx(2 / 3, abs=0.02)


def test_weights_count_as_repeated_rows() -> None:
    raw, labels = judged(60, 5)
    weights = [float(1 + index % 3) for index in range(60)]
    repeated = [
        (score, label) for score, label, weight in zip(raw, labels, weights, strict=True) for _ in range(int(weight))
    ]
    whole = fit([one for one, _ in repeated], [one for _, one in repeated], kind="platt")
    assert fit(raw, labels, kind="platt", weights=weights).knots[0] == pytest.approx(whole.knots[0], abs=1e-3)


def test_the_same_rows_give_the_same_calibration() -> None:
    raw, labels = judged(200, 6)
    assert fit(raw, labels, seed=1) == fit(raw, labels, seed=1)


@pytest.mark.no_cover
def test_rows_of_one_prompt_stay_on_one_side() -> None:
    """Scores that name the prompt and nothing else look perfect unless prompts are kept together."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(60), 5)
    truth = (rng.random(60) < 0.5).astype(float)[groups]
    rows = [{f"prompt {group}": 1.0} for group in groups]
    told = stack([{**dict.fromkeys((f"prompt {one}" for one in range(60)), 0.0), **row} for row in rows], truth.tolist(),
                 groups=groups.tolist())  # fmt: skip
    assert told.auc is not None
    assert told.auc < 0.65


def test_the_cut_passes_as_many_as_people_did() -> None:
    probabilities, labels = np.array([0.1, 0.2, 0.2, 0.6, 0.9]), np.array([0.0, 0.0, 1.0, 0.0, 1.0])
    assert cut_at(probabilities, labels) == pytest.approx(0.4)
    raw, truth = judged(800, 8)
    held = calibrate(raw, truth).held
    assert held.passes.mean() == pytest.approx(np.mean(truth), abs=0.03)


# ------------------------------------------------------------ stacks


def measured(n: int, seed: int) -> tuple[list[dict[str, float]], list[float]]:
    """Two measures that know different things, one of them missing in a third of the rows, and one that knows nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.5
    rows = []
    for label in labels:
        row = {"one": float(rng.normal() + label), "noise": float(rng.normal(scale=100))}
        if rng.random() > 1 / 3:
            row["other"] = float(5 * rng.normal() + 6 * label)
        rows.append(row)
    return rows, labels.astype(float).tolist()


def test_a_stack_beats_each_of_its_parts_on_rows_it_has_not_seen() -> None:
    rows, labels = measured(600, 1)
    fresh, truth = measured(2000, 2)
    found = stack(rows, labels)
    passed = np.array(truth) > 0.5
    together = agreement.auc(np.array([apply_stack(found, row) for row in fresh]), passed)
    alone = [agreement.auc(np.array([row.get(name, 2.0) for row in fresh]), passed) for name in ("one", "other")]
    assert together is not None
    assert all(one is not None and together > one + 0.03 for one in alone)
    assert found.auc == pytest.approx(together, abs=0.05)
    assert agreement.ece(np.array([apply_stack(found, row) for row in fresh]), np.array(truth)) < 0.06  # type: ignore[operator]


def test_a_stack_says_the_same_in_its_weights_as_while_fitting() -> None:
    rows, labels = measured(300, 3)
    fitted = stack_up(rows, labels)
    said = np.array([apply_stack(fitted.calibration, row) for row in rows])
    assert agreement.auc(said, np.array(labels) > 0.5) == pytest.approx(fitted.calibration.auc, abs=0.03)
    assert np.corrcoef(said, fitted.held.after)[0, 1] > 0.97


def test_a_stack_takes_missing_unknown_and_endless_values() -> None:
    rows, labels = measured(300, 4)
    found = stack(rows, labels)
    whole = apply_stack(found, {"one": 1.0, "other": 6.0})
    assert apply_stack(found, {"one": 1.0, "other": 6.0, "never seen": 9.0}) == whole
    for nothing in ({}, {"one": math.nan}, {"one": math.inf, "other": -math.inf}):
        assert 0.2 < apply_stack(found, nothing) < 0.8


def test_a_stack_without_anything_that_varies_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no feature varies"):
        stack([{"same": 1.0}] * 40, [0.0, 1.0] * 20)
    with pytest.raises(InvalidRequest, match="a row of features"):
        stack([{"same": 1.0}] * 39, [0.0, 1.0] * 20)


def test_features_of_verdicts_leave_out_scores_that_do_not_exist() -> None:
    ruled = Verdict(criterion="safety", judge=RULES, score=0.0, features={"length": 3.0})
    silent = Verdict(criterion="safety", judge="tiny@1", score=None, invalid="prose")
    found = features_of([ruled, silent])
    assert found["rules.length"] == 3.0
    assert found["score.rules"] == 0.0
    assert found["logit.rules"] == pytest.approx(math.log(0.01 / 0.99))
    assert not any("tiny" in name for name in found)


# ------------------------------------------------------------ pairs


def test_pairs_are_compared_without_a_side() -> None:
    rng = np.random.default_rng(9)
    first, second = rng.random(300), rng.random(300)
    labels = (rng.random(300) < 1 / (1 + np.exp(-4 * (first - second)))).astype(float)
    held = compare_scores(first.tolist(), second.tolist(), labels.tolist(), groups=list(range(300)))
    turned = compare_scores(second.tolist(), first.tolist(), (1 - labels).tolist(), groups=list(range(300)))
    assert agreement.ece(held.after, held.labels) < 0.08  # type: ignore[operator]
    assert agreement.auc(held.order, held.passed) == pytest.approx(agreement.auc(turned.order, turned.passed))
    assert held.after.mean() == pytest.approx(labels.mean(), abs=0.06)


def test_pairs_are_compared_by_what_differs() -> None:
    rng = np.random.default_rng(10)
    first = [{"good": float(rng.normal()), "noise": float(rng.normal())} for _ in range(200)]
    second = [{"good": float(rng.normal()), "noise": float(rng.normal())} for _ in range(200)]
    labels = [float(one["good"] > other["good"]) for one, other in zip(first, second, strict=True)]
    held = compare_features(first, second, labels, groups=list(range(200)))
    area = agreement.auc(held.order, held.passed)
    assert area is not None
    assert area > 0.95
