"""One client connection: bytes in, exchanges out, one at a time and in order. Owns its parser and its clock.

llhttp runs strict, so ambiguous framing (two lengths, length and chunks, folded headers, bare line feeds)
never becomes a request. What is refused here is answered, then the connection ends: after an error nobody
knows where the next request begins. A client that closes its side while its request is being worked on has
left: its handler is cancelled. (A half-closed client that still wants an answer looks the same on the wire
and is treated the same, as nginx does for proxied requests.)
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

import httptools

from podium.errors import BodyTooLarge, InternalError, InvalidRequest, PodiumError
from podium.server.admittance import Admittance
from podium.server.exchange import Exchange
from podium.server.limits import Limits
from podium.server.rendering import render_for

logger = logging.getLogger("podium.server")

HELD_BYTES = 64 * 1024
"""What is taken of the next request while one is in flight; then reading stops."""
_ONCE = frozenset({b"host", b"content-length", b"authorization", b"x-api-key"})


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


class HttpProtocol(asyncio.Protocol):
    """``deadline`` is the loop time at which ``expire`` is due; the listener watches it."""

    __slots__ = (
        "_body",
        "_body_until",
        "_chunk",
        "_continue",
        "_exchange",
        "_fed",
        "_head_done",
        "_headers",
        "_held",
        "_held_bytes",
        "_listener",
        "_loop",
        "_parser",
        "_paused",
        "_private",
        "_queue",
        "_reading",
        "_refusal",
        "_size",
        "_stopping",
        "_task",
        "_transport",
        "_url",
        "admittance",
        "deadline",
        "limits",
        "phase",
    )

    def __init__(self, listener: Listener, limits: Limits, admittance: Admittance) -> None:
        self._listener = listener
        self.limits = limits
        self.admittance = admittance
        self.phase = IDLE
        self.deadline = math.inf
        self._queue: deque[Exchange] = deque()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = self._private = False
        self._reading = True
        self._stopping = False
        self._refusal: PodiumError | None = None
        self._chunk = 0
        self._body_until = math.inf
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._fed = 0
        self._head_done = False
        self._continue = False

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._private = not isinstance(transport.get_extra_info("sockname"), tuple)
        self._parser = httptools.HttpRequestParser(self)
        self.deadline = self._loop.time() + self.limits.keep_alive_s
        crowded = self._listener.joined(self)
        if crowded is not None:
            self._refuse(crowded)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.left(self)
        self.deadline = math.inf
        self._queue.clear()
        self._held.clear()
        exchange = self._exchange
        if exchange is not None:
            exchange.disconnected = True
            if not exchange.ended:
                if exchange.on_disconnect is not None:
                    exchange.on_disconnect()
                if exchange.cancel_on_disconnect and self._task is not None:
                    self._task.cancel()

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
            self._feed(data)

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

    # ------------------------------------------------------------ parsing

    def _feed(self, data: bytes) -> None:
        self._chunk = len(data)
        if not self._head_done:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as err:
            if self._refusal is None:
                self._decline_upgrade(data[err.args[0] :])
                return
        except httptools.HttpParserError as err:
            if self._refusal is None:
                self._refusal = InvalidRequest(f"this is not a proper HTTP/1.1 request: {err}", code="bad_http")
        self._settle()

    def _settle(self) -> None:
        """After new input: refuse, or note what is awaited next and until when."""
        busy = self._exchange is not None
        limit = self.limits.head_bytes
        # the read a request began in may hold the end of another: of it only what was parsed is counted
        if self._fed + self._chunk > limit and not self._head_done and max(self._fed, self._head_size()) > limit:
            self._refusal = self._refusal or self._head_too_large()
        if self._refusal is not None:
            if busy:
                self._read(False)  # requests before it are answered first
            else:
                self._refuse(self._refusal)
        elif busy:
            return
        elif self._head_done:
            now = self._loop.time()
            if self.phase is not BODY:
                self.phase = BODY
                self._body_until = now + self.limits.body_s
            self.deadline = min(now + self.limits.body_idle_s, self._body_until)
        elif self._fed and self.phase is not HEAD:
            self.phase = HEAD
            self.deadline = self._loop.time() + self.limits.head_s

    def on_message_begin(self) -> None:
        if self._refusal is None:
            self._reset()
            self._fed = 1  # the rest of this read is counted when the headers are complete

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done or self._refusal is not None:
            return  # trailers carry nothing we trust
        name = name.lower()
        headers = self._headers
        if name in headers:
            if name in _ONCE:
                self._refusal = InvalidRequest(f"the header {name.decode()} may be sent only once", code="bad_http")
            joint = b"; " if name == b"cookie" else b", "
            headers[name] = headers[name] + joint + value
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        self._head_done = True
        if self._refusal is not None:
            return
        if self._fed + self._chunk > self.limits.head_bytes and self._head_size() > self.limits.head_bytes:
            self._refusal = self._head_too_large()
            return
        headers = self._headers
        self._refusal = self.admittance.check(headers, self._url, self._parser.get_http_version())
        if self._refusal is not None:
            return
        length = headers.get(b"content-length")
        if length is not None and int(length) > self.limits.body_bytes:
            self._refusal = self._body_too_large()
        elif b"expect" in headers:
            if headers[b"expect"].lower() != b"100-continue":
                self._refusal = InvalidRequest("only 'Expect: 100-continue' is understood", status=417)
            elif self._exchange is None and not self._queue:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            else:
                self._continue = True

    def on_body(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._size += len(data)
        if self._size > self.limits.body_bytes:
            self._body.clear()
            self._refusal = self._body_too_large()
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._refusal is not None or self._parser.should_upgrade():
            return
        self._enqueue(keep_alive=self._parser.should_keep_alive())

    def _enqueue(self, *, keep_alive: bool) -> None:
        path, _, query = self._url.partition(b"?")
        parts = self._body
        exchange = Exchange(
            self._transport,
            method=self._parser.get_method().decode(),
            path=self.admittance.origin_form(path).decode("latin-1"),
            query=query,
            headers=self._headers,
            body=parts[0] if len(parts) == 1 else b"".join(parts),
            http_1_0=self._parser.get_http_version() == "1.0",
            keep_alive=keep_alive and not self._stopping,
            private=self._private,
        )
        self._head_done = False
        self._fed = 0
        if self._exchange is None and not self._queue:
            self._start(exchange)
        else:
            self._queue.append(exchange)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Serve the request as plain HTTP/1.1 (RFC 9110, 7.8): parse it again without its wish to switch."""
        drop = {b"upgrade", b"connection", b"http2-settings"}
        if not self._continue:
            drop.add(b"expect")
        lines = [b"%b: %b\r\n" % item for item in self._headers.items() if item[0] not in drop]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (self._parser.get_method(), self._url, b"".join(lines))
        if self._parser.get_method() == b"CONNECT":
            self._refuse(InvalidRequest("this server is not a proxy", status=405))
            return
        self._parser = httptools.HttpRequestParser(self)
        self._feed(head + rest)

    # ------------------------------------------------------------ serving

    def _start(self, exchange: Exchange) -> None:
        self._exchange = exchange
        exchange.paused = self._paused
        self.phase = BUSY
        self.deadline = self._loop.time() + self.limits.unread_s if self._paused else math.inf
        self._task = self._loop.create_task(self._serve(exchange))

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
        if not keep_alive or self._stopping or self._transport.is_closing():
            self.phase = LINGER
            self.deadline = self._loop.time() + self.limits.keep_alive_s
            self._transport.close()
            return
        if self._queue:
            self._start(self._queue.popleft())
            return
        self.phase = IDLE
        self.deadline = self._loop.time() + self.limits.keep_alive_s
        if self._continue:
            self._continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._held and self._refusal is None:
            held, self._held, self._held_bytes = b"".join(self._held), [], 0
            self._feed(held)
        else:
            self._settle()
        if self._refusal is None:
            self._read(True)

    def _refuse(self, err: PodiumError) -> None:
        """Answer, say that nothing more comes, throw away what still arrives, close."""
        exchange = Exchange(self._transport, method="GET", path="", query=b"", headers={}, body=b"", keep_alive=False)
        exchange.respond(*render_for(self._url, err))
        self.phase = LINGER
        self.deadline = self._loop.time() + self.limits.linger_s
        self._body.clear()
        self._read(True)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _head_size(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())

    def _head_too_large(self) -> PodiumError:
        return BodyTooLarge(
            f"request line and headers are over {self.limits.head_bytes} bytes; send less in headers",
            status=431,
            code="headers_too_large",
        )

    def _body_too_large(self) -> PodiumError:
        return BodyTooLarge(
            f"the request body is over {self.limits.body_bytes} bytes; send a smaller one or raise the limit"
        )

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
        self._stopping = True
        if self.phase in (IDLE, HEAD):
            self._transport.close()
        elif self._exchange is not None and not self._exchange.bytes_started:
            self._exchange.keep_alive = False

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()
