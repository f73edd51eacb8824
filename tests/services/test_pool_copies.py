"""Several copies, several callers: how many there are, who gets which, in what order, and what the others are told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from podium.core.balancing import Strategy
from podium.domain.directive import Directive
from podium.errors import Overloaded
from pool_rig import Model, Rig, rigged, settle

SCALING = {"scale_up_after_s": 10.0, "scale_down_after_s": 60.0, "scale_cooldown_s": 15.0}


async def callers(rig: Rig, number: int, seconds: float, until: float) -> None:
    async def one() -> None:
        while rig.clock.time < until:
            await rig.use("a@1", seconds)

    await asyncio.gather(*(one() for _ in range(number)))


# ---------------------------------------------------------------- how many


@pytest.mark.requirement("POOL-6")
@rigged({"a@1": Model(places=2)}, **SCALING)
async def test_copies_follow_the_demand_up_within_thirty_seconds_and_down_after_a_while(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(max_copies=3))
    await rig.use("a@1")
    began = rig.clock.time
    busy = asyncio.create_task(callers(rig, 4, 1.0, began + 120))
    await asyncio.sleep(30)
    assert rig.pool.copies("a@1") >= 2
    await busy
    assert rig.pool.copies("a@1") == 3, "four callers use two copies of two places by more than 80 %"
    quiet = rig.clock.time
    while rig.pool.copies("a@1") > 1:
        await asyncio.sleep(1)
        assert rig.clock.time - quiet < 600
    assert rig.clock.time - quiet >= 60.0
    assert len(rig.kinds("instance.ready")) == 3, "it did not flap"
    await asyncio.sleep(600)
    assert rig.pool.copies("a@1") == 1


@pytest.mark.requirement("POOL-6", "POOL-2")
@rigged({"a@1": Model(places=1), "b@1": Model()}, 250, **SCALING)
async def test_a_further_copy_takes_free_memory_only_and_goes_first_when_another_model_needs_it(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(max_copies=3))
    await rig.use("b@1")
    await callers(rig, 3, 1.0, rig.clock.time + 60)
    assert rig.pool.copies("a@1") == 1
    assert rig.state("b@1") == "ready", "nothing is evicted for a further copy"
    await rig.pool.unload("b@1")
    await callers(rig, 3, 1.0, rig.clock.time + 60)
    assert rig.pool.copies("a@1") == 2, "all that fits"
    waited = await rig.use("b@1")
    assert waited <= 2.0
    assert rig.pool.copies("a@1") == 1


@pytest.mark.requirement("POOL-6", "POOL-7")
@rigged({"a@1": Model(places=1)}, idle_ttl_s=30.0, **SCALING)
async def test_idle_copies_that_were_unloaded_do_not_come_back_for_old_demand(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(max_copies=2))
    await rig.use("a@1")
    await callers(rig, 2, 1.0, rig.clock.time + 40)
    assert rig.pool.copies("a@1") == 2
    loads = rig.machine.loads_of("a@1")
    await asyncio.sleep(400)
    assert rig.state("a@1") == "stopped"
    assert rig.machine.loads_of("a@1") == loads


@pytest.mark.requirement("POOL-6", "POOL-2")
@rigged({"a@1": Model(places=1), "b@1": Model(size_mb=200)}, 200, **SCALING)
async def test_copies_that_were_evicted_do_not_come_back_for_old_demand(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(max_copies=2))
    await rig.use("a@1")
    await callers(rig, 2, 1.0, rig.clock.time + 40)
    assert rig.pool.copies("a@1") == 2
    await rig.use("b@1")
    await rig.pool.unload("b@1")
    await asyncio.sleep(60)
    assert rig.state("a@1") == "stopped"
    await rig.use("a@1")
    await asyncio.sleep(60)
    assert rig.pool.copies("a@1") == 1


@pytest.mark.requirement("POOL-6")
@rigged({"a@1": Model(places=1, load_s=5.0)})
async def test_orders_that_change_while_copies_load_hold_when_these_are_ready(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(min_copies=3, max_copies=3))
    await asyncio.sleep(1)
    assert len(rig.machine.loads) == 3
    rig.pool.direct(rig.versions["a@1"], Directive())
    await asyncio.sleep(10)
    assert rig.pool.copies("a@1") == 1
    assert len(rig.machine.running()) == 1


# ---------------------------------------------------------------- which


async def spread(rig: Rig, strategy: Strategy, requests: int, keys: int) -> tuple[Counter[str], dict[int, set[str]]]:
    await asyncio.sleep(3)
    assert rig.pool.copies("a@1") == 4
    shares: Counter[str] = Counter()
    by_key: dict[int, set[str]] = {}
    for number in range(requests):
        key = hash((number % keys, "key")) % 2**64
        lease = rig.pool.lease_now(rig.versions["a@1"], key)
        assert lease is not None
        shares[lease.instance_id] += 1
        by_key.setdefault(key, set()).add(lease.instance_id)
        lease.release()
    return shares, by_key


@pytest.mark.requirement("POOL-4")
@pytest.mark.parametrize("strategy", list(Strategy))
@rigged({"a@1": Model(places=2)})
async def test_every_strategy_reaches_the_copies_it_should(rig: Rig, strategy: Strategy):
    rig.pool.limits = replace(rig.pool.limits, balancing=strategy)
    draws = iter(number * 0.6180339887 % 1.0 for number in range(10**6))
    rig.pool._draw = lambda: next(draws)
    rig.pool.direct(rig.versions["a@1"], Directive(min_copies=4, max_copies=4))
    shares, by_key = await spread(rig, strategy, 400, 100)
    assert len(shares) == 4, shares
    match strategy:
        case Strategy.ROUND_ROBIN | Strategy.LEAST_BUSY:
            assert set(shares.values()) == {100}
        case Strategy.AFFINITY:
            assert all(len(copies) == 1 for copies in by_key.values()), "the same key, the same copy"
        case Strategy.POWER_OF_TWO | Strategy.WEIGHTED:
            assert min(shares.values()) >= 60
    held = [rig.pool.lease_now(rig.versions["a@1"], 7) for _ in range(8)]
    assert set(Counter(lease.instance_id for lease in held if lease).values()) == {2}, "a full copy is passed over"
    assert rig.pool.lease_now(rig.versions["a@1"], 7) is None
    for lease in held:
        assert lease is not None
        lease.release()


# ---------------------------------------------------------------- in which order


async def order_of(rig: Rig, asked: list[dict]) -> list[int]:
    """In which order these tickets are served by one place."""
    held = await rig.lease("a@1")
    served: list[int] = []

    async def one(number: int, ticket: dict) -> None:
        await rig.use("a@1", 0.1, **ticket)
        served.append(number)

    tasks = []
    for number, ticket in enumerate(asked):
        tasks.append(asyncio.create_task(one(number, ticket)))
        await settle(3)
    held.release()
    await asyncio.gather(*tasks)
    return served


@pytest.mark.requirement("POOL-3")
@rigged({"a@1": Model(places=1)})
async def test_callers_are_served_in_turn_however_much_each_of_them_asks(rig: Rig):
    asked = [{"caller": "greedy"}] * 20 + [{"caller": "modest"}] * 2 + [{"caller": "other"}]
    served = await order_of(rig, asked)
    assert set(served[:4]) >= {20, 22}, "one round: one of each"
    assert served.index(21) <= 5, "the second of the modest one waits for two rounds, not for twenty requests"


@pytest.mark.requirement("POOL-3")
@rigged({"a@1": Model(places=1)})
async def test_tasks_of_one_caller_are_served_in_turn(rig: Rig):
    asked = [{"caller": "x", "task": "batch"}] * 20 + [{"caller": "x", "task": "chat"}] * 2
    served = await order_of(rig, asked)
    assert served.index(20) <= 1
    assert served.index(21) <= 3


@pytest.mark.requirement("POOL-3")
@rigged({"a@1": Model(places=1)}, patience_s=1.0)
async def test_urgent_requests_go_first_and_waiting_lifts_the_others(rig: Rig):
    asked = (
        [{"caller": "x", "priority": 2}] + [{"caller": "y", "priority": 1}] * 2 + [{"caller": "z", "priority": 0}] * 40
    )
    served = await order_of(rig, asked)
    assert served[0] == 3
    assert served.index(1) < 20, "a second in line lifts a normal one: it takes turns with the urgent ones"
    assert served.index(0) < 30


# ---------------------------------------------------------------- what the others are told


@pytest.mark.requirement("POOL-3")
@pytest.mark.parametrize(("places", "held_s"), [(1, 2.0), (4, 3.0), (3, 0.7)])
@rigged({"a@1": Model(places=4)}, queue_limit=12)
async def test_retry_after_is_what_a_newcomer_would_have_waited(rig: Rig, places: int, held_s: float):
    rig.machine.models["a@1"].places = places
    for _ in range(30):
        await rig.use("a@1", held_s)
    working = [asyncio.create_task(rig.use("a@1", held_s)) for _ in range(places)]
    await asyncio.sleep(held_s / 2)
    waiting = [asyncio.create_task(rig.use("a@1", held_s)) for _ in range(12)]
    await settle()
    with pytest.raises(Overloaded) as caught:
        await rig.use("a@1")
    told = caught.value.retry_after_s
    _, expected = rig.pool.outlook("a@1")
    rig.pool.limits = replace(rig.pool.limits, queue_limit=13)
    really = await rig.use("a@1")
    assert expected == pytest.approx(really, rel=0.5)
    assert told is not None
    assert abs(told - really) <= max(1.0, 0.5 * really), f"told {told}, it took {really}"
    await asyncio.gather(*working, *waiting)
