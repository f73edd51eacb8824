"""A streamed answer as an asynchronous iterator of text; owns the parsing of server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import msgspec

from podium.client.failures import rebuild
from podium.errors import PodiumError, ProviderUnreachable

HIGH_WATER = 256
"""Events held for a slow reader before reading from the socket stops."""


class Incoming(Protocol):
    """The part of an HTTP reply a stream needs."""

    async def relay(self, sink: Callable[[bytes], None]) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


class Events:
    """Cuts a byte stream into server-sent events; comments (heartbeats) disappear."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """(event name, data) of every event that is complete now."""
        *blocks, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        found = []
        for block in blocks:
            name, lines = "message", []
            for line in block.split(b"\n"):
                key, _, value = line.partition(b":")
                value = value.removeprefix(b" ")
                if key == b"event":
                    name = value.decode()
                elif key == b"data":
                    lines.append(value)
            if lines:
                found.append((name, b"\n".join(lines)))
        return found


class Stream:
    """Iterate for the pieces of text; ``version``, ``task`` and ``request_id`` are known from the start.

    ``async for chunk in stream.raw()`` gives the OpenAI chunks themselves.
    Raises the ``PodiumError`` of an error event, and ``ProviderUnreachable`` when the stream is cut.
    """

    def __init__(self, reply: Incoming, headers: Mapping[str, str]) -> None:
        self.version = headers.get("x-podium-model", "")
        self.task = headers.get("x-podium-task", "")
        self.request_id = headers.get("x-request-id", "")
        self.decision_id = headers.get("x-podium-decision", "")
        self.usage: Mapping[str, Any] | None = None
        """Token counts, once the server sent them."""
        self._reply = reply
        self._events = Events()
        self._queue: asyncio.Queue[tuple[str, bytes] | PodiumError | None] = asyncio.Queue()
        self._paused = False

    async def pump(self) -> None:
        """Read the socket until the answer is complete; runs beside the reader."""
        try:
            await self._reply.relay(self._sink)
        except PodiumError as error:
            self._queue.put_nowait(error)
        else:
            self._queue.put_nowait(None)

    def _sink(self, data: bytes) -> None:
        for event in self._events.feed(data):
            self._queue.put_nowait(event)
        if self._queue.qsize() > HIGH_WATER and not self._paused:
            self._paused = True
            self._reply.pause()

    async def raw(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """The chunks as the server sent them, in OpenAI's format."""
        while True:
            item = await self._queue.get()
            if self._paused and self._queue.qsize() < HIGH_WATER // 2:
                self._paused = False
                self._reply.resume()
            if isinstance(item, PodiumError):
                raise item
            if item is None:
                raise ProviderUnreachable("the answer was cut before its end; ask again")
            name, data = item
            if data == b"[DONE]":
                return
            chunk = msgspec.json.decode(data)
            if name == "error" or "error" in chunk:
                error = chunk.get("error", chunk)
                raise rebuild(error, int(error.get("status") or 502))
            if chunk.get("usage"):
                self.usage = chunk["usage"]
            yield chunk

    async def __aiter__(self) -> AsyncIterator[str]:
        async with contextlib.aclosing(self.raw()) as chunks:
            async for chunk in chunks:
                for choice in chunk.get("choices") or ():
                    piece = (choice.get("delta") or {}).get("content") or choice.get("text")
                    if piece:
                        yield piece
