"""Rollouts over time: restarts, other gateways, the long way to 100 %, the old version afterwards, many side by side."""

from __future__ import annotations

import asyncio
import random
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from podium.config import Recording
from podium.domain.model import Lifecycle, Source
from podium.domain.rollout import Metric, Rollout, RolloutPlan, RolloutState
from podium.errors import Conflict, StoreError
from podium.maintenance import Maintenance
from podium.ports import Page
from podium.providers import procfs
from podium.services.rollouts.owning import OWNED_S
from podium.services.rollouts.service import Rollouts
from rollout_rig import HOUR_S, QUICK, Rig, open_rig

S = RolloutState
DAY_S = 86400.0
pytestmark = pytest.mark.requirement("SWP-11")


# ------------------------------------------------------------ restarts


async def test_after_a_restart_a_canary_goes_on_with_its_share_and_its_evidence(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        rollout = await rig.on_canary()
        await rig.ask(30, score={"m@1": 0.75, "m@2": 0.75})
        await rig.rollouts.tick()
        before = await rig.rollouts.report(rollout.id)
    async with open_rig(tmp_path, monkeypatch) as rig:
        again = await rig.until(rollout, S.CANARY)
        assert (again.share, again.step) == (rollout.share, rollout.step)
        after = await rig.rollouts.report(rollout.id)
        assert after.readings == before.readings
        assert after.trace[: len(before.trace)] == before.trace
        assert "m@2" in await rig.ask(40)


async def test_feedback_after_a_restart_is_counted_by_the_record_of_its_request(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        await rig.ask(3)
        rollout = await rig.on_canary()
        await rig.ask(30)
    async with open_rig(tmp_path, monkeypatch) as rig:
        await rig.until(rollout, S.CANARY)
        for number in range(33):
            await rig.gateway.services.recorder.feedback(f"req-{number}", 0.5)
        await rig.rollouts.tick()
        report = await rig.rollouts.report(rollout.id)
        quality = next(reading for reading in report.readings if reading.metric is Metric.QUALITY)
        assert quality.baseline_n + quality.candidate_n == 30, "three requests were from before the rollout"


async def test_a_paused_one_stays_paused_and_gets_no_traffic_after_a_restart(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        rollout = await rig.on_canary()
        await rig.rollouts.command(rollout.id, "pause", by="test")
    async with open_rig(tmp_path, monkeypatch) as rig:
        await rig.rollouts.tick()
        assert (await rig.rollouts.find(rollout.id)).state is S.PAUSED
        assert set(await rig.ask(20)) == {"m@1"}
        await rig.rollouts.command(rollout.id, "promote", by="test")
        assert rig.bound == "m@2"


async def test_a_candidate_that_cannot_be_loaded_again_is_rolled_back_and_never_gets_a_request(
    tmp_path: Path, monkeypatch
):
    async with open_rig(tmp_path, monkeypatch) as rig:
        rollout = await rig.on_canary()
    (tmp_path / "m@2.json").write_text("{}")  # not the file that was registered
    async with open_rig(tmp_path, monkeypatch) as rig:
        assert set(await rig.ask(10)) == {"m@1"}
        ended = await rig.until(rollout, S.ROLLED_BACK)
        assert ended.ending is not None
        assert "could not be loaded again" in ended.ending
        assert rig.rollouts.barred("jobs", "m@2", 0) is not None
        assert set(await rig.ask(10)) == {"m@1"}


async def test_bars_are_known_after_a_restart(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        rollout = await rig.on_canary()
        await rig.rollouts.command(rollout.id, "rollback", by="test")
    async with open_rig(tmp_path, monkeypatch) as rig:
        assert rig.rollouts.barred("jobs", "m@2", 0) is not None


async def test_evidence_that_cannot_be_read_starts_anew_and_the_rollout_goes_on(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        rollout = await rig.on_canary()
        await rig.ask(20)
        rig.rollouts._transitions.get(rollout.id).arms.dump = lambda: b"nonsense"  # type: ignore[union-attr] # as a later version might write it
        await rig.rollouts.command(rollout.id, "pause", by="test")
    async with open_rig(tmp_path, monkeypatch) as rig:
        report = await rig.rollouts.report(rollout.id)
        assert all(reading.candidate_n == 0 for reading in report.readings)
        assert report.rollout.state is S.PAUSED


# ------------------------------------------------------------ several gateways


async def test_two_gateways_never_drive_one_rollout_and_the_second_takes_over_when_the_first_is_gone(
    tmp_path: Path, monkeypatch
):
    async with open_rig(tmp_path, monkeypatch) as rig:
        first, second = rig.rollouts, rig.another("b")
        rollout = await rig.on_canary()
        for _ in range(3):
            await asyncio.gather(first.tick(), second.tick())
            rig.clock.ahead_s += OWNED_S / 2
            assert second.running() == ()
            assert len(first.running()) == 1
        with pytest.raises(Conflict, match="another gateway"):
            await second.command(rollout.id, "abort", by="test")
        rig.clock.ahead_s += OWNED_S + 1  # the first one sleeps
        await second.tick()
        assert [one.id for one in second.running()] == [rollout.id]
        with pytest.raises(Conflict, match="another gateway"):
            await first.command(rollout.id, "abort", by="test")
        assert first.running() == ()
        await first.tick()
        assert first.running() == ()
        assert (await second.command(rollout.id, "abort", by="test")).state is S.ABORTED
        assert (await first.done(rollout.id, 5)).state is S.ABORTED
        await second.close()


async def test_of_orders_of_two_gateways_for_one_task_one_is_taken(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        second = rig.another("b")
        # Their locks are apart; only the database is between them.
        monkeypatch.setattr(rig.gateway.services.swapper, "turn", lambda task: asyncio.Lock())
        orders = [one.order("jobs", "m@2", QUICK, by="test") for one in (rig.rollouts, second) for _ in range(5)]
        answers = await asyncio.gather(*orders, return_exceptions=True)
        taken = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert len(taken) == 1
        assert all(isinstance(answer, Conflict) for answer in answers if isinstance(answer, BaseException))
        assert len(rig.rollouts.running()) + len(second.running()) == 1
        await second.close()


# ------------------------------------------------------------ failures on our side


@pytest.mark.requirement("OPS-4")
async def test_a_store_that_fails_for_a_while_delays_a_rollout_and_ends_none(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        store = rig.gateway.services.store

        async def full(*_: object, **__: object) -> None:
            raise StoreError("the disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(store, "save_rollout", full)
            rollout = await rig.rollouts.order("jobs", "m@2", QUICK, by="test")
            driven = rig.rollouts._transitions.get(rollout.id)
            assert driven is not None
            assert driven.work is not None
            await driven.work
            await rig.rollouts.tick()
            assert (await rig.rollouts.find(rollout.id)).state is S.REQUESTED
        await rig.pass_by(6)
        await rig.until(rollout, S.CANARY)


async def test_one_rollout_that_goes_wrong_does_not_stop_the_others(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        assert (await rig.gateway.services.swapper.swap("other", "m@1", by="test")).ok
        first = await rig.on_canary()
        second = await rig.rollouts.order("other", "m@2", replace(QUICK, silence_s=HOUR_S), by="test")
        await rig.until(second, S.CANARY)
        broken = rig.rollouts._transitions.get(first.id)
        assert broken is not None
        monkeypatch.setattr(broken.arms, "readings", lambda: 1 / 0)
        await rig.pass_by(HOUR_S + 1)
        assert (await rig.rollouts.find(second.id)).state is S.ROLLED_BACK
        assert (await rig.rollouts.find(first.id)).state is S.CANARY


# ------------------------------------------------------------ the long way


@pytest.mark.requirement("SWP-4", "SWP-1")
@pytest.mark.no_cover
async def test_a_healthy_candidate_reaches_all_traffic_after_nine_ramps_and_the_old_one_is_freed_after_seven_days(
    tmp_path: Path, monkeypatch
):
    async with open_rig(tmp_path, monkeypatch) as rig:
        services = rig.gateway.services
        script = tmp_path / "real.json"
        script.write_text('{"text": "fine"}')
        server = f"{shlex.quote(sys.executable)} -m podium.providers.scripted_server {shlex.quote(str(script))}"
        source = Source(provider="command", location=f"{server} --port ${{PORT}}", settings=MappingProxyType({}))
        await rig.register("old@1", source, True)
        assert (await services.swapper.swap("jobs", "old@1", by="test")).ok
        instance = next(view for view in services.pool.views() if view.ref == "old@1")
        assert instance.pid is not None
        mark = procfs.start_mark(instance.pid)
        plan = RolloutPlan(limits={Metric.SUCCESS: 0.95, Metric.QUALITY: 0.95}, validate=False)
        rollout = await rig.on_canary(plan=plan)
        shares = [rollout.share]
        while (now := await rig.rollouts.find(rollout.id)).open:
            fresh = 0
            while fresh < plan.min_samples:
                fresh += (await rig.ask(20, score={"old@1": 1.0, "m@2": 1.0})).count("m@2")
            await rig.pass_by(HOUR_S)
            now = await rig.rollouts.find(rollout.id)
            shares.append(now.share)
        assert now.state is S.PROMOTED, now.ending
        assert shares[:-1] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
        assert (await rig.kinds()).count("rollout.ramped") == 9
        assert rig.bound == "m@2"
        assert services.registry.get("old@1").status is Lifecycle.DEPRECATED
        maintenance = Maintenance(services, None, Recording())  # type: ignore[arg-type] # no sweep is asked for
        rig.clock.ahead_s += 6.9 * DAY_S
        await maintenance.tidy()
        assert procfs.start_mark(instance.pid) == mark, "it is kept warm for a rollback"
        usage = services.pool.usage("old@1")
        assert usage is not None
        assert usage.memory_bytes > 5_000_000
        rig.clock.ahead_s += 0.2 * DAY_S
        await maintenance.tidy()
        assert services.registry.get("old@1").status is Lifecycle.RETIRED
        assert procfs.start_mark(instance.pid) != mark, "its process is gone, and its memory with it"
        assert services.pool.usage("old@1") is None
        back = await services.swapper.rollback("jobs", by="test", reason="it was better")
        assert back.ok, back.error
        assert back.load_ms is not None
        assert back.load_ms > 0, "a retired one is loaded first, while the present one serves"
        assert set(await rig.ask(5)) == {"old@1"}


@pytest.mark.requirement("SWP-7")
async def test_a_warm_predecessor_takes_over_again_at_once_and_nothing_goes_in_a_circle(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        services = rig.gateway.services
        rollout = await rig.on_canary()
        await rig.rollouts.command(rollout.id, "promote", by="test")
        assert services.registry.get("m@1").status is Lifecycle.DEPRECATED
        back = await services.swapper.rollback("jobs", by="test")
        assert (back.ok, back.before, back.after, back.load_ms) == (True, "m@2", "m@1", pytest.approx(0, abs=20))
        assert services.registry.get("m@1").status is Lifecycle.ACTIVE
        with pytest.raises(Conflict, match="no predecessor"):
            await services.swapper.rollback("jobs", by="test")


@pytest.mark.requirement("SWP-1")
async def test_an_old_version_that_something_else_needs_stays_in_service(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        services = rig.gateway.services
        assert (await services.swapper.swap("other", "m@1", by="test")).ok
        rollout = await rig.on_canary()
        await rig.rollouts.command(rollout.id, "promote", by="test")
        assert services.registry.get("m@1").status is Lifecycle.ACTIVE
        last = (await rig.rollouts.report(rollout.id)).steps[-1]
        assert "serves other" in last.reason


async def test_what_becomes_of_the_old_version_is_decided_after_a_stop_between_the_two(tmp_path: Path, monkeypatch):
    async with open_rig(tmp_path, monkeypatch) as rig:
        rollout = await rig.on_canary()

        async def stopped(*_: object) -> None:
            raise StoreError("the gateway is gone")

        monkeypatch.setattr(rig.gateway.services.registry, "deprecate", stopped)
        assert (await rig.rollouts.command(rollout.id, "promote", by="test")).state is S.PROMOTED
        assert rig.gateway.services.registry.get("m@1").status is Lifecycle.ACTIVE
    async with open_rig(tmp_path, monkeypatch) as rig:
        assert rig.gateway.services.registry.get("m@1").status is Lifecycle.DEPRECATED
        assert await rig.gateway.services.store.unreleased_rollouts() == ()


# ------------------------------------------------------------ many


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.no_cover
async def test_rollouts_of_many_tasks_run_side_by_side(tmp_path: Path, monkeypatch, count: int):
    async with open_rig(tmp_path, monkeypatch) as rig:
        tasks = [f"t{number}" for number in range(count)]
        began = time.monotonic()
        made = await asyncio.gather(*(rig.rollouts.order(task, "m@2", QUICK, by="test") for task in tasks))
        for one in made:
            await rig.until(one, S.CANARY)
        ordered = time.monotonic() - began
        for task in tasks[:20]:
            await rig.ask(30, task=task)
        longest = await _longest_turn(rig.rollouts)
        rig.clock.ahead_s += HOUR_S + 1
        async with asyncio.timeout(30):
            for one in made[:20]:
                while (await rig.rollouts.find(one.id)).share < 1.0:
                    await rig.rollouts.tick()
        shares = [one.share for one in rig.rollouts.running()]
        assert (shares.count(1.0), shares.count(0.5)) == (20, count - 20), "those with answers, and no others"
        ends = await asyncio.gather(*(rig.rollouts.command(one.id, "abort", by="test") for one in made))
        assert {one.state for one in ends} == {S.ABORTED}
        assert rig.rollouts.running() == ()
        assert len(await rig.rollouts.listed(None, Page(limit=2 * count))) == count
        print(f"{count} rollouts on canary after {ordered:.1f} s; longest turn of a look {longest * 1000:.0f} ms")


async def _longest_turn(rollouts: Rollouts) -> float:
    """Seconds the event loop was held up at most while a round went on."""
    longest, over = 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal longest
        last = time.monotonic()
        while not over.is_set():
            await asyncio.sleep(0)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    watching = asyncio.create_task(watch())
    await rollouts.tick()
    over.set()
    await watching
    return longest


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.no_cover
async def test_whatever_is_ordered_at_the_same_time_traffic_record_and_binding_agree(
    tmp_path: Path, monkeypatch, seed: int
):
    """Orders, commands, swaps, looks and stores that fail now and then, ten at a time, from a seed."""
    draw = random.Random(seed)
    async with open_rig(tmp_path, monkeypatch) as rig:
        services = rig.gateway.services
        await rig.add("m@3")
        save = services.store.save_rollout

        async def moody(*facts: object) -> None:
            if draw.random() < 0.1:
                raise StoreError("the disk was full for a moment")
            await save(*facts)

        monkeypatch.setattr(services.store, "save_rollout", moody)

        ended = set()
        for _ in range(40):
            results = await asyncio.gather(*(_act(rig, draw) for _ in range(10)), return_exceptions=True)
            for result in results:
                assert result is None or isinstance(result, Conflict | StoreError), result
            busy = [one.work for one in rig.rollouts._transitions.all() if one.work is not None]
            await asyncio.gather(*busy)
            recorded = (await services.store.load()).bindings
            kept = await rig.rollouts.listed("jobs", Page(limit=1000))
            assert {binding.ref for binding in recorded if binding.task == "jobs"} == {rig.bound}
            _agree(rig, kept)
            ended |= {one.state for one in kept if not one.open}
        assert len(ended) >= 2, "the seed reaches some ends"


async def _act(rig: Rig, draw: random.Random) -> None:
    swapper, running = rig.gateway.services.swapper, rig.rollouts.running()
    ref = draw.choice(("m@1", "m@2", "m@3"))
    match draw.randrange(6):
        case 0:
            await rig.rollouts.order("jobs", ref, QUICK, by="test")
        case 1 if running:
            order = draw.choice(("pause", "resume", "promote", "abort", "rollback"))
            await rig.rollouts.command(running[0].id, order, by="test")
        case 2:
            await swapper.swap("jobs", ref, by="test")
        case 3:
            rig.clock.ahead_s += draw.choice((0.0, 6.0, HOUR_S))
            await rig.rollouts.tick()
        case 4:
            await swapper.rollback("jobs", by="test")
        case _:
            await rig.ask(draw.randrange(8))


def _agree(rig: Rig, kept: tuple[Rollout, ...]) -> None:
    """What is on record, what is driven, and how the traffic is divided."""
    now = rig.rollouts.on("jobs")
    assert [one.id for one in kept if one.open] == ([now.id] if now else [])
    split = rig.gateway.services.selector._selector.snapshot.splits.get("jobs")
    if split is None:
        return
    assert now is not None
    assert now.routed, now
    assert (split.share, split.rollout, split.baseline) == (now.share, now.id, rig.bound)
