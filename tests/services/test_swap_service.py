"""Swaps as a service: one at a time per task, and a failure at any step leaves the old version serving."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from podium.config import Config
from podium.domain.model import Source
from podium.domain.swap import Swap, SwapState
from podium.errors import Conflict, StoreError
from podium.ports import Page
from podium.runtime import Gateway
from podium.services.onboarding import Registration
from podium.services.swap_events import told


async def add(gateway: Gateway, folder: Path, ref: str, **script: Any) -> None:
    path = folder / f"{ref}.json"
    path.write_text(json.dumps({"text": ref, **script}))
    name, _, version = ref.partition("@")
    source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
    order = Registration(name=name, version=version, source=source, activate=True)
    _, _, problem = await gateway.services.onboarding.add(order, "test")
    assert problem is None


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    """``jobs`` is bound to ``m@1``; ``m@2`` and ``m@3`` could take over."""
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        for ref in ("m@1", "m@2", "m@3"):
            await add(gateway, tmp_path, ref)
        assert (await gateway.services.swapper.swap("jobs", "m@1", by="test")).ok
        yield gateway


def bound(gateway: Gateway) -> str | None:
    found = gateway.services.swapper.binding("jobs")
    return found.ref if found else None


@pytest.mark.requirement("SWP-1")
async def test_orders_for_one_task_are_carried_out_one_after_the_other(running: Gateway):
    swapper = running.services.swapper
    first, second = await asyncio.gather(swapper.swap("jobs", "m@2", by="a"), swapper.swap("jobs", "m@3", by="b"))
    assert (first.before, first.after) == ("m@1", "m@2")
    assert (second.before, second.after) == ("m@2", "m@3")
    binding = swapper.binding("jobs")
    assert binding is not None
    assert binding.ref == "m@3"
    assert binding.previous[:2] == ("m@2", "m@1")


@pytest.mark.requirement("SWP-1", "OPS-4")
@pytest.mark.parametrize("state", [SwapState.REQUESTED, SwapState.PROMOTED])
async def test_a_swap_that_cannot_be_recorded_moves_nothing(
    running: Gateway, monkeypatch: pytest.MonkeyPatch, state: SwapState
):
    store = running.services.store
    save = store.save_swap

    async def failing(swap: Swap, *rest: Any) -> None:
        if swap.state in (state, SwapState.FAILED) or state is SwapState.REQUESTED:
            raise StoreError("the disk is full")
        await save(swap, *rest)

    monkeypatch.setattr(store, "save_swap", failing)
    failed = await running.services.swapper.swap("jobs", "m@2", by="test")
    assert not failed.ok
    assert failed.error is not None
    assert "the disk is full" in failed.error
    assert bound(running) == "m@1"
    monkeypatch.undo()
    assert (await running.services.swapper.swap("jobs", "m@2", by="test")).ok
    assert bound(running) == "m@2"


@pytest.mark.requirement("SWP-1", "SWP-12")
async def test_a_swap_waits_for_one_commit_and_its_last_record_stands_for_a_lost_step(
    running: Gateway, monkeypatch: pytest.MonkeyPatch
):
    store = running.services.store
    save = store.save_swap
    written: list[SwapState] = []

    async def losing(swap: Swap, *rest: Any) -> None:
        if swap.state is SwapState.VALIDATING:
            raise StoreError("the disk was full for a moment")
        await save(swap, *rest)
        written.append(swap.state)

    monkeypatch.setattr(store, "save_swap", losing)
    assert (await running.services.swapper.swap("jobs", "m@2", by="test")).ok
    assert written == [SwapState.WARMING, SwapState.WARMING, SwapState.PROMOTED], "validated, warmed, done"
    (recorded, *_) = await store.swaps("jobs", Page())
    assert (recorded.state, recorded.after) == (SwapState.PROMOTED, "m@2")


@pytest.mark.requirement("SWP-1")
async def test_a_cancelled_swap_is_recorded_as_interrupted_and_frees_the_task(running: Gateway, tmp_path: Path):
    await add(running, tmp_path, "slow@1", load_ms=400)
    await running.services.pool.unload("slow@1")
    heard = running.services.events.subscribe()
    order = asyncio.create_task(running.services.swapper.swap("jobs", "slow@1", by="test"))
    async with asyncio.timeout(5):
        async for event in heard:
            if (event.kind, event.subject) == ("instance.loading", "slow@1"):
                break
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    newest = (await running.services.store.swaps("jobs", Page(limit=1)))[0]
    assert newest.state is SwapState.INTERRUPTED
    assert newest.error is not None
    assert "cancelled" in newest.error
    assert bound(running) == "m@1"
    assert (await running.services.swapper.swap("jobs", "m@2", by="test")).ok


@pytest.mark.requirement("REG-3")
async def test_a_bound_version_is_not_given_up_and_the_refusal_names_its_tasks(running: Gateway):
    swapper = running.services.swapper
    await swapper.swap("other", "m@1", by="test")
    with pytest.raises(Conflict, match="jobs, other"):
        swapper.refuse_if_bound("m@1")
    swapper.refuse_if_bound("m@3")


@pytest.mark.requirement("SWP-1", "OPS-4")
async def test_a_swap_that_a_stop_interrupted_is_recorded_as_that_with_what_it_was_doing(tmp_path: Path):
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        await add(gateway, tmp_path, "m@1")
        left = Swap(
            id="swap_left", task="jobs", kind="swap", before=None, after="m@1", state=SwapState.WARMING,
            requested_at=1.0, by="me",
        )  # fmt: skip
        await gateway.services.store.save_swap(left, None, told("swap.validated", left, 1.0))
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        (found,) = await gateway.services.store.swaps("jobs", Page())
        kinds = [event.kind for event in await gateway.services.store.events(0, Page(limit=1_000))]
    assert found.state is SwapState.INTERRUPTED
    assert found.error == "the gateway stopped while the swap was warming; order it again"
    assert kinds.count("swap.interrupted") == 1
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        assert (await gateway.services.store.swaps("jobs", Page()))[0].finished_at == found.finished_at, "settled once"


@pytest.mark.requirement("SWP-1")
async def test_an_unbound_task_is_chosen_for_again_and_stays_so_after_a_restart(tmp_path: Path):
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        for ref in ("m@1", "m@2"):
            await add(gateway, tmp_path, ref)
        services = gateway.services
        assert (await services.swapper.swap("jobs", "m@1", by="test")).ok
        assert strategy(gateway) == "bound"
        before = await services.swapper.unbind("jobs", by="me", reason="enough")
        assert before.ref == "m@1"
        assert bound(gateway) is None
        assert strategy(gateway) != "bound"
        with pytest.raises(Conflict, match="is not bound"):
            await services.swapper.unbind("jobs", by="me")
        with pytest.raises(Conflict, match="no predecessor"):
            await services.swapper.rollback("jobs", by="me")
        (event,) = [one for one in await services.store.events(0, Page(limit=1_000)) if one.kind == "swap.unbound"]
        assert (event.subject, dict(event.data)) == ("jobs", {"before": "m@1", "by": "me", "reason": "enough"})
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        assert bound(gateway) is None
        assert (await gateway.services.swapper.swap("jobs", "m@2", by="test")).ok, "and it can be bound again"


def strategy(gateway: Gateway) -> str:
    return gateway.services.selector.choose("jobs", needs=frozenset(), size=0, explicit=None, criteria=None).strategy


@pytest.mark.requirement("SWP-1", "OPS-4")
async def test_an_unbinding_that_cannot_be_recorded_leaves_the_task_bound(
    running: Gateway, monkeypatch: pytest.MonkeyPatch
):
    async def failing(*given: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(running.services.store, "unbind", failing)
    with pytest.raises(StoreError):
        await running.services.swapper.unbind("jobs", by="me")
    assert bound(running) == "m@1"
    assert strategy(running) == "bound"
