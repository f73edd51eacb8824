"""What llhttp calls while it parses: puts heads and bodies together, holds them against the limits, hands on whole requests.

It runs strict, so ambiguous framing (two lengths, length and chunks, folded headers, bare line feeds) never becomes a
request. What is wrong is kept in ``refusal``; from then on nothing more becomes a request. It answers nobody and keeps
no time: the connection does.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

import httptools

from podium.errors import BodyTooLarge, InvalidRequest, PodiumError
from podium.server.admittance import Admittance
from podium.server.exchange import Exchange
from podium.server.limits import Limits

_ONCE = frozenset({b"host", b"content-length", b"authorization", b"x-api-key"})
_SWITCHING = frozenset({b"upgrade", b"connection", b"http2-settings"})


class RequestReader:
    """The parser of one connection and what it has read so far."""

    __slots__ = (
        "_admittance",
        "_body",
        "_chunk",
        "_first",
        "_limits",
        "_parser",
        "_size",
        "_transport",
        "fed",
        "head_done",
        "headers",
        "private",
        "queue",
        "refusal",
        "stopping",
        "url",
        "wants_continue",
    )

    def __init__(self, transport: asyncio.Transport, limits: Limits, admittance: Admittance, *, private: bool) -> None:
        self._transport = transport
        self._limits = limits
        self._admittance = admittance
        self._parser = httptools.HttpRequestParser(self)
        self._chunk = 0
        self.private = private
        self.queue: deque[Exchange] = deque()
        """Whole requests that nobody has taken yet, in order."""
        self.refusal: PodiumError | None = None
        """Why nothing more of this connection is read."""
        self.stopping = False
        """Requests read from now on are the last."""
        self._reset()

    def _reset(self) -> None:
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self.fed = 0
        """Bytes of the reads that hold a head which is not complete; 0 between requests."""
        self._first = 0
        """Bytes of the first of them."""
        self.head_done = False
        """Headers are complete, the body is not."""
        self.wants_continue = False
        """Its client asks for leave to send the body."""

    def feed(self, data: bytes) -> None:
        """Parse what came."""
        self._chunk = len(data)
        if not self.head_done:
            self.fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as err:
            if self.refusal is None:
                self._decline_upgrade(data[err.args[0] :])
        except httptools.HttpParserError as err:
            if self.refusal is None:
                self.refusal = InvalidRequest(f"this is not a proper HTTP/1.1 request: {err}", code="bad_http")
        limit = self._limits.head_bytes
        # the read a request began in may hold the end of another: of it only what was parsed is counted
        if self.fed > limit and not self.head_done and max(self.fed - self._first, self._head_size()) > limit:
            self.refusal = self.refusal or self._head_too_large()

    def expected(self) -> float:
        """Bytes of the body whose head is read; of chunks nobody knows how many."""
        length = self.headers.get(b"content-length")
        return math.inf if length is None else int(length)

    def forget(self) -> None:
        """Drop what has come of a body that nobody will use."""
        self._body.clear()

    # ------------------------------------------------------------ called by llhttp

    def on_message_begin(self) -> None:
        if self.refusal is None:
            self._reset()
            self.fed = self._first = self._chunk

    def on_url(self, url: bytes) -> None:
        self.url = self.url + url if self.url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done or self.refusal is not None:
            return  # trailers carry nothing we trust
        name = name.lower()
        headers = self.headers
        if name in headers:
            if name in _ONCE:
                self.refusal = InvalidRequest(f"the header {name.decode()} may be sent only once", code="bad_http")
            joint = b"; " if name == b"cookie" else b", "
            headers[name] = headers[name] + joint + value
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        self.head_done = True
        if self.refusal is not None:
            return
        limits, headers = self._limits, self.headers
        if self.fed > limits.head_bytes and self._head_size() > limits.head_bytes:
            self.refusal = self._head_too_large()
            return
        self.refusal = self._admittance.check(headers, self.url, self._parser.get_http_version())
        if self.refusal is not None:
            return
        length = headers.get(b"content-length")
        if length is not None and int(length) > limits.body_bytes:
            self.refusal = self._body_too_large()
        elif b"expect" in headers:
            if headers[b"expect"].lower() == b"100-continue":
                self.wants_continue = True
            else:
                self.refusal = InvalidRequest("only 'Expect: 100-continue' is understood", status=417)

    def on_body(self, data: bytes) -> None:
        if self.refusal is not None:
            return
        self._size += len(data)
        if self._size > self._limits.body_bytes:
            self._body.clear()
            self.refusal = self._body_too_large()
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        parser = self._parser
        if self.refusal is not None or parser.should_upgrade():
            return
        path, _, query = self.url.partition(b"?")
        parts = self._body
        exchange = Exchange(
            self._transport,
            method=parser.get_method().decode(),
            path=self._admittance.origin_form(path).decode("latin-1"),
            query=query,
            headers=self.headers,
            body=parts[0] if len(parts) == 1 else b"".join(parts),
            http_1_0=parser.get_http_version() == "1.0",
            keep_alive=parser.should_keep_alive() and not self.stopping,
            private=self.private,
        )
        self.head_done = self.wants_continue = False
        self.fed = 0
        self.queue.append(exchange)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Serve the request as plain HTTP/1.1 (RFC 9110, 7.8): parse it again without its wish to switch."""
        lines = [b"%b: %b\r\n" % item for item in self.headers.items() if item[0] not in _SWITCHING]
        method = self._parser.get_method()
        if method == b"CONNECT":
            self.refusal = InvalidRequest("this server is not a proxy", status=405)
            return
        self._parser = httptools.HttpRequestParser(self)
        self.feed(b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self.url, b"".join(lines)) + rest)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers.items())

    def _head_too_large(self) -> PodiumError:
        return BodyTooLarge(
            f"request line and headers are over {self._limits.head_bytes} bytes; send less in headers",
            status=431,
            code="headers_too_large",
        )

    def _body_too_large(self) -> PodiumError:
        return BodyTooLarge(
            f"the request body is over {self._limits.body_bytes} bytes; send a smaller one or raise the limit"
        )
