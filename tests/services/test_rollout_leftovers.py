"""What a rollout leaves behind: no candidate in memory that failed, and nobody waiting for one that is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from podium.domain.directive import Directive
from podium.domain.instance import InstanceState
from podium.domain.model import Lifecycle
from podium.domain.rollout import RolloutMode, RolloutState
from rollout_rig import HOUR_S, QUICK, Rig, open_rig

S = RolloutState
BROKEN = [{"kind": "error", "status": 500}]


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, monkeypatch) as opened:
        yield opened


def loaded(rig: Rig, ref: str) -> bool:
    return any(view.ref == ref and view.state is InstanceState.READY for view in rig.gateway.services.pool.views())


async def failed(rig: Rig, ref: str) -> None:
    """A rollout to ``ref`` that ends before it has traffic."""
    rollout = await rig.rollouts.order("jobs", ref, QUICK, by="test")
    assert (await rig.rollouts.done(rollout.id, 20)).state is S.FAILED


@pytest.mark.requirement("SWP-4")
async def test_a_candidate_that_loads_and_answers_nothing_is_put_away(rig: Rig):
    await rig.add("bad@1", activate=False, faults=BROKEN)
    await failed(rig, "bad@1")
    async with asyncio.timeout(20):
        while loaded(rig, "bad@1"):  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.01)
    assert loaded(rig, "m@1")


@pytest.mark.requirement("SWP-4")
async def test_one_that_somebody_wants_in_memory_stays_there(rig: Rig):
    await rig.add("bad@1", activate=False, faults=BROKEN)
    version = rig.gateway.services.registry.get("bad@1")
    rig.gateway.services.pool.direct(version, Directive(preload=True))
    await failed(rig, "bad@1")
    await rig.rollouts.close()
    assert loaded(rig, "bad@1")


@pytest.mark.requirement("SWP-5")
async def test_who_waits_for_a_comparison_that_is_over_gets_it_at_once(rig: Rig):
    plan = replace(QUICK, mode=RolloutMode.AB, split=0.5, max_s=HOUR_S)
    rollout = await rig.on_canary(plan=plan)
    await rig.ask(40)
    await rig.pass_by(HOUR_S + 1)
    async with asyncio.timeout(20):
        while not (await rig.rollouts.find(rollout.id)).concluded:
            await rig.rollouts.tick()
            await asyncio.sleep(0.01)
    found = await rig.rollouts.done(rollout.id, 20)
    assert found.concluded
    assert found.open, "it waits for promote or abort"


@pytest.mark.requirement("SWP-1", "REG-3")
async def test_an_old_version_that_an_alias_stands_for_stays_in_service_and_answers(rig: Rig):
    registry = rig.gateway.services.registry
    await registry.set_alias("champion", "m@1")
    rollout = await rig.on_canary()
    await rig.rollouts.command(rollout.id, "promote", by="test")
    assert rig.bound == "m@2"
    assert registry.get("m@1").status is Lifecycle.ACTIVE
    assert "the alias champion stands for it" in (await rig.rollouts.report(rollout.id)).steps[-1].reason
