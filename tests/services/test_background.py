"""Asking in the background: the answer with its cost, no blame for users who came first, a reason for every failure."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import MappingProxyType

import pytest

from podium.config import Config
from podium.domain.model import ModelVersion, Source
from podium.domain.request import Endpoint
from podium.runtime import Gateway
from podium.services.background import TRIES, Background
from podium.services.meter import Meter
from podium.services.observing import read_body
from podium.services.onboarding import Registration


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway.open(Config(home=tmp_path / "home")) as running:
        yield running


async def add(gateway: Gateway, tmp_path: Path, **script: object) -> ModelVersion:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(script))
    source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
    order = Registration(name="m", version="1", source=source, activate=True)
    version, _, problem = await gateway.services.onboarding.add(order, "test")
    assert problem is None
    return version


def background(gateway: Gateway, *, local: bool = True) -> Background:
    services = gateway.services
    idleness = services.gateway.idleness
    return Background(services.pool, Meter(services.clock), idleness, services.clock, lambda version: local)


def body(text: str = "hi"):
    return lambda model: json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()


async def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    for _ in iter(condition, True):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def busy(gateway: Gateway) -> bool:
    return any(view.active for view in gateway.services.pool.views())


async def ask(asker: Background, version: ModelVersion, text: str = "hi"):
    return await asker.ask(version, Endpoint.CHAT, body(text), request_id="r", who="test")


@pytest.mark.requirement("SWP-5", "JDG-5")
async def test_an_answer_comes_with_what_it_cost(gateway: Gateway, tmp_path: Path):
    version = await add(gateway, tmp_path, text="an answer", latency_ms=20)
    heard = await ask(background(gateway), version)
    assert heard.body is not None
    assert read_body(heard.body).text == "an answer"
    assert heard.latency_ms is not None
    assert heard.latency_ms >= 20
    assert heard.metered is not None
    assert [view.active for view in gateway.services.pool.views()] == [0]


@pytest.mark.requirement("SWP-5", "JDG-5")
async def test_it_waits_for_users_is_called_off_when_one_comes_and_tries_again(gateway: Gateway, tmp_path: Path):
    version = await add(gateway, tmp_path, text="an answer", latency_ms=150)
    idle = gateway.services.gateway.idleness
    idle.entered()
    asking = asyncio.create_task(ask(background(gateway), version))
    await asyncio.sleep(0.05)
    assert [view.active for view in gateway.services.pool.views()] == [0], "it began while a user was served"
    idle.left()
    await until(lambda: busy(gateway))
    async with idle.user():
        await until(lambda: not busy(gateway))
    heard = await asyncio.wait_for(asking, 5)
    assert heard.body is not None


@pytest.mark.requirement("SWP-5", "JDG-5")
async def test_users_who_keep_coming_end_it_without_blame(gateway: Gateway, tmp_path: Path):
    version = await add(gateway, tmp_path, text="an answer", latency_ms=2_000)
    idle = gateway.services.gateway.idleness
    asking = asyncio.create_task(ask(background(gateway), version))
    for _ in range(TRIES):
        await until(lambda: busy(gateway))
        async with idle.user():
            await until(lambda: not busy(gateway))
    heard = await asyncio.wait_for(asking, 5)
    assert heard.body is None
    assert not heard.blame
    assert "users were served" in str(heard.error)


async def test_a_version_on_another_machine_is_asked_at_once(gateway: Gateway, tmp_path: Path):
    version = await add(gateway, tmp_path, text="an answer")
    async with gateway.services.gateway.idleness.user():
        heard = await asyncio.wait_for(ask(background(gateway, local=False), version), 5)
    assert heard.body is not None


@pytest.mark.requirement("SWP-5")
@pytest.mark.parametrize(("status", "blame"), [(500, True), (400, False)])
async def test_a_failure_says_whose_it_was(gateway: Gateway, tmp_path: Path, status: int, blame: bool):
    version = await add(gateway, tmp_path, text="x", faults=[{"kind": "error", "status": status, "match": "boom"}])
    heard = await ask(background(gateway), version, "boom")
    assert heard.body is None
    assert heard.blame is blame
    assert heard.error
