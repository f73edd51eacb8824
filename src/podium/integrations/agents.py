"""A registry of agents, and agents that are backed by Podium's models.

An agent does one task; which version backs it is Podium's decision and changes with swaps. ``BackedAgents`` runs agents,
tracks what they do, and keeps their cards in the registry true: who backs them now, and how their work went.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from podium.client.api import Podium
from podium.client.results import Result
from podium.client.wire import Json, Messages, origin_of
from podium.domain.task import Criteria
from podium.errors import NotFound, PodiumError, ProviderError
from podium.transport.client import HttpClient

CHANGES = ("swap.completed", "swap.rolled_back", "rollout.promoted", "rollout.rolled_back")
"""Events after which another version may back an agent."""
CALL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What an agent is: its name, the task it does, what it is told first, and its limits."""

    name: str
    task: str
    instructions: str = ""
    criteria: Criteria | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCard:
    """What a registry shows of an agent. Figures are over all executions on record, ``None`` before there are any."""

    name: str
    task: str
    backed_by: str | None
    """The version that would serve it now; ``None`` when none can, then ``problem`` says why."""
    why: str = ""
    problem: str | None = None
    executions: int = 0
    """Completed ones."""
    success_rate: float | None = None
    quality: float | None = None


class AgentRegistry(Protocol):
    """Where agents are looked up. Every method raises ``PodiumError`` when the registry cannot be asked."""

    async def publish(self, card: AgentCard) -> None:
        """Add or replace by name."""
        ...

    async def withdraw(self, name: str) -> None:
        """Take it out; one that is not there is no error."""
        ...

    async def cards(self) -> tuple[AgentCard, ...]:
        """All, by name."""
        ...


class HttpAgentRegistry:
    """A registry behind HTTP: ``PUT`` and ``DELETE {url}/agents/{name}``, ``GET {url}/agents`` with a JSON array of cards."""

    def __init__(self, url: str) -> None:
        self._http = HttpClient(origin_of(url))
        self._url = url

    async def publish(self, card: AgentCard) -> None:
        """See ``AgentRegistry``."""
        await self._call("PUT", _agent(card.name), msgspec.json.encode(card))

    async def withdraw(self, name: str) -> None:
        """See ``AgentRegistry``."""
        with contextlib.suppress(NotFound):
            await self._call("DELETE", _agent(name))

    async def cards(self) -> tuple[AgentCard, ...]:
        """See ``AgentRegistry``."""
        found = msgspec.json.decode(await self._call("GET", "/agents"), type=tuple[AgentCard, ...])
        return tuple(sorted(found, key=lambda card: card.name))

    async def aclose(self) -> None:
        """End its connections."""
        await self._http.aclose()

    async def _call(self, method: str, path: str, body: bytes = b"") -> bytes:
        reply = await self._http.request(
            method.encode(),
            path.encode(),
            headers=[(b"content-type", b"application/json")] if body else [],
            body=body,
            connect_s=CALL_S,
            first_byte_s=CALL_S,
            total_s=CALL_S,
        )
        try:
            data = await reply.read()
        finally:
            reply.close()
        if reply.status == 404:
            raise NotFound(f"the registry at {self._url} has no {path}")
        if reply.status >= 400:
            raise ProviderError(
                f"the registry at {self._url} answered {reply.status} to {method} {path}: {data[:200]!r}"
            )
        return data


class BackedAgents:
    """Agents whose work models of one gateway do."""

    def __init__(self, podium: Podium, registry: AgentRegistry) -> None:
        self._podium = podium
        self._registry = registry
        self._agents: dict[str, Agent] = {}

    async def add(self, agent: Agent) -> AgentCard:
        """Take it in, or another version of it, and publish its card."""
        self._agents[agent.name] = agent
        return await self.publish(agent.name)

    async def remove(self, name: str) -> None:
        """Take it out of both."""
        self._agents.pop(name, None)
        await self._registry.withdraw(name)

    async def run(
        self, name: str, prompt: Messages, *, quality: Callable[[str], float] | None = None, **params: Any
    ) -> Result:
        """One piece of work: tracked under the agent's name, a success when it is answered. Raises what the gateway says.

        ``quality`` is a function of the answer's text that scores it in [0, 1]; without one, success is all that is said.
        """
        agent = self._agent(name)
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if agent.instructions:
            messages = [{"role": "system", "content": agent.instructions}, *messages]
        async with self._podium.tracker.task(agent.task, agent.name) as execution:
            named = {**dict(params.pop("metadata", {})), "execution": execution}
            result = await self._podium.execute(
                messages, task=agent.task, criteria=agent.criteria, metadata=named, **params
            )
            if quality is not None:
                await self._podium.tracker.complete_task(execution, success=True, quality=quality(result.text))
        return result

    async def card(self, name: str) -> AgentCard:
        """Its card as of now."""
        agent = self._agent(name)
        made = AgentCard(name=agent.name, task=agent.task, backed_by=None)
        try:
            choice = await choose(self._podium, agent.task, agent.criteria)
            made = replace(made, backed_by=choice["chosen"], why=choice["reason"])
        except PodiumError as error:
            made = replace(made, problem=error.message)
        rows = [row for row in await self._podium.tracker.standings(name) if row["type"] == agent.task]
        completed = sum(row["completed"] for row in rows)
        rated = sum(row["rated"] for row in rows)
        return replace(
            made,
            executions=completed,
            success_rate=sum(row["succeeded"] for row in rows) / completed if completed else None,
            quality=sum(row["quality"] * row["rated"] for row in rows if row["rated"]) / rated if rated else None,
        )

    async def publish(self, name: str) -> AgentCard:
        """Bring its card in the registry up to date."""
        card = await self.card(name)
        await self._registry.publish(card)
        return card

    @contextlib.asynccontextmanager
    async def kept_true(self) -> AsyncIterator[None]:
        """While the block runs, cards follow: another version backs a task, or an execution was completed."""

        async def changed(event: Json) -> None:
            for agent in [one for one in self._agents.values() if one.task == event["subject"]]:
                await self.publish(agent.name)

        async def worked(execution: Json) -> None:
            if execution["agent"] in self._agents:
                await self.publish(execution["agent"])

        async with self._podium.on_event(changed, *CHANGES), self._podium.tracker.on_completed(worked):
            yield

    def _agent(self, name: str) -> Agent:
        agent = self._agents.get(name)
        if agent is None:
            known = ", ".join(sorted(self._agents)) or "none yet"
            raise NotFound(f"there is no agent {name[:64]!r} here; there are {known}")
        return agent


async def choose(podium: Podium, task: str, criteria: Criteria | None) -> Mapping[str, Any]:
    """What a request for the task would go to now: ``chosen``, ``reason``, ``confidence``, ``fallbacks``, ``expected``."""
    given = {} if criteria is None else msgspec.to_builtins(criteria)
    asked = {"criteria": {key: value for key, value in given.items() if value not in (None, [], 0)}} if given else {}
    return await podium.call("POST", f"/api/v1/tasks/{quote(task, safe='')}/choose", asked)


def _agent(name: str) -> str:
    return f"/agents/{quote(name, safe='')}"
