"""One client connection: requests in order, one at a time, each with its task. Owns deadlines and backpressure; parses nothing.

What is refused here is answered, then the connection ends: after an error nobody knows where the next request begins.
A client that closes its side while its request is being worked on has left: its handler is cancelled. (A half-closed
client that still wants an answer looks the same on the wire and is treated the same, as nginx does for proxied requests.)
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, cast

from podium.errors import InternalError, InvalidRequest, PodiumError
from podium.server.admittance import Admittance
from podium.server.exchange import Exchange
from podium.server.limits import Limits
from podium.server.rendering import render_for
from podium.server.request_reader import RequestReader

logger = logging.getLogger("podium.server")

HELD_BYTES = 64 * 1024
"""What is taken of the next request while one is in flight; then reading stops."""
SLICE_BYTES = 16 * 1024
"""What is parsed at a time: requests behind a whole one stay bytes, which take a fraction of the memory, until it is answered."""

IDLE, HEAD, BODY, BUSY, LINGER = range(5)
"""What the connection waits for. Plain integers: a member of an enum costs a lookup on every read."""

Handler = Callable[[Exchange], Awaitable[None]]


class Listener(Protocol):
    """What a connection needs of the server it belongs to."""

    def joined(self, connection: HttpProtocol) -> PodiumError | None:
        """A new connection; an error when there are too many."""
        ...

    def left(self, connection: HttpProtocol) -> None:
        """The connection is closed."""
        ...

    def handler(self, exchange: Exchange) -> Handler:
        """Who answers this request."""
        ...


class Gate(Protocol):
    """Decides from the head of a request whether it may pass; see ``server.gate``."""

    def enter(self, exchange: Exchange) -> PodiumError | None: ...

    def look(self, url: bytes, headers: Mapping[bytes, bytes], *, private: bool) -> PodiumError | None: ...

    def request_id(self, headers: Mapping[bytes, bytes]) -> str: ...

    def wait_s(self, exchange: Exchange) -> float: ...

    def hold(self, connection: HttpProtocol, wait_s: float) -> None: ...

    async def wait(self, exchange: Exchange) -> None: ...

    def refuse(self, exchange: Exchange, err: PodiumError) -> None: ...


class HttpProtocol(asyncio.Protocol):
    """``deadline`` is the loop time at which ``expire`` is due; the listener watches it."""

    __slots__ = (
        "_body_until",
        "_exchange",
        "_gate",
        "_held",
        "_held_bytes",
        "_listener",
        "_loop",
        "_paused",
        "_reader",
        "_reading",
        "_task",
        "_transport",
        "admittance",
        "deadline",
        "limits",
        "phase",
    )

    def __init__(self, listener: Listener, limits: Limits, admittance: Admittance, gate: Gate | None = None) -> None:
        self._listener = listener
        self._gate = gate
        self.limits = limits
        self.admittance = admittance
        self.phase = IDLE
        self.deadline = math.inf
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._reading = True
        self._body_until = math.inf

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        private = not isinstance(transport.get_extra_info("sockname"), tuple)
        self._reader = RequestReader(self._transport, self.limits, self.admittance, private=private)
        self.deadline = self._loop.time() + self.limits.keep_alive_s
        crowded = self._listener.joined(self)
        if crowded is not None:
            self._refuse(crowded)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.left(self)
        self.deadline = math.inf
        self._reader.queue.clear()
        self._held.clear()
        exchange = self._exchange
        if exchange is not None:
            exchange.disconnected = True
            if not exchange.ended:
                if exchange.on_disconnect is not None:
                    exchange.on_disconnect()
                task = self._task
                if exchange.cancel_on_disconnect and task is not None:
                    task.cancel()
                    if exchange.grant is not None and _unbegun(task):
                        exchange.grant.leave()  # nobody else will

    def eof_received(self) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.ended:
            self._transport.abort()  # at once, even when there is unsent data

    def data_received(self, data: bytes) -> None:
        if self.phase is BUSY:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes > HELD_BYTES:
                self._read(False)
        elif self.phase is not LINGER:
            if len(data) <= SLICE_BYTES:
                self._reader.feed(data)
            else:
                self._feed(data)
            self._turn()

    def pause_writing(self) -> None:
        self._paused = True
        if self.phase is BUSY:
            self.deadline = self._loop.time() + self.limits.unread_s
        exchange = self._exchange
        if exchange is not None:
            exchange.paused = True
            if exchange.on_pause is not None:
                exchange.on_pause()

    def resume_writing(self) -> None:
        self._paused = False
        if self.phase is BUSY:
            self.deadline = math.inf
        exchange = self._exchange
        if exchange is not None:
            exchange.paused = False
            if exchange.on_resume is not None:
                exchange.on_resume()

    # ------------------------------------------------------------ order

    def _turn(self) -> None:
        """Nothing is under way: start the next request, or note what is awaited and until when."""
        reader = self._reader
        while True:
            while reader.queue:
                if not self._start(reader.queue.popleft()):
                    if reader.refusal is not None and self.phase is BUSY:
                        self._read(False)  # requests before it are answered first
                    return
            if not self._held or reader.refusal is not None:
                break
            self._feed(b"".join(self._held))
        if reader.refusal is not None:
            self._refuse(reader.refusal)
            return
        if self.phase is BUSY:
            self.phase = IDLE
            self.deadline = self._loop.time() + self.limits.keep_alive_s
        if reader.head_done:
            self._await_body()
        elif reader.fed and self.phase is not HEAD:
            self.phase = HEAD
            self.deadline = self._loop.time() + self.limits.head_s
        self._read(True)

    def _feed(self, data: bytes) -> None:
        """Parse up to the slice in which a request is whole, and hold the rest."""
        reader, at = self._reader, 0
        while at < len(data) and not reader.queue and reader.refusal is None:
            reader.feed(data[at : at + SLICE_BYTES])
            at += SLICE_BYTES
        rest = data[at:]
        self._held, self._held_bytes = [rest] if rest else [], len(rest)
        if len(rest) > HELD_BYTES:
            self._read(False)

    def _await_body(self) -> None:
        reader = self._reader
        now = self._loop.time()
        if self.phase is not BODY:
            self.phase = BODY
            self._body_until = now + self.limits.body_s
            gate = self._gate
            if gate is not None and (reader.wants_continue or reader.expected() > HELD_BYTES):
                refused = gate.look(reader.url, reader.headers, private=reader.private)
                if refused is not None:
                    self._refuse(refused, gate.request_id(reader.headers))
                    return
            if reader.wants_continue:
                reader.wants_continue = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.deadline = min(now + self.limits.body_idle_s, self._body_until)

    def _start(self, exchange: Exchange) -> bool:
        """Give it a task, unless it may not pass. True when it is answered and the next one may start."""
        self._exchange = exchange
        exchange.paused = self._paused
        self.phase = BUSY
        self.deadline = self._loop.time() + self.limits.unread_s if self._paused else math.inf
        gate = self._gate
        if gate is not None and (refused := gate.enter(exchange)) is not None:
            wait_s = gate.wait_s(exchange)
            if wait_s:
                gate.hold(self, wait_s)
                self._read(False)  # what it sends meanwhile costs nothing; that it left is seen afterwards
                return False
            return self._turn_away(exchange, refused)
        self._task = self._loop.create_task(self._serve(exchange))
        if not self._reading and self._held_bytes <= HELD_BYTES:
            self._read(True)
        return False

    def reconsider(self) -> None:
        """A request that had to wait for its refusal gets it, or is let in if things have changed."""
        exchange, gate = self._exchange, self._gate
        if exchange is None or exchange.disconnected or gate is None:
            return
        refused = gate.enter(exchange)
        if refused is None:
            self._task = self._loop.create_task(self._serve(exchange))
            self._read(self._held_bytes <= HELD_BYTES)
        elif self._turn_away(exchange, refused):
            self._turn()

    def _turn_away(self, exchange: Exchange, refused: PodiumError) -> bool:
        assert self._gate is not None
        self._gate.refuse(exchange, refused)
        self._exchange = None
        return self._stays(exchange.keep_alive)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._listener.handler(exchange)(exchange)
            if not exchange.ended:
                if exchange.bytes_started:
                    exchange.finish()
                elif not exchange.disconnected:
                    raise InternalError("the handler ended without an answer; please report this")  # noqa: TRY301 - rendered below like any other
        except PodiumError as err:
            self._answer_error(exchange, err)
        except Exception:
            logger.exception("a handler failed on %s %s", exchange.method, exchange.path)
            self._answer_error(exchange, InternalError("an unexpected error; the log of the gateway says more"))
        except asyncio.CancelledError:
            if not exchange.ended:
                exchange.abort()
            raise
        finally:
            self._task = None
            self._exchange = None
            if not exchange.disconnected:
                self._proceed(exchange.keep_alive)

    def _answer_error(self, exchange: Exchange, err: PodiumError) -> None:
        if exchange.bytes_started:
            if not exchange.ended:
                exchange.abort()
        elif not exchange.disconnected:
            exchange.respond(*render_for(exchange.path, err, exchange.request_id))

    def _proceed(self, keep_alive: bool) -> None:
        """The answer is written: close, or turn to the next request."""
        if self._stays(keep_alive):
            self._turn()

    def _stays(self, keep_alive: bool) -> bool:
        if keep_alive and not self._reader.stopping and not self._transport.is_closing():
            return True
        self.phase = LINGER
        self.deadline = self._loop.time() + self.limits.keep_alive_s
        self._transport.close()
        return False

    def _refuse(self, err: PodiumError, request_id: str | None = None) -> None:
        """Answer, say that nothing more comes, throw away what still arrives, close."""
        exchange = Exchange(self._transport, method="GET", path="", query=b"", headers={}, body=b"", keep_alive=False)
        exchange.respond(*render_for(self._reader.url, err, request_id))
        self.phase = LINGER
        self.deadline = self._loop.time() + self.limits.linger_s
        self._reader.forget()
        self._read(True)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _read(self, wanted: bool) -> None:
        if wanted is not self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # ------------------------------------------------------------ the listener's side

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The handler at work."""
        return self._task

    def expire(self) -> None:
        """The deadline passed."""
        if self.phase in (HEAD, BODY) and self._exchange is None:
            what = "headers" if self.phase is HEAD else "body"
            self._refuse(
                InvalidRequest(f"the {what} of the request did not come in time", status=408, code="request_timeout")
            )
        else:
            self._transport.abort()

    def stop(self) -> None:
        """Serve what is under way, then close."""
        self._reader.stopping = True
        if self.phase in (IDLE, HEAD):
            self._transport.close()
        elif self._exchange is not None and not self._exchange.bytes_started:
            self._exchange.keep_alive = False

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()


def _unbegun(task: asyncio.Task[None]) -> bool:
    """Whether not one line of it has run; cancelled now, none ever will."""
    return inspect.getcoroutinestate(cast("Coroutine[Any, Any, None]", task.get_coro())) == inspect.CORO_CREATED
