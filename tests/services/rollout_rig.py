"""A whole gateway with scripted models on a clock that the test puts forward, and callers in the same process."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import podium.maintenance
import podium.runtime.foundation
from podium.config import Config
from podium.domain.model import Source
from podium.domain.request import Endpoint
from podium.domain.rollout import FINAL, Rollout, RolloutPlan, RolloutState
from podium.domain.swap import Event
from podium.ports import Page
from podium.runtime import Gateway
from podium.services import wire
from podium.services.onboarding import Registration
from podium.services.rollouts.service import Rollouts

HOUR_S = 3600.0
QUICK = RolloutPlan(start_share=0.5, step_share=0.5, step_s=HOUR_S, min_samples=5, validate=False)


class ShiftedClock:
    """Real time, put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.wrong_s = 0.0
        """What the wall clock is wrong by, beside that."""

    def now(self) -> float:
        return time.time() + self.ahead_s + self.wrong_s

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


class Caller:
    """Takes one answer."""

    def __init__(self) -> None:
        self.bytes_started = False
        self.on_pause = self.on_resume = None
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    def respond(self, status: int, headers: Any, body: bytes) -> None:
        self.start_stream(status, headers)
        self.body = body

    def start_stream(self, status: int, headers: Any) -> None:
        self.bytes_started = True
        self.status, self.headers = status, dict(headers)

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self) -> None:
        return None


@dataclass
class Rig:
    gateway: Gateway
    clock: ShiftedClock
    folder: Path
    events: list[Event] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    @property
    def rollouts(self) -> Rollouts:
        return self.gateway.services.rollouts

    @property
    def bound(self) -> str | None:
        return self.bound_of("jobs")

    def bound_of(self, task: str) -> str | None:
        binding = self.gateway.services.swapper.binding(task)
        return binding.ref if binding else None

    async def add(self, ref: str, *, activate: bool | None = True, **script: Any) -> None:
        path = self.folder / f"{ref}.json"
        path.write_text(json.dumps({"text": ref, **script}))
        await self.register(
            ref, Source(provider="scripted", location=str(path), settings=MappingProxyType({})), activate
        )

    async def register(self, ref: str, source: Source, activate: bool | None) -> None:
        name, _, version = ref.partition("@")
        order = Registration(name=name, version=version, source=source, activate=activate)
        _, _, problem = await self.gateway.services.onboarding.add(order, "test")
        assert problem is None, problem

    async def ask(
        self, count: int = 1, *, score: dict[str, float] | None = None, task: str = "jobs", session: str | None = None
    ) -> list[str]:
        """The versions that answered ``count`` requests, each scored as its version deserves."""
        services, served = self.gateway.services, []
        for _ in range(count):
            body = {"model": f"task:{task}", "messages": [{"role": "user", "content": "hi"}]}
            request_id = f"req-{next(self.numbers)}"
            content = json.dumps(body).encode()
            head = wire.parse(Endpoint.CHAT, content, request_id=request_id, task=task, session=session)
            caller = Caller()
            await services.gateway.handle(head, None, caller)
            assert caller.status == 200
            served.append(caller.headers[b"x-podium-model"].decode())
            if score is not None:
                await services.recorder.feedback(request_id, score[served[-1]])
        services.recorder.catch_up()
        return served

    def another(self, name: str) -> Rollouts:
        """The same services driven by another gateway's rollouts, on the same database."""
        services = self.gateway.services
        store = services.store
        return Rollouts(
            store=store,
            ledger=store,
            registry=services.registry,
            tasks=services.tasks,
            policy=services.selector,
            swapper=services.swapper,
            onboarding=services.onboarding,
            pool=services.pool,
            clock=self.clock,
            new_id=lambda prefix: f"{prefix}_{name}_{next(self.numbers)}",
            publish=services.events.publish,
            load_timeout_s=10.0,
        )

    async def until(self, rollout: Rollout, *states: RolloutState) -> Rollout:
        """Wait until it is in one of the states; a look at the evidence in between."""
        async with asyncio.timeout(20):
            while True:
                now = await self.rollouts.find(rollout.id)
                if now.state in states:
                    return now
                assert now.state not in FINAL, (now.state, now.ending)
                await self.rollouts.tick()
                await asyncio.sleep(0.005)

    async def on_canary(self, to: str = "m@2", plan: RolloutPlan = QUICK) -> Rollout:
        """Order a rollout and wait until its candidate has traffic."""
        ordered = await self.rollouts.order("jobs", to, plan, by="test")
        return await self.until(ordered, RolloutState.CANARY)

    async def pass_by(self, seconds: float) -> None:
        """Time passes, and somebody looks at the evidence."""
        self.clock.ahead_s += seconds
        await self.rollouts.tick()

    async def kinds(self, prefix: str = "rollout.") -> list[str]:
        """Of the events on record, oldest first."""
        found = await self.gateway.services.store.events(0, Page(limit=10_000))
        return [event.kind for event in found if event.kind.startswith(prefix)]


@asynccontextmanager
async def open_rig(folder: Path, monkeypatch: Any) -> AsyncIterator[Rig]:
    """``jobs`` is bound to ``m@1``; ``m@2`` could take over."""
    clock = ShiftedClock()
    monkeypatch.setattr(podium.runtime.foundation, "SystemClock", lambda: clock)
    monkeypatch.setattr(podium.maintenance, "ROLLOUTS_S", 1e6)  # the test says when somebody looks
    async with Gateway.open(Config(home=folder / "home")) as gateway:
        rig = Rig(gateway, clock, folder)
        if not gateway.services.registry.versions():
            await rig.add("m@1")
            await rig.add("m@2", activate=False)
            assert (await gateway.services.swapper.swap("jobs", "m@1", by="test")).ok
        yield rig
