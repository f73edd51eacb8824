"""Clients that are slow on purpose: each holds a connection for a bounded time, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from podium.server.exchange import Exchange
from podium.server.http import HttpServer, Limits

pytestmark = pytest.mark.requirement("OPS-2")
LIMITS = Limits(head_s=0.4, body_idle_s=0.4, body_s=0.8, keep_alive_s=0.4, unread_s=0.4, linger_s=0.2)
PACE_S = 0.02
"""Between two bytes: far inside every limit on silence."""


class Flood:
    """Writes without end while its client takes it."""

    def __init__(self) -> None:
        self.ended: dict[str, asyncio.Event] = {"/v1/flood": asyncio.Event(), "/flood": asyncio.Event()}
        self.written = 0

    async def data(self, exchange: Exchange) -> None:
        if exchange.path != "/v1/flood":
            exchange.respond(200, (), b"quick")
            return
        room = asyncio.Event()
        room.set()
        exchange.on_pause, exchange.on_resume = room.clear, room.set
        exchange.start_stream(200)
        try:
            while True:
                await room.wait()
                exchange.write(b"x" * 65536)
                self.written += 1
                await asyncio.sleep(0)
        finally:
            self.ended[exchange.path].set()

    async def app(self, scope, receive, send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not await gone(receive):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        finally:
            self.ended["/flood"].set()


async def gone(receive) -> bool:
    """Whether the client left, as far as is known now."""
    waiting = asyncio.ensure_future(receive())
    done, _ = await asyncio.wait({waiting}, timeout=0)
    waiting.cancel()
    return bool(done) and waiting.result()["type"] == "http.disconnect"


@pytest.fixture
async def flood() -> Flood:
    return Flood()


@pytest.fixture
async def server(flood: Flood) -> AsyncIterator[HttpServer]:
    server = HttpServer(limits=LIMITS)
    await server.start(data_handler=flood.data, asgi_app=flood.app)
    yield server
    await server.stop(0.1)


async def connect(server: HttpServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(server.address.rpartition(":")[2])
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=raw)


async def answers(server: HttpServer) -> None:
    """Somebody else is served meanwhile."""
    reader, writer = await connect(server)
    writer.write(b"GET /v1/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"quick")
    writer.close()


@pytest.mark.parametrize(
    ("start", "byte"),
    [
        (b"GET /v1/x HTTP/1.1\r\nx: ", b"a"),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n", b"z"),
        (b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nz\r\n"),
    ],
    ids=["headers", "body", "chunks"],
)
async def test_a_request_that_drips_is_refused_when_its_time_is_over_however_steadily_it_comes(server, start, byte):
    reader, writer = await connect(server)
    writer.write(start)
    answer = asyncio.ensure_future(reader.read())
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            while not answer.done():
                writer.write(byte)
                await asyncio.wait({answer}, timeout=PACE_S)
    await answers(server)
    assert (await answer).startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize("path", ["/v1/flood", "/flood"])
async def test_a_client_that_never_reads_is_cut_and_what_answers_it_ends(server, flood, path):
    _, writer = await connect(server)
    writer.transport.pause_reading()
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    await answers(server)
    await asyncio.wait_for(flood.ended[path].wait(), 20)
    async with asyncio.timeout(20):
        while server.connections:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
    writer.close()


async def test_a_client_that_reads_slowly_but_reads_is_served_on(server, flood):
    reader, writer = await connect(server)
    writer.write(b"GET /v1/flood HTTP/1.1\r\nhost: x\r\n\r\n")
    loop = asyncio.get_running_loop()
    until = loop.time() + 3 * LIMITS.unread_s
    while loop.time() < until:  # far longer than the time an answer may stay unread
        assert await asyncio.wait_for(reader.read(1 << 20), 5)
    assert not flood.ended["/v1/flood"].is_set()
    writer.close()
    await asyncio.wait_for(flood.ended["/v1/flood"].wait(), 20)
