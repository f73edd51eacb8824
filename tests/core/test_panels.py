"""Two orders, many judges: a panel is as good as its best member, also when members err together or are always wrong."""

from __future__ import annotations

import numpy as np
import pytest

from podium.core import agreement
from podium.core.panels import alpha, fit_panel, held_out, plain, prefer, settle, together, unity
from podium.domain.judgment import Preference
from podium.errors import InvalidRequest

pytestmark = pytest.mark.requirement("JDG-6")
Pairs = tuple[list[dict[str, float]], list[float]]


def pairs(n: int, seed: int) -> Pairs:
    """One fair judge (right in 78 %), eleven of one family that fall for the same trick together in 60 % of the pairs, one
    that guesses.
    """
    rng = np.random.default_rng(seed)
    labels, votes = [], []
    for _ in range(n):
        truth = 1.0 if rng.random() < 0.5 else -1.0
        trick = truth * (-1.0 if rng.random() < 0.6 else 1.0)
        row = {f"family {number}": trick * (1.0 if rng.random() < 0.9 else -1.0) for number in range(11)}
        row["fair"] = truth * (1.0 if rng.random() < 0.78 else -1.0)
        if rng.random() < 0.8:
            row["guesses"] = 1.0 if rng.random() < 0.5 else -1.0
        votes.append(row)
        labels.append((truth + 1) / 2)
    return votes, labels


def right(scores: list[float], labels: list[float]) -> float:
    return float(
        np.mean(
            [0.5 if score == 0 else (score > 0) == (label == 1) for score, label in zip(scores, labels, strict=True)]
        )
    )


@pytest.mark.parametrize(
    ("given", "swapped", "wanted"),
    [
        (1, 1, 1),
        (-1, -1, -1),
        (1, -1, 0),
        (0, 1, 0),
        (1, 0.5, 0.75),
        (None, 1, 0.5),
        (-1, None, -0.5),
        (None, None, None),
    ],
)
def test_two_orders_agree_or_tie(given: float | None, swapped: float | None, wanted: float | None) -> None:
    assert settle(given, swapped) == wanted
    assert settle(swapped, given) == wanted


def test_a_judge_that_prefers_the_first_place_says_nothing() -> None:
    """Told the second order mapped back, such a judge contradicts itself on every pair."""
    assert {settle(1.0, -1.0) for _ in range(5)} == {0.0}


@pytest.mark.parametrize(("labelled", "behind"), [(50, 0.025), (200, 0.01)])
@pytest.mark.no_cover
def test_a_panel_keeps_up_with_its_best_member_where_all_others_err_together(labelled: int, behind: float) -> None:
    """The hardest case: nothing to gain beyond the one fair judge, and eleven ways to lose it. 20 draws, 400 other pairs."""
    panel_right, vote_right, best_right = [], [], []
    for seed in range(20):
        panel = fit_panel(*pairs(labelled, seed), seed=seed)
        fresh, truth = pairs(400, 1000 + seed)
        panel_right.append(right([prefer(panel, row) - 0.5 for row in fresh], truth))
        vote_right.append(right([plain(row) for row in fresh], truth))
        best_right.append(right([row["fair"] for row in fresh], truth))
    assert np.mean(vote_right) < 0.5
    assert np.mean(panel_right) > np.mean(best_right) - behind


@pytest.mark.no_cover
def test_a_panel_of_independent_judges_beats_its_best_member_from_fifty_labels() -> None:
    """Seven judges right in 60 to 72 %, each in its own pairs. 20 draws, 400 other pairs."""
    rng, skills = np.random.default_rng(6), np.linspace(0.60, 0.72, 7)

    def drawn(n: int) -> Pairs:
        truth = np.where(rng.random(n) < 0.5, 1.0, -1.0)
        votes = truth[:, None] * np.where(rng.random((n, 7)) < skills, 1.0, -1.0)
        return [{f"judge {number}": float(vote) for number, vote in enumerate(row)} for row in votes], (
            (truth + 1) / 2
        ).tolist()

    gained = []
    for seed in range(20):
        panel, (fresh, truth) = fit_panel(*drawn(50), seed=seed), drawn(400)
        found = right([prefer(panel, row) - 0.5 for row in fresh], truth)
        gained.append(found - right([row["judge 6"] for row in fresh], truth))
    assert np.mean(gained) > 0.03


def test_judges_that_are_wrong_together_get_negative_weight_but_no_more_than_one_of_them_deserves() -> None:
    votes, labels = pairs(400, 1)
    panel = fit_panel(votes, labels)
    family = [weight for name, weight in panel.weights.items() if name.startswith("family")]
    assert sum(family) < 0
    assert abs(sum(family)) < abs(panel.weights["fair"])
    assert abs(panel.weights["guesses"]) < 0.35
    assert panel.accuracy["fair"] == pytest.approx(0.78, abs=0.06)


def test_swapping_the_answers_mirrors_the_verdict() -> None:
    votes, labels = pairs(60, 2)
    panel = fit_panel(votes, labels)
    for row in pairs(20, 3)[0]:
        turned = {name: -vote for name, vote in row.items()}
        assert prefer(panel, row) == pytest.approx(1 - prefer(panel, turned))
    assert prefer(panel, {}) == prefer(panel, {"a stranger": 1.0}) == 0.5


def test_its_probability_can_be_believed() -> None:
    said, truth = [], []
    for seed in range(20):
        panel = fit_panel(*pairs(60, seed), seed=seed)
        fresh, labels = pairs(200, 500 + seed)
        said += [prefer(panel, row) for row in fresh]
        truth += labels
    error = agreement.ece(np.array(said), np.array(truth))
    assert error is not None
    assert error < 0.06


def test_a_panel_of_noise_stays_near_one_half() -> None:
    rng = np.random.default_rng(4)
    votes = [{f"judge {number}": float(rng.choice([-1, 1])) for number in range(40)} for _ in range(30)]
    panel = fit_panel(votes, rng.integers(0, 2, 30).astype(float).tolist())
    fresh = [{f"judge {number}": float(rng.choice([-1, 1])) for number in range(40)} for _ in range(300)]
    assert np.mean([abs(prefer(panel, row) - 0.5) for row in fresh]) < 0.2


@pytest.mark.parametrize(
    ("votes", "labels", "said"),
    [
        ([{"a": 1.0}] * 3, [1.0, 0.0, 1.0], "3 labelled pairs are too few"),
        ([{}] * 20, [1.0, 0.0] * 10, "no judge voted"),
        ([{"a": 1.0}] * 20, [1.0] * 19, "a set of votes"),
        ([{"a": 7.0}] * 20, [1.0, 0.0] * 10, r"numbers in \[-1, 1\]"),
        ([{"a": float("nan")}] * 20, [1.0, 0.0] * 10, r"numbers in \[-1, 1\]"),
        ([{"a": 1.0}] * 20, [1.0, 2.0] * 10, "a label must be"),
    ],
)
def test_what_makes_no_panel_is_refused_with_the_reason(
    votes: list[dict[str, float]], labels: list[float], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        fit_panel(votes, labels)


def test_agreement_of_the_members() -> None:
    panel = fit_panel([{"a": 1.0, "b": 1.0}, {"a": -1.0, "b": -1.0}] * 10, [1.0, 0.0] * 10)
    assert unity(panel, {"a": 1.0, "b": 1.0}) == pytest.approx(1.0)
    assert unity(panel, {"a": 1.0, "b": -1.0}) == pytest.approx(0.0, abs=0.01)
    assert unity(panel, {"a": 0.0}) is None
    assert alpha([{"a": 1.0, "b": 1.0}, {"a": -1.0, "b": -1.0}]) == pytest.approx(1.0)
    rng = np.random.default_rng(5)
    noise = [{name: float(rng.choice([-1, 1])) for name in "abcd"} for _ in range(500)]
    assert alpha(noise) == pytest.approx(0.0, abs=0.05)
    assert alpha([{"a": 1.0}]) is None
    assert alpha([{"a": 1.0, "b": 1.0}]) is None


def preferring(judge: str, winner: str | None, probability: float | None) -> Preference:
    return Preference(criterion="relevance", judge=judge, winner=winner, probability=probability)


def test_judges_of_one_pair_are_counted_alike_and_say_how_far_they_agree() -> None:
    a, other, tie = preferring("x@1", "a", 0.9), preferring("y@1", "b", 0.2), preferring("z@1", "tie", 0.5)
    more, silent = preferring("w@1", "a", 0.8), preferring("v@1", None, None)
    found = together([a, other, tie, more, silent])
    assert (found.winner, found.agreement, found.probability) == ("a", 0.5, pytest.approx(0.6))
    assert found.votes == {"x@1": 1.0, "y@1": -1.0, "z@1": 0.0, "w@1": 1.0}
    assert (together([a, other]).winner, together([a, other]).agreement) == ("tie", 0.0)
    assert together([tie]).agreement == 1.0
    nobody = together([silent])
    assert (nobody.winner, nobody.agreement, nobody.probability) == (None, None, None)


def test_a_panel_is_counted_on_pairs_that_it_was_not_fitted_on() -> None:
    votes, labels = pairs(200, 5)
    told = held_out(votes, labels)
    assert len(told) == 200
    assert right([one - 0.5 for one in told], labels) > 0.72
    noise = [float(label) for label in np.random.default_rng(7).integers(0, 2, 200)]
    assert right([one - 0.5 for one in held_out(votes, noise)], noise) < 0.6, "fitted on all of them it knows more"
