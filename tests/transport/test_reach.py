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


@pytest.fixture
def resolving(monkeypatch):
    """What names lead to, and which were looked up."""
    real, names, asked = socket.getaddrinfo, {}, []

    def resolve(host, port, *more, **named):
        asked.append(host)
        found = []
        for address in names.get(host, [host]):
            found += real(address, port, *more, **named)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names, asked


@pytest.fixture
def connecting(monkeypatch):
    """Every address that a socket of this process was told to connect to."""
    tried = []
    real = asyncio.SelectorEventLoop.sock_connect

    async def connect(self, sock, address):
        tried.append(address[0])
        return await real(self, sock, address)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", connect)
    return tried


@pytest.mark.parametrize("address", METADATA)
async def test_a_name_that_leads_to_a_refused_address_gets_no_connection(address, resolving, connecting):
    names, _ = resolving
    names["models.example"] = [address]
    client = HttpClient(Origin(host="models.example", port=80), reach=Reach())
    with pytest.raises(Forbidden, match="link-local"):
        await ask(client)
    await client.aclose()
    assert connecting == []


async def test_of_the_addresses_of_a_name_only_those_that_may_be_are_connected_to(listening, resolving, connecting):
    port, heard = listening
    names, _ = resolving
    names["models.example"] = ["169.254.169.254", "127.0.0.1"]
    client = HttpClient(Origin(host="models.example", port=port), reach=Reach())
    assert await (await ask(client)).read() == b"ok"
    await client.aclose()
    assert connecting == ["127.0.0.1"]
    assert b"host: models.example" in heard[0].lower()


async def test_a_name_that_leads_elsewhere_the_second_time_is_looked_at_again(listening, resolving, connecting):
    port, heard = listening
    names, _ = resolving
    names["models.example"] = ["127.0.0.1"]
    client = HttpClient(Origin(host="models.example", port=port), max_idle=0, reach=Reach())
    assert await (await ask(client)).read() == b"ok"
    names["models.example"] = ["169.254.169.254"]
    with pytest.raises(Forbidden, match="metadata"):
        await ask(client)
    await client.aclose()
    assert (len(heard), connecting) == (1, ["127.0.0.1"])


@pytest.mark.requirement("OPS-5")
@pytest.mark.parametrize(
    "host", ["models.example", "203.0.113.9", "2001:db8::9", "::ffff:203.0.113.9", "192.168.0.9", "localhost.example"]
)
async def test_offline_nothing_else_is_connected_to_and_no_name_is_looked_up(host, resolving, connecting):
    names, asked = resolving
    names["models.example"] = names["localhost.example"] = ["127.0.0.1"]
    client = HttpClient(Origin(host=host, port=9), reach=Reach(offline=True))
    with pytest.raises(Forbidden, match="offline"):
        await ask(client)
    await client.aclose()
    poster = WebhookPoster(offline=True)
    url = f"http://[{host}]:9/" if ":" in host else f"http://{host}:9/"
    with pytest.raises(Forbidden, match="offline"):
        await poster.post(url, {}, b"", timeout_s=2, allow_link_local=False)
    await poster.close()
    assert connecting == []
    assert [name for name in asked if name.endswith("example")] == []


@pytest.mark.requirement("OPS-5")
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "gateway.localhost", "127.0.0.1"])
async def test_offline_servers_of_this_machine_are_called_without_asking_a_name_server(host, listening, resolving):
    port, heard = listening
    client = HttpClient(Origin(host=host, port=port), reach=Reach(offline=True))
    assert await (await ask(client)).read() == b"ok"
    await client.aclose()
    assert len(heard) == 1
    assert set(resolving[1]) <= {"127.0.0.1"}


async def test_a_redirect_is_an_answer_and_is_not_followed(connecting):
    async def redirect(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        client = HttpClient(Origin(host="127.0.0.1", port=server.sockets[0].getsockname()[1]), reach=Reach())
        assert (await ask(client)).status == 302
        await client.aclose()
    assert connecting == ["127.0.0.1"]


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
