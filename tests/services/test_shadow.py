"""A candidate in the shadow answers what users asked, unseen; both answers are compared, and users never wait for it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from podium.config import Config
from podium.core.arms import Sample
from podium.domain.judgment import Judged
from podium.domain.model import Source
from podium.domain.request import Endpoint, RequestHead
from podium.domain.rollout import Rollout, RolloutPlan, RolloutState
from podium.runtime import Gateway
from podium.services import wire
from podium.services.background import Background
from podium.services.meter import Meter
from podium.services.onboarding import Registration
from podium.services.rollouts.shadow import WAITING, Shadow

PLAN = RolloutPlan(shadow_sample=1.0, shadow_s=60.0)
SHADOWED = Rollout(
    id="roll_1",
    task="jobs",
    baseline="old@1",
    candidate="new@1",
    plan=PLAN,
    state=RolloutState.SHADOW,
    requested_at=0.0,
    by="test",
)


class Pairs:
    """Stands for the rollouts: keeps what it is told."""

    def __init__(self) -> None:
        self.rollout: Rollout | None = SHADOWED
        self.samples: list[tuple[Sample, Sample]] = []
        self.scores: list[tuple[float, float]] = []

    def on(self, task: str) -> Rollout | None:
        return self.rollout if self.rollout is not None and task == self.rollout.task else None

    def shadowed(self, rollout_id: str, baseline: Sample, candidate: Sample) -> None:
        assert rollout_id == "roll_1"
        self.samples.append((baseline, candidate))

    def paired(self, rollout_id: str, baseline: float, candidate: float) -> None:
        self.scores.append((baseline, candidate))


class Caller:
    """Takes an answer and keeps its text."""

    def __init__(self) -> None:
        self.bytes_started = False
        self.on_pause = self.on_resume = None
        self.body = b""

    def respond(self, status, headers, body) -> None:
        self.body += body

    def start_stream(self, status, headers) -> None:
        self.bytes_started = True

    def write(self, data) -> None:
        self.body += data

    def finish(self) -> None:
        pass


async def add(gateway: Gateway, tmp_path: Path, ref: str, **script: object) -> None:
    path = tmp_path / f"{ref}.json"
    path.write_text(json.dumps(script))
    name, _, version = ref.partition("@")
    source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
    order = Registration(name=name, version=version, source=source, activate=True)
    _, _, problem = await gateway.services.onboarding.add(order, "test")
    assert problem is None


async def words(item: Judged) -> float | None:
    """A score that is nothing but the length of the answer; ``None`` for one word."""
    count = len(item.output.split())
    assert item.prompt.startswith("tell me")
    return None if count == 1 else min(1.0, count / 10)


class Rig:
    def __init__(self, gateway: Gateway, score: Callable) -> None:
        services = gateway.services
        self.gateway = gateway
        self.pairs = Pairs()
        background = Background(
            services.pool, Meter(services.clock), services.gateway.idleness, services.clock, lambda version: True
        )
        self.shadow = Shadow(self.pairs, services.registry, background, score, lambda: 0.5)
        services.gateway.observers = (self.shadow,)
        self.run = asyncio.create_task(self.shadow.run())

    async def ask(self, text: str = "tell me", *, stream: bool = False, task: str = "jobs") -> Caller:
        body = {"model": "old@1", "stream": stream, "messages": [{"role": "user", "content": text}]}
        head = wire.parse(Endpoint.CHAT, json.dumps(body).encode(), request_id="req-1", task=task, session=None)
        caller = Caller()
        await self.gateway.services.gateway.handle(head, None, caller)
        return caller

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        for _ in iter(condition, True):
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.005)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        await add(gateway, tmp_path, "old@1", text="two words", latency_ms=5)
        faults = [{"kind": "error", "status": 500, "match": "break"}, {"kind": "error", "status": 400, "match": "odd"}]
        answers = [{"match": "shortly", "text": "short"}]
        await add(gateway, tmp_path, "new@1", text="these are four words", answers=answers, faults=faults)
        made = Rig(gateway, words)
        yield made
        made.run.cancel()


@pytest.mark.requirement("SWP-5")
@pytest.mark.parametrize("stream", [True, False])
async def test_the_candidate_answers_the_same_request_unseen_and_both_are_scored(rig: Rig, stream: bool):
    caller = await rig.ask(stream=stream)
    assert b"four" not in caller.body
    await rig.until(lambda: bool(rig.pairs.scores))
    assert rig.pairs.scores == [(0.2, 0.4)]
    baseline, candidate = rig.pairs.samples[0]
    assert (baseline.success, candidate.success) == (True, True)
    assert (baseline.latency_ms, candidate.latency_ms) == (None, None), "one of them was asked last in line"


@pytest.mark.requirement("SWP-5")
async def test_a_failing_candidate_counts_and_a_request_at_fault_does_not(rig: Rig):
    await rig.ask("tell me and break")
    await rig.until(lambda: bool(rig.pairs.samples))
    assert [candidate.success for _, candidate in rig.pairs.samples] == [False]
    await rig.ask("tell me the odd")
    await rig.ask("tell me shortly")
    await rig.until(lambda: rig.shadow.compared == 2)
    assert rig.pairs.scores == [], "an answer nobody can score makes no pair"


@pytest.mark.requirement("SWP-5")
async def test_only_the_shadowed_task_and_only_as_often_as_the_plan_says(rig: Rig):
    await rig.ask(task="elsewhere")
    rig.pairs.rollout = replace(SHADOWED, plan=replace(PLAN, shadow_sample=0.5))  # the draw is .5
    await rig.ask()
    rig.pairs.rollout = replace(SHADOWED, state=RolloutState.CANARY)
    await rig.ask()
    rig.pairs.rollout = SHADOWED
    await rig.ask()
    await rig.until(lambda: rig.shadow.compared == 1)
    assert len(rig.pairs.samples) == 1


@pytest.mark.requirement("SWP-5")
async def test_users_come_first_and_what_waits_is_bounded(rig: Rig):
    idle = rig.gateway.services.gateway.idleness
    async with idle.user():
        for _ in range(WAITING + 5):
            await rig.ask()
        await asyncio.sleep(0.05)
        assert rig.pairs.samples == [], "it ran while a user was served"
    # One is in hand already when the line fills up.
    await rig.until(lambda: rig.shadow.compared == WAITING + 1)
    assert rig.shadow.dropped == 4


@pytest.mark.requirement("SWP-5")
async def test_what_waits_is_dropped_when_the_shadow_phase_is_over(rig: Rig):
    idle = rig.gateway.services.gateway.idleness
    async with idle.user():
        for _ in range(3):
            await rig.ask()
        rig.pairs.rollout = None
    rig.pairs.rollout = None
    await rig.until(lambda: not rig.shadow._waiting)
    assert rig.shadow.compared <= 1


def test_a_request_for_a_stream_is_put_as_a_whole_one() -> None:
    from podium.services.rollouts.shadow import _whole

    body = {"model": "old", "stream": True, "temperature": 0.5, "messages": [{"role": "user", "content": "x"}]}
    head: RequestHead = wire.parse(Endpoint.CHAT, json.dumps(body).encode(), request_id="r")
    assert json.loads(_whole(head, "new")) == {**body, "model": "new", "stream": False}
