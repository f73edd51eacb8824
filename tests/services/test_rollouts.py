"""Rollouts on the services of a whole gateway: orders, ramps, promotion, roll back, evidence, one driver."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from podium.core.arms import Sample
from podium.domain.model import Lifecycle, Source
from podium.domain.rollout import Metric, Rollout, RolloutMode, RolloutPlan, RolloutState
from podium.errors import Conflict, InvalidRequest, NotFound, StoreError
from podium.ports import Page
from rollout_rig import HOUR_S, QUICK, Rig, open_rig

S = RolloutState


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, monkeypatch) as opened:
        yield opened


# ------------------------------------------------------------ orders


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize(
    ("task", "to", "error", "words"),
    [
        ("jobs", "nobody@1", NotFound, "nobody"),
        ("jobs", "m@1", Conflict, "served by m@1 already"),
        ("jobs", "old@1", Conflict, "retired"),
        ("jobs", "was@1", Conflict, "deprecated"),
        ("No Task!", "m@2", InvalidRequest, "cannot name a task"),
        ("see", "m@2", Conflict, "vision"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_with_what_is_wrong(rig: Rig, task, to, error, words):
    services = rig.gateway.services
    await rig.add("old@1", activate=False)
    await services.registry.transition("old@1", Lifecycle.RETIRED, "test", "")
    await rig.add("was@1")
    await services.registry.deprecate("was@1", "test", "")
    see = services.tasks.ensure("see")
    await services.tasks.put(replace(see, criteria=replace(see.criteria, capabilities=frozenset({"vision"}))))
    await rig.add("eye@1", capabilities=["chat", "vision"])
    services.selector.refresh()
    with pytest.raises(error) as refused:
        await rig.rollouts.order(task, to, RolloutPlan(), by="test")
    assert words in refused.value.message
    assert rig.rollouts.running() == ()
    assert await rig.rollouts.listed(None, Page()) == ()


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize(
    ("plan", "param"),
    [
        (RolloutPlan(start_share=0.0), "start_share"),
        (RolloutPlan(step_share=3.0), "step_share"),
        (RolloutPlan(limits={Metric.QUALITY: 1.5}), "limits"),
    ],
)
async def test_a_plan_that_cannot_be_carried_out_is_refused(rig: Rig, plan: RolloutPlan, param: str):
    with pytest.raises(InvalidRequest) as refused:
        await rig.rollouts.order("jobs", "m@2", plan, by="test")
    assert refused.value.param == param


@pytest.mark.requirement("SWP-11")
async def test_of_a_hundred_orders_for_one_task_one_is_taken_and_the_others_hear_which(rig: Rig):
    orders = (rig.rollouts.order("jobs", "m@2", QUICK, by=f"caller {n}") for n in range(100))
    answers = await asyncio.gather(*orders, return_exceptions=True)
    taken = [answer for answer in answers if isinstance(answer, Rollout)]
    refused = [answer for answer in answers if isinstance(answer, Conflict)]
    assert (len(taken), len(refused)) == (1, 99)
    for answer in refused:
        assert taken[0].id in answer.message
        assert "promote or abort" in answer.message


@pytest.mark.requirement("SWP-11")
async def test_while_a_rollout_is_open_no_swap_and_no_rollback_moves_its_task(rig: Rig):
    await rig.add("m@3")
    assert (await rig.gateway.services.swapper.swap("jobs", "m@3", by="test")).ok
    rollout = await rig.on_canary()
    for order in (
        rig.gateway.services.swapper.swap("jobs", "m@1", by="test"),
        rig.gateway.services.swapper.rollback("jobs", by="test"),
    ):
        with pytest.raises(Conflict) as refused:
            await order
        assert rollout.id in refused.value.message
        assert "abort" in refused.value.message
    with pytest.raises(Conflict, match=rollout.id):
        rig.gateway.services.swapper.refuse_if_bound("m@2")
    await rig.rollouts.command(rollout.id, "abort", by="test")
    assert (await rig.gateway.services.swapper.swap("jobs", "m@1", by="test")).ok


# ------------------------------------------------------------ the way to traffic and up


@pytest.mark.requirement("SWP-4", "SWP-10")
async def test_a_healthy_candidate_is_on_canary_ramped_and_promoted_and_all_of_it_is_on_record(rig: Rig):
    rollout = await rig.on_canary()
    assert rollout.share == 0.5
    assert rig.bound == "m@1"
    assert set(await rig.ask(40)) == {"m@1", "m@2"}
    await rig.rollouts.tick()
    assert (await rig.rollouts.find(rollout.id)).share == 0.5, "evidence alone does not shorten a step"
    await rig.pass_by(HOUR_S + 1)
    assert (await rig.rollouts.find(rollout.id)).share == 1.0
    assert set(await rig.ask(10)) == {"m@2"}
    assert rig.bound == "m@1"
    await rig.pass_by(HOUR_S + 1)
    ended = await rig.rollouts.find(rollout.id)
    assert (ended.state, rig.bound) == (S.PROMOTED, "m@2"), ended.ending
    assert set(await rig.ask(5)) == {"m@2"}
    assert await rig.kinds() == [
        "rollout.started",
        "rollout.validated",
        "rollout.warmed",
        "rollout.ramped",
        "rollout.promoted",
    ]
    report = await rig.rollouts.report(rollout.id)
    path = [S.REQUESTED, S.VALIDATING, S.WARMING, S.CANARY, S.CANARY, S.PROMOTED, S.PROMOTED]
    assert [step.after for step in report.steps] == path
    assert all(step.reason for step in report.steps[1:])
    assert report.trace
    newest = (await rig.gateway.services.store.swaps("jobs", Page(limit=1)))[0]
    assert (newest.kind, newest.before, newest.after) == ("rollout", "m@1", "m@2")


@pytest.mark.requirement("SWP-3")
async def test_a_candidate_that_does_not_load_fails_with_the_cause_and_touches_nothing(rig: Rig):
    await rig.add("bad@1", activate=False, load_error="out of tensors")
    rollout = await rig.rollouts.order("jobs", "bad@1", QUICK, by="test")
    ended = await rig.rollouts.done(rollout.id, 10)
    assert ended.state is S.FAILED
    assert ended.ending is not None
    assert "out of tensors" in ended.ending
    assert set(await rig.ask(5)) == {"m@1"}
    assert rig.rollouts.on("jobs") is None
    assert (await rig.kinds())[-1] == "rollout.failed"


@pytest.mark.requirement("SWP-4")
async def test_silence_promotes_nothing_and_ends_in_a_roll_back(rig: Rig):
    rollout = await rig.on_canary(plan=replace(QUICK, silence_s=2 * HOUR_S))
    await rig.pass_by(1.5 * HOUR_S)
    assert (await rig.rollouts.find(rollout.id)).share == 0.5
    await rig.pass_by(0.5 * HOUR_S + 1)
    ended = await rig.rollouts.find(rollout.id)
    assert ended.state is S.ROLLED_BACK
    assert ended.ending is not None
    assert "silence" in ended.ending


@pytest.mark.requirement("SWP-4", "SWP-7")
async def test_a_worse_candidate_is_sent_back_by_its_scores_and_barred_until_its_evidence_changes(rig: Rig):
    rollout = await rig.on_canary()
    async with asyncio.timeout(30):
        while (await rig.rollouts.find(rollout.id)).open:
            await rig.ask(10, score={"m@1": 0.9, "m@2": 0.1})
            await rig.rollouts.tick()
    ended = await rig.rollouts.find(rollout.id)
    assert ended.state is S.ROLLED_BACK
    assert ended.ending is not None
    assert "quality" in ended.ending
    assert set(await rig.ask(20)) == {"m@1"}
    samples = rig.gateway.services.selector.evidence("jobs", "m@2").samples
    bar = rig.rollouts.barred("jobs", "m@2", samples)
    assert bar is not None
    assert bar.reason == ended.ending
    assert rig.rollouts.barred("jobs", "m@2", samples + 10) is None
    assert rig.rollouts.barred("jobs", "m@1", 0) is None
    report = await rig.rollouts.report(rollout.id)
    quality = next(reading for reading in report.readings if reading.metric is Metric.QUALITY)
    assert quality.worse
    assert quality.candidate == pytest.approx(0.1)


@pytest.mark.requirement("SWP-4", "SWP-2")
async def test_a_candidate_that_begins_to_fail_is_rolled_back_within_some_requests_and_no_caller_notices(rig: Rig):
    await rig.add("bad@1", activate=False, faults=[{"kind": "error", "match": "hi"}])
    rollout = await rig.on_canary("bad@1")
    asked = 0
    async with asyncio.timeout(30):
        while (await rig.rollouts.find(rollout.id)).open:
            assert set(await rig.ask(5)) == {"m@1"}, "the old version answers what the candidate fails at"
            asked += 5
            await rig.rollouts.tick()
    ended = await rig.rollouts.find(rollout.id)
    assert ended.state is S.ROLLED_BACK
    assert ended.ending is not None
    assert "success" in ended.ending
    assert asked <= 200


# ------------------------------------------------------------ commands


@pytest.mark.requirement("SWP-5")
async def test_a_pause_takes_the_candidate_out_at_once_and_a_resume_puts_it_back_where_it_was(rig: Rig):
    rollout = await rig.on_canary()
    await rig.ask(20)
    paused = await rig.rollouts.command(rollout.id, "pause", by="test", reason="lunch")
    assert paused.state is S.PAUSED
    assert set(await rig.ask(10)) == {"m@1"}
    await rig.pass_by(5 * HOUR_S)
    assert (await rig.rollouts.find(rollout.id)).state is S.PAUSED
    await rig.rollouts.command(rollout.id, "resume", by="test")
    back = await rig.until(rollout, S.CANARY)
    assert back.share == 0.5
    assert "m@2" in await rig.ask(40)
    steps = (await rig.rollouts.report(rollout.id)).steps
    assert any("lunch" in step.reason for step in steps)
    assert [kind for kind in await rig.kinds() if kind in {"rollout.paused", "rollout.resumed"}] == [
        "rollout.paused",
        "rollout.resumed",
    ]


@pytest.mark.requirement("SWP-5", "SWP-7")
@pytest.mark.parametrize(
    ("order", "state", "serves"),
    [("promote", S.PROMOTED, "m@2"), ("abort", S.ABORTED, "m@1"), ("rollback", S.ROLLED_BACK, "m@1")],
)
async def test_a_person_may_end_it_at_any_time(rig: Rig, order: str, state: RolloutState, serves: str):
    rollout = await rig.on_canary()
    ended = await rig.rollouts.command(rollout.id, order, by="test")
    assert ended.state is state
    assert set(await rig.ask(10)) == {serves}
    assert rig.rollouts.on("jobs") is None
    assert (await rig.rollouts.find(rollout.id)).state is state
    with pytest.raises(Conflict, match="ended"):
        await rig.rollouts.command(rollout.id, order, by="test")


@pytest.mark.requirement("SWP-5")
async def test_an_abort_while_the_candidate_loads_ends_it_and_moves_nothing(rig: Rig):
    await rig.add("slow@2", activate=False, load_ms=5000)
    rollout = await rig.rollouts.order("jobs", "slow@2", QUICK, by="test")
    await rig.until(rollout, S.WARMING)
    await rig.rollouts.command(rollout.id, "abort", by="test")
    assert (await rig.rollouts.done(rollout.id, 1)).state is S.ABORTED
    assert rig.bound == "m@1"
    with pytest.raises(InvalidRequest):
        await rig.rollouts.command(rollout.id, "explode", by="test")
    with pytest.raises(NotFound):
        await rig.rollouts.command("rollout_0", "abort", by="test")


@pytest.mark.requirement("SWP-5")
async def test_a_comparison_of_two_ends_in_a_report_and_moves_nothing_by_itself(rig: Rig):
    plan = replace(QUICK, mode=RolloutMode.AB, split=0.5, max_s=HOUR_S)
    rollout = await rig.on_canary(plan=plan)
    await rig.ask(40)
    await rig.pass_by(HOUR_S + 1)
    over = await rig.rollouts.find(rollout.id)
    assert over.concluded
    assert set(await rig.ask(10)) == {"m@1"}
    report = await rig.rollouts.report(rollout.id)
    assert {reading.metric for reading in report.readings} == set(Metric)
    assert (await rig.rollouts.command(rollout.id, "promote", by="test")).state is S.PROMOTED
    assert rig.bound == "m@2"


# ------------------------------------------------------------ evidence


@pytest.mark.requirement("TRK-5")
async def test_only_what_the_division_assigned_is_counted_and_feedback_of_earlier_requests_is_not(rig: Rig):
    await rig.ask(5)
    before = "req-2"
    rollout = await rig.on_canary()
    await rig.gateway.services.recorder.feedback(before, 0.0)
    assert Counter(await rig.ask(30, score={"m@1": 1.0, "m@2": 1.0}))["m@1"] > 0
    await rig.ask(7, task="general")
    await rig.rollouts.tick()
    report = await rig.rollouts.report(rollout.id)
    readings = {reading.metric: reading for reading in report.readings}
    assert readings[Metric.SUCCESS].baseline_n + readings[Metric.SUCCESS].candidate_n == 30
    assert readings[Metric.QUALITY].baseline_n + readings[Metric.QUALITY].candidate_n == 30
    assert readings[Metric.QUALITY].baseline == pytest.approx(1.0)


@pytest.mark.requirement("TRK-5")
async def test_a_corrected_score_counts_once_with_its_last_value(rig: Rig):
    rollout = await rig.on_canary()
    await rig.ask(30, score={"m@1": 0.0, "m@2": 0.0})
    for number in range(30):
        await rig.gateway.services.recorder.feedback(f"req-{number}", 1.0)
    report = await rig.rollouts.report(rollout.id)
    quality = next(reading for reading in report.readings if reading.metric is Metric.QUALITY)
    assert quality.baseline_n + quality.candidate_n == 30
    assert (quality.baseline, quality.candidate) == (pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.requirement("OPS-4")
async def test_a_full_disk_keeps_a_rollout_where_it_is_but_a_bad_candidate_leaves_the_traffic(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    rollout = await rig.on_canary()
    save = rig.gateway.services.store.save_rollout

    async def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(rig.gateway.services.store, "save_rollout", full)
    with pytest.raises(StoreError):
        await rig.rollouts.command(rollout.id, "rollback", by="test")
    assert set(await rig.ask(20)) == {"m@1"}
    assert (await rig.rollouts.find(rollout.id)).state is S.CANARY
    await rig.rollouts.tick()
    assert set(await rig.ask(20)) == {"m@1"}, "it stays out until that is on record"
    monkeypatch.setattr(rig.gateway.services.store, "save_rollout", save)
    await rig.pass_by(6)
    ended = await rig.rollouts.find(rollout.id)
    assert (ended.state, ended.ending) == (S.ROLLED_BACK, "rolled back by hand")


# ------------------------------------------------------------ shadow, clocks


@pytest.mark.requirement("SWP-5")
async def test_from_the_shadow_a_candidate_goes_on_canary_when_what_was_compared_is_fine(rig: Rig):
    ordered = await rig.rollouts.order("jobs", "m@2", replace(QUICK, shadow_s=HOUR_S), by="test")
    rollout = await rig.until(ordered, S.SHADOW)
    assert set(await rig.ask(20)) == {"m@1"}, "nobody sees an answer out of the shadow"
    fine = Sample(success=True, latency_ms=5.0, memory_mb=None, energy_mwh=None)
    for _ in range(20):
        rig.rollouts.shadowed(rollout.id, fine, fine)
        rig.rollouts.paired(rollout.id, 0.8, 0.8)
    await rig.pass_by(HOUR_S - 60)
    assert (await rig.rollouts.find(rollout.id)).state is S.SHADOW
    await rig.pass_by(61)
    assert (await rig.until(rollout, S.CANARY)).share == 0.5
    assert "m@2" in await rig.ask(40)
    assert (await rig.kinds())[-1] == "rollout.ramped"


@pytest.mark.requirement("SWP-5")
async def test_a_candidate_that_is_worse_in_the_shadow_never_gets_a_request(rig: Rig):
    ordered = await rig.rollouts.order("jobs", "m@2", replace(QUICK, shadow_s=HOUR_S), by="test")
    rollout = await rig.until(ordered, S.SHADOW)
    for number in range(60):
        rig.rollouts.paired(rollout.id, 0.9 - 0.001 * number, 0.2 + 0.001 * number)
    await rig.rollouts.tick()
    ended = await rig.rollouts.find(rollout.id)
    assert ended.state is S.ROLLED_BACK
    assert set(await rig.ask(20)) == {"m@1"}


@pytest.mark.requirement("SWP-4")
@pytest.mark.parametrize("days", [365, -365])
async def test_a_wall_clock_that_jumps_by_a_year_neither_promotes_nor_rolls_back(rig: Rig, days: int):
    rollout = await rig.on_canary()
    await rig.ask(3)
    rig.clock.wrong_s = days * 86400.0
    await rig.pass_by(6)
    still = await rig.rollouts.find(rollout.id)
    assert (still.state, still.share) == (S.CANARY, 0.5)
    await rig.ask(40)
    await rig.pass_by(HOUR_S + 1)
    assert (await rig.rollouts.find(rollout.id)).share == 1.0


@pytest.mark.slow
@pytest.mark.requirement("SWP-4", "SWP-2")
async def test_a_candidate_that_crashes_again_and_again_is_rolled_back_and_callers_are_answered(rig: Rig):
    script = rig.folder / "real.json"
    script.write_text('{"text": "fine"}')
    server = f"{shlex.quote(sys.executable)} -m podium.providers.scripted_server {shlex.quote(str(script))}"
    source = Source(provider="command", location=f"{server} --port ${{PORT}}", settings=MappingProxyType({}))
    await rig.register("crash@1", source, False)
    rollout = await rig.on_canary("crash@1")
    pool = rig.gateway.services.pool
    async with asyncio.timeout(60):
        while (await rig.rollouts.find(rollout.id)).open:
            for view in pool.views():
                if view.ref == "crash@1" and view.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(view.pid, signal.SIGKILL)
            await rig.ask(2)
            await rig.rollouts.tick()
    ended = await rig.rollouts.find(rollout.id)
    assert ended.state is S.ROLLED_BACK
    assert ended.ending is not None
    assert "success" in ended.ending
    assert set(await rig.ask(10)) == {"m@1"}
