"""Which addresses may be connected to: looked at in the URL and again once a name has led somewhere."""

from __future__ import annotations

import asyncio
import socket

import pytest

from podium.errors import Forbidden
from podium.transport.addresses import Reach
from podium.transport.client import HttpClient, Origin
from podium.transport.webhook import WebhookPoster

METADATA = [
    "169.254.169.254",
    "169.254.1.1",
    "fd00:ec2::254",
    "fe80::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
]


def ask(client):
    return client.request(b"GET", b"/", connect_s=2, first_byte_s=2, total_s=2)


@pytest.fixture
async def listening():
    """The port of a server that answers, and what it was sent."""
    heard = []

    async def serve(reader, writer):
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


@pytest.mark.parametrize("address", METADATA)
def test_link_local_and_metadata_addresses_are_refused_unless_allowed(address):
    assert "link-local" in Reach().refusal(address)
    assert Reach(allow_link_local=True).refusal(address) is None


@pytest.mark.requirement("OPS-5")
@pytest.mark.parametrize("address", ["8.8.8.8", "10.0.0.1", "192.168.1.2", "2001:db8::1", "::ffff:8.8.8.8"])
def test_offline_only_this_machine_is_reached(address):
    assert Reach().refusal(address) is None
    assert "offline" in Reach(offline=True).refusal(address)
    assert Reach(offline=True).refusal("127.0.0.1") is None
    assert Reach(offline=True).refusal("::1") is None


@pytest.mark.parametrize("address", METADATA)
async def test_nothing_is_sent_to_an_address_that_is_refused(address):
    client = HttpClient(Origin(host=address, port=80), reach=Reach())
    with pytest.raises(Forbidden, match="is not called") as caught:
        await ask(client)
    assert caught.value.code == "address_refused"
    assert client.connections == 0
    await client.aclose()


async def test_a_name_that_leads_to_a_refused_address_gets_a_connection_and_not_a_byte(listening, monkeypatch):
    port, heard = listening
    client = HttpClient(Origin(host="localhost", port=port), reach=Reach(offline=True))
    assert await (await ask(client)).read() == b"ok"
    monkeypatch.setattr(Reach, "refusal", lambda self, text: "not there" if text == "127.0.0.1" else None)
    client = HttpClient(Origin(host="localhost", port=port), reach=Reach())
    with pytest.raises(Forbidden, match="not there"):
        await ask(client)
    await client.aclose()
    assert len(heard) == 1


@pytest.mark.requirement("OPS-5")
async def test_offline_no_webhook_leaves_the_machine(monkeypatch, listening):
    port, heard = listening
    real = socket.getaddrinfo

    def resolve(host, port, **more):
        return real("203.0.113.9" if host == "outside.example" else host, port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    poster = WebhookPoster(offline=True)
    with pytest.raises(Forbidden, match="offline"):
        await poster.post(f"http://outside.example:{port}/", {}, b"", timeout_s=2, allow_link_local=False)
    posted = await poster.post(f"http://127.0.0.1:{port}/", {}, b"", timeout_s=2, allow_link_local=False)
    await poster.close()
    assert posted.status == 200
    assert len(heard) == 1
