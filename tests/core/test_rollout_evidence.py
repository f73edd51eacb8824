"""The state machine on real evidence (``core/arms``): who is promoted, who is sent back, and that a restart changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from podium.core.arms import Arms, Sample
from podium.core.rollout import advance, apply, enter, first_state, resume
from podium.domain.rollout import Arm, Rollout, RolloutMode, RolloutPlan, RolloutState

S = RolloutState
HOUR = 3600.0
T0 = 1_800_000_000.0
LOOK_MIN = 12
"""Minutes between two looks; real ones are a second apart and far more than this test can afford."""
PER_LOOK = 24
"""Requests of the task."""
END = 11 * 24 * 60


@dataclass(frozen=True)
class Version:
    success: float = 0.995
    quality: float = 0.8
    latency_ms: float = 800.0


def live(
    candidate: Version, *, plan: RolloutPlan | None = None, seed: int = 1, restarts: bool = False, traffic: bool = True
) -> tuple[Rollout, list[tuple[float, RolloutState, float]]]:
    """One rollout from its order to its end, looked at on and on. ``restarts``: before every look all is written and read."""
    rng = np.random.default_rng(seed)
    versions = {Arm.BASELINE: Version(), Arm.CANDIDATE: candidate}
    plan = plan or RolloutPlan()
    one = Rollout(
        id="r", task="t", baseline="a@1", candidate="b@1", plan=plan, state=S.REQUESTED, requested_at=T0, by="me"
    )
    arms, log = Arms(plan), []
    for minute in range(0, END, LOOK_MIN):
        now = T0 + 60.0 * minute
        if restarts:
            arms = Arms.load(arms.dump(), plan)
            assert resume(one, bound_to="a@1" if minute % 24 else None, now=now) is None
        if one.state in (S.REQUESTED, S.VALIDATING, S.WARMING):
            after = {S.REQUESTED: S.VALIDATING, S.VALIDATING: S.WARMING}.get(one.state) or first_state(plan)
            one = apply(one, enter(one, after, now, "next"), now)
            continue
        for _ in range(PER_LOOK if traffic else 0):
            arm = Arm.CANDIDATE if rng.random() < one.share else Arm.BASELINE
            answer(arms, arm, versions[arm], rng)
            if one.state is S.SHADOW and rng.random() < plan.shadow_sample:
                answer(arms, Arm.CANDIDATE, candidate, rng, shadow=True)
        arms.note(now, one.share)
        move = advance(one, arms.readings(), {arm: arms.samples(arm) for arm in Arm}, now)
        if move is not None:
            one = apply(one, move, now)
            log.append((minute / 60, one.state, one.share))
        if not one.open or one.concluded:
            break
    return one, log


def answer(arms, arm, version, rng, *, shadow=False):
    success = bool(rng.random() < version.success)
    latency = None if shadow else float(version.latency_ms * rng.lognormal(0, 0.3))
    arms.observe(arm, Sample(success=success, latency_ms=latency, memory_mb=400.0, energy_mwh=None))
    if success:
        arms.score(arm, float(rng.random() < version.quality))


@pytest.mark.requirement("SWP-4")
def test_an_equal_candidate_grows_by_every_step_and_is_promoted():
    one, log = live(Version(), seed=3)
    assert one.state is S.PROMOTED, one.ending
    assert [share for _, state, share in log if state is S.CANARY] == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    hours = [hour for hour, _, _ in log]
    gaps = np.diff(hours)
    assert hours[0] == pytest.approx(1.4, abs=0.01), "three looks to the canary, and an hour"
    assert gaps == pytest.approx(1.0)
    assert "energy was not measured" in one.ending


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (Version(quality=0.3), "mean quality 0."),
        (Version(success=0.5), "success rate 0."),
        (Version(latency_ms=4000.0), "p95 latency"),
    ],
)
def test_a_candidate_that_is_really_worse_is_sent_back_while_its_share_is_small(candidate, says):
    for seed in range(5):
        one, log = live(candidate, seed=seed)
        assert one.state is S.ROLLED_BACK
        assert says in one.ending
        assert max((share for _, _, share in log), default=0.1) <= 0.4


@pytest.mark.requirement("SWP-4")
def test_without_traffic_a_day_passes_and_nothing_was_promoted():
    one, log = live(Version(), traffic=False)
    assert (one.state, log) == (S.ROLLED_BACK, [(pytest.approx(24.4, abs=0.01), S.ROLLED_BACK, 0.0)])


@pytest.mark.requirement("SWP-5")
def test_a_shadow_comes_before_the_canary_and_sends_the_worse_back_unseen():
    plan = RolloutPlan(shadow_s=2 * HOUR)
    one, log = live(Version(), plan=plan, seed=5)
    assert (log[0][1:], one.state) == ((S.CANARY, 0.1), S.PROMOTED)
    one, log = live(Version(quality=0.2), plan=plan, seed=5)
    assert (one.state, len(log)) == (S.ROLLED_BACK, 1), "no request was ever answered by it"


@pytest.mark.requirement("SWP-11")
@pytest.mark.parametrize(
    ("candidate", "plan", "end"),
    [
        (Version(), RolloutPlan(step_s=720.0), S.PROMOTED),
        (Version(quality=0.4), RolloutPlan(), S.ROLLED_BACK),
        (Version(), RolloutPlan(mode=RolloutMode.SHADOW, shadow_s=HOUR), S.PAUSED),
        (Version(), RolloutPlan(mode=RolloutMode.AB, max_s=2 * HOUR), S.PAUSED),
        (Version(), RolloutPlan(shadow_s=HOUR, step_s=720.0), S.PROMOTED),
    ],
)
def test_a_restart_before_every_look_comes_to_the_same_end_by_the_same_way(candidate, plan, end):
    once = live(candidate, plan=plan, seed=7)
    assert once[0].state is end
    assert live(candidate, plan=plan, seed=7, restarts=True) == once
