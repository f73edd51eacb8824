"""Judges, shadows and benchmarks spend from budgets of their own, and are refused by them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType

import pytest

from podium.config import Config
from podium.domain.budget import Budget, Period, Scope, Unit
from podium.domain.model import ModelVersion, Source
from podium.domain.request import Endpoint
from podium.errors import OverBudget
from podium.runtime import Gateway
from podium.services.onboarding import Registration

pytestmark = pytest.mark.requirement("COST-3")
PROMPT = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        script = tmp_path / "m.json"
        script.write_text(json.dumps({"text": "one two three"}))
        source = Source(provider="scripted", location=str(script), settings=MappingProxyType({}))
        await gateway.services.onboarding.add(Registration(name="m", version="1", source=source, activate=True), "test")
        yield gateway


async def put(gateway: Gateway, name: str, limit: int, scope: Scope = Scope.TASK) -> None:
    await gateway.services.budgeting.set(
        Budget(name=name, scope=scope, subject=name, unit=Unit.TOKENS, limit=limit, period=Period.TOTAL)
    )


def used(gateway: Gateway, name: str) -> tuple[int, int]:
    _, (one,) = gateway.services.budgeting.standings(name)
    return one.used, one.reserved


def model(gateway: Gateway) -> ModelVersion:
    return gateway.services.registry.get("m@1")


def body(name: str) -> bytes:
    return json.dumps({"model": name, "messages": PROMPT}).encode()


async def test_a_judge_spends_from_the_task_judgment_and_is_refused_when_that_is_used_up(running: Gateway):
    background = running.services.judging._bench._asking._background
    await put(running, "judgment", 10_000)
    heard = await background.ask(model(running), Endpoint.CHAT, body, request_id="judgment-1", who="judge")
    assert heard.body is not None
    spent, reserved = used(running, "judgment")
    assert spent == json.loads(heard.body)["usage"]["total_tokens"]
    assert reserved == 0
    await put(running, "judgment", spent)
    refused = await background.ask(model(running), Endpoint.CHAT, body, request_id="judgment-2", who="judge")
    assert refused.code == "insufficient_quota"
    assert not refused.blame
    assert used(running, "judgment") == (spent, 0)


async def test_benchmarks_spend_from_their_own_key(running: Gateway):
    answers = running.services.benchmarks._answers
    await put(running, "benchmark", 10_000, Scope.KEY)
    made = await answers.generate(model(running), PROMPT, max_tokens=5, request_id="b1")
    assert used(running, "benchmark") == (made.input_tokens + made.output_tokens, 0)
    await put(running, "benchmark", 1, Scope.KEY)
    with pytest.raises(OverBudget):
        await answers.generate(model(running), PROMPT, max_tokens=5, request_id="b2")
