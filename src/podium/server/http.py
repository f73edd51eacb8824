"""The listener: one port, two planes. Owns the sockets, the set of connections and their deadlines.

``/v1`` goes to the data-plane handler, everything else to the ASGI application.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from podium.errors import ConfigError, NotFound, Overloaded, PodiumError
from podium.server.admittance import Admittance
from podium.server.asgi import AsgiApp, AsgiBridge
from podium.server.connection import Gate, Handler, HttpProtocol
from podium.server.exchange import Exchange
from podium.server.limits import Limits

BACKLOG = 2048


class HttpServer:
    """Serve until ``stop``. One start per object."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        allowed_hosts: frozenset[str] | None = None,
        allowed_origins: frozenset[str] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._admittance = Admittance(allowed_hosts, allowed_origins)
        self._connections: set[HttpProtocol] = set()
        self._server: asyncio.Server | None = None
        self._data: Handler = _nothing_here
        self._gate: Gate | None = None
        self._rest: Handler = _nothing_here
        self._address = ""
        self._unix_path: Path | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        limits = self.limits
        shortest = min(
            limits.head_s, limits.body_idle_s, limits.body_s, limits.keep_alive_s, limits.linger_s, limits.unread_s
        )
        self._tick_s = min(1.0, max(0.02, shortest / 4))

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        data_handler: Handler,
        gate: Gate | None = None,
        asgi_app: AsgiApp | None = None,
        unix_path: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listen on ``host:port`` (0 picks a free port) or on ``unix_path``. Raises ``ConfigError``.

        ``gate`` is asked about every request before it gets a task.
        """
        self._data = data_handler
        self._gate = gate
        if asgi_app is not None:
            self._rest = AsgiBridge(asgi_app, None if gate is None else gate.wait)
        loop = asyncio.get_running_loop()
        try:
            if unix_path is not None:
                self._server = await loop.create_unix_server(self._connect, str(unix_path), backlog=BACKLOG)
                os.chmod(unix_path, 0o600)  # noqa: PTH101 - pathlib is refused in coroutines; whoever connects acts for the owner
                self._unix_path = unix_path
                self._address = f"unix:{unix_path}"
            else:
                self._server = await loop.create_server(
                    self._connect,
                    host,
                    port,
                    backlog=BACKLOG,
                    ssl=tls,
                    ssl_handshake_timeout=None if tls is None else self.limits.head_s,
                    ssl_shutdown_timeout=None if tls is None else self.limits.linger_s,
                )
                bound = self._server.sockets[0].getsockname()
                name = f"[{host}]" if ":" in host else host
                self._address = f"{'http' if tls is None else 'https'}://{name}:{bound[1]}"
        except OSError as err:
            where = f"unix:{unix_path}" if unix_path is not None else f"{host}:{port}"
            if err.errno == errno.EADDRINUSE:
                text = f"{where} is taken; stop the program that listens there or choose another port"
            elif err.errno in (errno.EACCES, errno.EPERM):
                text = f"not allowed to listen on {where}; choose a port above 1023 or a place you may write to"
            else:
                text = f"cannot listen on {where}: {err.strerror or err}; choose an address of this machine"
            raise ConfigError(text, code="cannot_listen") from err

    @property
    def address(self) -> str:
        """``http://host:port``, ``https://host:port`` or ``unix:path``."""
        return self._address

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Stop accepting, let requests under way end within ``grace_s``, then cut the rest; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._unix_path is not None:
            self._unix_path.unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.stop()
        tasks = [c.task for c in self._connections if c.task is not None]
        await self._until_empty(grace_s)
        for connection in list(self._connections):
            connection.abort()
        await self._until_empty(1.0)
        running = [t for t in tasks if not t.done()]
        if running:
            await asyncio.wait(running, timeout=1.0)
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    async def _until_empty(self, limit_s: float) -> None:
        if not self._connections:
            return
        self._empty.clear()
        try:
            async with asyncio.timeout(limit_s):
                await self._empty.wait()
        except TimeoutError:
            return

    # ------------------------------------------------------------ the connections' side

    def _connect(self) -> HttpProtocol:
        return HttpProtocol(self, self.limits, self._admittance, self._gate)

    def joined(self, connection: HttpProtocol) -> PodiumError | None:
        self._connections.add(connection)
        if self._ticker is None:
            self._ticker = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
        if len(self._connections) > self.limits.connections:
            return Overloaded(
                f"more than {self.limits.connections} connections; reuse connections or try again later",
                retry_after_s=1.0,
            )
        return None

    def left(self, connection: HttpProtocol) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def handler(self, exchange: Exchange) -> Handler:
        path = exchange.path
        return self._data if path.startswith("/v1/") or path == "/v1" else self._rest

    def _tick(self) -> None:
        """One timer for all connections; none while there are none."""
        self._ticker = None
        if not self._connections:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.expire()
        self._ticker = loop.call_later(self._tick_s, self._tick)


def _nothing_here(exchange: Exchange) -> Awaitable[None]:
    raise NotFound(f"nothing is served at {exchange.path}; the API is under /v1")


DataHandler = Callable[[Exchange], Awaitable[None]]

__all__ = ["DataHandler", "Exchange", "HttpProtocol", "HttpServer", "Limits"]
