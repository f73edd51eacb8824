"""One HTTP request and its answer, as a handler sees it. Owns the framing of the answer; parses nothing.

States of the answer: nothing yet → (``respond`` | ``start_stream`` → ``write``… → ``finish``) → ended.
Writing to a client that has left is silently dropped; the handler hears of it by being cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

from podium.domain.principal import Principal
from podium.services.limiting import Grant

RawHeaders = Sequence[tuple[bytes, bytes]]
Hook = Callable[[], None]

_STATUS = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\ndate: ".encode() for s in HTTPStatus}
_NO_BODY = frozenset({204, 304})


class _Date:
    """The Date header, formatted once a second."""

    __slots__ = ("_at", "_text")

    def __init__(self) -> None:
        self._at = 0
        self._text = b""

    def now(self) -> bytes:
        at = int(time.time())
        if at != self._at:
            self._at = at
            self._text = time.strftime("%a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(at)).encode()
        return self._text


_date = _Date()


class Exchange:
    """A request, completely read, and the way to answer it.

    ``path`` is as sent (percent-encoded, without query), header names are lower-case, repeated headers are
    joined. ``on_pause`` and ``on_resume`` are called when the client's socket buffer is over and under its
    marks. A client that leaves before the end has ``on_disconnect`` called and, unless
    ``cancel_on_disconnect`` is false, the handler's task cancelled.
    """

    __slots__ = (
        "_bytes_left",
        "_chunked",
        "_mute",
        "_transport",
        "body",
        "bytes_started",
        "cancel_on_disconnect",
        "disconnected",
        "ended",
        "grant",
        "headers",
        "http_1_0",
        "keep_alive",
        "method",
        "more",
        "on_disconnect",
        "on_pause",
        "on_resume",
        "path",
        "paused",
        "principal",
        "private",
        "query",
        "request_id",
        "status",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        http_1_0: bool = False,
        keep_alive: bool = True,
        private: bool = False,
    ) -> None:
        self._transport = transport
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.http_1_0 = http_1_0
        self.private = private
        """It came by a unix socket."""
        self.keep_alive = keep_alive
        """Whether the connection may serve another request afterwards; a handler may clear it."""
        self.request_id: str | None = None
        """Set by the handler; errors rendered by the server carry it."""
        self.principal: Principal | None = None
        """For whom it acts; set by the handler that admits it."""
        self.grant: Grant | None = None
        """Its part of the limits of its key, where there are any."""
        self.more: Callable[[], RawHeaders] | None = None
        """Headers that its answer carries whatever it is; asked for when the head is written."""
        self.status = 0
        self.bytes_started = False
        """True once any byte of the answer was handed to the socket."""
        self.ended = False
        self.disconnected = False
        self.cancel_on_disconnect = True
        self.paused = False
        self.on_pause: Hook | None = None
        self.on_resume: Hook | None = None
        self.on_disconnect: Hook | None = None
        self._mute = method == "HEAD"
        self._chunked = False
        self._bytes_left: int | None = None

    def respond(self, status: int, headers: RawHeaders = (), body: bytes = b"") -> None:
        """The whole answer at once; sets ``content-length``."""
        self._claim(status)
        self.ended = True
        empty = status in _NO_BODY
        length = b"" if empty else b"content-length: %d\r\n" % len(body)
        head = self._head(status, headers, length)
        if self._mute or empty or not body:
            self._send(head)
        elif len(body) < 65536:
            self._send(head + body)
        else:
            self._send(head)
            self._send(body)

    def start_stream(self, status: int, headers: RawHeaders = ()) -> None:
        """Send status and headers now. The body is framed by a ``content-length`` in ``headers``, else in chunks."""
        self._claim(status)
        framing = b""
        for name, value in headers:
            if name.lower() == b"content-length":
                self._bytes_left = int(value)
        if status in _NO_BODY:
            self._mute = True
        elif self._bytes_left is None:
            if self.http_1_0:
                self.keep_alive = False
            else:
                self._chunked = True
                framing = b"transfer-encoding: chunked\r\n"
        self._send(self._head(status, headers, framing))

    def write(self, data: bytes) -> None:
        """One piece of a started stream."""
        if self.ended or not self.bytes_started:
            raise RuntimeError("write() belongs between start_stream() and finish()")
        if not data or self._mute:
            return
        if self._chunked:
            self._send(b"%x\r\n%b\r\n" % (len(data), data))
            return
        if self._bytes_left is not None:
            if len(data) > self._bytes_left:
                raise RuntimeError("the body is longer than its content-length")
            self._bytes_left -= len(data)
        self._send(data)

    def finish(self) -> None:
        """The end of a started stream; a second call does nothing."""
        if self.ended:
            return
        if not self.bytes_started:
            raise RuntimeError("finish() without start_stream()")
        self.ended = True
        if self._chunked:
            if not self._mute:
                self._send(b"0\r\n\r\n")
        elif self._bytes_left and not self._mute:
            self.abort()  # shorter than announced: only a cut connection tells the client

    def abort(self) -> None:
        """Cut the connection: the only honest end of a started answer that cannot be completed."""
        self.ended = True
        self.keep_alive = False
        self._transport.abort()

    def peer(self, which: str) -> tuple[str, int] | None:
        """``peername`` or ``sockname`` as (host, port); ``None`` on a unix socket."""
        name = self._transport.get_extra_info(which)
        return (name[0], name[1]) if isinstance(name, tuple) else None

    @property
    def encrypted(self) -> bool:
        """Whether it came over TLS that ends here."""
        return self._transport.get_extra_info("sslcontext") is not None

    def _claim(self, status: int) -> None:
        if self.bytes_started:
            raise RuntimeError("this request is already answered")
        self.bytes_started = True
        self.status = status

    def _head(self, status: int, headers: RawHeaders, framing: bytes) -> bytes:
        if self.more is not None:
            headers = (*headers, *self.more())
        lines = [_STATUS.get(status) or b"HTTP/1.1 %d Status\r\ndate: " % status, _date.now()]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        lines.append(framing)
        count = len(headers) + 3 + (1 if framing else 0)
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
            count += 1
        elif self.http_1_0:
            lines.append(b"connection: keep-alive\r\n")
            count += 1
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != count or head.count(b"\r") != count:
            self.bytes_started = self.ended = False
            raise ValueError("a header of the answer holds a line break")
        return head

    def _send(self, data: bytes) -> None:
        if not self.disconnected:
            self._transport.write(data)
