"""Links to a registry of agents and to an orchestrator, through a real gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podium import Podium
from podium.domain.task import Criteria
from podium.errors import InvalidRequest, NoCandidate, NotFound, ProviderUnreachable
from podium.integrations import (
    Agent,
    AgentCard,
    BackedAgents,
    HttpAgentRegistry,
    PodiumAssigner,
    Step,
    run_plan,
)

pytestmark = pytest.mark.requirement("TRK-6")


class Shelf:
    """A registry in memory."""

    def __init__(self) -> None:
        self.held: dict[str, AgentCard] = {}
        self.changed = asyncio.Event()

    async def publish(self, card: AgentCard) -> None:
        self.held[card.name] = card
        self.changed.set()

    async def withdraw(self, name: str) -> None:
        self.held.pop(name, None)

    async def cards(self) -> tuple[AgentCard, ...]:
        return tuple(self.held.values())


@pytest.fixture
async def podium(home: Path) -> AsyncIterator[Podium]:
    async with Podium.open(home=home) as opened:
        for version, script in (("1", {"text": "good work"}), ("2", {"text": "bad work"})):
            file = home.parent / f"{version}.json"
            file.write_text(json.dumps(script))
            await opened.add_model("m", provider="scripted", location=str(file), version=version, activate=True)
        yield opened


async def test_a_registry_always_knows_who_backs_an_agent_and_how_its_work_goes(podium: Podium):
    shelf = Shelf()
    agents = BackedAgents(podium, shelf)
    await podium.swap("reports", "m@1")
    first = await agents.add(Agent(name="writer", task="reports", instructions="Be brief."))
    assert (first.backed_by, first.executions, first.success_rate) == ("m@1", 0, None)
    async with agents.kept_true():
        for _ in range(2):
            await agents.run("writer", "do it", quality=lambda text: 1.0 if "good" in text else 0.0)
        await podium.swap("reports", "m@2")
        await agents.run("writer", "do it", quality=lambda text: 1.0 if "good" in text else 0.0)
        async with asyncio.timeout(20):
            while (card := shelf.held["writer"]).executions < 3 or card.backed_by != "m@2":
                shelf.changed.clear()
                await shelf.changed.wait()
    assert (card.success_rate, card.quality) == (1.0, pytest.approx(2 / 3))
    rows = {row["ref"]: row["quality"] for row in await podium.tracker.standings("writer")}
    assert rows == {"m@1": 1.0, "m@2": 0.0}
    evidence = (await podium.task("reports"))["evidence"]
    assert {ref: row["quality"] for ref, row in evidence.items()} == {"m@1": 1.0, "m@2": 0.0}
    with pytest.raises(NotFound, match="there are writer"):
        await agents.run("nobody", "do it")


async def test_an_agent_that_no_model_may_back_says_so(podium: Podium):
    agents = BackedAgents(podium, Shelf())
    card = await agents.add(Agent(name="seer", task="reports", criteria=Criteria(capabilities=frozenset({"vision"}))))
    assert card.backed_by is None
    assert card.problem


async def test_a_registry_that_is_away_is_said_to_be_away():
    registry = HttpAgentRegistry("http://127.0.0.1:9")
    with pytest.raises(ProviderUnreachable):
        await registry.publish(AgentCard(name="a", task="b", backed_by=None))
    await registry.aclose()


async def test_a_plan_runs_in_order_with_a_model_per_step_that_is_tracked(podium: Podium):
    await podium.swap("facts", "m@1")
    await podium.swap("report", "m@2")
    plan = (
        Step(name="summary", task="report", prompt="Use {facts}", after=("facts",), agent="reporter"),
        Step(name="facts", task="facts", prompt="Say something"),
    )
    results = await run_plan(plan, podium, PodiumAssigner(podium, pin=True))
    assert list(results) == ["summary", "facts"]
    assigned = {name: result.assignment.model for name, result in results.items() if result.assignment}
    assert assigned == {"facts": "m@1", "summary": "m@2"}
    tracked = {one["agent"]: one for one in await podium.tracker.executions()}
    assert {name: one["ref"] for name, one in tracked.items()} == {"facts": "m@1", "reporter": "m@2"}
    assert all(one["success"] and one["requests"] == 1 for one in tracked.values())
    assert tracked["facts"]["finished_at"] <= tracked["reporter"]["started_at"]


async def test_a_step_that_fails_stops_only_what_needs_it(podium: Podium):
    away = Criteria(capabilities=frozenset({"vision"}))
    plan = (
        Step(name="sees", task="facts", prompt="What is there?", criteria=away),
        Step(name="tells", task="facts", prompt="{sees}", after=("sees",)),
        Step(name="other", task="facts", prompt="hi"),
    )
    results = await run_plan(plan, podium, PodiumAssigner(podium))
    assert results["sees"].answer is None
    assert results["sees"].error
    assert results["tells"].error == "sees failed before"
    assert results["other"].answer is not None
    with pytest.raises(NoCandidate):
        await PodiumAssigner(podium).assign(plan[0])


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (
            (Step(name="a", task="t", prompt="", after=("b",)), Step(name="b", task="t", prompt="", after=("a",))),
            "wait",
        ),
        ((Step(name="a", task="t", prompt="", after=("c",)),), "no step"),
        ((Step(name="a", task="t", prompt=""), Step(name="a", task="t", prompt="")), "same name"),
    ],
)
async def test_a_plan_that_cannot_be_run_is_refused(plan: tuple[Step, ...], says: str):
    unused = Podium.__new__(Podium)
    with pytest.raises(InvalidRequest, match=says):
        await run_plan(plan, unused, PodiumAssigner(unused))
