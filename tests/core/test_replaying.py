"""The one-pass protocol: what a policy may see, and what is added up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from podium.core.baselines import Uniform
from podium.core.policies import Pick
from podium.core.replaying import WINDOW, Loss, Replay, Rows, Totals

MODELS = ("a", "b", "c")
NAN = float("nan")


class Scripted:
    """Chooses by a rule and writes down all it was told."""

    def __init__(self, rule=lambda task, arms, draw: arms[0]):
        self.rule, self.offered, self.told = rule, [], []

    def choose(self, task, arms, draw, context=None):
        self.offered.append((task, tuple(arms), draw))
        return Pick(self.rule(task, arms, draw), 1.0)

    def observe(self, task, arm, score, *, weight=1.0, latency_s=None, cost=None):
        self.told.append((task, arm, score, latency_s, cost))


def totals_of(task, quality, tasks=("t", "u")) -> Totals:
    task, quality = np.asarray(task), np.asarray(quality, dtype=float)
    sums = np.zeros((len(tasks), quality.shape[1]))
    counts = np.zeros_like(sums, dtype=np.int64)
    np.add.at(sums, task, np.nan_to_num(quality))
    np.add.at(counts, task, ~np.isnan(quality))
    return Totals(
        tasks=tasks,
        models=MODELS[: quality.shape[1]],
        rows=len(task),
        task_rows=np.bincount(task, minlength=len(tasks)),
        counts=counts,
        sums=sums,
    )


def rows_of(task, quality, latency=None, cost=None) -> Rows:
    wide = [None if table is None else np.asarray(table, dtype=float) for table in (quality, latency, cost)]
    return Rows(
        task=np.asarray(task, dtype=np.int32),
        quality=wide[0],
        latency_s=wide[1],
        cost_usd=wide[2],
        draws=np.linspace(0, 0.99, len(task)),
    )


def run(policy, task, quality, latency=None, cost=None, loss=None, split=2):
    replay = Replay(policy, totals_of(task, quality), loss)
    whole = rows_of(task, quality, latency, cost)
    for start in range(0, len(task), split):
        part = slice(start, start + split)
        replay.feed(
            Rows(
                task=whole.task[part],
                quality=whole.quality[part],
                latency_s=None if whole.latency_s is None else whole.latency_s[part],
                cost_usd=None if whole.cost_usd is None else whole.cost_usd[part],
                draws=whole.draws[part],
            )
        )
    return replay.result()


TASK = [0, 0, 1, 1]
QUALITY = [[1.0, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.2, 1.0], [0.0, 0.4, 0.5]]


@pytest.mark.requirement("TRK-4")
def test_only_the_chosen_models_columns_are_revealed():
    policy = Scripted(lambda task, arms, draw: "b")
    run(policy, TASK, QUALITY, latency=[[1, 2, 3]] * 4, cost=[[0.1, 0.2, 0.3]] * 4)
    assert policy.told == [("t", "b", 0.5, 2.0, 0.2)] * 2 + [("u", "b", 0.2, 2.0, 0.2), ("u", "b", 0.4, 2.0, 0.2)]
    assert [offer[:2] for offer in policy.offered] == [("t", MODELS)] * 2 + [("u", MODELS)] * 2


def test_the_figures_are_those_worked_out_by_hand():
    # Means: t is .5 for a and b, u is .75 for c. Best per task .5, .5, .75, .75.
    result = run(Scripted(), TASK, QUALITY, latency=[[1, 9, 9]] * 4, cost=[[0.25, 9, 9]] * 4)
    assert result.n == 4
    assert result.mean_quality == pytest.approx(0.25)
    assert result.task_oracle == pytest.approx(0.625)
    assert (result.best_single, result.best_single_model) == (pytest.approx(0.4), "b")
    assert result.regret == pytest.approx(2.5 - 1.0)
    assert result.pseudo_regret == pytest.approx(2.5 - 1.0)
    assert result.final_quarter == 0.0
    assert result.cost == pytest.approx(1.0)
    assert result.latency_s == pytest.approx(1.0)
    assert result.shares == {"a": 1.0, "b": 0.0, "c": 0.0}
    assert (result.recovery, result.degraded) == (None, None)


def test_regret_counts_luck_and_pseudo_regret_does_not():
    result = run(Scripted(lambda task, arms, draw: "a" if task == "t" else "c"), TASK, QUALITY)
    assert (result.regret, result.pseudo_regret) == (pytest.approx(0.0), pytest.approx(0.0))
    lucky = run(Scripted(lambda task, arms, draw: "a" if draw == 0 or task == "u" else "b"), TASK, QUALITY)
    assert lucky.pseudo_regret == pytest.approx(1.5)
    assert lucky.regret == pytest.approx(0.5 * 2 + 0.75 * 2 - 1.5)


def test_a_model_that_was_not_run_is_not_offered_and_is_no_yardstick():
    quality = [[1.0, 0.5, 0.0], [NAN, 0.5, 0.0], [0.0, 0.2, 1.0], [0.0, 0.4, 0.5]]
    policy = Scripted()
    result = run(policy, TASK, quality)
    assert policy.offered[1][1] == ("b", "c")
    assert policy.told[1][1] == "b"
    assert result.task_oracle == pytest.approx((1.0 + 0.5 + 0.75 + 0.75) / 4)


def test_figures_do_not_depend_on_how_the_stream_is_cut():
    rng = np.random.default_rng(1)
    task, quality = rng.integers(0, 2, 97), rng.random((97, 3))
    loss = Loss(at=40)
    one, other = (dataclasses.asdict(run(Uniform(), task, quality, cost=quality, loss=loss, split=s)) for s in (97, 1))
    assert one.pop("shares") == other.pop("shares")
    assert one.pop("degraded") == other.pop("degraded")
    assert {k: v for k, v in one.items() if v != pytest.approx(other[k])} == {}


@pytest.mark.requirement("LRN-3")
def test_a_loss_halves_the_best_model_from_that_request_on_and_the_yardstick_with_it():
    n = 60
    quality = np.tile([0.8, 0.6, 0.1], (n, 1))
    policy = Scripted()
    result = run(policy, [0] * n, quality, loss=Loss(at=20, tasks=1))
    assert [told[2] for told in policy.told] == [0.8] * 20 + [0.4] * 40
    assert result.degraded == {"t": "a"}
    assert result.task_oracle == pytest.approx((20 * 0.8 + 40 * 0.6) / n)
    assert result.regret == pytest.approx(40 * 0.2)
    assert (result.recovery, result.never_recovered) == (None, 1.0)


def test_recovery_counts_the_tasks_own_requests_until_the_moving_mean_is_back():
    n, at, slow = 200, 50, 7
    count = iter(range(n))
    policy = Scripted(lambda task, arms, draw: "b" if next(count) >= at + slow else "a")
    quality = np.tile([0.8, 0.6, 0.1], (n, 1))
    result = run(policy, [0] * n, quality, loss=Loss(at=at, tasks=1), split=9)
    # b is worth .6 and a .4 now: the mean of 20 is at .57 with at most 3 requests to a among them.
    assert result.recovery == slow + WINDOW - 3
    assert result.never_recovered == 0.0


def test_one_who_was_never_on_the_lost_model_is_back_at_the_floor():
    quality = np.tile([0.8, 0.6, 0.1], (100, 1))
    result = run(Scripted(lambda task, arms, draw: "b"), [0] * 100, quality, loss=Loss(at=50))
    assert result.recovery == WINDOW


def test_tasks_with_too_few_requests_after_the_loss_are_not_judged():
    task = [0] * 60 + [1] * 5
    quality = np.tile([0.8, 0.6, 0.1], (65, 1))
    result = run(Scripted(lambda task, arms, draw: "b"), task, quality, loss=Loss(at=20))
    assert (result.recovery, result.never_recovered) == (WINDOW, 0.0)
    assert set(result.degraded or {}) == {"t", "u"}


def test_a_policy_that_chooses_what_was_not_offered_is_an_error():
    with pytest.raises(ValueError, match="not offered"):
        run(Scripted(lambda task, arms, draw: "a"), [0], [[NAN, 1.0, 0.0]])


def test_a_result_before_the_end_is_refused():
    with pytest.raises(ValueError, match="0 of 4"):
        Replay(Uniform(), totals_of(TASK, QUALITY)).result()
