"""A whole gateway in this process whose answers are judged, with scripted models and scripted judges."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from podium import Podium
from podium.config import load
from podium.domain.judgment import Calibration, Judgment
from podium.domain.model import ModelVersion, Source
from podium.ports import JudgmentFilter, Page
from podium.runtime import Gateway
from podium.services.judging import Judging
from podium.services.onboarding import Registration


class Rig:
    def __init__(self, gateway: Gateway, podium: Podium, folder: Path) -> None:
        self.gateway = gateway
        self.services = gateway.services
        self.podium = podium
        self.folder = folder

    @property
    def judging(self) -> Judging:
        return self.services.judging

    async def add(self, name: str, *, activate: bool = True, **script: object) -> ModelVersion:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(script))
        source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
        order = Registration(name=name, version="1", source=source, activate=activate)
        version, _, problem = await self.services.onboarding.add(order, "test")
        assert problem is None
        return version

    async def ask(self, text: str, *, model: str = "m", task: str = "qa", **more: Any) -> str:
        answer = await self.podium.execute(text, model=model, task=task, **more)
        return answer.request_id

    async def until(self, condition: Callable[[], bool], what: str = "", timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, what or "it did not happen in time"
            await asyncio.sleep(0.01)

    async def judged(self, answers: int, timeout_s: float = 20) -> None:
        await self.until(lambda: self.judging.figures.done.answers >= answers, "not judged in time", timeout_s)

    async def stored(self, **wanted: Any) -> tuple[Judgment, ...]:
        return await self.judging.listed(JudgmentFilter(**wanted), Page(limit=1_000))

    async def calibrate(self, judge: str, criterion: str, *, auc_low: float = 0.7) -> None:
        made = Calibration(
            judge=judge, criterion=criterion, kind="isotonic", knots=((0.0, 0.2), (1.0, 0.9)), n=80, auc_low=auc_low
        )
        await self.services.store.save_calibration(made)  # type: ignore[attr-defined] # the store has it
        await self.judging.calibrations.refresh()


@asynccontextmanager
async def judging(tmp_path: Path, settings: str) -> AsyncIterator[Rig]:
    """``settings``: the lines of ``podium.toml``."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "podium.toml").write_text(settings)
    async with Gateway.open(load(home=home, environ={})) as gateway:
        socket = tmp_path / "s"
        await gateway.serve_unix(socket)
        async with Podium.connect(f"unix:{socket}") as podium:
            yield Rig(gateway, podium, tmp_path)
