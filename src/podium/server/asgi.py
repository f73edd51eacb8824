"""A small ASGI bridge: an application (FastAPI) answers exchanges. HTTP only; no lifespan, no websockets.

The body is complete before the application starts. ``http.disconnect`` is delivered when the client leaves
or the answer has ended; sending waits while the client's socket buffer is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from podium.server.exchange import Exchange

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiBridge:
    """A handler of exchanges that runs ``app``; ``refused`` is awaited before a 401 or a 429 is sent."""

    def __init__(self, app: AsgiApp, refused: Callable[[Exchange], Awaitable[None]] | None = None) -> None:
        self._app = app
        self._refused = refused

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request. What the application raises passes through."""
        await _Run(exchange, self._refused).run(self._app)


class _Run:
    """The state of one request: what was delivered, what was sent, whether somebody waits."""

    __slots__ = ("_delivered", "_exchange", "_gate", "_gone", "_refused", "_start")

    def __init__(self, exchange: Exchange, refused: Callable[[Exchange], Awaitable[None]] | None) -> None:
        self._exchange = exchange
        self._refused = refused
        self._delivered = False
        self._gone = asyncio.Event()
        self._gate = asyncio.Event()
        self._start: tuple[int, list[tuple[bytes, bytes]]] | None = None
        exchange.cancel_on_disconnect = False
        exchange.on_disconnect = self._left
        exchange.on_pause = self._gate.clear
        exchange.on_resume = self._gate.set
        if not exchange.paused:
            self._gate.set()

    def _left(self) -> None:
        self._gone.set()
        self._gate.set()

    async def run(self, app: AsgiApp) -> None:
        try:
            await app(self._scope(), self._receive, self._send)
        finally:
            self._gone.set()
        exchange = self._exchange
        if exchange.bytes_started and not exchange.ended:
            exchange.abort()  # the application stopped before the end of its answer

    def _scope(self) -> Scope:
        exchange = self._exchange
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.0" if exchange.http_1_0 else "1.1",
            "method": exchange.method,
            "scheme": "https" if exchange.encrypted else "http",
            "path": unquote_to_bytes(exchange.path).decode("utf-8", "replace"),
            "raw_path": exchange.path.encode("latin-1"),
            "query_string": exchange.query,
            "root_path": "",
            "headers": list(exchange.headers.items()),
            "client": exchange.peer("peername"),
            "server": exchange.peer("sockname"),
            "state": {},
        }

    async def _receive(self) -> Message:
        if not self._delivered:
            self._delivered = True
            return {"type": "http.request", "body": self._exchange.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        exchange = self._exchange
        if exchange.disconnected:
            return  # ASGI 2.3: sending is in vain, http.disconnect tells (2.4 would leave a waiting stream running)
        kind = message["type"]
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("http.response.start was sent twice")
            self._start = (
                message["status"],
                [(bytes(n), bytes(v)) for n, v in message.get("headers", ()) if n.lower() != b"transfer-encoding"],
            )
        elif kind == "http.response.body":
            await self._body(bytes(message.get("body", b"")), more=bool(message.get("more_body", False)))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    async def _body(self, data: bytes, *, more: bool) -> None:
        exchange = self._exchange
        if self._start is None:
            raise RuntimeError("http.response.body came before http.response.start")
        if not exchange.bytes_started:
            status, headers = self._start
            if status in (401, 429) and self._refused is not None:
                await self._refused(exchange)
            if not more and exchange.method != "HEAD":
                exchange.respond(status, [h for h in headers if h[0].lower() != b"content-length"], data)
                return
            exchange.start_stream(status, headers)
        exchange.write(data)
        if not more:
            exchange.finish()
            self._gone.set()
        elif not self._gate.is_set():
            await self._gate.wait()
