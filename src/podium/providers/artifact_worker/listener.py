"""A small HTTP/1.1 server for one trusted caller, with the standard library alone: framing, the key, and nothing else.

A caller that leaves cancels its request. What it does not need (pipelining, chunked requests, compression) is refused.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from .answering import encode

HEAD_BYTES, BODY_BYTES = 64 * 1024, 64 * 1024 * 1024
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    411: "Length Required",
    413: "Content Too Large",
    500: "Internal Server Error",
}


@dataclass(frozen=True)
class Request:
    """One request with its whole body."""

    method: str
    path: str
    body: bytes


class Exchange:
    """The way back to the caller of one request."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.streaming = False

    async def reply(self, status: int, body: object) -> None:
        """A whole answer in JSON."""
        await self._connection.send(_head(status, "application/json", len(raw := encode(body))) + raw)

    async def stream(self, data: bytes) -> None:
        """A piece of a stream of events; the first one sends the head."""
        head = b"" if self.streaming else _head(200, "text/event-stream", None)
        self.streaming = True
        await self._connection.send(head + b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """The proper end of a stream."""
        await self._connection.send(b"0\r\n\r\n")


Handler = Callable[[Request, Exchange], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One connection of the caller, kept for many requests, one at a time."""

    def __init__(self, handler: Handler, key: str) -> None:
        self._handler = handler
        self._key = b"Bearer " + key.encode()
        self._given = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller left: nobody waits for the answer."""
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The caller reads slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It reads on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a complete request starts its task."""
        self._given += data
        if self._task is None:
            self._next()
        elif len(self._given) > HEAD_BYTES:
            self._transport.abort()  # it talks while it should listen

    async def send(self, data: bytes) -> None:
        """Write, and wait while the caller does not read."""
        self._transport.write(data)
        await self._writable.wait()

    def _next(self) -> None:
        end = self._given.find(b"\r\n\r\n")
        if end < 0:
            if len(self._given) > HEAD_BYTES:
                self._refuse(400, "the head of the request is too long")
            return
        first, _, rest = bytes(self._given[:end]).partition(b"\r\n")
        words = first.decode("latin-1").split(" ")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (each.partition(b":") for each in rest.split(b"\r\n"))
        }
        length = headers.get(b"content-length", b"0")
        if len(words) != 3 or not length.isdigit():
            self._refuse(400, "this is not HTTP")
        elif b"transfer-encoding" in headers:
            self._refuse(411, "send the body with a content-length")
        elif not hmac.compare_digest(headers.get(b"authorization", b""), self._key):
            self._refuse(401, "the key is missing or wrong")
        elif int(length) > BODY_BYTES:
            self._refuse(413, "the body is too large")
        elif len(self._given) >= end + 4 + int(length):
            body = bytes(self._given[end + 4 : end + 4 + int(length)])
            del self._given[: end + 4 + int(length)]
            request = Request(words[0], words[1].partition("?")[0], body)
            self._task = asyncio.get_running_loop().create_task(self._serve(request))

    async def _serve(self, request: Request) -> None:
        try:
            await self._handler(request, Exchange(self))
        except Exception:
            self._transport.abort()  # an answer was under way: only its end can tell that it is not whole
            raise
        finally:
            self._task = None
        if self._given and not self._transport.is_closing():
            self._next()

    def _refuse(self, status: int, message: str) -> None:
        raw = encode({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})
        self._transport.write(_head(status, "application/json", len(raw), close=True) + raw)
        self._transport.close()


async def listen(socket: Path, key: str, handler: Handler) -> asyncio.AbstractServer:
    """Listen on a unix socket."""
    return await asyncio.get_running_loop().create_unix_server(lambda: Connection(handler, key), str(socket))


def _head(status: int, kind: str, length: int | None, *, close: bool = False) -> bytes:
    body = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    end = "connection: close\r\n" if close else ""
    return f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {kind}\r\n{body}\r\n{end}\r\n".encode()
