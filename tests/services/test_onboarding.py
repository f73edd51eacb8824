"""A version earns its place: inspected, loaded, generated with, measured; and what happens when it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from podium.config import Config
from podium.domain.model import Lifecycle, Source
from podium.errors import Conflict, InvalidRequest
from podium.runtime import Gateway
from podium.services.onboarding import Registration


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        yield gateway


def order(folder: Path, ref: str, *, activate: bool | None = None, **script: Any) -> Registration:
    path = folder / f"{ref}.json"
    path.write_text(json.dumps(script))
    name, _, version = ref.partition("@")
    source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
    return Registration(name=name, version=version or None, source=source, activate=activate)


@pytest.mark.requirement("REG-3", "REG-4")
async def test_the_first_version_of_a_name_goes_into_service_with_a_measured_profile(running: Gateway, tmp_path: Path):
    added, created, problem = await running.services.onboarding.add(
        order(tmp_path, "m@1", text="a b c d", ttft_ms=30, chunk_gap_ms=20), "me"
    )
    assert (added.status, created, problem) == (Lifecycle.ACTIVE, True, None)
    profile = running.services.registry.profile("m@1")
    assert profile is not None
    assert profile.ttft_ms is not None
    assert profile.latency_ms is not None
    assert profile.tokens_per_s is not None
    assert 30 <= profile.ttft_ms < profile.latency_ms
    assert 5 < profile.tokens_per_s <= 50.5
    second, _, _ = await running.services.onboarding.add(order(tmp_path, "m@2", text="b"), "me")
    assert second.status is Lifecycle.READY, "a second version waits until somebody activates it"
    again, created, _ = await running.services.onboarding.add(order(tmp_path, "m@2", text="b"), "me")
    assert (again.ref, created) == ("m@2", False)


@pytest.mark.requirement("REG-3")
@pytest.mark.parametrize(
    "script",
    [
        {"load_error": "no memory"},
        {"faults": [{"kind": "error", "status": 500}]},
        {"faults": [{"kind": "cut", "after_chunks": 1}]},
    ],
    ids=["does not load", "fails", "breaks off"],
)
async def test_a_version_that_cannot_generate_stays_registered_and_says_why(
    running: Gateway, tmp_path: Path, script: dict[str, Any]
):
    added, created, problem = await running.services.onboarding.add(order(tmp_path, "m@1", **script), "me")
    assert created
    assert problem is not None
    assert problem.message
    assert added.status is Lifecycle.REGISTERED
    assert running.services.registry.get("m@1").status is Lifecycle.REGISTERED
    assert all(view.active == 0 for view in running.services.pool.views())


async def test_only_registering_loads_nothing_and_activating_validates_first(running: Gateway, tmp_path: Path):
    added, _, _ = await running.services.onboarding.add(order(tmp_path, "m@1", activate=False, text="x"), "me")
    assert added.status is Lifecycle.REGISTERED
    assert running.services.pool.views() == ()
    active = await running.services.onboarding.activate("m@1", "me", "now")
    assert active.status is Lifecycle.ACTIVE
    assert running.services.registry.profile("m@1") is not None


async def test_an_unusable_source_registers_nothing(running: Gateway, tmp_path: Path):
    with pytest.raises(InvalidRequest, match="no_such_field"):
        await running.services.onboarding.add(order(tmp_path, "m@1", no_such_field=1), "me")
    assert running.services.registry.find("m@1") is None


@pytest.mark.requirement("REG-2", "REG-3")
async def test_a_version_that_never_worked_gives_its_name_back_and_one_that_did_stays(running: Gateway, tmp_path: Path):
    onboarding, registry = running.services.onboarding, running.services.registry
    await onboarding.add(order(tmp_path, "m@1", load_error="no such file"), "me")
    with pytest.raises(Conflict, match="podium models remove m@1"):
        await onboarding.add(order(tmp_path / "..", "m@1", text="right"), "me")
    await registry.set_alias("best", "m")
    with pytest.raises(Conflict, match="podium models alias best --remove"):
        await onboarding.remove("m@1")
    await registry.set_alias("best", None)
    await onboarding.remove("m@1")
    assert registry.find("m@1") is None
    assert running.services.pool.queues() == ()
    made, created, problem = await onboarding.add(order(tmp_path, "m@1", text="right"), "me")
    assert (made.status, created, problem) == (Lifecycle.ACTIVE, True, None)
    with pytest.raises(Conflict, match="active and stays on record"):
        await onboarding.remove("m@1")


@pytest.mark.requirement("REG-3")
async def test_a_version_that_is_being_tried_is_not_taken_away(running: Gateway, tmp_path: Path):
    onboarding = running.services.onboarding
    adding = asyncio.create_task(onboarding.add(order(tmp_path, "m@1", text="x", load_ms=60_000), "me"))
    async with asyncio.timeout(10):
        while not running.services.pool.views():  # noqa: ASYNC110 - the pool tells nobody that a load began
            await asyncio.sleep(0.005)
    with pytest.raises(Conflict, match="being loaded"):
        await onboarding.remove("m@1")
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
