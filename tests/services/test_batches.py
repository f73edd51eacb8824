"""Batches of swaps: all tasks move or none does, whatever fails and whenever the process ends."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch_rig import SLOW_RAMP, TASKS, add, bound, eventually, to
from podium.config import Config
from podium.config.pool import Pool as PoolSettings
from podium.domain.rollout import RolloutMode, RolloutState
from podium.domain.schedule import PlannedSwap
from podium.domain.swap import SwapState
from podium.domain.task import Criteria, TaskSpec
from podium.errors import StoreError
from podium.ports import Page
from podium.runtime import Gateway
from podium.services.batch_rollouts import BatchRollouts
from podium.services.batches import Batches


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    """Five tasks are bound to ``m@1``; ``m@2`` and ``m@3`` could take over, ``bad@1`` does not load."""
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        for ref in ("m@1", "m@2", "m@3"):
            await add(gateway, tmp_path, ref)
        await add(gateway, tmp_path, "bad@1", ready=False, load_error="the weights are damaged")
        assert (await batches(gateway).immediate("b0", to("m@1"), by="test")).ok
        yield gateway


def batches(gateway: Gateway) -> Batches:
    return gateway.services.schedules._at_once


def gradually(gateway: Gateway) -> BatchRollouts:
    made = gateway.services.schedules._gradually
    assert made is not None
    return made


@pytest.mark.requirement("SWP-8")
async def test_several_tasks_move_together_and_every_swap_names_its_batch(running: Gateway):
    heard = running.services.events.subscribe()
    done = await batches(running).immediate("batch_7", to("m@2"), by="ann", reason="new weights")
    assert done.ok
    assert bound(running) == dict.fromkeys(TASKS, "m@2")
    recorded = {swap.task: swap for swap in await running.services.store.swaps(None, Page(limit=5))}
    assert {(swap.state, swap.before, swap.after, swap.reason) for swap in recorded.values()} == {
        (SwapState.PROMOTED, "m@1", "m@2", "new weights [batch_7]")
    }
    assert set(recorded) == set(TASKS)
    kinds = [event.kind for event in heard._queue if event.subject in TASKS]
    assert sorted(kinds) == ["swap.completed"] * 5 + ["swap.started"] * 5
    binding = running.services.swapper.binding("t3")
    assert binding is not None
    assert binding.previous[0] == "m@1"
    assert (await running.services.swapper.rollback("t3", by="ann")).ok
    assert bound(running, "t3") == {"t3": "m@1"}


@pytest.mark.requirement("SWP-8")
async def test_one_of_five_that_does_not_load_leaves_every_task_where_it_was(running: Gateway):
    mixed = (*to("m@2", "t1", "t2"), *to("bad@1", "t3"), *to("m@3", "t4", "t5"))
    failed = await batches(running).immediate("batch_8", mixed, by="ann")
    assert not failed.ok
    assert "the weights are damaged" in failed.says
    assert bound(running) == dict.fromkeys(TASKS, "m@1")
    recorded = await running.services.store.swaps(None, Page(limit=5))
    assert {swap.state for swap in recorded} == {SwapState.FAILED}
    assert all("the weights are damaged" in (swap.error or "") for swap in recorded)
    assert not (await running.services.store.load()).unfinished_swaps
    assert (await batches(running).immediate("batch_9", to("m@2"), by="ann")).ok


async def test_everything_that_is_wrong_is_named_before_anything_is_loaded(running: Gateway, tmp_path: Path):
    await add(running, tmp_path, "e@1", ready=False, context_length=128)
    await running.services.tasks.put(TaskSpec(name="t1", criteria=Criteria(min_context=4096)))
    orders = (*to("e@1", "t1"), *to("m@9", "t2"), *to("m@2", "t3"))
    before = {view.ref for view in running.services.pool.views()}
    refused = await batches(running).immediate("b", orders, by="ann")
    assert not refused.ok
    assert "t1: e@1 cannot serve t1" in refused.says
    assert "t2: " in refused.says
    assert "t3" not in refused.says
    assert {view.ref for view in running.services.pool.views()} == before
    assert bound(running) == dict.fromkeys(TASKS, "m@1")


@pytest.mark.requirement("SWP-8", "OPS-4")
async def test_a_commit_that_fails_moves_nothing(running: Gateway, monkeypatch: pytest.MonkeyPatch):
    store = running.services.store
    move = store.move_together
    fails = True

    async def failing(swaps: Any, bindings: Any, events: Any) -> None:
        nonlocal fails
        if bindings and fails:
            fails = False
            raise StoreError("the disk is full")
        await move(swaps, bindings, events)

    monkeypatch.setattr(store, "move_together", failing)
    failed = await batches(running).immediate("b", to("m@2"), by="ann")
    assert "the disk is full" in failed.says
    assert bound(running) == dict.fromkeys(TASKS, "m@1")
    assert {binding.ref for binding in (await store.load()).bindings} == {"m@1"}
    assert (await batches(running).immediate("b", to("m@2"), by="ann")).ok


@pytest.mark.no_cover
async def test_versions_that_do_not_fit_together_are_refused_instead_of_thrashing(tmp_path: Path):
    small = PoolSettings(memory_budget_mb=250, helper_reserve_mb=0)
    async with Gateway.open(Config(home=tmp_path / "home", pool=small)) as gateway:
        for ref in ("a@1", "b@1", "c@1"):
            await add(gateway, tmp_path, ref, memory_mb=100)
        refused = await batches(gateway).immediate(
            "b", (*to("a@1", "t1"), *to("b@1", "t2"), *to("c@1", "t3")), by="ann"
        )
        assert not refused.ok
        assert "do not fit into memory together" in refused.says
        assert set(bound(gateway, "t1", "t2", "t3").values()) == {None}
        assert (await batches(gateway).immediate("b", (*to("a@1", "t1"), *to("b@1", "t2")), by="ann")).ok


async def test_batches_that_share_tasks_never_wait_for_each_other_for_ever(running: Gateway):
    there, back = to("m@2"), tuple(reversed(to("m@3")))
    async with asyncio.timeout(20):
        results = await asyncio.gather(
            *(batches(running).immediate(f"b{n}", there if n % 2 else back, by="ann") for n in range(10)),
            running.services.swapper.swap("t3", "m@1", by="bob"),
            return_exceptions=True,
        )
    assert all(result.ok for result in results[:10] if not isinstance(result, BaseException))
    assert not any(isinstance(result, BaseException) for result in results[:10])
    others = set(bound(running, "t1", "t2", "t4", "t5").values())
    assert len(others) == 1


async def test_what_is_served_already_does_not_keep_the_others_from_moving(running: Gateway):
    assert (await running.services.swapper.swap("t2", "m@2", by="ann")).ok
    done = await batches(running).immediate("b", to("m@2"), by="ann")
    assert done.ok
    assert {swap.task for swap in done.swaps} == {"t1", "t3", "t4", "t5"}
    again = await batches(running).immediate("b", to("m@2"), by="ann")
    assert again.ok
    assert again.swaps == ()


async def test_a_cancelled_batch_moves_nothing_and_frees_its_tasks(running: Gateway, tmp_path: Path):
    await add(running, tmp_path, "slow@1", ready=False, load_ms=600)
    order = asyncio.create_task(batches(running).immediate("b", to("slow@1"), by="ann"))
    await eventually(lambda: any(view.ref == "slow@1" for view in running.services.pool.views()), "slow@1 loads")
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    assert bound(running) == dict.fromkeys(TASKS, "m@1")
    assert {swap.state for swap in await running.services.store.swaps(None, Page(limit=5))} == {SwapState.FAILED}
    assert (await batches(running).immediate("b", to("m@2"), by="ann")).ok


# ---------------------------------------------------------------- the process is killed

CHILD = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[2])
from batch_rig import TASKS, to
from podium.config import Config
from podium.runtime import Gateway

async def main():
    async with Gateway.open(Config(home=pathlib.Path(sys.argv[1]))) as gateway:
        batches, number = gateway.services.schedules._at_once, 0
        print("open", flush=True)
        while True:
            for ref in ("m@2", "m@3", "m@1"):
                number += 1
                done = await batches.immediate(f"{sys.argv[3]}-{number}", to(ref), by="child")
                assert done.ok, done.says

asyncio.run(main())
"""


@pytest.mark.requirement("SWP-8")
@pytest.mark.no_cover
async def test_after_a_kill_at_any_moment_either_all_tasks_have_moved_or_none(tmp_path: Path):
    home, rng = tmp_path / "home", random.Random(11)
    async with Gateway.open(Config(home=home)) as gateway:
        for ref in ("m@1", "m@2", "m@3"):
            await add(gateway, tmp_path, ref)
        assert (await batches(gateway).immediate("b0", to("m@1"), by="test")).ok
    settled = 0
    for run in range(12):
        if run >= 4 and settled:
            break  # some of them came in the middle of a batch
        words = ("-c", CHILD, str(home), str(Path(__file__).parent), str(run))
        child = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
        assert child.stdout is not None
        assert await child.stdout.readline() == b"open\n"
        await asyncio.sleep(rng.uniform(0.1, 0.4))  # the moment of the kill is what is drawn
        child.send_signal(signal.SIGKILL)
        await child.wait()
        async with Gateway.open(Config(home=home)) as gateway:
            assert len(set(bound(gateway).values())) == 1, bound(gateway)
            recorded = await gateway.services.store.swaps(None, Page(limit=1000))
            by_batch: dict[str, set[SwapState]] = {}
            for swap in recorded:
                assert swap.finished_at is not None
                by_batch.setdefault(swap.reason, set()).add(swap.state)
                settled += "the gateway stopped" in (swap.error or "")
            assert all(len(states) == 1 for states in by_batch.values()), by_batch
    assert len(recorded) > 20
    assert settled > 0, "no kill came in the middle of a batch; the test proves nothing then"


# ---------------------------------------------------------------- gradually


async def begun(gateway: Gateway, batch: str, count: int) -> dict[str, Any]:
    """The rollouts of a batch once all have traffic."""

    def ready() -> bool:
        found = [one for one in gateway.services.rollouts.running() if one.batch == batch]
        return len(found) == count and all(one.state is RolloutState.CANARY for one in found)

    await eventually(ready, f"{count} rollouts of {batch} have traffic")
    return {one.task: one for one in gateway.services.rollouts.running()}


@pytest.mark.requirement("SWP-8", "SWP-4")
async def test_when_one_rollout_of_a_batch_goes_back_all_go_back_promoted_ones_too(running: Gateway):
    orders = to("m@2", "t1", "t2", "t3")
    work = asyncio.create_task(gradually(running).carry_out("batch_g", orders, SLOW_RAMP, by="ann"))
    found = await begun(running, "batch_g", 3)
    rollouts = running.services.rollouts
    assert (await rollouts.command(found["t1"].id, "promote", by="ann")).state is RolloutState.PROMOTED
    assert bound(running, "t1") == {"t1": "m@2"}
    await rollouts.command(found["t2"].id, "rollback", by="ann", reason="users complain")
    async with asyncio.timeout(10):
        result = await work
    assert not result.ok
    assert result.says.startswith("all went back: t2: rolled_back")
    assert bound(running, "t1", "t2", "t3") == dict.fromkeys(("t1", "t2", "t3"), "m@1")
    states = {one.task: one.state for one in result.rollouts}
    assert states == {
        "t1": RolloutState.PROMOTED,
        "t2": RolloutState.ROLLED_BACK,
        "t3": RolloutState.ROLLED_BACK,
    }
    assert rollouts.running() == ()


@pytest.mark.requirement("SWP-8")
async def test_a_batch_of_rollouts_has_ended_well_when_all_are_promoted(running: Gateway):
    orders = to("m@2", "t1", "t2")
    work = asyncio.create_task(gradually(running).carry_out("batch_g", orders, SLOW_RAMP, by="ann"))
    for one in (await begun(running, "batch_g", 2)).values():
        await running.services.rollouts.command(one.id, "promote", by="ann")
    async with asyncio.timeout(10):
        result = await work
    assert result.ok
    assert bound(running, "t1", "t2") == {"t1": "m@2", "t2": "m@2"}
    again = await gradually(running).carry_out("batch_h", orders, SLOW_RAMP, by="ann")
    assert (again.ok, again.rollouts) == (True, ())


@pytest.mark.requirement("SWP-8")
async def test_a_candidate_that_does_not_load_ends_all_rollouts_of_its_batch(running: Gateway):
    orders = (*to("m@2", "t1"), *to("bad@1", "t2"))
    async with asyncio.timeout(20):
        result = await gradually(running).carry_out("batch_g", orders, SLOW_RAMP, by="ann")
    assert not result.ok
    assert "t2: failed" in result.says
    assert "the weights are damaged" in result.says
    assert running.services.rollouts.running() == ()
    assert bound(running, "t1", "t2") == {"t1": "m@1", "t2": "m@1"}


async def test_no_rollout_begins_when_one_of_them_cannot(running: Gateway):
    await running.services.rollouts.order("t2", "m@3", SLOW_RAMP, by="bob")
    refused = await gradually(running).carry_out("batch_g", to("m@2", "t1", "t2"), SLOW_RAMP, by="ann")
    assert not refused.ok
    assert refused.says.startswith("nothing began: t2: ")
    assert {one.task for one in running.services.rollouts.running()} == {"t2"}
    at_once = await batches(running).immediate("b", to("m@2", "t1", "t2"), by="ann")
    assert not at_once.ok
    assert bound(running, "t1", "t2") == {"t1": "m@1", "t2": "m@1"}


async def test_a_comparison_is_no_plan_for_a_batch(running: Gateway):
    plan = replace(SLOW_RAMP, mode=RolloutMode.AB)
    refused = await gradually(running).carry_out("b", to("m@2"), plan, by="ann")
    assert "moves nothing by itself" in refused.says


@pytest.mark.requirement("SWP-8", "SWP-11")
async def test_a_batch_carried_out_again_goes_on_with_the_rollouts_it_has(running: Gateway):
    orders = (*to("m@2", "t1"), PlannedSwap(task="t2", to="m@2"))
    first = asyncio.create_task(gradually(running).carry_out("batch_g", orders, SLOW_RAMP, by="ann"))
    found = await begun(running, "batch_g", 2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await running.services.rollouts.command(found["t1"].id, "abort", by="ann")  # while nobody follows the batch
    started = time.monotonic()
    async with asyncio.timeout(10):
        result = await gradually(running).carry_out("batch_g", orders, SLOW_RAMP, by="ann")
    assert not result.ok
    assert time.monotonic() - started < 10
    assert {one.id for one in result.rollouts} == {one.id for one in found.values()}
    assert running.services.rollouts.running() == ()
