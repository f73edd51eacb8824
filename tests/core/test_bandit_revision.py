"""A score that was corrected: the policy believes what it would believe had the right one come at first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.bandit import Bandit

unit = st.floats(0, 1)


@given(st.lists(st.tuples(unit, st.sampled_from((0.25, 1.0))), min_size=1, max_size=12), st.data(), unit)
def test_a_revised_score_leaves_the_sums_of_a_policy_that_never_saw_the_old_one(
    scores: list[tuple[float, float]], data: st.DataObject, new: float
) -> None:
    at = data.draw(st.integers(0, len(scores) - 1))
    once, right = Bandit(drift=False), Bandit(drift=False)
    for place, (score, weight) in enumerate(scores):
        once.observe("t", "a", score, weight=weight)
        right.observe("t", "a", new if place == at else score, weight=weight)
    once.revise("t", "a", scores[at][0], new, scores[at][1])
    for name in ("n", "total", "squares"):
        assert getattr(once.cells, name)[0, 0] == pytest.approx(getattr(right.cells, name)[0, 0], abs=1e-9)


def test_a_revision_moves_the_belief_at_once_and_not_the_weight() -> None:
    policy = Bandit()
    for _ in range(5):
        policy.observe("t", "a", 1.0)
    before = policy.table("t", ["a"])
    policy.revise("t", "a", 1.0, 0.0)
    after = policy.table("t", ["a"])
    assert after.mean[0] < before.mean[0]
    assert after.weight[0] == before.weight[0] == 5.0


@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=30))
@pytest.mark.no_cover
def test_sums_stay_possible_whatever_is_revised(changes: list[tuple[float, float]]) -> None:
    policy = Bandit()
    policy.observe("t", "a", 0.5)
    for old, new in changes:
        policy.revise("t", "a", old, new)
        n, total, squares = (getattr(policy.cells, name)[0, 0] for name in ("n", "total", "squares"))
        assert 0.0 <= total <= n
        assert total * total / n - 1e-12 <= squares <= total + 1e-12
        assert np.isfinite(policy.table("t", ["a"]).index).all()


def test_a_cell_that_saw_nothing_observes_the_new_score_and_nonsense_is_refused() -> None:
    policy = Bandit()
    policy.revise("t", "a", 1.0, 0.25)
    assert policy.table("t", ["a"]).weight[0] == 1.0
    for old, new, weight in ((float("nan"), 0.5, 1.0), (0.5, 2.0, 1.0), (0.5, 0.5, 0.0), (0.5, 0.5, float("inf"))):
        with pytest.raises(ValueError, match=r"between 0 and 1|above 0 and finite"):
            policy.revise("t", "a", old, new, weight)
