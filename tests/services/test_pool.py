"""The pool: single flight, leases, eviction, failure, and nobody left holding anything."""

from __future__ import annotations

import asyncio

import pytest

from fakes import MB, FakeClock, FakeProvider, version
from podium.domain.instance import InstanceState
from podium.errors import LoadFailed, Overloaded, ProviderTimeout
from podium.services.pool import Pool, PoolLimits

A, B, C = version("a@1"), version("b@1"), version("c@1")


def make(provider: FakeProvider, budget_mb: int = 1000, **limits):
    events: list[tuple[str, str]] = []
    clock = FakeClock()
    pool = Pool(
        lambda name: provider,
        clock,
        PoolLimits(memory_bytes=budget_mb * MB, **{"min_residency_s": 0.0, **limits}),
        lambda kind, subject, **data: events.append((kind, subject)),
    )
    return pool, clock, events


def state(pool: Pool, ref: str) -> InstanceState:
    return next(view.state for view in pool.views() if view.ref == ref)


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.requirement("POOL-1")
async def test_many_callers_cause_one_load():
    provider = FakeProvider(concurrency=50)
    pool, *_ = make(provider)
    leases = await asyncio.gather(*(pool.lease(A, 5) for _ in range(50)))
    assert provider.loads == ["a@1"]
    for lease in leases:
        lease.release()
    await pool.close()
    assert not provider.running


@pytest.mark.requirement("POOL-1")
async def test_a_place_that_is_given_back_goes_to_the_next_in_line():
    provider = FakeProvider(concurrency=1)
    pool, *_ = make(provider)
    first = await pool.lease(A, 5)
    order: list[int] = []

    async def one(number: int) -> None:
        lease = await pool.lease(A, 5)
        order.append(number)
        await settle()
        lease.release()

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(one(number))
            await settle()
        first.release()
    assert order == [0, 1, 2, 3, 4]
    assert pool.lease_now(A) is not None


@pytest.mark.requirement("POOL-1")
async def test_a_waiter_that_leaves_holds_nothing():
    provider = FakeProvider(concurrency=1)
    pool, *_ = make(provider)
    held = await pool.lease(A, 5)
    waiter = asyncio.create_task(pool.lease(A, 5))
    await settle()
    waiter.cancel()
    await settle()
    held.release()
    again = pool.lease_now(A)
    assert again is not None


@pytest.mark.requirement("POOL-1")
async def test_a_waiter_cancelled_in_the_moment_of_its_grant_gives_the_place_back():
    provider = FakeProvider(concurrency=1)
    pool, *_ = make(provider)
    held = await pool.lease(A, 5)
    waiter = asyncio.create_task(pool.lease(A, 5))
    await settle()
    held.release()  # the grant is on its way, the waiter has not run yet
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert pool.lease_now(A) is not None


async def test_releasing_twice_gives_one_place_back():
    pool, *_ = make(FakeProvider(concurrency=1))
    lease = await pool.lease(A, 5)
    lease.release()
    lease.release()
    assert pool.lease_now(A) is not None
    assert pool.lease_now(A) is None


@pytest.mark.requirement("POOL-3")
async def test_a_wait_has_a_deadline_and_says_what_it_waited_for():
    provider = FakeProvider()
    provider.gate.clear()
    pool, *_ = make(provider)
    with pytest.raises(ProviderTimeout, match=r"a@1 within 0\.02 s"):
        await pool.lease(A, 0.02)
    provider.gate.set()
    await pool.close()


@pytest.mark.requirement("POOL-3")
async def test_a_full_queue_refuses_with_an_honest_retry_after():
    pool, *_ = make(FakeProvider(concurrency=1), queue_limit=1)
    held = await pool.lease(A, 5)
    waiter = asyncio.create_task(pool.lease(A, 5))
    await settle()
    with pytest.raises(Overloaded) as caught:
        await pool.lease(A, 5)
    assert caught.value.retry_after_s is not None
    held.release()
    (await waiter).release()


async def test_a_failed_load_tells_every_waiter_and_then_pauses_before_the_next_try():
    provider = FakeProvider()
    provider.fail = 1
    pool, clock, _ = make(provider)
    results = await asyncio.gather(*(pool.lease(A, 5) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, LoadFailed) for result in results)
    with pytest.raises(LoadFailed):
        await pool.lease(A, 5)
    assert provider.loads == ["a@1"]
    clock.time += 2
    (await pool.lease(A, 5)).release()
    assert provider.loads == ["a@1", "a@1"]


@pytest.mark.requirement("POOL-2")
async def test_an_idle_instance_makes_room_and_the_budget_is_never_exceeded():
    provider = FakeProvider(size_mb=400)
    pool, clock, _ = make(provider, budget_mb=1000)
    for wanted in (A, B, C, A):
        (await pool.lease(wanted, 5)).release()
        clock.time += 10
    assert provider.most_running == 2
    assert sorted(instance.ref for instance in provider.running) == ["a@1", "c@1"]


@pytest.mark.requirement("SWP-2", "POOL-2")
async def test_a_request_waits_for_memory_that_a_busy_instance_holds():
    provider = FakeProvider(size_mb=600)
    pool, *_ = make(provider, budget_mb=1000)
    held = await pool.lease(A, 5)
    waiting = asyncio.create_task(pool.lease(B, 5))
    await settle()
    assert not waiting.done()
    assert state(pool, "a@1") is InstanceState.READY
    held.release()
    (await waiting).release()
    assert state(pool, "a@1") is InstanceState.STOPPED


async def test_two_loads_that_both_need_room_do_not_block_each_other():
    provider = FakeProvider(size_mb=600)
    pool, *_ = make(provider, budget_mb=1000)

    async def use(wanted) -> None:
        lease = await pool.lease(wanted, 5)
        await settle()
        lease.release()

    await asyncio.gather(use(A), use(B), use(C))
    assert provider.most_running == 1


async def test_a_model_that_can_never_fit_is_refused_with_the_numbers():
    pool, *_ = make(FakeProvider(size_mb=2000), budget_mb=1000)
    with pytest.raises(Overloaded, match=r"2,000 MB.*1,000 MB"):
        await pool.lease(A, 5)


@pytest.mark.requirement("SWP-2")
async def test_unloading_waits_for_requests_in_flight():
    provider = FakeProvider()
    pool, *_ = make(provider)
    lease = await pool.lease(A, 5)
    unloading = asyncio.create_task(pool.unload("a@1"))
    await settle()
    assert state(pool, "a@1") is InstanceState.DRAINING
    assert not lease.instance.unloaded
    assert pool.lease_now(A) is None
    lease.release()
    assert await unloading
    assert lease.instance.unloaded


async def test_a_request_that_comes_while_its_model_drains_is_served_by_a_new_instance():
    provider = FakeProvider()
    pool, *_ = make(provider)
    lease = await pool.lease(A, 5)
    unloading = asyncio.create_task(pool.unload("a@1"))
    await settle()
    late = asyncio.create_task(pool.lease(A, 5))
    await settle()
    lease.release()
    assert await unloading
    (await late).release()
    assert provider.loads == ["a@1", "a@1"]


async def test_a_dead_process_is_noticed_and_replaced():
    provider = FakeProvider()
    pool, _, events = make(provider)
    lease = await pool.lease(A, 5)
    lease.instance.dead = True
    lease.release()
    replacement = await pool.lease(A, 5)
    assert replacement.instance is not lease.instance
    assert ("instance.crashed", "a@1") in events
    assert provider.loads == ["a@1", "a@1"]


async def test_a_place_on_a_dead_instance_is_not_given_back_to_its_successor():
    provider = FakeProvider(concurrency=1)
    pool, *_ = make(provider)
    old = await pool.lease(A, 5)
    old.instance.dead = True
    pool.sweep()
    new = await pool.lease(A, 5)
    old.release()
    assert pool.lease_now(A) is None
    new.release()


@pytest.mark.requirement("POOL-7")
async def test_idle_instances_are_unloaded_unless_pinned():
    provider = FakeProvider()
    pool, clock, _ = make(provider, idle_ttl_s=60)
    for wanted in (A, B):
        (await pool.lease(wanted, 5)).release()
    pool.pin(B, pinned=True)
    clock.time += 61
    pool.sweep()
    await settle()
    assert state(pool, "a@1") is InstanceState.STOPPED
    assert state(pool, "b@1") is InstanceState.READY


@pytest.mark.requirement("SWP-1")
async def test_warming_does_one_forward_pass_and_a_warm_instance_none():
    provider = FakeProvider()
    pool, *_ = make(provider)
    await pool.warm(A, 5)
    assert await pool.warm(A, 5) == 0.0
    (instance,) = provider.running
    assert instance.warmed == 1


async def test_closing_stops_everything_and_tells_the_waiters():
    provider = FakeProvider()
    provider.gate.clear()
    pool, *_ = make(provider)
    waiter = asyncio.create_task(pool.lease(A, 5))
    await settle()
    await pool.close()
    with pytest.raises(Overloaded, match="shutting down"):
        await waiter
    with pytest.raises(Overloaded):
        await pool.lease(B, 5)
