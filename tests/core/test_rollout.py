"""The state machine under a fake clock: ramps, promotion, roll back, silence, pauses, orders, clocks that jump."""

from __future__ import annotations

from dataclasses import replace

import pytest

from podium.core.rollout import LEGAL, advance, apply, command, enter, fail, resume, waits_for
from podium.core.rollout_moves import Move, move_to
from podium.domain.rollout import FINAL, Arm, Metric, Reading, Rollout, RolloutMode, RolloutPlan, RolloutState
from podium.errors import Conflict

S = RolloutState
HOUR = 3600.0
T0 = 1_800_000_000.0


def rollout(state=S.REQUESTED, *, plan=None, **more):
    one = Rollout(
        id="ro_1", task="sums", baseline="a@1", candidate="b@1", plan=plan or RolloutPlan(), state=S.REQUESTED,
        requested_at=T0, by="me",
    )  # fmt: skip
    return replace(one, state=state, **more)


def on_canary(plan=None, now=T0):
    one = rollout(plan=plan)
    for state in (S.VALIDATING, S.WARMING, S.CANARY):
        one = apply(one, enter(one, state, now, "next"), now)
    return one


def in_shadow(plan, now=T0):
    one = rollout(plan=plan)
    for state in (S.VALIDATING, S.WARMING, S.SHADOW):
        one = apply(one, enter(one, state, now, "next"), now)
    return one


def reading(metric, candidate=0.9, baseline=0.9, n=100, **more):
    return Reading(
        metric=metric, candidate=candidate, baseline=baseline, candidate_n=n, baseline_n=9 * n, **more
    )  # fmt: skip


def healthy(n):
    """Everything answered by both; nobody scored."""
    return (
        {
            Metric.SUCCESS: reading(Metric.SUCCESS, 1.0, 1.0, n),
            Metric.QUALITY: Reading(metric=Metric.QUALITY, missing="nobody scored an answer"),
            Metric.LATENCY: reading(Metric.LATENCY, 800.0, 810.0, n),
        },
        {Arm.CANDIDATE: n, Arm.BASELINE: 9 * n},
    )


def fine(n):
    return {
        metric: reading(metric, 1.0, 1.0, n, fine=True, lower=-0.01, upper=0.01)
        for metric in (Metric.SUCCESS, Metric.QUALITY)
    }, {Arm.CANDIDATE: n, Arm.BASELINE: n}


WORSE = reading(
    Metric.QUALITY, 0.412, 0.803, 36, worse=True, lower=-0.55, upper=-0.21, method="betting e-process"
)  # fmt: skip


# ------------------------------------------------------------ ramping


@pytest.mark.requirement("SWP-4")
def test_a_healthy_candidate_ramps_nine_times_at_the_full_hours_and_is_promoted_at_the_tenth():
    one, log = on_canary(), []
    for minute in range(1, 24 * 60 + 1):
        now = T0 + 60.0 * minute
        move = advance(one, *healthy(minute), now)
        if move is not None:
            one = apply(one, move, now)
            log.append((minute / 60, one.state, one.share))
    ramps = [(float(hour), S.CANARY, round(0.1 * (hour + 1), 9)) for hour in range(1, 10)]
    assert log == [*ramps, (10.0, S.PROMOTED, 1.0)]
    assert (one.step, one.finished_at, one.open) == (10, T0 + 10 * HOUR, False)
    assert "quality was not measured (nobody scored an answer)" in one.ending
    assert "success rate 1.000 against 1.000" in one.ending


@pytest.mark.requirement("SWP-4")
def test_a_step_waits_for_its_answers_and_for_its_time():
    one = on_canary()
    assert advance(one, *healthy(9), T0 + 5 * HOUR) is None, "nine of ten answers"
    assert advance(one, *healthy(500), T0 + HOUR - 1) is None, "not yet an hour"
    ramped = apply(one, advance(one, *healthy(10), T0 + HOUR), T0 + HOUR)
    assert (ramped.share, ramped.step, ramped.step_samples, ramped.step_since) == (0.2, 2, 10, T0 + HOUR)
    assert advance(ramped, *healthy(19), T0 + 2 * HOUR) is None, "answers of the step before do not count again"
    assert advance(ramped, *healthy(20), T0 + 2 * HOUR).share == 0.3


def looks(candidate, n, **more):
    readings, samples = healthy(n)
    return {
        **readings,
        Metric.QUALITY: reading(Metric.QUALITY, candidate, 0.8, n, lower=-0.4, upper=0.2, **more),
    }, samples


@pytest.mark.requirement("SWP-4")
def test_the_share_of_a_candidate_whose_answers_look_worse_does_not_grow_until_they_look_better():
    one = on_canary()
    for hour in range(1, 10):
        assert advance(one, *looks(0.7, 20 * hour), T0 + hour * HOUR) is None
    assert "answers that do not look worse (mean quality 0.700 against 0.800)" in waits_for(
        one, *looks(0.7, 180), T0 + 9 * HOUR
    )
    assert advance(one, *looks(0.77, 200), T0 + 10 * HOUR).share == 0.2, "0.96 of the old one"
    assert advance(one, *looks(0.7, 200, fine=True), T0 + 10 * HOUR).share == 0.2, "certain to be fine"


@pytest.mark.requirement("SWP-4")
def test_one_that_looks_worse_for_a_day_beyond_its_step_is_sent_back_and_its_reason_says_that_it_is_not_certain():
    one = on_canary()
    assert advance(one, *looks(0.7, 300), T0 + 25 * HOUR - 1) is None
    move = advance(one, *looks(0.7, 300), T0 + 25 * HOUR)
    assert (move.state, move.share) == (S.ROLLED_BACK, 0.0)
    assert "looked worse for 1 d longer than the step lasts" in move.reason
    assert "mean quality 0.700 against 0.800, 0.875 of the old where 0.95 is the limit" in move.reason
    assert "not certain" in move.reason
    late = advance(one, *looks(0.7, 300), T0 + 30 * HOUR)
    assert (late.state, late.share) == (S.CANARY, 0.1), "nobody watched the time pass"


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize("metric", [Metric.LATENCY, Metric.MEMORY, Metric.ENERGY])
def test_times_memory_and_energy_are_held_against_it_only_when_they_are_certain(metric):
    readings, samples = healthy(30)
    readings[metric] = reading(metric, 120.0, 80.0, 30)
    assert advance(on_canary(), readings, samples, T0 + HOUR).share == 0.2


def test_a_metric_that_guards_nothing_holds_nobody_up():
    unguarded = RolloutPlan(limits={Metric.SUCCESS: 0.95})
    assert advance(on_canary(unguarded), *looks(0.1, 30), T0 + HOUR).share == 0.2


@pytest.mark.parametrize("metric", [Metric.LATENCY, Metric.SUCCESS])
def test_failed_requests_are_no_answers_a_step_could_grow_on(metric):
    """An answer has a latency; where nobody measured any, the success rate tells how many there were."""
    one = on_canary()
    for answered, share in ((9, None), (10, 0.2)):
        readings, samples = healthy(20)
        rate = answered / 20 if metric is Metric.SUCCESS else 0.999
        readings[Metric.SUCCESS] = reading(Metric.SUCCESS, rate, 0.5, 20)
        readings[Metric.LATENCY] = reading(Metric.LATENCY, n=answered)
        if metric is Metric.SUCCESS:
            del readings[Metric.LATENCY]
        move = advance(one, readings, samples, T0 + HOUR)
        assert (move and move.share) == share


@pytest.mark.requirement("SWP-4")
def test_without_a_comparison_of_success_nothing_grows_and_the_silence_says_so():
    one = on_canary()
    alone = {Metric.SUCCESS: Reading(metric=Metric.SUCCESS, missing="the old version answered nothing")}
    samples = {Arm.CANDIDATE: 500, Arm.BASELINE: 0}
    assert advance(one, alone, samples, T0 + 2 * HOUR) is None
    move = advance(one, alone, samples, T0 + 24 * HOUR)
    assert move.state is S.ROLLED_BACK
    assert "no comparison of success (the old version answered nothing)" in move.reason
    assert advance(one, {}, samples, T0 + 2 * HOUR) is None


@pytest.mark.requirement("SWP-4")
def test_silence_promotes_nothing_and_rolls_back_after_its_limit():
    one = on_canary()
    for hours in (0, 1, 12, 23.99):
        assert advance(one, {}, {}, T0 + hours * HOUR) is None
    move = advance(one, *healthy(3), T0 + 24 * HOUR)
    assert (move.state, move.share) == (S.ROLLED_BACK, 0.0)
    assert "gathered 3 of 10 answers of b@1" in move.reason
    assert apply(one, move, T0 + 24 * HOUR).ending == move.reason


def test_silence_counts_anew_in_every_step():
    one = on_canary()
    one = apply(one, advance(one, *healthy(50), T0 + HOUR), T0 + HOUR)
    assert advance(one, *healthy(50), T0 + 24 * HOUR) is None
    assert advance(one, *healthy(50), T0 + 25 * HOUR).state is S.ROLLED_BACK


# ------------------------------------------------------------ worse


@pytest.mark.requirement("SWP-4")
def test_a_worse_guard_rolls_back_at_once_and_says_all_numbers():
    one = on_canary()
    readings, samples = healthy(3)
    move = advance(one, readings | {Metric.QUALITY: WORSE}, samples, T0 + 1)
    assert (move.state, move.share) == (S.ROLLED_BACK, 0.0)
    assert move.reason == (
        "b@1 is worse: mean quality 0.412 against 0.803, 0.513 of the old where 0.95 is the limit "
        "(36 against 324 samples, difference between -0.550 and -0.210, betting e-process)"
    )


def test_every_worse_guard_is_named_with_its_unit():
    slow = reading(Metric.LATENCY, 2450.0, 800.0, 40, worse=True, lower=900.0, upper=2400.0, method="quantile test")
    hungry = reading(Metric.ENERGY, 12.0, 6.0, 40, worse=True, lower=3.0, upper=9.0)
    readings, samples = healthy(40)
    move = advance(on_canary(), readings | {Metric.LATENCY: slow, Metric.ENERGY: hungry}, samples, T0)
    assert "p95 latency 2,450 ms against 800 ms, 0.327 of the old" in move.reason
    assert "difference between +900 ms and +2,400 ms, quantile test" in move.reason
    assert "; energy per request 12 mWh against 6 mWh" in move.reason


def test_a_metric_without_a_limit_is_reported_and_guards_nothing():
    plan = RolloutPlan(limits={Metric.SUCCESS: 0.95})
    readings, samples = healthy(50)
    move = advance(on_canary(plan), readings | {Metric.QUALITY: WORSE}, samples, T0 + HOUR)
    assert (move.state, move.share) == (S.CANARY, 0.2)
    assert "quality" not in move.reason


def test_worse_wins_over_time_and_answers_even_in_the_last_step():
    one = replace(on_canary(), share=1.0, step=10)
    readings, samples = healthy(500)
    assert advance(one, readings | {Metric.QUALITY: WORSE}, samples, T0 + HOUR).state is S.ROLLED_BACK
    assert advance(one, readings, samples, T0 + HOUR).state is S.PROMOTED


# ------------------------------------------------------------ early


def test_certainty_shortens_steps_only_when_the_plan_says_so():
    assert advance(on_canary(), *fine(10), T0 + 1) is None
    one = on_canary(RolloutPlan(early=True))
    readings, samples = fine(10)
    assert advance(one, readings, samples, T0 + 1).share == 0.2, "one step, not to the end"
    assert advance(one, *fine(9), T0 + 1) is None, "the answers are needed all the same"
    unsure = readings | {Metric.LATENCY: reading(Metric.LATENCY, 800.0, 810.0)}
    assert advance(one, unsure, samples, T0 + 1) is None, "one guard is not certain"
    unscored = {Metric.SUCCESS: readings[Metric.SUCCESS]}
    assert advance(one, unscored, samples, T0 + 1) is None, "nobody looked at the answers"


# ------------------------------------------------------------ clocks


@pytest.mark.requirement("SWP-4")
def test_a_clock_that_jumps_a_year_ahead_ramps_one_step_and_no_more():
    one, later = on_canary(), T0 + 366 * 86400
    one = apply(one, advance(one, *healthy(500), later), later)
    assert (one.share, one.step_since) == (0.2, later)
    assert advance(one, *healthy(500), later + 1) is None
    assert advance(one, *healthy(5000), later + 1) is None


@pytest.mark.requirement("SWP-4")
def test_a_clock_that_jumps_a_year_ahead_without_evidence_starts_the_time_anew_and_rolls_nothing_back():
    one, later = on_canary(), T0 + 366 * 86400
    move = advance(one, *healthy(3), later)
    assert (move.state, move.share, move.step) == (S.CANARY, 0.1, 1)
    assert "passed unwatched" in move.reason
    one = apply(one, move, later)
    assert (one.step_since, one.step_samples) == (later, 0)
    assert advance(one, *healthy(3), later + 23 * HOUR) is None
    assert advance(one, *healthy(3), later + 24 * HOUR).state is S.ROLLED_BACK


def test_a_clock_that_goes_back_makes_no_time_and_does_not_hang_for_a_year():
    one = on_canary()
    assert advance(one, *healthy(500), T0 - 60) is None
    assert waits_for(one, *healthy(500), T0 - 60) == "1 h"
    back = T0 - 366 * 86400
    move = advance(one, *healthy(500), back)
    assert (move.state, move.share) == (S.CANARY, 0.1)
    assert "went back by 366 d" in move.reason
    one = apply(one, move, back)
    assert advance(one, *healthy(500), back + HOUR).share == 0.2


# ------------------------------------------------------------ pause


@pytest.mark.requirement("SWP-5")
def test_a_pause_stops_new_traffic_keeps_the_step_and_its_time_does_not_count():
    one = on_canary()
    one = apply(one, advance(one, *healthy(20), T0 + HOUR), T0 + HOUR)
    held = apply(one, command(one, "pause", T0 + 1.5 * HOUR), T0 + 1.5 * HOUR)
    assert (held.state, held.share, held.step, held.paused_from) == (S.PAUSED, 0.0, 2, S.CANARY)
    assert not held.routed
    assert not held.concluded
    assert advance(held, *healthy(900), T0 + 400 * HOUR) is None
    go = T0 + 101.5 * HOUR
    again = apply(held, command(held, "resume", go), go)
    assert (again.state, again.share, again.step, again.step_samples) == (S.CANARY, 0.2, 2, 20)
    assert (again.paused_from, again.paused_at) == (None, None)
    assert advance(again, *healthy(500), go + 0.4 * HOUR) is None
    assert advance(again, *healthy(500), go + 0.5 * HOUR).share == 0.3, "half an hour before and half an hour after"
    assert advance(again, *healthy(20), go + 23 * HOUR) is None, "nor is a pause silence"


def test_a_clock_that_jumps_during_a_pause_changes_nothing():
    one = on_canary()
    held = apply(one, command(one, "pause", T0 + 600), T0 + 600)
    for now in (T0 - 9e6, T0 + 9e6):
        again = apply(held, command(held, "resume", now), now)
        assert now - again.step_since == 600


# ------------------------------------------------------------ shadow and a/b


@pytest.mark.requirement("SWP-5")
def test_a_shadow_before_the_canary_lasts_its_time_and_its_answers_are_not_those_of_the_first_step():
    one = in_shadow(RolloutPlan(shadow_s=HOUR))
    assert (one.share, one.step, one.routed) == (0.0, 0, False)
    assert advance(one, *healthy(50), T0 + HOUR - 1) is None
    assert advance(one, *healthy(9), T0 + HOUR) is None
    one = apply(one, advance(one, *healthy(50), T0 + HOUR), T0 + HOUR)
    assert (one.state, one.share, one.step, one.step_samples) == (S.CANARY, 0.1, 1, 50)
    assert advance(one, *healthy(59), T0 + 2 * HOUR) is None
    assert advance(one, *healthy(60), T0 + 2 * HOUR).share == 0.2


@pytest.mark.requirement("SWP-5")
def test_a_shadow_that_kept_no_latencies_leaves_the_first_step_its_own_count():
    one = in_shadow(RolloutPlan(shadow_s=HOUR))
    readings, samples = healthy(50)
    readings[Metric.LATENCY] = Reading(metric=Metric.LATENCY, baseline_n=450, missing="none of the candidate")
    one = apply(one, advance(one, readings, samples, T0 + HOUR), T0 + HOUR)
    assert (one.state, one.step_samples) == (S.CANARY, 0)
    readings[Metric.LATENCY] = reading(Metric.LATENCY, n=10)
    assert advance(one, readings, {Arm.CANDIDATE: 60}, T0 + 2 * HOUR).share == 0.2


@pytest.mark.requirement("SWP-5")
def test_a_shadow_is_judged_by_pairs_alone_too_and_latency_last_in_line_says_nothing():
    one = in_shadow(RolloutPlan(shadow_s=HOUR))
    pairs = {Metric.QUALITY: reading(Metric.QUALITY, n=10)}
    assert advance(one, pairs, {}, T0 + HOUR).state is S.CANARY
    slow = reading(Metric.LATENCY, 9e3, 8e2, worse=True)
    assert advance(one, {**pairs, Metric.LATENCY: slow}, {}, T0 + 1) is None
    assert advance(one, {Metric.QUALITY: WORSE}, {}, T0 + 1).state is S.ROLLED_BACK


@pytest.mark.requirement("SWP-5")
def test_a_silent_shadow_rolls_back():
    one = in_shadow(RolloutPlan(mode=RolloutMode.SHADOW, shadow_s=HOUR))
    assert advance(one, {}, {}, T0 + 23 * HOUR) is None
    assert advance(one, {}, {}, T0 + 24 * HOUR).state is S.ROLLED_BACK


@pytest.mark.requirement("SWP-5")
def test_mode_shadow_ends_with_its_report_and_waits_for_a_word():
    one = in_shadow(RolloutPlan(mode=RolloutMode.SHADOW))
    assert advance(one, *healthy(900), T0 + 24 * HOUR - 1) is None
    now = T0 + 24 * HOUR
    over = apply(one, advance(one, *healthy(900), now), now)
    assert (over.state, over.concluded, over.share) == (S.PAUSED, True, 0.0)
    assert "no difference is certain" in over.ending
    with pytest.raises(Conflict, match="promote or abort"):
        command(over, "resume", now)
    done = apply(over, command(over, "promote", now), now)
    assert (done.state, done.share, done.ending) == (S.PROMOTED, 1.0, "promoted by hand")


@pytest.mark.requirement("SWP-5")
def test_a_comparison_keeps_its_split_until_it_is_decided_or_its_time_is_over_and_moves_nothing():
    plan = RolloutPlan(mode=RolloutMode.AB, split=0.3)
    one = on_canary(plan)
    assert (one.share, one.step) == (0.3, 1)
    assert advance(one, *healthy(9000), T0 + 7 * 86400 - 1) is None
    over = advance(one, *healthy(9000), T0 + 7 * 86400)
    assert (over.state, over.concludes, over.share) == (S.PAUSED, True, 0.0)
    sure, samples = fine(400)
    sure[Metric.QUALITY] = reading(Metric.QUALITY, 0.9, 0.7, 400, fine=True, lower=0.1, upper=0.3)
    sure[Metric.LATENCY] = reading(Metric.LATENCY, 600.0, 800.0, 400, fine=True, lower=-300.0, upper=-100.0)
    decided = advance(one, sure, samples, T0 + 60)
    assert "b@1 is certainly better in quality, latency" in decided.reason
    assert advance(one, sure | {Metric.QUALITY: WORSE}, samples, T0 + 60).state is S.ROLLED_BACK


@pytest.mark.requirement("SWP-5")
def test_a_finished_comparison_nobody_wants_is_aborted_after_a_week():
    one = on_canary(RolloutPlan(mode=RolloutMode.AB))
    one = apply(one, advance(one, *fine(100), T0 + 60), T0 + 60)
    assert advance(one, {}, {}, T0 + 60 + 7 * 86400 - 1) is None
    end = T0 + 60 + 7 * 86400
    done = apply(one, advance(one, {}, {}, end), end)
    assert done.state is S.ABORTED
    assert done.ending.startswith("nobody promoted it for 7 d; the comparison is over")


# ------------------------------------------------------------ orders

ALLOWED = {
    "pause": {S.SHADOW: S.PAUSED, S.CANARY: S.PAUSED},
    "resume": {S.PAUSED: S.CANARY},
    "promote": dict.fromkeys((S.SHADOW, S.CANARY, S.PAUSED), S.PROMOTED),
    "rollback": dict.fromkeys((S.SHADOW, S.CANARY, S.PAUSED), S.ROLLED_BACK),
    "abort": dict.fromkeys(set(S) - FINAL, S.ABORTED),
}


@pytest.mark.requirement("SWP-5")
@pytest.mark.parametrize("order", ALLOWED)
@pytest.mark.parametrize("state", S)
def test_every_order_in_every_state_is_carried_out_or_refused_with_what_to_do(order, state):
    plan = RolloutPlan(shadow_s=60.0) if state is S.SHADOW else RolloutPlan()
    more = {"paused_from": S.CANARY, "paused_at": T0} if state is S.PAUSED else {}
    one = rollout(state, plan=plan, step=1, step_since=T0, **more)
    if (after := ALLOWED[order].get(state)) is None:
        with pytest.raises(Conflict, match=str(state)):
            command(one, order, T0 + 5)
    else:
        done = apply(one, command(one, order, T0 + 5), T0 + 5)
        assert done.state is after
        assert (done.finished_at is not None) == (after in FINAL)


def test_the_way_to_traffic_cannot_be_shortened():
    one = rollout()
    for state in (S.WARMING, S.SHADOW, S.CANARY, S.PAUSED, S.PROMOTED, S.ROLLED_BACK):
        with pytest.raises(ValueError, match="rollout"):
            enter(one, state, T0, "no")
    warm = rollout(S.WARMING, plan=RolloutPlan(shadow_s=60.0))
    with pytest.raises(ValueError, match="from warming to shadow"):
        enter(warm, S.CANARY, T0, "no")
    with pytest.raises(ValueError, match="from warming to canary"):
        enter(rollout(S.WARMING), S.SHADOW, T0, "no")
    with pytest.raises(ValueError, match="use advance"):
        enter(in_shadow(RolloutPlan(shadow_s=60.0)), S.CANARY, T0, "no")


@pytest.mark.parametrize("state", S)
def test_what_is_open_can_fail_and_what_has_ended_cannot(state):
    one = rollout(state)
    if state in FINAL:
        assert LEGAL[state] == ()
        with pytest.raises(ValueError, match="ended"):
            fail(one, "disk full", T0)
    else:
        done = apply(one, fail(one, "disk full", T0), T0 + 1)
        assert (done.state, done.ending, done.finished_at, done.share) == (S.FAILED, "disk full", T0 + 1, 0.0)


def test_no_step_follows_the_last_one_and_the_canary_begins_with_the_first():
    last = replace(on_canary(), share=1.0, step=10)
    with pytest.raises(ValueError, match="step 11 does not follow"):
        apply(last, Move(before=S.CANARY, state=S.CANARY, share=1.0, step=11, reason=""), T0)
    warm = rollout(S.WARMING)
    for step in (0, 2):
        with pytest.raises(ValueError, match=f"step {step} does not follow"):
            apply(warm, Move(before=S.WARMING, state=S.CANARY, share=0.2, step=step, reason=""), T0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"step": 3, "share": 0.3}, "step 3 does not follow step 1"),
        ({"step": 0}, "step 0 does not follow"),
        ({"share": 0.5}, "is 0.2 and not 0.5"),
        ({"before": S.WARMING}, "decided in warming"),
        ({"state": S.WARMING}, "cannot become warming"),
        ({"state": S.PROMOTED}, "step 2 does not follow"),
        ({"concludes": True}, "only a pause concludes"),
    ],
)
def test_a_move_that_is_not_the_next_one_is_refused(change, says):
    one = on_canary()
    good = Move(before=S.CANARY, state=S.CANARY, share=0.2, step=2, reason="", samples=10)
    assert apply(one, good, T0).step == 2
    with pytest.raises(ValueError, match=says):
        apply(one, replace(good, **change), T0)


def test_a_pause_goes_back_only_to_where_it_came_from():
    one = on_canary()
    held = apply(one, command(one, "pause", T0), T0)
    with pytest.raises(ValueError, match="paused from canary"):
        apply(held, move_to(held, S.SHADOW, ""), T0)
    over = replace(held, ending="over")
    with pytest.raises(ValueError, match="its comparison is over"):
        apply(over, move_to(over, S.CANARY, ""), T0)


# ------------------------------------------------------------ restart


@pytest.mark.requirement("SWP-11")
@pytest.mark.parametrize("state", S)
def test_a_restart_goes_on_where_it_was_unless_the_task_moved_meanwhile(state):
    one = rollout(state, step=1, paused_from=S.CANARY if state is S.PAUSED else None)
    assert resume(one, bound_to="a@1", now=T0) is None
    assert resume(one, bound_to=None, now=T0) is None
    theirs, ours = resume(one, bound_to="c@1", now=T0), resume(one, bound_to="b@1", now=T0)
    if state in FINAL:
        assert theirs is ours is None
        return
    assert apply(one, theirs, T0).state is S.ABORTED
    assert "c@1" in theirs.reason
    moved = state in (S.SHADOW, S.CANARY, S.PAUSED)
    assert apply(one, ours, T0).state is (S.PROMOTED if moved else S.ABORTED)


def test_what_it_waits_for_is_said_in_words():
    one = on_canary()
    assert waits_for(one, *healthy(4), T0 + 1800) == "6 more answers of b@1 and 30 min"
    assert waits_for(one, *healthy(40), T0 + HOUR) == "the next look"
    assert waits_for(one, {}, {Arm.CANDIDATE: 10}, T0 + HOUR) == "a comparison of success"
    assert waits_for(in_shadow(RolloutPlan(shadow_s=90.0)), *healthy(40), T0) == "90 s"
    assert waits_for(rollout(), {}, {}, T0) is None
