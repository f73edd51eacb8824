"""The upstream client against servers that behave and servers that do not, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from podium.errors import InvalidRequest, PodiumError, ProviderError, ProviderTimeout, ProviderUnreachable
from podium.transport.client import HttpClient, Origin
from podium.transport.reply import HttpReply

pytestmark = pytest.mark.requirement("PRV-1")

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One accepted connection of a scripted server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return head + await self.reader.readexactly(length)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Until the client closes."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            return


class Upstream:
    """A server whose n-th connection follows the n-th script (the last one repeats)."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.accepted = 0
        self.ended = asyncio.Semaphore(0)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.origin = Origin(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.accepted, len(self.scripts) - 1)]
        self.accepted += 1
        try:
            await script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.ended.release()

    async def stop(self) -> None:
        self._server.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[HttpClient]:
    client = HttpClient(upstream.origin, max_idle=4, max_body=1000)
    yield client
    await client.aclose()
    assert client.connections == 0


async def ask(client: HttpClient, body: bytes = b"{}", method: bytes = b"POST", **limits: float) -> HttpReply:
    times = {"connect_s": 2.0, "first_byte_s": 5.0, "total_s": 5.0, **limits}
    return await client.request(method, b"/v1/x", headers=((b"x-a", b"1"),), body=body, **times)


def answers(*pieces: bytes, then: str = "wait") -> Script:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for piece in pieces:
                peer.send(piece)
                await peer.writer.drain()
                await asyncio.sleep(0)
            if then == "close":
                return
            if then == "reset":
                peer.reset()
                return
            if then == "hang":
                await peer.gone()
                return

    return script


async def test_a_connection_is_kept_and_used_again(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(OK)]
    for _ in range(5):
        reply = await ask(client)
        assert (reply.status, reply.content_type, await reply.read()) == (200, "text/plain", b"ok")
    assert (upstream.accepted, client.idle) == (1, 1)


async def test_the_request_arrives_as_given(upstream: Upstream, client: HttpClient) -> None:
    got: list[bytes] = []

    async def script(peer: Peer) -> None:
        got.append(await peer.request())
        peer.send(OK)
        await peer.gone()

    upstream.scripts = [script]
    await (await ask(client, b"hello")).read()
    assert got[0].startswith(b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")
    assert got[0].endswith(b"x-a: 1\r\ncontent-length: 5\r\n\r\nhello")


async def test_not_more_idle_connections_are_kept_than_allowed(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(OK)]
    replies = await asyncio.gather(*(ask(client) for _ in range(9)))
    for reply in replies:
        await reply.read()
    assert client.idle == 4


async def test_pieces_reach_the_sink_as_they_come(upstream: Upstream, client: HttpClient) -> None:
    got: list[bytes] = []
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED + b"3\r\none\r\n")
        await more.wait()
        peer.send(b"3\r\ntw")
        await peer.writer.drain()
        peer.send(b"o\r\n0\r\nTrailer: x\r\n\r\n")
        await peer.gone()

    def sink(data: bytes) -> None:
        got.append(data)
        more.set()

    upstream.scripts = [script]
    reply = await ask(client)
    await asyncio.wait_for(reply.relay(sink), 5)
    assert got[0] == b"one"
    assert b"".join(got) == b"onetwo"
    assert client.idle == 1


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (answers(b"HTTP/1.1 100 Continue\r\n\r\n", OK), b"ok"),
        (answers(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK), b"ok"),
        (answers(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"close", then="close"), b"until close"),
        (answers(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), then="close"), b"ok"),
        (answers(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", then="close"), b"ok"),
        (answers(b"HTTP/1.1 204 No Content\r\n\r\n"), b""),
        (answers(*(bytes([b]) for b in OK)), b"ok"),
    ],
    ids=["100", "103", "until-close", "connection-close", "http-1.0", "204", "byte-by-byte"],
)
async def test_every_proper_framing_is_read(
    upstream: Upstream, client: HttpClient, script: Script, expected: bytes
) -> None:
    upstream.scripts = [script]
    assert await (await ask(client)).read() == expected
    assert await (await ask(client)).read() == expected


async def test_head_has_no_body(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")]
    assert await (await ask(client, b"", b"HEAD")).read() == b""


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", CHUNKED + b"9\r\nhalf", CHUNKED + b"4\r\nhalf\r\n"],
    ids=["length", "in-chunk", "between-chunks"],
)
async def test_an_answer_cut_in_the_middle_is_an_error_not_a_short_answer(
    upstream: Upstream, client: HttpClient, start: bytes, then: str
) -> None:
    upstream.scripts = [answers(start, then=then)]
    with pytest.raises(ProviderUnreachable, match="middle of its answer"):
        await (await ask(client)).read()


@pytest.mark.parametrize(
    "garbage",
    [b"hello world\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"-ERR x\r\n"],
)
async def test_what_is_not_http_is_named_so(upstream: Upstream, client: HttpClient, garbage: bytes) -> None:
    upstream.scripts = [answers(garbage)]
    with pytest.raises(ProviderError, match="does not speak proper HTTP"):
        await ask(client)


async def test_broken_chunks_fail_the_body(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(CHUNKED + b"3\r\nabc\r\nzz\r\n")]
    got: list[bytes] = []
    with pytest.raises(ProviderError, match="proper HTTP"):
        await (await ask(client)).relay(got.append)


async def test_a_kept_connection_that_died_is_replaced_once(upstream: Upstream, client: HttpClient) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.request()  # the second request comes, and the connection dies without an answer
        peer.reset()

    upstream.scripts = [once, answers(OK)]
    assert await (await ask(client)).read() == b"ok"
    assert await (await ask(client)).read() == b"ok"
    assert upstream.accepted == 2


async def test_a_fresh_connection_that_dies_is_not_tried_again(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(then="close")]
    with pytest.raises(ProviderUnreachable, match="without an answer"):
        await ask(client)
    assert upstream.accepted == 1


async def test_an_answer_before_the_request_was_read_is_taken_and_the_connection_not_kept(
    upstream: Upstream, client: HttpClient
) -> None:
    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await asyncio.wait_for(client_done.wait(), 5)

    client_done = asyncio.Event()
    upstream.scripts = [early]
    reply = await ask(client, b"x" * 20_000_000)
    assert (reply.status, await reply.read()) == (413, b"big")
    assert client.idle == 0
    client_done.set()


async def test_refused_connections_say_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = HttpClient(Origin(host="127.0.0.1", port=taken.getsockname()[1]))
        with pytest.raises(ProviderUnreachable, match="see whether the server is running"):
            await ask(client)
        await client.aclose()


async def test_silence_before_the_headers_and_before_the_body_times_out(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(then="hang"), answers(CHUNKED, then="hang")]
    with pytest.raises(ProviderTimeout, match="sent nothing"):
        await ask(client, first_byte_s=0.1)
    with pytest.raises(ProviderTimeout, match="sent nothing"):
        await (await ask(client, first_byte_s=0.1)).read()
    assert client.connections == 0 or client.idle == 0


async def test_the_total_limit_ends_an_answer_that_has_begun(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(CHUNKED + b"3\r\none\r\n", then="hang")]
    got: list[bytes] = []
    reply = await ask(client, first_byte_s=0.05, total_s=0.3)
    with pytest.raises(ProviderTimeout, match="not complete in time"):
        await reply.relay(got.append)
    assert got == [b"one"]


@pytest.mark.requirement("PRV-2")
@pytest.mark.parametrize("moment", ["before-headers", "reading", "relaying", "closed"])
async def test_giving_up_closes_the_connection_upstream(upstream: Upstream, client: HttpClient, moment: str) -> None:
    start = b"" if moment == "before-headers" else CHUNKED + b"3\r\none\r\n"
    upstream.scripts = [answers(start, then="hang") if start else answers(then="hang")]

    async def use() -> None:
        reply = await ask(client)
        if moment == "closed":
            reply.close()
            reply.close()
            with pytest.raises(ProviderError):
                await reply.read()
        elif moment == "reading":
            await reply.read()
        else:
            await reply.relay(lambda data: None)

    if moment == "closed":
        await use()
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(use(), 0.1)
    await asyncio.wait_for(upstream.ended.acquire(), 5)
    assert client.idle == 0


async def test_a_body_over_the_cap_is_refused(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x" * 5000, then="hang")]
    with pytest.raises(ProviderError, match="more than 1000 bytes") as caught:
        await (await ask(client)).read()
    assert caught.value.code == "response_too_large"


async def test_headers_without_end_are_refused(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 600_000, then="hang")]
    with pytest.raises(ProviderError, match="bytes of headers"):
        await ask(client)


async def test_a_paused_answer_stops_the_server_and_resumes_whole(upstream: Upstream, client: HttpClient) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64000000\r\n\r\n")
        for _ in range(1000):
            peer.send(b"x" * 64_000)
            await peer.writer.drain()
            sent += 64_000
        await peer.gone()

    upstream.scripts = [script]
    reply = await ask(client)
    got = 0
    paused = asyncio.Event()

    def sink(data: bytes) -> None:
        nonlocal got
        got += len(data)
        if not paused.is_set():
            reply.pause()
            paused.set()

    task = asyncio.ensure_future(reply.relay(sink))
    await asyncio.wait_for(paused.wait(), 5)
    before = -1
    while before != sent:  # until the kernel's buffers are full and the server waits
        before = sent
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 0.1)
    assert sent < 64_000_000
    reply.resume()
    await asyncio.wait_for(task, 10)
    assert got == 64_000_000


async def test_a_sink_that_raises_ends_the_relay_with_its_error(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(CHUNKED, b"3\r\none\r\n", then="hang")]

    def sink(data: bytes) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await (await ask(client)).relay(sink)
    await asyncio.wait_for(upstream.ended.acquire(), 5)


async def test_unasked_bytes_on_a_kept_connection_drop_it(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(OK + OK), answers(OK)]
    assert await (await ask(client)).read() == b"ok"
    await asyncio.wait_for(upstream.ended.acquire(), 5)
    assert await (await ask(client)).read() == b"ok"
    assert upstream.accepted == 2


async def test_line_breaks_in_a_header_are_refused(client: HttpClient) -> None:
    with pytest.raises(InvalidRequest):
        await client.request(b"GET", b"/", headers=((b"x", b"a\r\nb: c"),), connect_s=1, first_byte_s=1, total_s=1)
    with pytest.raises(InvalidRequest):
        await client.request(b"GET", b"/a b", connect_s=1, first_byte_s=1, total_s=1)


async def test_a_unix_socket_is_an_origin(tmp_path: Path) -> None:
    path = tmp_path / "s"
    upstream = Upstream()
    upstream.scripts = [answers(OK)]
    server = await asyncio.start_unix_server(upstream._accept, str(path))
    client = HttpClient(Origin(unix_path=path))
    assert await (await ask(client)).read() == b"ok"
    await client.aclose()
    server.close()


async def test_closing_the_client_fails_answers_under_way(upstream: Upstream, client: HttpClient) -> None:
    upstream.scripts = [answers(CHUNKED, then="hang")]
    reply = await ask(client)
    task = asyncio.ensure_future(reply.read())
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(PodiumError, match="closed"):
        await task
    with pytest.raises(ProviderUnreachable):
        await ask(client)
