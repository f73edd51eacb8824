"""``podium.rollouts``: look at rollouts, command them, follow one to its end, get its report. HTTP only."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from podium.domain.rollout import RolloutReport

if TYPE_CHECKING:
    from podium.client.api import Podium

Json = dict[str, Any]
Picture = Literal["text", "svg", "png"]
POLL_S = 0.5
_ROUTE = "/api/v1/rollouts"


class Rollouts:
    """The rollouts of one gateway. Methods raise the ``PodiumError`` the gateway answered."""

    def __init__(self, podium: Podium) -> None:
        self._podium = podium

    async def ls(
        self, task: str | None = None, *, state: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[Json]:
        """Newest first; ``state`` is one of the states, or ``open`` for all that have not ended."""
        query = {"task": task, "state": state, "limit": limit, "offset": offset}
        return list((await self._podium.call("GET", _ROUTE, query=query))["rollouts"])

    async def show(self, rollout_id: str) -> Json:
        """``rollout``, ``says`` (in words), ``next``, ``steps``, ``readings``, ``needed``."""
        return await self._podium.call("GET", _path(rollout_id))

    async def pause(self, rollout_id: str, *, reason: str = "") -> Json:
        """All traffic goes to the old version until it is resumed; what was measured stays."""
        return await self._order(rollout_id, "pause", reason)

    async def resume(self, rollout_id: str, *, reason: str = "") -> Json:
        """Go on at the step it was paused on."""
        return await self._order(rollout_id, "resume", reason)

    async def promote(self, rollout_id: str, *, reason: str = "") -> Json:
        """Give the candidate all of the traffic now, whatever the evidence says."""
        return await self._order(rollout_id, "promote", reason)

    async def abort(self, rollout_id: str, *, reason: str = "") -> Json:
        """End it; the old version serves on and the candidate is not blamed."""
        return await self._order(rollout_id, "abort", reason)

    async def rollback(self, rollout_id: str, *, reason: str = "") -> Json:
        """End it; the old version serves on and the candidate is barred until there is new evidence of it."""
        return await self._order(rollout_id, "rollback", reason)

    async def _order(self, rollout_id: str, order: str, reason: str) -> Json:
        return await self._podium.call("POST", f"{_path(rollout_id)}/{order}", {"reason": reason})

    async def report(self, rollout_id: str) -> RolloutReport:
        """Everything on record, with the curves, as a value; ``podium.core.picture`` draws it."""
        return report_of(await self._podium.call("GET", f"{_path(rollout_id)}/report"))

    async def picture(self, rollout_id: str, kind: Picture = "svg", **options: Any) -> bytes:
        """The report as ``text``, ``svg`` or ``png``; ``options``: ``metric``, and for text ``width`` and ``ascii``."""
        return await self._podium.fetch(f"{_path(rollout_id)}/report", query={"format": kind, **options})

    async def follow(self, rollout_id: str, *, every_s: float = POLL_S) -> AsyncIterator[Json]:
        """``show`` again and again, at first and whenever a step was made; ends with the state it ended in."""
        seen = -1
        while True:
            found = await self.show(rollout_id)
            if len(found["steps"]) != seen:
                seen = len(found["steps"])
                yield found
            if over(found):
                return
            await asyncio.sleep(every_s)

    async def wait(self, rollout_id: str, timeout_s: float | None = None) -> Json:
        """Wait until it has ended, or until it was compared and moves nothing by itself. Raises ``TimeoutError``."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not over(found := await self.show(rollout_id)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"rollout {rollout_id} is still {found['rollout']['state']}: {found['says']}")
            await asyncio.sleep(POLL_S)
        return found


def over(found: Mapping[str, Any]) -> bool:
    """Nothing more happens by itself: it has ended, or its comparison is over."""
    return not found["rollout"]["open"] or bool(found["rollout"]["concluded"])


def report_of(data: Mapping[str, Any]) -> RolloutReport:
    """The body of ``GET /api/v1/rollouts/{id}/report`` as a value."""
    return msgspec.convert(dict(data), RolloutReport)


def _path(rollout_id: str) -> str:
    return f"{_ROUTE}/{quote(rollout_id, safe='')}"
