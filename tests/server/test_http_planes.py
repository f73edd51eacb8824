"""The other plane (FastAPI over the ASGI bridge) and the end of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from podium.errors import ConfigError
from podium.server.exchange import Exchange
from podium.server.http import HttpServer
from podium.transport.client import HttpClient, HttpReply, Origin

pytestmark = pytest.mark.requirement("API-5")


class Site:
    """A FastAPI application and the server in front of it."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.left = asyncio.Event()
        self.first = asyncio.Event()
        self.may_end = asyncio.Event()
        self.entered = asyncio.Event()
        self.server = HttpServer()

        @self.app.post("/api/echo/{name}")
        async def echo(name: str, request: Request) -> dict[str, object]:
            return {"name": name, "q": request.query_params.get("q"), "body": (await request.body()).decode()}

        @self.app.get("/events")
        async def events() -> StreamingResponse:
            async def pieces() -> AsyncIterator[str]:
                try:
                    yield "data: 1\n\n"
                    self.first.set()
                    await self.may_end.wait()
                    yield "data: 2\n\n"
                finally:
                    self.left.set()

            return StreamingResponse(pieces(), media_type="text/event-stream")

        @self.app.get("/bug")
        async def bug() -> None:
            raise ZeroDivisionError

    async def data(self, exchange: Exchange) -> None:
        self.entered.set()
        await self.may_end.wait()
        exchange.respond(200, (), b"done")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.server.start(data_handler=site.data, asgi_app=site.app)
    yield site
    await site.server.stop(0.1)


@pytest.fixture
async def client(site: Site) -> AsyncIterator[HttpClient]:
    client = HttpClient(Origin(host="127.0.0.1", port=int(site.server.address.rpartition(":")[2])))
    yield client
    await client.aclose()


async def ask(client: HttpClient, method: bytes, path: bytes, body: bytes = b"") -> HttpReply:
    return await client.request(method, path, body=body, connect_s=2, first_byte_s=5, total_s=5)


async def test_the_application_gets_path_query_and_body(client: HttpClient) -> None:
    reply = await ask(client, b"POST", b"/api/echo/caf%C3%A9?q=1", b"text")
    assert json.loads(await reply.read()) == {"name": "café", "q": "1", "body": "text"}
    assert json.loads(await (await ask(client, b"GET", b"/openapi.json")).read())["openapi"]


async def test_unknown_paths_and_broken_routes_answer_404_and_500(
    client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await ask(client, b"GET", b"/nowhere")).status == 404
    assert (await ask(client, b"GET", b"/bug")).status == 500
    assert "ZeroDivisionError" in caplog.text


async def test_events_stream_through_the_bridge(site: Site, client: HttpClient) -> None:
    got: list[bytes] = []
    reply = await ask(client, b"GET", b"/events")
    task = asyncio.ensure_future(reply.relay(got.append))
    await asyncio.wait_for(site.first.wait(), 5)
    site.may_end.set()
    await asyncio.wait_for(task, 5)
    assert b"".join(got) == b"data: 1\n\ndata: 2\n\n"


async def test_the_application_hears_that_its_client_left(site: Site, client: HttpClient) -> None:
    reply = await ask(client, b"GET", b"/events")
    await asyncio.wait_for(site.first.wait(), 5)
    reply.close()
    await asyncio.wait_for(site.left.wait(), 5)


async def test_stopping_lets_a_request_end_and_takes_no_new_one(site: Site, client: HttpClient) -> None:
    task = asyncio.ensure_future(ask(client, b"POST", b"/v1/x"))
    await asyncio.wait_for(site.entered.wait(), 5)
    stopping = asyncio.ensure_future(site.server.stop(5))
    await asyncio.sleep(0)
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", client.origin.port)
    site.may_end.set()
    reply = await asyncio.wait_for(task, 5)
    assert await reply.read() == b"done"
    assert (b"connection", b"close") in reply.headers
    await asyncio.wait_for(stopping, 5)
    assert site.server.connections == 0


async def test_stopping_cuts_what_outlasts_the_grace(site: Site, client: HttpClient) -> None:
    task = asyncio.ensure_future(ask(client, b"POST", b"/v1/x"))
    await asyncio.wait_for(site.entered.wait(), 5)
    await asyncio.wait_for(site.server.stop(0.05), 5)
    with pytest.raises(Exception, match="closed the connection"):
        await task


async def test_a_taken_port_is_named_with_what_to_do(site: Site) -> None:
    with pytest.raises(ConfigError, match="choose another port"):
        await HttpServer().start("127.0.0.1", int(site.server.address.rpartition(":")[2]), data_handler=site.data)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_a_unix_socket_serves_and_disappears(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "podium.sock"
    server = HttpServer()
    await server.start(data_handler=site.data, asgi_app=site.app, unix_path=path)
    assert mode_of(path) == 0o600, "whoever connects acts for the owner"
    client = HttpClient(Origin(unix_path=path))
    assert (await ask(client, b"GET", b"/openapi.json")).status == 200
    await client.aclose()
    await server.stop(0.1)
    assert not path.exists()
