"""``podium.tracker``: executions of agents, from their start to what came of them, and the history they make. HTTP only.

``start_task`` and ``complete_task`` note what happened and return; a task in the background sends it, in order, in batches,
again after a lost connection. What is wrong in itself is refused at once; what the gateway refuses later is logged and in
``problems``. Leaving the connection sends what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from podium.client.wire import Json
from podium.core.executions import begun, completed
from podium.domain.execution import Execution
from podium.errors import Overloaded, PodiumError, ProviderUnreachable

if TYPE_CHECKING:
    from podium.client.api import Podium

FLUSH_S = 0.02
RETRY_FIRST_S, RETRY_MOST_S = 0.1, 2.0
LAST_S = 5.0
"""How long leaving waits for a gateway that is away."""
BATCH, BATCH_BYTES = 500, 4_000_000
MOST_WAITING = 200_000
REMEMBERED = 10_000
POLL_S = 1.0
PAGE = 500
_ROUTE = "/api/v1/executions"
_log = logging.getLogger("podium.tracker")
Callback = Callable[[Json], object] | Callable[[Json], Awaitable[object]]


class Tracking:
    """The executions of one gateway, for one event loop. Methods that ask raise the ``PodiumError`` it answered."""

    def __init__(self, podium: Podium) -> None:
        self._podium = podium
        self._prefix = secrets.token_hex(6)
        self._count = 0
        self._mine: dict[str, Execution] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._waiting: deque[tuple[Json, int]] = deque()
        """Changes with their size in bytes."""
        self._again = False
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.problems: deque[tuple[str, str]] = deque(maxlen=100)
        """(execution id, message) of what the gateway refused, oldest first."""

    # ------------------------------------------------------------ the calls of an agent

    async def start_task(self, type: str, agent: str | None = None, *, timeout_s: float | None = None) -> str:  # noqa: A002 - the word of the API
        """Begin an execution; returns its id, which requests name (``metadata={"execution": id}``) to join it.

        Not completed within ``timeout_s`` (a day) it is abandoned. Raises ``InvalidRequest``.
        """
        self._count += 1
        made = begun(f"exe_{self._prefix}{self._count:08x}", type, agent, timeout_s, time.time())
        if len(self._waiting) >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} changes wait for the gateway; is it running?", code="tracker_behind")
        start = {"type": made.type, "agent": made.agent, "timeout_s": timeout_s}
        self._note({"id": made.id, "start": start})
        self._mine[made.id] = made
        if len(self._mine) > MOST_WAITING:
            del self._mine[next(iter(self._mine))]
        return made.id

    async def complete_task(
        self, execution_id: str, success: bool, quality: float | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Say what came of it: feedback for the models that answered in it. The same said twice changes nothing.

        One that was started elsewhere is completed at the gateway before this returns. Raises ``InvalidRequest``,
        ``Conflict`` when something else was said before, ``NotFound``.
        """
        said = {"success": success, "quality": quality, "metadata": None if metadata is None else dict(metadata)}
        mine = self._mine.get(execution_id)
        if mine is None:
            await self.flush()
            await self._podium.call("POST", f"{_path(execution_id)}/complete", said)
            return
        done = completed(mine, success=success, quality=quality, metadata=metadata, now=time.time())
        if done is mine:
            return
        self._note({"id": execution_id, "complete": {**said, "metadata": dict(done.metadata)}})
        self._mine[execution_id] = done
        self._over[execution_id] = None
        if len(self._over) > REMEMBERED:
            self._mine.pop(self._over.popitem(last=False)[0], None)

    @contextlib.asynccontextmanager
    async def task(self, type: str, agent: str | None = None, **options: Any) -> AsyncIterator[str]:  # noqa: A002 - see above
        """``async with tracker.task("code", "writer") as execution:``; fails when the block raises."""
        execution_id = await self.start_task(type, agent, **options)
        try:
            yield execution_id
        except BaseException as error:
            await self.complete_task(
                execution_id, success=False, metadata={"error": f"{error.__class__.__name__}: {error}"[:1000]}
            )
            raise
        if self._mine[execution_id].success is None:  # the block may have said more itself
            await self.complete_task(execution_id, success=True)

    # ------------------------------------------------------------ reading

    async def executions(self, **which: Any) -> list[Json]:
        """Newest change first, with routing decisions, cost and the swaps made meanwhile. ``which``: ``type``,
        ``agent``, ``state`` (open, completed, abandoned), ``after``, ``limit``, ``offset``.
        """
        await self.flush()
        return list((await self._podium.call("GET", _ROUTE, query=which))["executions"])

    async def execution(self, execution_id: str) -> Json:
        """One, with its decisions in full and what was said of its answers."""
        await self.flush()
        return await self._podium.call("GET", _path(execution_id))

    async def decisions(self, execution_id: str) -> list[Json]:
        """The routing decisions of one: candidates, scores, why, and what it cost."""
        return list((await self.execution(execution_id))["attempts"])

    async def swap_events(self, after: int = 0, **query: Any) -> list[Json]:
        """Recorded events of swaps and rollouts; ``podium.follow("swap.*")`` has them as they happen."""
        return await self._podium.events(after, kinds=("swap.*", "rollout.*"), **query)

    async def standings(self, agent: str | None = None) -> list[Json]:
        """How executions went, by agent, type and the version that served them last."""
        await self.flush()
        return list((await self._podium.call("GET", f"{_ROUTE}/standings", query={"agent": agent}))["standings"])

    async def completed(
        self, after: int = 0, *, follow: bool = False, every_s: float = POLL_S, **which: Any
    ) -> AsyncIterator[Json]:
        """Completed executions behind the place ``after`` (``seq`` of the last one seen) in the record; for another
        tracker. With ``follow`` it goes on as they come. One that changes afterwards comes again.
        """
        query = {"state": "completed", "limit": PAGE, **which}
        while True:
            found = await self._podium.call("GET", _ROUTE, query={**query, "after": after})
            for one in found["executions"]:
                yield one
            after = found["next"]
            if not found["executions"]:
                if not follow:
                    return
                await asyncio.sleep(every_s)

    @contextlib.asynccontextmanager
    async def on_completed(
        self, callback: Callback, after: int | None = None, *, every_s: float = POLL_S, **which: Any
    ) -> AsyncIterator[None]:
        """Call ``callback`` with each execution that completes while the block runs, one after the other; those behind
        ``after`` first. A callback that raises is logged and called with the next one.
        """
        if after is None:
            newest = await self._podium.call("GET", _ROUTE, query={"limit": 1})
            after = newest["next"]
        calling = asyncio.create_task(
            self._call(callback, self.completed(after, follow=True, every_s=every_s, **which))
        )
        try:
            yield
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)

    async def _call(self, callback: Callback, found: AsyncIterator[Json]) -> None:
        async for one in found:
            try:
                said = callback(one)
                if inspect.isawaitable(said):
                    await said
            except Exception:  # noqa: BLE001 - one execution must not keep the callback from the next
                _log.exception("a callback failed with execution %s", one["id"])

    # ------------------------------------------------------------ sending

    async def flush(self) -> None:
        """Return when the gateway has all that was noted before. Raises ``ProviderUnreachable``."""
        async with self._sending:
            remaining = len(self._waiting)
            while remaining > 0 and self._waiting:
                remaining -= await self._send()

    async def close(self) -> None:
        """Send what is left, for a few seconds if the gateway is away; what is lost is logged. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while self._waiting:
                    try:
                        await self.flush()
                    except PodiumError:
                        await asyncio.sleep(RETRY_FIRST_S)
        if self._waiting:
            _log.error("%d changes of executions were lost: the gateway is away", len(self._waiting))

    def _note(self, change: Json) -> None:
        self._waiting.append((change, len(msgspec.json.encode(change))))
        self._news.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="podium-tracking")

    async def _run(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            await self._news.wait()
            await asyncio.sleep(FLUSH_S)
            self._news.clear()
            try:
                await self.flush()
                pause_s = RETRY_FIRST_S
            except PodiumError:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)
                self._news.set()

    async def _send(self) -> int:
        """Send one batch; returns how many changes it held. What was not taken stays in its place."""
        batch: list[Json] = []
        size = 0
        for change, length in self._waiting:
            if batch and (len(batch) == BATCH or size + length > BATCH_BYTES):
                break
            batch.append(change)
            size += length
        again, self._again = self._again, True
        try:
            answer = await self._podium.call("POST", f"{_ROUTE}/batch", {"changes": batch, "again": again})
        except PodiumError as error:
            if error.retryable or isinstance(error, ProviderUnreachable) or error.status >= 500:
                raise
            answer = {"problems": [{"id": change["id"], "message": error.message} for change in batch]}
        self._again = False
        for _ in batch:
            self._waiting.popleft()
        for problem in answer["problems"]:
            self.problems.append((problem["id"], problem["message"]))
            _log.error("execution %s: %s", problem["id"], problem["message"])
        return len(batch)


def _path(execution_id: str) -> str:
    return f"{_ROUTE}/{quote(execution_id, safe='')}"
