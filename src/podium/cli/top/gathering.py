"""Asks a server for what the pages show, over the control API. Draws nothing.

A server that does not answer is an answer, too: the last look stays, with the reason and since when. It is looked for anew
at every try, as one that was started again may listen elsewhere.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from podium.client import Podium, find_server
from podium.errors import PodiumError

RECENT = 30
TASKS = 20
"""Tasks of the leaderboard."""
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything as it was at one moment. Empty before the first answer."""

    url: str | None = None
    version: str = ""
    at: float = 0.0
    uptime_s: float = 0.0
    traffic: Json = field(default_factory=dict)
    """Rates and latencies of the last seconds."""
    pool: Json = field(default_factory=dict)
    recent: tuple[Json, ...] = ()
    events: tuple[Json, ...] = ()
    alerts: tuple[Json, ...] = ()
    recorder: Json = field(default_factory=dict)
    tasks: tuple[Json, ...] = ()
    """Of the leaderboard, the busiest first."""
    problem: str | None = None
    """Why the last try failed."""
    lost_at: float | None = None
    """Since when there was no answer."""

    @property
    def seen(self) -> bool:
        """There was an answer once."""
        return self.at > 0


class Watch:
    """Looks again and again at one server."""

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._stack: contextlib.AsyncExitStack | None = None
        self._podium: Podium | None = None
        self._version = ""
        self.last = Look()

    async def look(self, *, leaderboard: bool) -> Look:
        """The newest of everything; the tasks only where they are wanted. Never raises for a server that is away."""
        try:
            self.last = await self._look(leaderboard)
        except PodiumError as error:
            await self.close()
            since = self.last.lost_at or time.time()
            self.last = replace(self.last, problem=error.message, lost_at=since)
        return self.last

    async def close(self) -> None:
        """Let go of the connection; the next look makes another."""
        stack, self._stack, self._podium = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    async def _connected(self) -> Podium:
        if self._podium is None:
            self._stack = contextlib.AsyncExitStack()
            self._podium = await self._stack.enter_async_context(Podium.connect(self._url, actor="top"))
            self._version = str((await self._podium.call("GET", "/openapi.json"))["info"]["version"])
        return self._podium

    async def _look(self, leaderboard: bool) -> Look:
        podium = await self._connected()
        stats = await podium.stats()
        traffic = await podium.call("GET", "/api/v1/traffic", query={"seconds": 60, "points": 1})
        pool = await podium.call("GET", "/api/v1/instances")
        decisions = await podium.call("GET", "/api/v1/decisions", query={"limit": RECENT})
        events = await podium.call("GET", "/api/v1/events", query={"limit": 8, "newest": "true"})
        tasks = self.last.tasks
        if leaderboard:
            tasks = tuple((await podium.call("GET", "/api/v1/leaderboard", query={"limit": TASKS}))["tasks"])
        return Look(
            url=self._url or find_server(),
            version=self._version,
            at=time.time(),
            uptime_s=stats["uptime_s"],
            traffic=traffic["now"],
            pool=pool,
            recent=tuple(decisions["decisions"]),
            events=tuple(events["events"]),
            alerts=tuple(stats["alerts"]),
            recorder=stats["recorder"],
            tasks=tasks,
        )
