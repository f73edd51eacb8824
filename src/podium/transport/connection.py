"""One keep-alive HTTP/1.1 connection to a model's server, parsed by llhttp. Owns the socket, not the pool.

Every way a peer can misbehave (close, reset, garbage, silence, too much) ends in exactly one call of the
current reply: ``finish`` or ``fail``.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol, cast

import httptools

from podium.errors import ProviderError, ProviderTimeout, ProviderUnreachable
from podium.transport.reply import HttpReply

MAX_HEAD_BYTES = 256 * 1024


class Owner(Protocol):
    """The pool a connection belongs to."""

    name: str
    loop: asyncio.AbstractEventLoop

    def release(self, connection: Connection) -> None:
        """The connection is clean and idle."""
        ...

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""
        ...


class Connection(asyncio.Protocol):
    """``deadline`` is the loop time at which ``expire`` is due; the owner watches it."""

    __slots__ = (
        "_answered",
        "_bodyless",
        "_eof",
        "_first_byte_s",
        "_framed",
        "_head_bytes",
        "_interim",
        "_owner",
        "_parser",
        "_paused",
        "_reply",
        "_total_at",
        "_transport",
        "_usable",
        "closed",
        "deadline",
        "used",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._reply: HttpReply | None = None
        self._answered = False
        self._usable = True
        self._paused = False
        self._eof = False
        self._interim = False
        self._framed = False
        self._bodyless = False
        self._head_bytes = 0
        self._first_byte_s = 0.0
        self._total_at = math.inf
        self.deadline = math.inf
        self.used = False
        self.closed = False

    # ------------------------------------------------------------ owner and reply

    @property
    def answered(self) -> bool:
        """True once any byte came back for the current request."""
        return self._answered

    def send(
        self, data: bytes, body: bytes, reply: HttpReply, *, bodyless: bool, first_byte_s: float, total_s: float
    ) -> None:
        """Write one request whose answer goes to ``reply``. ``bodyless``: the answer has no body (HEAD)."""
        now = self._owner.loop.time()
        self._reply = reply
        self._answered = False
        self._bodyless = bodyless
        self._first_byte_s = first_byte_s
        self._total_at = now + total_s
        self.deadline = now + min(first_byte_s, total_s)
        if len(body) < 65536:
            self._transport.write(data + body)
        else:
            self._transport.write(data)
            self._transport.write(body)

    def pause(self) -> None:
        if not self._paused and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self.closed:
                self._transport.resume_reading()

    def abandon(self) -> None:
        self._reply = None
        self.closed = True
        self._transport.abort()

    def expire(self) -> None:
        """The deadline passed: an idle connection is dropped, a busy one fails its reply."""
        reply = self._reply
        if reply is not None:
            if self.deadline >= self._total_at:
                text = f"the answer of {self._owner.name} was not complete in time; allow more time or ask for less"
            else:
                text = (
                    f"{self._owner.name} sent nothing for {self._first_byte_s:g} s; "
                    "see whether it is overloaded or still loading, or allow more time"
                )
            self._fail(ProviderTimeout(text))
        else:
            self.abandon()

    def shut(self) -> None:
        """The client closes: fail what is under way, drop the connection."""
        self._fail(ProviderUnreachable(f"the client of {self._owner.name} was closed"))

    def _fail(self, error: ProviderError) -> None:
        reply = self._reply
        self.abandon()
        if reply is not None:
            reply.fail(error)

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        reply = self._reply
        if reply is None:  # nobody asked: not a connection to trust
            self.abandon()
            return
        self._answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(ProviderError(f"{self._owner.name} wants to switch protocols, which was not asked for"))
            return
        except httptools.HttpParserError as err:
            if self._reply is None:
                self.abandon()
            else:
                reply.flush()
                self._fail(
                    ProviderError(f"{self._owner.name} does not speak proper HTTP ({err}); check its address and port")
                )
            return
        if self._reply is None:
            if not self._usable:
                self.abandon()
            return
        if not reply.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(ProviderError(f"{self._owner.name} sent more than {MAX_HEAD_BYTES} bytes of headers"))
            return
        reply.flush()

    def eof_received(self) -> None:
        self._eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        reply, self._reply = self._reply, None
        self._owner.forget(self)
        if reply is None:
            return
        if reply.status and not self._framed and self._eof and exc is None:
            reply.finish()  # an answer without a length ends with the connection
            return
        why = f": {exc}" if exc is not None and str(exc) else ""
        when = "in the middle of its answer" if self._answered else "without an answer"
        reply.fail(ProviderUnreachable(f"{self._owner.name} closed the connection {when}{why}; see whether it crashed"))

    # ------------------------------------------------------------ llhttp

    def on_message_begin(self) -> None:
        self._interim = False
        self._framed = False
        if self._reply is None:
            self._usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        reply = self._reply
        if reply is None or reply.status:
            return  # trailers are not passed on
        name = name.lower()
        if name == b"content-type":
            reply.content_type = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        reply.headers.append((name, value))

    def on_headers_complete(self) -> None:
        reply = self._reply
        if reply is None:
            return
        status: int = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            reply.headers.clear()
            reply.content_type = ""
            return
        self._head_bytes = 0
        reply.begin(status)
        if self._bodyless:
            self._complete(reply, keep=False)

    def on_body(self, data: bytes) -> None:
        reply = self._reply
        if reply is None:
            return
        self.deadline = max(self.deadline, self._total_at)
        reply.feed(data)

    def on_message_complete(self) -> None:
        reply = self._reply
        if reply is not None and not self._interim:
            self._complete(reply, keep=self._parser.should_keep_alive())

    def _complete(self, reply: HttpReply, *, keep: bool) -> None:
        self._reply = None
        self.used = True
        if self._paused:
            self.resume()
        if keep and not self._transport.get_write_buffer_size():
            self._owner.release(self)
        else:
            self.closed = True
            self._transport.abort()
        reply.finish()
