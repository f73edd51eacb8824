"""Which model is in memory when: collation, residency, keep-alive, pins, budgets, and memory that comes back late."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from fakes import MB
from podium.domain.directive import Directive
from podium.errors import LoadFailed, Overloaded, ProviderTimeout
from podium.ports import RAM
from pool_rig import Model, Rig, rigged, settle

GPU = "cuda:0"


def one_of(*names: str, **about) -> dict[str, Model]:
    """Models of which only one fits at a time into 100 MB."""
    return {f"{name}@1": Model(size_mb=60, **about) for name in names}


async def stream(rig: Rig, ref: str, seconds: float, until: float) -> None:
    """One caller who asks again as soon as it is answered."""
    while rig.clock.time < until:
        await rig.use(ref, seconds)


# ---------------------------------------------------------------- whose turn


@pytest.mark.requirement("POOL-3", "SWP-2")
@rigged(one_of("a", "b", load_s=2.0), 100, max_wait_s=5.0)
async def test_a_busy_model_keeps_serving_until_another_has_waited_long_enough(rig: Rig):
    await rig.use("a@1")
    busy = [asyncio.create_task(stream(rig, "a@1", 0.5, rig.clock.time + 12)) for _ in range(2)]
    await asyncio.sleep(1)
    asked = rig.clock.time
    waited = await rig.use("b@1")
    (begun,) = [at for at, ref in rig.machine.begun if ref == "b@1"]
    assert 5.0 <= begun - asked <= 6.0  # max_wait_s, and the last half second of what was under way
    assert waited == pytest.approx(begun - asked + 2.0, abs=0.1)
    await asyncio.gather(*busy)
    assert rig.machine.loads_of("a@1") == 2, "its own callers get it back"
    assert rig.machine.most[RAM] <= 100 * MB


@pytest.mark.requirement("POOL-3")
@rigged(
    one_of("a", "b", "c", load_s=1.0, places=40),
    100,
    max_wait_s=5.0,
    min_residency_s=0.0,
    linger_s=1.0,
    residency_loads=4.0,
)
async def test_a_model_just_used_is_not_given_up_for_a_request_that_has_not_waited(rig: Rig):
    asked = []
    for number in range(240):  # one minute, idle between any two requests
        asked.append(asyncio.create_task(rig.use("abc"[number % 3] + "@1", 0.1)))
        await asyncio.sleep(0.25)
    await asyncio.gather(*asked)
    assert len(rig.machine.begun) <= 16, "48 without lingering"


@pytest.mark.requirement("POOL-3", "SWP-2")
@pytest.mark.parametrize("seconds", [0.1, 1.5], ids=["idle in between", "always busy"])
@rigged(one_of("a", "b", "c", load_s=1.0, places=40), 100, max_wait_s=5.0, min_residency_s=3.0, residency_loads=4.0)
async def test_requests_in_turn_for_models_that_do_not_fit_together_do_not_thrash(rig: Rig, seconds: float):
    asked = []
    began = rig.clock.time
    for number in range(240):
        asked.append(asyncio.create_task(rig.use("abc"[number % 3] + "@1", seconds)))
        await asyncio.sleep(0.25)
    waits = await asyncio.gather(*asked)
    loads = len(rig.machine.begun)
    assert 6 <= loads <= (rig.clock.time - began) / (1.0 + 3.0) + 1, "several turns, each of three seconds at least"
    assert max(waits) <= 3 * (5.0 + 1.0 + seconds), "one whole round, and no more"
    assert rig.machine.most[RAM] <= 100 * MB


@pytest.mark.requirement("POOL-1")
@rigged(one_of("a", "b"), 100, min_residency_s=3.0)
async def test_what_was_just_loaded_stays_for_a_while_even_when_idle(rig: Rig):
    await rig.use("a@1")
    ready = rig.clock.time
    await rig.use("b@1")
    assert rig.machine.begun[1][0] >= ready + 3.0
    assert rig.machine.begun[1][0] <= ready + 3.5


@pytest.mark.requirement("POOL-1")
@rigged({"a@1": Model(size_mb=60), "b@1": Model(size_mb=60, fails=1)}, 100)
async def test_what_went_for_a_load_that_failed_comes_back(rig: Rig):
    await rig.use("a@1")
    with pytest.raises(LoadFailed, match="b@1 would not start"):
        await rig.use("b@1")
    await asyncio.sleep(2)
    assert rig.state("a@1") == "ready"
    assert rig.machine.loads_of("a@1") == 2


@pytest.mark.requirement("POOL-2")
@rigged({"big@1": Model(size_mb=60), "judge@1": Model(size_mb=30, tags=frozenset({"helper"}))}, 100)
async def test_a_helper_waits_for_free_memory_and_evicts_no_serving_model(rig: Rig):
    rig.pool.limits = replace(rig.pool.limits, helper_reserve_bytes=10 * MB)
    await rig.use("big@1")
    second = rig.lease("judge@1")
    await asyncio.sleep(1.5)
    assert second.done(), "it fits beside"
    rig.machine.models["judge@1"].size_mb = 60
    second.result().release()
    await rig.pool.unload("judge@1")
    rig.pool._slots["judge@1"].measured_bytes = None
    waiting = rig.lease("judge@1")
    await asyncio.sleep(30)
    assert not waiting.done()
    assert rig.state("big@1") == "ready"
    await rig.pool.unload("big@1")
    (await waiting).release()


# ---------------------------------------------------------------- how long it stays


@pytest.mark.requirement("POOL-7")
@rigged({"a@1": Model()}, idle_ttl_s=60.0)
async def test_keep_alive_of_a_request_overrules_the_setting(rig: Rig):
    async def used_with(keep: float | None) -> None:
        lease = await rig.lease("a@1")
        if keep is not None:
            lease.keep_alive(keep)
        lease.succeeded()
        lease.release()
        await settle()

    await used_with(0.0)
    assert rig.state("a@1") == "stopped", "0: at once"
    await used_with(5.0)
    await asyncio.sleep(4.5)
    assert rig.state("a@1") == "ready"
    await asyncio.sleep(1)
    assert rig.state("a@1") == "stopped"
    await used_with(math.inf)
    await asyncio.sleep(4000)
    assert rig.state("a@1") == "ready"
    await rig.pool.unload("a@1")
    await used_with(None)
    await asyncio.sleep(59)
    assert rig.state("a@1") == "ready"
    await asyncio.sleep(2)
    assert rig.state("a@1") == "stopped"


@pytest.mark.requirement("POOL-7")
@rigged({"a@1": Model(), "b@1": Model()}, idle_ttl_s=10.0)
async def test_a_standing_order_says_how_long_and_a_pin_for_ever(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(keep_alive_s=30.0))
    rig.pool.pin(rig.versions["b@1"], pinned=True)
    await rig.use("a@1")
    await rig.use("b@1")
    await asyncio.sleep(20)
    assert (rig.state("a@1"), rig.state("b@1")) == ("ready", "ready")
    await asyncio.sleep(20)
    assert (rig.state("a@1"), rig.state("b@1")) == ("stopped", "ready")
    rig.pool.pin(rig.versions["b@1"], pinned=False)
    await asyncio.sleep(1)
    assert rig.state("b@1") == "stopped"


@pytest.mark.requirement("POOL-2", "POOL-7")
@rigged(one_of("a", "b"), 100)
async def test_a_pinned_model_is_not_evicted_and_the_other_is_told_with_the_numbers(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(pinned=True, preload=True))
    await asyncio.sleep(2)
    assert rig.state("a@1") == "ready", "preloaded without a request"
    with pytest.raises(Overloaded, match=r"60 MB.*100 MB.*60 MB are pinned.*podium pin --off") as caught:
        await rig.use("b@1")
    assert caught.value.retry_after_s
    assert rig.state("a@1") == "ready"


@pytest.mark.requirement("POOL-7")
@rigged({"a@1": Model(load_s=3.0)})
async def test_an_order_to_unload_is_not_undone_by_the_standing_orders(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(min_copies=1, max_copies=2))
    await asyncio.sleep(4)
    assert rig.state("a@1") == "ready"
    assert await rig.pool.unload("a@1")
    await asyncio.sleep(60)
    assert rig.state("a@1") == "stopped"
    await rig.use("a@1")
    await asyncio.sleep(60)
    assert rig.state("a@1") == "ready", "the next request ends the rest"


@pytest.mark.requirement("POOL-7")
@rigged({"a@1": Model(load_s=3.0, unload_s=2.0)})
async def test_every_order_to_unload_returns_when_it_is_gone(rig: Rig):
    held = await rig.lease("a@1")
    first = asyncio.create_task(rig.pool.unload("a@1"))
    await settle()
    second = asyncio.create_task(rig.pool.unload("a@1"))
    await asyncio.sleep(1)
    assert not first.done()
    assert not second.done()
    held.release()
    assert await first
    assert await second
    assert not rig.machine.running()
    assert not await rig.pool.unload("a@1")


@rigged({"a@1": Model(load_s=3.0)})
async def test_an_order_to_unload_during_a_load_lets_those_in_line_finish_first(rig: Rig):
    asked = rig.lease("a@1")
    await settle()
    unloading = asyncio.create_task(rig.pool.unload("a@1"))
    lease = await asked
    assert not lease.instance.gone
    await asyncio.sleep(5)
    assert not unloading.done()
    lease.release()
    assert await unloading


# ---------------------------------------------------------------- budgets that change


@pytest.mark.requirement("POOL-2", "OPS-6")
@rigged({"a@1": Model(), "b@1": Model(), "c@1": Model()}, 300)
async def test_a_lower_budget_is_reached_by_draining_what_was_idle_longest(rig: Rig):
    for ref in ("a@1", "b@1"):
        await rig.use(ref)
        await asyncio.sleep(10)
    held = await rig.lease("c@1")
    rig.pool.limits = replace(rig.pool.limits, memory_bytes=200 * MB)
    await asyncio.sleep(2)
    assert [rig.state(ref) for ref in ("a@1", "b@1", "c@1")] == ["stopped", "ready", "ready"]
    rig.pool.limits = replace(rig.pool.limits, memory_bytes=50 * MB)
    await asyncio.sleep(2)
    assert [rig.state(ref) for ref in ("b@1", "c@1")] == ["stopped", "ready"], "who is served is not cut off"
    held.release()
    await asyncio.sleep(2)
    assert not rig.machine.running()


@pytest.mark.requirement("POOL-2")
@rigged({"a@1": Model(), "b@1": Model(measured_mb=250)}, 300)
async def test_an_instance_that_takes_more_than_estimated_pushes_out_idle_ones_and_is_planned_with_that(rig: Rig):
    await rig.use("a@1")
    await rig.use("b@1")
    await asyncio.sleep(2)
    assert (rig.state("a@1"), rig.state("b@1")) == ("stopped", "ready")
    await rig.pool.unload("b@1")
    await rig.use("a@1")
    await rig.use("b@1")
    assert rig.kinds("instance.draining", "a@1")[-1]["reason"].endswith("its 100 MB go to b@1")


# ---------------------------------------------------------------- memory that is not there


@pytest.mark.requirement("POOL-2")
@rigged({ref: Model(size_mb=60, devices=(GPU,)) for ref in ("a@1", "b@1")}, 100, gpu_bytes={GPU: 100 * MB})
async def test_the_next_load_waits_for_memory_that_comes_back_late(rig: Rig):
    rig.machine.total_mb[GPU] = 100
    rig.machine.lag_s = 2.0
    await rig.use("a@1")
    stopped = rig.clock.time
    await rig.use("b@1")
    assert rig.machine.begun[1][0] == pytest.approx(stopped + 2.0, abs=0.1)
    assert not rig.kinds("memory.missing")


@pytest.mark.requirement("POOL-2")
@rigged({"a@1": Model(unload_s=2.0), "b@1": Model(size_mb=200, load_s=5.0)}, 300)
async def test_memory_that_another_load_takes_meanwhile_is_not_missed(rig: Rig):
    rig.machine.total_mb[RAM] = 1000
    await rig.use("a@1")
    unloading = asyncio.create_task(rig.pool.unload("a@1"))
    await asyncio.sleep(1)
    loading = rig.lease("b@1")
    await asyncio.sleep(1.1)
    assert unloading.done()
    assert not loading.done()
    assert not rig.kinds("memory.missing")
    (await loading).release()


@pytest.mark.requirement("POOL-2")
@pytest.mark.parametrize("device", [RAM, GPU])
@rigged(
    {ref: Model(size_mb=60, devices=(GPU, RAM)) for ref in ("a@1", "b@1")}, 100, verify_s=5.0, gpu_bytes={GPU: 100 * MB}
)
async def test_memory_that_never_comes_back_is_reported_and_the_pool_goes_on(rig: Rig, device: str):
    rig.machine.total_mb |= {GPU: 1000, RAM: 1000}
    for about in rig.machine.models.values():
        about.devices = (device,)
    rig.machine.lag_s = None
    await rig.use("a@1")
    waited = await rig.use("b@1")
    assert waited <= 5.0 + 1.0 + 0.5
    (event,) = rig.kinds("memory.missing", "a@1")
    assert event["device"] == device
    assert 40 <= event["missing_mb"] <= 60


@pytest.mark.requirement("POOL-2")
@rigged({"a@1": Model(), "b@1": Model()}, 300, max_wait_s=5.0)
async def test_a_request_waits_for_memory_that_other_programs_hold_and_is_then_refused_with_the_numbers(rig: Rig):
    rig.machine.total_mb[RAM] = 200
    rig.machine.others_mb = 150
    asked = rig.clock.time
    with pytest.raises(
        Overloaded, match=r"100 MB of ram, but the operating system has 50 MB free.*other programs"
    ) as no:
        await rig.use("a@1")
    assert 9.5 <= rig.clock.time - asked <= 12.0
    assert no.value.retry_after_s
    waiting = rig.lease("a@1")
    await asyncio.sleep(4)
    assert not waiting.done()
    rig.machine.others_mb = 0
    await asyncio.sleep(3)
    assert waiting.done(), "it is looked at again every second"
    waiting.result().release()


# ---------------------------------------------------------------- what people are told


@pytest.mark.requirement("POOL-3")
@rigged(one_of("a", "b", load_s=4.0, places=1), 100, max_wait_s=5.0)
async def test_who_waits_is_told_what_for_and_about_how_long(rig: Rig):
    assert rig.pool.outlook("a@1") == ("its start", None)
    first = rig.lease("a@1")
    await asyncio.sleep(1)
    assert rig.pool.outlook("a@1") == ("loading since 1.0 s", None), "nobody knows how long a first load takes"
    lease = await first
    waiting = rig.lease("a@1")
    await asyncio.sleep(2)
    assert rig.pool.outlook("a@1") == ("a place: 1 requests are being answered", None)
    lease.release()
    (await waiting).release()
    asked = rig.lease("b@1")
    await asyncio.sleep(1)
    await rig.pool.unload("b@1")
    (await asked).release()
    held = await rig.lease("a@1")
    again = rig.lease("b@1")
    await asyncio.sleep(1)
    words, seconds = rig.pool.outlook("b@1")
    assert words.startswith("memory: b@1 needs 60 MB of ram")
    assert seconds is not None
    assert seconds >= 4.0, "its load comes on top"
    held.release()
    (await again).release()
    rig.machine.models["a@1"].fails = 1
    with pytest.raises(LoadFailed):
        await rig.use("a@1")
    words, _ = rig.pool.outlook("a@1")
    assert words.startswith("another start in")
    assert "would not start" in words


# ---------------------------------------------------------------- slow starts


@pytest.mark.requirement("PRV-3")
@rigged(
    {"slow@1": Model(load_s=900.0, ready_s=1800.0), "usual@1": Model(load_s=900.0)},
    1000,
    load_timeout_s=300.0,
)
async def test_an_engine_that_is_known_to_start_slowly_is_waited_for_and_another_is_not(rig: Rig):
    assert await rig.pool.warm(rig.versions["slow@1"], 300.0) == pytest.approx(900.0)
    with pytest.raises(ProviderTimeout, match="no place on usual@1 within 300 s"):
        await rig.pool.warm(rig.versions["usual@1"], 300.0)
    assert rig.pool.load_seconds("slow@1") == pytest.approx(900.0)
