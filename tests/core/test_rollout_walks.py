"""Whatever happens to a rollout in whatever order: no step is skipped, nothing grows without evidence, ends are ends."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import ANY

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podium.core.rollout import (
    LEGAL,
    advance,
    apply,
    command,
    enter,
    fail,
    first_state,
    resume,
    share_of,
)
from podium.core.rollout_moves import move_to
from podium.domain.rollout import FINAL, Arm, Metric, Reading, Rollout, RolloutMode, RolloutPlan, RolloutState
from podium.errors import Conflict

S = RolloutState
T0 = 1_800_000_000.0
PLANS = st.builds(
    RolloutPlan,
    mode=st.sampled_from(RolloutMode),
    start_share=st.sampled_from([0.05, 0.1, 0.4, 0.9]),
    step_share=st.sampled_from([0.1, 0.3, 1.0]),
    step_s=st.sampled_from([10.0, 100.0]),
    silence_s=st.sampled_from([50.0, 300.0]),
    shadow_s=st.sampled_from([0.0, 40.0]),
    max_s=st.sampled_from([60.0, 600.0]),
    min_samples=st.integers(1, 5),
    early=st.booleans(),
)
ON_THE_WAY = {S.REQUESTED: S.VALIDATING, S.VALIDATING: S.WARMING}


class Life(RuleBasedStateMachine):
    """One rollout under a clock that may jump, orders, failures, restarts and any evidence."""

    @initialize(plan=PLANS)
    def begin(self, plan):
        self.now = T0
        self.one = Rollout(
            id="r", task="t", baseline="a@1", candidate="b@1", plan=plan, state=S.REQUESTED, requested_at=T0, by="me"
        )
        self.answers = {Arm.CANDIDATE: 0, Arm.BASELINE: 0}
        self.good = 0
        self.worse = False
        self.sure = False
        self.shares = [0.0]

    def readings(self):
        n = self.answers[Arm.CANDIDATE]
        if not (n and self.answers[Arm.BASELINE]):
            return {Metric.SUCCESS: Reading(metric=Metric.SUCCESS, missing="one side has no answers")}
        common = {"candidate_n": n, "baseline_n": self.answers[Arm.BASELINE], "fine": self.sure}
        success = Reading(metric=Metric.SUCCESS, candidate=self.good / n, baseline=1.0, **common)
        quality = Reading(metric=Metric.QUALITY, candidate=0.5, baseline=0.6, worse=self.worse, **common)
        return {Metric.SUCCESS: success, Metric.QUALITY: quality}

    def carry_out(self, move):
        before, self.one = self.one, apply(self.one, move, self.now)
        after = self.one
        assert after.state in LEGAL[before.state]
        assert move.reason
        assert replace(after, state=ANY, share=ANY, step=ANY, step_since=ANY, step_samples=ANY, paused_from=ANY,
                       paused_at=ANY, finished_at=ANY, ending=ANY) == before, "who and what never change"  # fmt: skip
        assert after.step - before.step in (0, 1)
        self.shares.append(after.share)
        return before

    @rule(n=st.integers(1, 6), failed=st.booleans())
    def requests(self, n, failed):
        self.answers[Arm.BASELINE] += n
        if self.one.state in (S.SHADOW, S.CANARY):
            self.answers[Arm.CANDIDATE] += n
            self.good += 0 if failed else n

    @rule(seconds=st.floats(0, 120))
    def time(self, seconds):
        self.now += seconds

    @rule(seconds=st.sampled_from([-4e7, -3600.0, 3600.0, 4e7]))
    def jump(self, seconds):
        self.now += seconds

    @rule(worse=st.booleans(), sure=st.booleans())
    def evidence(self, worse, sure):
        self.worse, self.sure = worse, sure

    @rule()
    def next_step(self):
        target = ON_THE_WAY.get(self.one.state) or (first_state(self.one.plan) if self.one.state is S.WARMING else None)
        if target is not None:
            self.carry_out(enter(self.one, target, self.now, "next"))

    @rule()
    def look(self):
        one, now = self.one, self.now
        fresh = self.good - one.step_samples
        readings = self.readings()
        move = advance(one, readings, self.answers, now)
        if move is None:
            return
        assert one.state in (S.SHADOW, S.CANARY) or one.concluded
        again = advance(one, readings, self.answers, now)
        assert again == move, "deciding changes nothing"
        before = self.carry_out(move)
        elapsed = max(0.0, now - one.step_since)
        grew = self.one.share > before.share or self.one.concluded or self.one.step > before.step
        if grew or self.one.state is S.PROMOTED:
            quality = readings.get(Metric.QUALITY)
            judged = quality.candidate_n - one.step_samples if quality and one.state is S.SHADOW else 0
            assert max(fresh, judged) >= one.plan.min_samples, "nothing grows without answers in this very step"
            assert not self.worse
        if self.one.state is S.PROMOTED:
            assert (before.state, before.share, one.plan.mode) == (S.CANARY, 1.0, RolloutMode.GRADUAL)
        if self.one.state is S.ROLLED_BACK:
            assert self.worse or elapsed >= one.plan.silence_s
        if self.worse and one.state in (S.SHADOW, S.CANARY) and Metric.QUALITY in readings:
            assert self.one.state is S.ROLLED_BACK, "worse is acted on at once"

    @rule(order=st.sampled_from(["pause", "resume", "promote", "abort", "rollback"]), often=st.integers(0, 3))
    def order(self, order, often):
        if order in ("promote", "abort", "rollback") and often:
            return  # lives that end at once show little
        try:
            move = command(self.one, order, self.now)
        except Conflict:
            return
        self.carry_out(move)

    @rule(often=st.integers(0, 9))
    def failure(self, often):
        if self.one.open and not often:
            self.carry_out(fail(self.one, "the disk is full", self.now))

    @rule(bound=st.sampled_from([None, "a@1", "a@1"]))
    def restart(self, bound):
        assert resume(self.one, bound_to=bound, now=self.now) is None

    @precondition(lambda self: self.one.state in FINAL)
    @rule(state=st.sampled_from(S))
    def ends_are_ends(self, state):
        assert advance(self.one, self.readings(), self.answers, self.now) is None
        assert resume(self.one, bound_to="b@1", now=self.now) is None
        with pytest.raises(ValueError, match="ended"):
            apply(self.one, move_to(self.one, state, "no"), self.now)

    @rule(state=st.sampled_from(S))
    def illegal_moves_raise(self, state):
        if state not in LEGAL[self.one.state]:
            with pytest.raises(ValueError, match="cannot become"):
                apply(self.one, move_to(self.one, state, "no"), self.now)

    @invariant()
    def shares_fit_the_state(self):
        one = self.one
        assert (one.finished_at is not None) == (one.state in FINAL)
        assert one.ending or not (one.state in FINAL or one.concluded)
        match one.state:
            case S.CANARY:
                assert one.share == share_of(one.plan, one.step)
                assert one.routed
            case S.PROMOTED:
                assert one.share == 1.0
            case _:
                assert one.share == 0.0
        assert (one.paused_from is not None) == (one.state is S.PAUSED)

    @invariant()
    def shares_on_canary_never_shrink(self):
        growing = [share for share in self.shares if share > 0]
        assert growing == sorted(growing)


TestLife = Life.TestCase
TestLife.pytestmark = [pytest.mark.requirement("SWP-4"), pytest.mark.requirement("SWP-11"), pytest.mark.no_cover]
TestLife.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
