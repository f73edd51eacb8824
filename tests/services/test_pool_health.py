"""Crashes, hangs, failing servers: who is restarted, who is told, and who may try again when."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from podium.core.breaker import BreakerRules
from podium.domain.directive import Directive
from podium.errors import LoadFailed, Overloaded, ProviderTimeout, ProviderUnreachable
from podium.services.pool import Lease
from podium.services.pool.slot import CRASHES_TOLERATED
from pool_rig import Model, Rig, rigged, settle

RULES = BreakerRules(failures=3, window_s=30.0, open_s=5.0, open_max_s=60.0)
SERVER = "http://127.0.0.1:9"


def fail(lease: Lease) -> None:
    lease.failed(ProviderUnreachable("connection refused"))
    lease.release()


# ---------------------------------------------------------------- crashes


@pytest.mark.requirement("POOL-5", "POOL-7")
@rigged({"a@1": Model(), "b@1": Model()})
async def test_what_is_to_be_loaded_always_comes_back_after_a_crash_and_the_rest_when_asked_for(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(preload=True))
    await rig.use("b@1")
    await asyncio.sleep(2)
    for instance in rig.machine.running():
        instance.dead = True
    await asyncio.sleep(3)
    assert (rig.state("a@1"), rig.state("b@1")) == ("ready", "failed")
    await rig.use("b@1")
    assert rig.state("b@1") == "ready"


@pytest.mark.requirement("POOL-5")
@rigged({"a@1": Model(crashes=100)}, backoff_s=1.0, backoff_max_s=4.0)
async def test_a_process_that_crashes_again_and_again_is_started_ever_more_slowly(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(preload=True))
    await asyncio.sleep(40)
    starts = [at for at, _ in rig.machine.begun]
    pauses = [round(after - before - 1.0, 2) for before, after in pairwise(starts)]
    expected = [0.0, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert pauses[: len(expected)] == pytest.approx(expected, abs=0.3), "besides the second a load takes"


@pytest.mark.requirement("POOL-5")
@rigged({"a@1": Model(places=1, load_s=0.5)}, backoff_s=1.0)
async def test_those_in_line_wait_through_some_crashes_and_are_then_told(rig: Rig):
    held = await rig.lease("a@1")
    waiting = rig.lease("a@1")
    for _ in range(CRASHES_TOLERATED):
        held.instance.dead = True
        held.release()
        held, waiting = await waiting, rig.lease("a@1")
    await settle()
    assert not waiting.done()
    held.instance.dead = True
    held.release()
    with pytest.raises(LoadFailed, match="ended on its own") as caught:
        await waiting
    assert caught.value.retry_after_s
    with pytest.raises(LoadFailed):
        await rig.use("a@1")
    await asyncio.sleep(caught.value.retry_after_s + 0.1)
    await rig.use("a@1")


@pytest.mark.requirement("POOL-5", "POOL-6")
@rigged({"a@1": Model(places=1)}, backoff_s=4.0)
async def test_a_further_copy_that_fails_to_load_ends_no_wait_and_is_not_tried_again_at_once(rig: Rig):
    held = await rig.lease("a@1")
    waiting = rig.lease("a@1")
    rig.machine.models["a@1"].fails = 3
    rig.pool.direct(rig.versions["a@1"], Directive(min_copies=2, max_copies=2))
    await asyncio.sleep(2)
    assert len(rig.kinds("instance.failed")) == 1
    assert not waiting.done(), "the first copy serves: who waits for it is served by it"
    assert rig.machine.loads_of("a@1") == 2
    held.release()
    (await waiting).release()
    await asyncio.sleep(60)
    assert rig.pool.copies("a@1") == 2
    starts = [at for at, _ in rig.machine.begun][1:]
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([5.0, 9.0, 17.0], abs=0.3)


@pytest.mark.requirement("POOL-5")
@rigged({"a@1": Model()}, health_interval_s=2.0, health_failures=3, hang_timeout_s=20.0)
async def test_an_idle_process_that_answers_no_health_check_is_killed_and_one_that_serves_gets_more_time(rig: Rig):
    lease = await rig.lease("a@1")
    hung = lease.instance
    hung.healthy = False
    await asyncio.sleep(15)
    assert rig.state("a@1") == "ready", "a server with one thread answers no probe while it generates"
    lease.sign(rig.clock.time)
    await asyncio.sleep(15)
    assert rig.state("a@1") == "ready", "each piece of an answer is a sign of life"
    await asyncio.sleep(15)
    assert hung.gone
    lease.release()
    await rig.use("a@1")
    assert rig.machine.running()[0] is not hung


@pytest.mark.requirement("POOL-5")
@rigged({"a@1": Model(endpoint=SERVER, size_mb=0, places=1)}, health_interval_s=2.0, health_failures=3)
async def test_a_server_that_is_not_ours_is_left_alone_until_it_answers_again(rig: Rig):
    held = await rig.lease("a@1")
    (instance,) = rig.machine.running()
    waiting = rig.lease("a@1")
    instance.healthy = False
    held.succeeded()
    held.release()
    held = await waiting
    held.release()
    await asyncio.sleep(10)
    assert not instance.gone
    with pytest.raises(ProviderUnreachable) as caught:
        await rig.use("a@1")
    assert caught.value.code == "circuit_open"
    assert caught.value.retry_after_s
    instance.healthy = True
    await asyncio.sleep(3)
    await rig.use("a@1")
    assert rig.machine.loads_of("a@1") == 1


@pytest.mark.requirement("POOL-5")
@rigged(
    {"a@1": Model(endpoint=SERVER, size_mb=0, places=1)}, health_interval_s=2.0, health_failures=3, hang_timeout_s=5.0
)
async def test_those_in_line_at_a_server_that_fell_silent_are_told(rig: Rig):
    held = await rig.lease("a@1")
    waiting = rig.lease("a@1")
    rig.machine.running()[0].healthy = False
    await asyncio.sleep(12)
    with pytest.raises(ProviderUnreachable):
        await asyncio.wait_for(waiting, 1)
    held.release()


# ---------------------------------------------------------------- breakers


@pytest.mark.requirement("POOL-5")
@rigged({"a@1": Model(places=4)}, breaker=RULES)
async def test_a_breaker_opens_fails_fast_and_lets_exactly_one_request_probe(rig: Rig):
    held = [await rig.lease("a@1") for _ in range(4)]
    waiting = [rig.lease("a@1") for _ in range(4)]
    await settle()
    opened = rig.clock.time
    for lease in held[:3]:
        fail(lease)
    for lease in await asyncio.gather(*waiting[:2]):
        lease.release()  # they had the places of the first two that failed
    for told in waiting[2:]:
        with pytest.raises(ProviderUnreachable, match="failed too often"):
            await told
    assert rig.kinds("breaker.opened", "a@1")
    with pytest.raises(ProviderUnreachable) as caught:
        await rig.lease("a@1")
    assert caught.value.retry_after_s == pytest.approx(5.0, abs=0.1)
    assert rig.clock.time == opened, "nobody waited"
    held[3].release()
    await asyncio.sleep(5.1)
    results = await asyncio.gather(*(rig.lease("a@1") for _ in range(10)), return_exceptions=True)
    (probe,) = [one for one in results if isinstance(one, Lease)]
    assert sum(isinstance(one, ProviderUnreachable) for one in results) == 9
    fail(probe)
    with pytest.raises(ProviderUnreachable) as caught:
        await rig.lease("a@1")
    assert caught.value.retry_after_s == pytest.approx(10.0, abs=0.1), "a failed probe doubles the time"
    await asyncio.sleep(10.1)
    probe = await rig.lease("a@1")
    probe.succeeded(0.1)
    probe.release()
    for lease in await asyncio.gather(*(rig.lease("a@1") for _ in range(4))):
        lease.release()
    assert rig.kinds("breaker.closed", "a@1")


@pytest.mark.requirement("POOL-5")
@rigged({"a@1": Model()}, breaker=RULES)
async def test_a_probe_whose_client_leaves_lets_the_next_one_probe(rig: Rig):
    for _ in range(3):
        fail(await rig.lease("a@1"))
    await asyncio.sleep(5.1)
    (await rig.lease("a@1")).release()
    probe = await rig.lease("a@1")
    with pytest.raises(ProviderUnreachable):
        await rig.lease("a@1")
    probe.succeeded()
    probe.release()
    await rig.use("a@1")


@pytest.mark.requirement("POOL-5")
@rigged(
    {ref: Model(endpoint=SERVER, size_mb=0) for ref in ("a@1", "b@1")} | {"c@1": Model(endpoint="http://other")},
    breaker=RULES,
)
async def test_versions_on_one_server_become_unreachable_and_come_back_together(rig: Rig):
    for ref in ("a@1", "b@1", "c@1"):
        await rig.use(ref)
    fail(await rig.lease("a@1"))
    fail(await rig.lease("b@1"))
    fail(await rig.lease("a@1"))
    for ref in ("a@1", "b@1"):
        with pytest.raises(ProviderUnreachable):
            await rig.lease(ref)
    await rig.use("c@1")
    await asyncio.sleep(5.1)
    probe = await rig.lease("b@1")
    with pytest.raises(ProviderUnreachable):
        await rig.lease("a@1")
    probe.succeeded()
    probe.release()
    await rig.use("a@1")


@pytest.mark.requirement("POOL-5")
@rigged({ref: Model(endpoint=SERVER, size_mb=0) for ref in ("a@1", "b@1")}, breaker=RULES)
async def test_a_server_that_answers_with_errors_for_one_model_still_serves_the_other(rig: Rig):
    await rig.use("b@1")
    for _ in range(3):
        lease = await rig.lease("a@1")
        lease.failed(ProviderTimeout("no first token"))
        lease.release()
    with pytest.raises(ProviderUnreachable):
        await rig.lease("a@1")
    await rig.use("b@1")


@pytest.mark.requirement("OPS-6", "POOL-5")
@rigged({"a@1": Model()}, breaker=RULES)
async def test_new_limits_reach_the_breakers_of_what_runs(rig: Rig):
    await rig.use("a@1")
    rig.pool.limits = replace(rig.pool.limits, breaker=replace(RULES, failures=1, open_s=50.0))
    fail(await rig.lease("a@1"))
    with pytest.raises(ProviderUnreachable) as caught:
        await rig.lease("a@1")
    assert caught.value.retry_after_s == pytest.approx(50.0, abs=1.0)


# ---------------------------------------------------------------- how many at once


@pytest.mark.requirement("POOL-7")
@rigged({"a@1": Model(places=32, adaptive=True)})
async def test_a_guessed_concurrency_shrinks_with_refusals_and_grows_with_use(rig: Rig):
    leases = await asyncio.gather(*(rig.lease("a@1") for _ in range(8)))
    assert rig.pool.views()[0].concurrency == 8
    ninth = rig.lease("a@1")
    await settle()
    assert not ninth.done()
    for lease in leases:
        lease.failed(Overloaded("429"))
        lease.release()
    assert rig.pool.views()[0].concurrency == 6, "one episode, one cut"
    assert not rig.kinds("breaker.opened"), "busy is not broken"
    (await ninth).release()
    busy = [asyncio.create_task(_busy(rig, rig.clock.time + 900)) for _ in range(20)]
    await asyncio.gather(*busy)
    assert rig.pool.views()[0].concurrency > 8


async def _busy(rig: Rig, until: float) -> None:
    while rig.clock.time < until:
        await rig.use("a@1", 1.0)
