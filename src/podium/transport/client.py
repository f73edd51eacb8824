"""A pooled HTTP/1.1 client for one origin: TCP, TLS or a unix socket. Owns the connections and their deadlines.

Policy (retries of answers, fallbacks, breakers) is not its business; it repeats a request only when a kept
connection turns out to be dead before a byte of an answer came.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.errors import Forbidden, InvalidRequest, ProviderTimeout, ProviderUnreachable
from podium.transport.addresses import EVERYWHERE, Reach
from podium.transport.connection import Connection
from podium.transport.reply import HttpReply

RawHeaders = Sequence[tuple[bytes, bytes]]
_ADDRESSES_TRIED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a server listens: ``host`` and ``port`` (with ``tls`` for https), or ``unix_path``."""

    host: str = "localhost"
    port: int = 0
    unix_path: Path | None = None
    tls: ssl.SSLContext | None = None
    address: str | None = None
    """The IP address to connect to, when what ``host`` resolves to has been looked at already."""

    def __str__(self) -> str:
        """As it is named in messages."""
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def authority(self) -> bytes:
        """The value of the Host header."""
        if self.unix_path is not None:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return (host if self.port == default else f"{host}:{self.port}").encode(
            "idna" if not host.isascii() else "ascii"
        )


class HttpClient:
    """Requests to one origin over kept connections, newest first.

    ``max_idle`` bounds the kept connections, ``idle_s`` how long one is kept, ``max_body`` what ``read()`` of a
    reply takes. ``reach`` is asked about the address of every connection before it is made, so that a name cannot
    lead elsewhere the second time. Redirects are replies like others: nothing is followed. Use it on one event
    loop; ``aclose`` ends everything.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        max_idle: int = 64,
        idle_s: float = 30.0,
        max_body: int = 64 * 1024 * 1024,
        reach: Reach = EVERYWHERE,
    ) -> None:
        self.origin = origin
        self._reach = reach
        self.name = str(origin)
        self.loop: asyncio.AbstractEventLoop
        self._head_tail = b" HTTP/1.1\r\nhost: " + origin.authority + b"\r\n"
        self._max_idle = max_idle
        self._idle_s = idle_s
        self._max_body = max_body
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._wake_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._drained: asyncio.Event | None = None

    @property
    def idle(self) -> int:
        """Connections kept for the next request."""
        return len(self._idle)

    @property
    def connections(self) -> int:
        """All open connections."""
        return len(self._open)

    async def request(
        self,
        method: bytes,
        path: bytes,
        *,
        headers: RawHeaders = (),
        body: bytes = b"",
        connect_s: float,
        first_byte_s: float,
        total_s: float,
    ) -> HttpReply:
        """Send one request and return when status and headers are there.

        ``first_byte_s`` runs until the first byte of the body, ``total_s`` until its end; both may still fail
        ``read`` or ``relay`` of the reply. Raises ``ProviderUnreachable``, ``ProviderTimeout``, and
        ``ProviderError`` for an answer that is not HTTP. An HTTP error status is a reply.
        """
        head = self._head(method, path, headers, body)
        while True:
            connection = self._take() or await self._dial(connect_s)
            reused = connection.used
            reply = HttpReply(connection, self._max_body)
            connection.send(head, body, reply, bodyless=method == b"HEAD", first_byte_s=first_byte_s, total_s=total_s)
            if connection.deadline < self._wake_at:
                self._arm(connection.deadline)
            try:
                await reply.started()
            except ProviderUnreachable:
                if reused and not connection.answered:
                    self._drop_idle()  # the server closed them all, most likely: the next attempt dials
                    continue
                raise
            return reply

    async def aclose(self) -> None:
        """Close every connection; replies under way fail."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._idle.clear()
        for connection in list(self._open):
            connection.shut()
        if self._open:
            self._drained = asyncio.Event()
            await self._drained.wait()

    # ------------------------------------------------------------ pool

    def release(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= self._max_idle:
            connection.abandon()
            return
        connection.deadline = self.loop.time() + self._idle_s
        if connection.deadline < self._wake_at:
            self._arm(connection.deadline)
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._drained is not None and not self._open:
            self._drained.set()

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().abandon()

    async def _dial(self, connect_s: float) -> Connection:
        if self._closed:
            raise ProviderUnreachable(f"the client of {self.name} is closed")
        self.loop = loop = asyncio.get_running_loop()
        origin = self.origin
        try:
            async with asyncio.timeout(connect_s):
                if origin.unix_path is not None:
                    _, connection = await loop.create_unix_connection(
                        lambda: Connection(self), str(origin.unix_path), ssl=origin.tls
                    )
                else:
                    connection = await self._reached(loop)
        except TimeoutError as err:
            raise ProviderTimeout(
                f"{self.name} did not accept a connection within {connect_s:g} s; check the address and the network"
            ) from err
        except ssl.SSLCertVerificationError as err:
            raise ProviderUnreachable(
                f"the certificate of {self.name} is not trusted ({err.verify_message}); if it is one of your own, name the "
                "file with its authority in SSL_CERT_FILE"
            ) from err
        except (OSError, UnicodeError, ssl.SSLError) as err:
            raise ProviderUnreachable(
                f"cannot connect to {self.name} ({err}); see whether the server is running"
            ) from err
        if connection.closed:
            raise ProviderUnreachable(f"{self.name} closed the connection at once; see whether it is the right server")
        self._open.add(connection)
        return connection

    async def _reached(self, loop: asyncio.AbstractEventLoop) -> Connection:
        """A connection to the first address that takes one. Raises ``Forbidden`` before anything is sent to a refused one."""
        addresses = await self._addresses(loop)
        for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self),
                    address,
                    self.origin.port,
                    ssl=self.origin.tls,
                    server_hostname=self.origin.host if self.origin.tls is not None else None,
                )
            except OSError:
                if not left:
                    raise
            else:
                return connection
        raise AssertionError("there was no address")

    async def _addresses(self, loop: asyncio.AbstractEventLoop) -> Sequence[str]:
        """What to connect to: the address that was given, or those of the name that may be connected to."""
        origin, reach = self.origin, self._reach
        given = origin.address or origin.host
        if reach is EVERYWHERE:
            return (given,)
        try:
            self._refuse(reach.refusal(given))
        except ValueError:
            self._refuse(reach.refusal_of_name(given))
            if known := reach.known(given):
                return known
            found = await loop.getaddrinfo(given, origin.port, type=socket.SOCK_STREAM)
            every = list(dict.fromkeys(str(entry[4][0]) for entry in found))
            allowed = [address for address in every if reach.refusal(address) is None]
            if not allowed:
                self._refuse(next(filter(None, map(reach.refusal, every)), "it has no address"))
            return allowed[:_ADDRESSES_TRIED]
        return (given,)

    def _refuse(self, why: str | None) -> None:
        if why is not None:
            raise Forbidden(f"{self.name} is not called: {why}; see [network] in podium.toml", code="address_refused")

    def _head(self, method: bytes, path: bytes, headers: RawHeaders, body: bytes) -> bytes:
        lines = [method, b" ", path, self._head_tail]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        count = len(headers) + 3
        if body or method not in (b"GET", b"HEAD"):
            lines.append(b"content-length: %d\r\n" % len(body))
            count += 1
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != count or head.count(b"\r") != count or head.count(b" ", 0, head.index(b"\r")) != 2:
            raise InvalidRequest("a request line or header for the model's server holds a line break or a space")
        return head

    # ------------------------------------------------------------ deadlines

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at = at
        self._timer = self.loop.call_at(at, self._watch)

    def _watch(self) -> None:
        """One timer for all connections: fail what is due, sleep until the next."""
        self._timer = None
        self._wake_at = math.inf
        now = self.loop.time()
        for connection in [c for c in self._open if c.deadline <= now]:
            if connection in self._idle:
                self._idle.remove(connection)
            connection.expire()
        following = min((c.deadline for c in self._open if not c.closed), default=math.inf)
        if following < math.inf:
            self._arm(following)
