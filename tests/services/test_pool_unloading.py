"""Orders to unload while a version loads: requests come first, a load for nobody is called off, who ordered it is told."""

from __future__ import annotations

import asyncio

import pytest

from podium.domain.directive import Directive
from podium.errors import LoadFailed
from pool_rig import Model, Rig, rigged, settle

pytestmark = pytest.mark.requirement("POOL-7")


@rigged({"a@1": Model(load_s=100.0)})
async def test_a_load_that_was_only_ordered_is_called_off_at_once_and_its_memory_is_free(rig: Rig):
    ordered = asyncio.create_task(rig.pool.warm(rig.versions["a@1"], 1e6, gives_way=True))
    await settle()
    assert rig.state("a@1") == "loading"
    began = rig.clock.time
    assert await rig.pool.unload("a@1")
    assert rig.clock.time - began < 1.0
    with pytest.raises(LoadFailed, match="unloaded by order"):
        await ordered
    await asyncio.sleep(30)
    assert not rig.machine.running()
    assert rig.state("a@1") == "stopped"
    assert rig.kinds("instance.stopped", "a@1")
    await rig.use("a@1")
    assert rig.state("a@1") == "ready", "the next request loads it as ever"


@rigged({"a@1": Model(load_s=100.0)})
async def test_a_load_by_standing_orders_is_called_off_and_not_begun_again(rig: Rig):
    rig.pool.direct(rig.versions["a@1"], Directive(preload=True))
    await settle()
    assert rig.state("a@1") == "loading"
    assert await rig.pool.unload("a@1")
    await asyncio.sleep(600)
    assert rig.state("a@1") == "stopped"


@rigged({"a@1": Model(load_s=3.0)})
async def test_a_request_in_line_keeps_the_load_that_somebody_ordered_too(rig: Rig):
    ordered = asyncio.create_task(rig.pool.warm(rig.versions["a@1"], 1e6, gives_way=True))
    asked = rig.lease("a@1")
    await settle()
    unloading = asyncio.create_task(rig.pool.unload("a@1"))
    (await asked).release()
    assert await ordered > 0
    assert await unloading
    assert not rig.machine.running()


@rigged({"a@1": Model(load_s=3.0)})
async def test_a_load_that_a_swap_waits_for_goes_on(rig: Rig):
    swapping = asyncio.create_task(rig.pool.warm(rig.versions["a@1"], 1e6))
    await settle()
    unloading = asyncio.create_task(rig.pool.unload("a@1"))
    assert await swapping > 0
    assert await unloading


@rigged({"a@1": Model(size_mb=200, load_s=1.0), "b@1": Model(size_mb=200, load_s=100.0)}, 300)
async def test_what_had_to_go_for_a_load_that_was_called_off_comes_back(rig: Rig):
    await rig.use("a@1")
    ordered = asyncio.create_task(rig.pool.warm(rig.versions["b@1"], 1e6, gives_way=True))
    await settle()
    async with asyncio.timeout(1e5):
        while rig.state("b@1") != "loading":  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(1)  # the rig's clock, which moves when nothing else does
    assert await rig.pool.unload("b@1")
    with pytest.raises(LoadFailed):
        await ordered
    await asyncio.sleep(30)
    assert rig.state("a@1") == "ready"
