"""A time zone that an update took away stops nothing but what needs it, and is named."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfoNotFoundError

import pytest

from podium.config import Config
from podium.domain.budget import Budget, Period, Scope, Unit
from podium.domain.finding import Code
from podium.domain.model import Source
from podium.domain.schedule import PlannedSwap, Schedule, ScheduleState, Window
from podium.runtime import Gateway
from podium.server.control.schedules import _view
from podium.services import openings
from podium.services.doctor import diagnose
from podium.services.onboarding import Registration

ZONE = "Europe/Berlin"


def forgotten(name: str) -> None:
    raise ZoneInfoNotFoundError(f"No time zone found with key {name}")


async def _add(gateway: Gateway, folder: Path) -> None:
    path = folder / "m.json"
    path.write_text(json.dumps({"text": "hi"}))
    source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
    await gateway.services.onboarding.add(Registration(name="m", version="1", source=source, activate=True), "test")


@pytest.mark.requirement("OPS-4", "SWP-8", "COST-3")
async def test_a_gateway_starts_without_a_zone_that_is_on_record_and_says_what_that_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(
        name="nightly", scope=Scope.TASK, subject="jobs", unit=Unit.TOKENS, limit=100, period=Period.DAY, timezone=ZONE
    )
    window = Window(cron="* * * * *", timezone=ZONE, duration_s=3600.0)
    config = Config(home=tmp_path / "home")
    async with Gateway.open(config) as gateway:
        services = gateway.services
        await _add(gateway, tmp_path)
        await services.budgeting.set(budget)
        order = Schedule(
            id="", swaps=(PlannedSwap(task="jobs", to="m@1"),), state=ScheduleState.WAITING, created_at=0.0, by="me",
            window=window, repeat=True,
        )  # fmt: skip
        kept = await services.schedules.add(order)
    with monkeypatch.context() as without:
        without.setattr(openings, "ZoneInfo", forgotten)
        async with Gateway.open(config) as gateway:
            services = gateway.services
            await services.schedules.tick()
            found = [one for one in diagnose(services).findings if one.code is Code.TIMEZONE_UNKNOWN]
            assert any("budget nightly" in one.says and "begin in UTC" in one.says for one in found)
            assert any(kept.id in one.says and "does not run" in one.says for one in found)
            assert len(found) == 2
            _, (standing, *_) = services.budgeting.standings("nightly")
            assert standing.used == 0
            shown = _view(services, await services.schedules.find(kept.id))
            assert (shown["state"], ZONE in shown["says"]) == (ScheduleState.WAITING, True)
            assert shown["next"][0]["local"].endswith("+00:00")
            assert services.swapper.binding("jobs") is None, "it did not run"
    async with Gateway.open(config) as gateway:
        await gateway.services.schedules.tick()
        assert all(one.code is not Code.TIMEZONE_UNKNOWN for one in diagnose(gateway.services).findings)
        assert gateway.services.schedules.troubles == {}
