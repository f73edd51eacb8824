"""Events as they happen: an iterator that survives a lost connection, and callbacks that can harm nobody. HTTP only.

Ids make it whole: after a cut it goes on behind the last event it gave out. What the record no longer has arrives as
an event of kind ``lost``.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import queue
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from podium.client.failures import from_reply
from podium.client.wire import Json, header_map
from podium.errors import PodiumError, ProviderUnreachable

if TYPE_CHECKING:
    from podium.client.api import Podium
    from podium.transport.reply import HttpReply

SILENCE_S = 50.0
"""Without even a heartbeat for this long the connection is taken for dead; the server sends one every 15 s."""
HIGH_WATER = 256
PAUSES_S = (0.1, 5.0)
Callback = Callable[[Json], object] | Callable[[Json], Awaitable[object]]
Frame = tuple[int | None, Json | None]
_log = logging.getLogger("podium.events")


class _Blocks:
    """Cuts what arrives into blocks of server-sent events, and stops reading while too many wait."""

    def __init__(self, reply: HttpReply) -> None:
        self._reply = reply
        self._rest = b""
        self._blocks: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._paused = False
        self._over = False

    async def pump(self) -> None:
        """Read until the connection ends, however it does."""
        try:
            await self._reply.relay(self._sink)
        except PodiumError:
            return  # the reader goes on elsewhere
        finally:
            self._over = True
            self._news.set()

    def _sink(self, data: bytes) -> None:
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        self._blocks.extend(blocks)
        self._news.set()
        if len(self._blocks) > HIGH_WATER and not self._paused:
            self._paused = True
            self._reply.pause()

    async def next(self) -> bytes | None:
        """``None`` at the end. Raises ``TimeoutError`` after too long a silence."""
        while not self._blocks:
            if self._over:
                return None
            self._news.clear()
            async with asyncio.timeout(SILENCE_S):
                await self._news.wait()
        if self._paused and len(self._blocks) < HIGH_WATER // 2:
            self._paused = False
            self._reply.resume()
        return self._blocks.popleft()


def _read(block: bytes) -> Frame:
    """(id, event) of one block; ``None`` for what it does not hold."""
    fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n") if not line.startswith(b":"))
    event_id = int(fields[b"id"]) if b"id" in fields else None
    if b"data" not in fields:
        return event_id, None
    data = msgspec.json.decode(fields[b"data"])
    if fields.get(b"event") == b"lost":
        data = {"id": event_id, "kind": "lost", "at": None, "subject": "events", "data": data}
    return event_id, data


async def _connection(podium: Podium, kinds: Sequence[str], after: int | None) -> AsyncGenerator[Frame, None]:
    """What one connection gives until it ends."""
    headers = {"accept": "text/event-stream"} | ({} if after is None else {"last-event-id": str(after)})
    query = "?" + urlencode({"kind": list(kinds)}, doseq=True) if kinds else ""
    reply = await podium.request("GET", f"/api/v1/events{query}", b"", headers)
    try:
        if reply.status >= 400:
            raise from_reply(reply.status, await reply.read(), header_map(reply).get("retry-after"))
        blocks = _Blocks(reply)
        pump = asyncio.create_task(blocks.pump())
        try:
            while (block := await blocks.next()) is not None:
                yield _read(block)
        except TimeoutError:
            return
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
    finally:
        reply.close()


async def _frames(
    podium: Podium, kinds: Sequence[str], after: int | None, patience_s: float
) -> AsyncGenerator[Frame, None]:
    """Frames of as many connections as it takes. Raises what the first one raises, and ``ProviderUnreachable`` when the
    gateway is away for longer than ``patience_s`` seconds.
    """
    loop = asyncio.get_running_loop()
    last, pause, known, away_since = after, PAUSES_S[0], False, loop.time()
    while True:
        try:
            async with contextlib.aclosing(_connection(podium, kinds, last)) as connection:
                async for frame in connection:
                    known, pause, away_since = True, PAUSES_S[0], loop.time()
                    last = last if frame[0] is None else frame[0]
                    yield frame
        except PodiumError as error:
            if not known or error.status not in (502, 503, 504):
                raise
            if loop.time() - away_since > patience_s:
                raise
        if loop.time() - away_since > patience_s:
            raise ProviderUnreachable(f"the gateway ends every stream of events at once, for {patience_s:g} s now")
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSES_S[1])


async def follow(
    podium: Podium, *kinds: str, after: int | None = None, patience_s: float = 60.0
) -> AsyncGenerator[Json, None]:
    """Events as they are recorded, from now on or behind the id ``after``, without gaps or doubles.

    ``kinds`` are patterns such as ``swap.*``. A lost connection is made again; raises ``ProviderUnreachable`` when the
    gateway is away for longer than ``patience_s`` seconds.
    """
    async with contextlib.aclosing(_frames(podium, kinds, after, patience_s)) as found:
        async for _, event in found:
            if event is not None:
                yield event


class Subscription:
    """A callback under way."""

    def __init__(self) -> None:
        self.called = 0
        self.raised = 0
        """Calls that raised; each is logged and changes nothing else."""
        self.error: PodiumError | None = None
        """Why no more events come, when they stopped coming."""


@contextlib.asynccontextmanager
async def on_event(
    podium: Podium, callback: Callback, *kinds: str, after: int | None = None, patience_s: float = 60.0
) -> AsyncIterator[Subscription]:
    """Inside ``async with``: ``callback(event)`` for each event, one after the other; else as ``follow``.

    A plain function runs in a thread of its own, a coroutine function on this loop. One that raises is logged; one that
    is slow or never returns delays only itself.
    """
    subscription = Subscription()
    listening = asyncio.Event()
    thread = None if inspect.iscoroutinefunction(callback) else _CallerThread(callback)

    async def call(event: Json) -> None:
        subscription.called += 1
        try:
            if thread is not None:
                await thread.call(event)
            else:
                await callback(event)  # type: ignore[misc] # a coroutine function, as was asked above
        except Exception:  # noqa: BLE001 - it is the callback's mistake; the next event is told all the same
            subscription.raised += 1
            _log.exception("a callback failed on the event %s, %s", event.get("id"), event.get("kind"))

    async def run() -> None:
        try:
            async with contextlib.aclosing(_frames(podium, kinds, after, patience_s)) as found:
                async for _, event in found:
                    listening.set()
                    if event is not None:
                        await call(event)
        except PodiumError as error:
            subscription.error = error
        finally:
            listening.set()

    task = asyncio.create_task(run(), name="podium-events")
    try:
        await listening.wait()
        if subscription.error is not None:
            raise subscription.error
        yield subscription
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if thread is not None:
            thread.end()


class _CallerThread:
    """Runs a plain function off the event loop. A call that never returns keeps neither the loop nor the process."""

    def __init__(self, function: Callable[[Json], Any]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[tuple[Json, asyncio.Future[None]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="podium-events", daemon=True).start()

    async def call(self, event: Json) -> None:
        """Raises what the function raised."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._orders.put((event, done))
        await done

    def end(self) -> None:
        self._orders.put(None)

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            event, done = order
            error: BaseException | None = None
            try:
                self._function(event)
            except BaseException as raised:  # noqa: BLE001 - it belongs to the one who waits; this thread goes on
                error = raised if isinstance(raised, Exception) else RuntimeError(f"the callback raised {raised!r}")
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_settle, done, error)


def _settle(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
