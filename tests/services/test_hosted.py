"""Models that somebody is paid for: nothing is asked of them before there is a key and a budget, and no more than it holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from podium import Podium
from podium.errors import NoCandidate, OverBudget
from providers.anthropic_server import MODEL, Anthropic
from providers.server_answers import Fake

pytestmark = pytest.mark.requirement("PRV-6")
TOKENS = {"scope": "provider", "subject": "anthropic", "unit": "tokens", "limit": 100_000}
PRICED = '[prices."claude@1"]\ninput = 3.0\noutput = 15.0\ncached = 0.3\n'


@pytest.fixture(scope="module")
def server():
    made = Anthropic()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def key(monkeypatch, server):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")
    server.asked.clear()


@asynccontextmanager
async def opened(home: Path, text: str = "") -> AsyncIterator[Podium]:
    (home / "podium.toml").write_text(text)
    async with Podium.open(home=home) as podium:
        yield podium


async def add(podium: Podium, server: Anthropic, **more: Any) -> Any:
    settings = {"remote": MODEL, **more}
    return await podium.add_model("claude", provider="anthropic", location=server.url, version="1", settings=settings)


async def budget(podium: Podium, **fields: Any) -> None:
    await podium.call("PUT", "/api/v1/budgets/cloud", {**TOKENS, **fields})


async def why(podium: Podium, model: str = "auto") -> str:
    with pytest.raises(NoCandidate) as caught:
        await podium.execute("hi", model=model)
    return str(caught.value.details["dropped"]["claude@1"])


async def test_without_a_budget_it_is_registered_and_asked_nothing(home, server):
    async with opened(home) as podium:
        made = await add(podium, server)
        assert made["status"] == "registered"
        assert made["problem"]["code"] == "hosted_not_enabled"
        assert "hosted: no budget for provider anthropic; add [budgets.anthropic]" in made["problem"]["message"]
        assert "no budget for provider anthropic" in await why(podium, "claude@1")
        assert server.asked == []


async def test_with_a_budget_it_serves_and_what_it_used_counts(home, server):
    async with opened(home) as podium:
        await budget(podium)
        assert (await add(podium, server))["status"] == "active"
        validated = len(server.asked)
        assert validated == 1  # one real generation, and none to warm it
        result = await podium.execute("hi", model="claude")
        assert (result.text, result.version) == ("Hello.", "claude@1")
        assert (result.cost.input_tokens, result.cost.output_tokens) == (17, 7)
        (account,) = (await podium.call("GET", "/api/v1/budgets/cloud"))["accounts"]
        assert account["used"] == 48  # the validation and this one
        await podium.call("DELETE", "/api/v1/budgets/cloud")
        assert "no budget" in await why(podium)  # at once
        assert len(server.asked) == validated + 1


async def test_a_budget_that_is_used_up_refuses_before_anything_is_asked(home, server):
    async with opened(home) as podium:
        await budget(podium)
        await add(podium, server)
        await budget(podium, limit=10)
        server.asked.clear()
        with pytest.raises(OverBudget):
            await podium.execute("hi", model="claude")
        assert server.asked == []


async def test_a_budget_in_money_needs_a_price_and_is_charged_by_it(home, server):
    async with opened(home) as podium:
        await budget(podium, unit="usd", limit=1.0)
        made = await add(podium, server)
        assert "its price is not known" in made["problem"]["message"]
    async with opened(home, PRICED) as podium:
        assert (await podium.transition("claude@1", "activate"))["status"] == "active"
        (before,) = (await podium.call("GET", "/api/v1/budgets/cloud"))["accounts"]
        result = await podium.execute("hi", model="claude", max_tokens=50)
        # 142.5: 12 tokens read at 3 $, 5 from the cache at 0.3 $, 7 written at 15 $ a million
        assert result.cost.price_microusd == 143
        (after,) = (await podium.call("GET", "/api/v1/budgets/cloud"))["accounts"]
        assert after["used"] - before["used"] == pytest.approx(result.cost.price_microusd / 1e6)
        assert after["reserved"] == 0


async def test_energy_says_nothing_of_a_hosted_model(home, server):
    async with opened(home) as podium:
        await budget(podium, unit="energy_wh", limit=1.0)
        assert "counts what a hosted model does not show" in (await add(podium, server))["problem"]["message"]


async def test_without_its_key_it_is_not_selectable(home, server, monkeypatch):
    async with opened(home) as podium:
        await budget(podium)
        await add(podium, server)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    async with opened(home) as podium:
        assert "hosted: the environment variable ANTHROPIC_API_KEY is not set" in await why(podium)


@pytest.mark.requirement("OPS-5")
async def test_offline_it_is_not_selectable_whatever_the_budget(home, server):
    async with opened(home) as podium:
        await budget(podium)
        await add(podium, server)
    async with opened(home, "[network]\noffline = true\n") as podium:
        assert "hosted: `[network] offline` is on" in await why(podium)


async def test_an_openai_compatible_service_that_is_paid_for_is_held_like_one(home, monkeypatch):
    monkeypatch.setenv("SERVICE_KEY", "k")
    service = Fake("openai-compatible", key="k")
    try:
        async with opened(home) as podium:
            settings = {"hosted": True, "api_key_env": "SERVICE_KEY"}
            made = await podium.add_model(
                "paid", provider="openai", location=service.url, version="1", settings=settings
            )
            assert "no budget for provider openai" in made["problem"]["message"]
            assert service.generated == 0
            await budget(podium, subject="*")
            assert (await podium.transition("paid@1", "activate"))["status"] == "active"
            before = service.generated
            assert before <= 16
            await asyncio.wait_for(podium.execute("hi", model="paid", max_tokens=3), 30)
            assert service.generated == before + 3
    finally:
        service.stop()


async def test_secrets_are_in_no_answer_and_in_no_file(home, server):
    async with opened(home) as podium:
        await budget(podium)
        await add(podium, server)
        shown = json.dumps(await podium.model("claude@1"))
    assert "sk-ant-test" not in shown
    for file in home.rglob("*"):
        if file.is_file():
            assert b"sk-ant-test" not in file.read_bytes(), file
