"""The real services of one gateway with scripted models, a clock the test moves, and rollouts that are only noted."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from podium.config import Config
from podium.core.standing_orders import StandingOrders
from podium.domain.cost import Cost
from podium.domain.decision import Feedback, Outcome
from podium.domain.model import Source
from podium.domain.rollout import Bar, Rollout, RolloutPlan, RolloutState
from podium.domain.swap import Event
from podium.errors import Conflict, NotFound
from podium.ports import Accelerator, HostFacts, Page
from podium.runtime import Gateway
from podium.services.automation import Automation
from podium.services.onboarding import Registration


class NotedRollouts:
    """Takes orders and remembers them; the test decides how they end."""

    def __init__(self) -> None:
        self.all: list[Rollout] = []
        self.bars: dict[str, Bar] = {}
        self.refuse: str | None = None
        self.commands: list[tuple[str, str, str]] = []

    async def order(
        self, task: str, to: str, plan: RolloutPlan, *, by: str, reason: str = "", batch: str | None = None
    ) -> Rollout:
        if self.refuse is not None:
            raise Conflict(self.refuse)
        made = Rollout(
            id=f"roll{len(self.all)}",
            task=task,
            baseline="",
            candidate=to,
            plan=plan,
            state=RolloutState.REQUESTED,
            requested_at=0.0,
            by=by,
            reason=reason,
        )
        self.all.append(made)
        return made

    async def command(self, rollout_id: str, order: str, *, by: str, reason: str = "") -> Rollout:
        if self.refuse is not None:
            raise Conflict(self.refuse)
        self.commands.append((rollout_id, order, by))
        self.end(RolloutState.PROMOTED)
        return self.all[-1]

    def end(self, state: RolloutState) -> None:
        self.all[-1] = replace(self.all[-1], state=state)

    def on(self, task: str) -> Rollout | None:
        return next((one for one in self.all if one.task == task and one.open), None)

    async def find(self, rollout_id: str) -> Rollout:
        for one in self.all:
            if one.id == rollout_id:
                return one
        raise NotFound(rollout_id)

    async def listed(self, task: str | None, page: Page) -> tuple[Rollout, ...]:
        return tuple(one for one in reversed(self.all) if one.task == task)

    def barred(self, task: str, ref: str, samples: int) -> Bar | None:
        return self.bars.get(ref)


class ScriptedHost:
    """A machine of which the test says what it has."""

    def __init__(self) -> None:
        self.gpus = 1
        self.free = 600
        self.total = 1000
        self.pressure: float | None = None

    def facts(self) -> HostFacts:
        gpu = Accelerator(kind="cuda", name="H200", memory_bytes=1, evidence="NVML device 0")
        return HostFacts(
            cpu_model=None,
            cores_physical=None,
            cores_logical=1,
            memory_bytes=self.total,
            memory_available_bytes=self.free,
            accelerators=(gpu,) * self.gpus,
            unavailable=(("cuda", "NVML lists no device"),) if not self.gpus else (),
        )

    def accelerators(self) -> tuple[tuple[Accelerator, ...], tuple[tuple[str, str], ...]]:
        facts = self.facts()
        return facts.accelerators, facts.unavailable

    def memory_pressure(self) -> float | None:
        return self.pressure

    def devices(self) -> tuple[tuple[str, int], ...]:
        return (("ram", self.total),)

    def free_bytes(self, device: str) -> int | None:
        return self.free


class MovedClock:
    """``wall`` and ``steady`` are moved apart from each other."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.steady = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


@dataclass
class Rig:
    gateway: Gateway
    automation: Automation
    rollouts: NotedRollouts
    host: ScriptedHost
    clock: MovedClock
    events: list[Event]
    folder: Path

    def __post_init__(self) -> None:
        self._number = itertools.count()

    async def add(self, ref: str, *, activate: bool = True, **script: Any) -> None:
        path = self.folder / f"{ref}.json"
        path.write_text(json.dumps({"text": ref, **script}))
        name, _, version = ref.partition("@")
        source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
        order = Registration(name=name, version=version, source=source, activate=activate)
        _, _, problem = await self.gateway.services.onboarding.add(order, "test")
        assert problem is None

    @property
    def serving(self) -> str | None:
        binding = self.gateway.services.swapper.binding("jobs")
        return binding.ref if binding else None

    async def ends(
        self, ref: str, signs: str, *, task: str = "jobs", energy: float | None = None, price: int | None = None
    ) -> None:
        """Requests end: ``+`` answered, ``-`` failed. Returns when what they triggered is done."""
        for sign in signs:
            self.automation.outcomes([self.outcome(ref, sign == "+", task, energy, price)])
        await self.settled()

    def outcome(
        self, ref: str, success: bool, task: str = "jobs", energy: float | None = None, price: int | None = None
    ) -> Outcome:
        missing = () if energy is not None else (("energy_mwh", "no energy counter is readable on this machine"),)
        return Outcome(
            decision_id=f"dec{next(self._number)}",
            request_id="req",
            task=task,
            ref=ref,
            at=self.clock.wall,
            success=success,
            error=None if success else "provider_error",
            streamed=False,
            latency_ms=100.0,
            ttft_ms=None,
            cost=Cost(wall_ms=100.0, energy_mwh=energy, price_microusd=price, missing=missing),
        )

    async def scores(self, ref: str, values: list[float], source: str = "judge") -> None:
        for value in values:
            said = Feedback(
                request_id="req",
                decision_id=f"dec{next(self._number)}",
                task="jobs",
                ref=ref,
                score=value,
                at=self.clock.wall,
                source=source,
            )
            self.automation.scored(said)
        await self.settled()

    async def settled(self) -> None:
        await self.automation.autoswap.settled()
        await self.automation.rules.settled()
        await self.automation.following.settled()

    async def tick(self, seconds: float = 1.0) -> None:
        self.clock.steady += seconds
        await self.automation.tick()
        await self.settled()

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def last(self, kind: str) -> dict[str, Any]:
        return dict(next(event for event in reversed(self.events) if event.kind == kind).data)


@asynccontextmanager
async def rig(folder: Path, orders: StandingOrders, *refs: str) -> AsyncIterator[Rig]:
    """``jobs`` is bound to the first of ``refs``; all of them are active."""
    async with Gateway.open(Config(home=folder / "home")) as gateway:
        services, events, rollouts, host, clock = gateway.services, [], NotedRollouts(), ScriptedHost(), MovedClock()
        automation = Automation(
            swapper=services.swapper,
            rollouts=rollouts,
            policy=services.selector,
            registry=services.registry,
            tasks=services.tasks,
            knowledge=services.recorder.knowledge,
            host=host,
            pool=services.pool,
            store=services.store,
            clock=clock,
            emit=events.append,
            bindings=(),
            orders=orders,
        )
        made = Rig(gateway, automation, rollouts, host, clock, events, folder)
        for ref in refs:
            await made.add(ref)
        if refs:
            assert (await services.swapper.swap("jobs", refs[0], by="test")).ok
        yield made
        await automation.close()
