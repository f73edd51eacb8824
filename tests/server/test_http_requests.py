"""The listener with real sockets: what is served, what is refused, in which order, and when it gives up."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from podium.errors import Overloaded
from podium.server.exchange import Exchange
from podium.server.http import HttpServer, Limits

pytestmark = pytest.mark.requirement("API-1")

LIMITS = Limits(body_bytes=1000, head_s=0.3, body_idle_s=0.3, keep_alive_s=0.6, linger_s=0.3, connections=8)


class Recorder:
    """The data-plane handler of these tests: what it saw, and ways to hold it."""

    def __init__(self) -> None:
        self.seen: list[Exchange] = []
        self.active = 0
        self.most_active = 0
        self.cancelled = asyncio.Event()
        self.entered = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        self.entered.set()
        try:
            await self._answer(exchange)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.active -= 1

    async def _answer(self, exchange: Exchange) -> None:
        match exchange.path:
            case "/v1/hold":
                await self.release.wait()
                exchange.respond(200, (), b"held")
            case "/v1/stream":
                exchange.start_stream(200, [(b"content-type", b"text/event-stream")])
                exchange.write(b"one")
                await asyncio.wait_for(self.release.wait(), 5)
                exchange.write(b"two")
                exchange.finish()
            case "/v1/flood":
                exchange.on_pause = self.release.set
                exchange.start_stream(200)
                while not exchange.paused:
                    exchange.write(b"x" * 65536)
                    await asyncio.sleep(0)
                await asyncio.Event().wait()
            case "/v1/overloaded":
                exchange.request_id = "req-7"
                raise Overloaded("no room", retry_after_s=2.2, details={"queue": 9})
            case "/v1/bug":
                raise ZeroDivisionError
            case "/v1/late-bug":
                exchange.start_stream(200)
                exchange.write(b"half")
                raise ZeroDivisionError
            case "/v1/silent":
                return
            case _:
                exchange.respond(200, [(b"x-len", b"%d" % len(exchange.body))], exchange.body)


@pytest.fixture
async def handler() -> Recorder:
    return Recorder()


@pytest.fixture
async def server(handler: Recorder) -> AsyncIterator[HttpServer]:
    server = HttpServer(
        limits=LIMITS, allowed_hosts=frozenset({"localhost", "::1"}), allowed_origins=frozenset({"localhost"})
    )
    await server.start(data_handler=handler)
    yield server
    await server.stop(0.1)


Talk = Callable[..., Awaitable[bytes]]


@pytest.fixture
def talk(server: HttpServer) -> Talk:
    async def send(*pieces: bytes) -> bytes:
        """Write the pieces, return all until the server closes."""
        reader, writer = await connect(server)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()

    return send


async def connect(server: HttpServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(server.address.rpartition(":")[2]))


def request(path: bytes = b"/v1/echo", *lines: bytes, body: bytes = b"", method: bytes = b"POST") -> bytes:
    head = [b"%b %b HTTP/1.1" % (method, path), b"Host: localhost", *lines]
    if body:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", body])


CLOSE = b"Connection: close"


def error_of(raw: bytes) -> dict[str, object]:
    return json.loads(raw.partition(b"\r\n\r\n")[2])["error"]


async def test_a_request_is_answered_with_its_body_and_length(talk: Talk, handler: Recorder) -> None:
    answer = await talk(request(b"/v1/echo?a=b", CLOSE, b"X-Two: 1", b"X-Two: 2", body=b"hello"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello")
    seen = handler.seen[0]
    assert (seen.method, seen.path, seen.query, seen.headers[b"x-two"]) == ("POST", "/v1/echo", b"a=b", b"1, 2")


async def test_a_request_that_comes_byte_by_byte_is_the_same_request(talk: Talk) -> None:
    whole = request(b"/v1/echo", CLOSE, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
    answer = await talk(*(bytes([b]) for b in whole))
    assert answer.endswith(b"\r\n\r\nabcde")


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(talk: Talk, handler: Recorder) -> None:
    bodies = [b"%d" % n for n in range(50)]
    answer = await talk(b"".join(request(body=b) for b in bodies) + request(b"/v1/echo", CLOSE, body=b"last"))
    got = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert got == [*bodies, b"last"]
    assert handler.most_active == 1


@pytest.mark.no_cover
async def test_reading_stops_when_much_is_pipelined_behind_a_slow_request(
    server: HttpServer, handler: Recorder
) -> None:
    # Client and server share this loop: the short time-outs of the other tests would measure the test itself.
    server.limits = replace(server.limits, head_s=30.0, body_idle_s=30.0, keep_alive_s=30.0)
    reader, writer = await connect(server)
    writer.write(request(b"/v1/hold"))
    await asyncio.wait_for(handler.entered.wait(), 5)
    more = request(body=b"y" * 900)
    count = 20_000
    writer.write(more * count)
    with pytest.raises(TimeoutError):  # the kernel's buffers are full because nobody reads
        await asyncio.wait_for(writer.drain(), 0.3)
    handler.release.set()
    for _ in range(count):
        await asyncio.wait_for(reader.readuntil(b"y" * 900), 5)
    writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        request(b"/v1/x", b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        request(b"/v1/x", b"Content-Length: 3", b"Content-Length: 3") + b"abc",
        request(b"/v1/x", b"Content-Length: +3") + b"abc",
        request(b"/v1/x", b"Content-Length: 3, 3") + b"abc",
        request(b"/v1/x", b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
        request(b"/v1/x", b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
        request(b"/v1/x", b"Transfer-Encoding: chunked") + b"zz\r\nabc\r\n0\r\n\r\n",
        request(b"/v1/x", b"Transfer-Encoding: chunked") + b"3\nabc\r\n0\r\n\r\n",
        request(b"/v1/x", b"Transfer-Encoding: chunked") + b"3\r\nabcd\r\n0\r\n\r\n",
        request(b"/v1/x", b"X: a\r\n b"),
        request(b"/v1/x", b"X : a"),
        b"GET /v1/x HTTP/1.1\nHost: localhost\n\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: local\0host\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: a\r\nx-api-key: a\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\n\r\n",
        b"CONNECT example.org:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda raw: raw[:60].decode("latin-1"),
)
async def test_ambiguous_or_broken_requests_get_400_and_the_connection_ends(
    talk: Talk, handler: Recorder, raw: bytes
) -> None:
    answer = await talk(raw + request(b"/v1/smuggled"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close\r\n" in answer
    assert error_of(answer)["type"] == "invalid_request_error"
    assert handler.seen == []


async def test_a_broken_request_behind_a_good_one_does_not_cost_the_good_answer(talk: Talk) -> None:
    answer = await talk(request(body=b"fine") + b"NONSENSE\r\n\r\n")
    good, _, bad = answer.partition(b"fine")
    assert good.startswith(b"HTTP/1.1 200")
    assert bad.startswith(b"HTTP/1.1 400")


async def test_headers_over_the_limit_get_431(talk: Talk) -> None:
    answer = await talk(request(b"/v1/x", b"X: " + b"a" * 70_000))
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_endless_headers_get_431_before_they_end(talk: Talk) -> None:
    answer = await talk(
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n", *[b"X-%d: %b\r\n" % (n, b"a" * 900) for n in range(80)]
    )
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("framing", [b"Content-Length: 209715200", b"Transfer-Encoding: chunked"])
async def test_a_huge_body_gets_413_before_it_was_sent(talk: Talk, handler: Recorder, framing: bytes) -> None:
    start = b"" if framing.startswith(b"Content") else b"7d0\r\n" + b"z" * 2000 + b"\r\n"
    answer = await talk(request(b"/v1/x", framing) + start)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert error_of(answer)["code"] == "request_too_large"
    assert handler.seen == []


async def test_a_client_that_sends_its_huge_body_anyway_can_still_read_the_413(server: HttpServer) -> None:
    def blocking() -> bytes:
        with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), timeout=5) as s:
            s.sendall(request(b"/v1/x", b"Content-Length: 20000000"))
            s.sendall(b"z" * 20_000_000)
            return s.recv(65536)

    assert (await asyncio.to_thread(blocking)).startswith(b"HTTP/1.1 413 ")


async def test_expect_100_continue_is_answered_before_the_body(server: HttpServer) -> None:
    reader, writer = await connect(server)
    writer.write(request(b"/v1/echo", b"Expect: 100-continue", b"Content-Length: 2"))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 5)).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_expect_100_continue_with_a_huge_length_gets_413_at_once(talk: Talk) -> None:
    answer = await talk(request(b"/v1/x", b"Expect: 100-continue", b"Content-Length: 9999999"))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_slow_headers_and_a_stalled_body_get_408(talk: Talk) -> None:
    assert (await talk(b"POST /v1/x HTTP/1.1\r\nHos")).startswith(b"HTTP/1.1 408 ")
    assert (await talk(request(b"/v1/x", b"Content-Length: 9") + b"abc")).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed_without_a_word(talk: Talk) -> None:
    assert await talk() == b""


async def test_an_unsupported_upgrade_is_served_as_plain_http(talk: Talk) -> None:
    wish = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"]
    answer = await talk(request(b"/v1/echo", *wish, body=b"abc") + request(b"/v1/echo", CLOSE, body=b"next"))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"\r\n\r\nabcHTTP/1.1" in answer


async def test_http_1_0_closes_unless_asked_and_streams_without_chunks(talk: Talk, handler: Recorder) -> None:
    handler.release.set()
    answer = await talk(b"GET /v1/stream HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"\r\n\r\nonetwo")


async def test_head_gets_the_length_and_no_body(talk: Talk) -> None:
    answer = await talk(request(b"/v1/echo", CLOSE, method=b"HEAD", body=b"12345"))
    assert b"content-length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_stream_is_chunked_and_arrives_piece_by_piece(server: HttpServer, handler: Recorder) -> None:
    reader, writer = await connect(server)
    writer.write(request(b"/v1/stream"))
    assert (await asyncio.wait_for(reader.readuntil(b"3\r\none\r\n"), 5)).startswith(b"HTTP/1.1 200")
    handler.release.set()
    assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5) == b"3\r\ntwo\r\n0\r\n\r\n"
    writer.write(request(b"/v1/echo", body=b"again"))
    await asyncio.wait_for(reader.readuntil(b"again"), 5)
    writer.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("path", [b"/v1/hold", b"/v1/stream"])
async def test_a_client_that_leaves_cancels_the_handler(
    server: HttpServer, handler: Recorder, how: str, path: bytes
) -> None:
    _, writer = await connect(server)
    writer.write(request(path))
    await asyncio.wait_for(handler.entered.wait(), 5)
    if how == "half-close":
        writer.write_eof()
    else:
        if how == "reset":
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
    await asyncio.wait_for(handler.cancelled.wait(), 5)
    assert handler.seen[0].disconnected
    writer.close()


async def test_a_client_that_does_not_read_pauses_the_handler(server: HttpServer, handler: Recorder) -> None:
    _, writer = await connect(server)
    writer.transport.pause_reading()
    writer.write(request(b"/v1/flood"))
    await asyncio.wait_for(handler.release.wait(), 5)
    assert handler.seen[0].paused
    writer.transport.abort()
    await asyncio.wait_for(handler.cancelled.wait(), 5)


@pytest.mark.requirement("API-3")
async def test_errors_have_openais_shape_retry_after_and_the_request_id(talk: Talk) -> None:
    answer = await talk(request(b"/v1/overloaded", CLOSE))
    head = answer.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 3" in head
    assert b"x-request-id: req-7" in head
    error = error_of(answer)
    assert (error["code"], error["type"], error["fault"], error["details"]) == (
        "overloaded",
        "overloaded_error",
        "policy",
        {"queue": 9},
    )


async def test_a_handler_that_breaks_or_forgets_to_answer_gives_500(
    talk: Talk, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await talk(request(b"/v1/bug") + request(b"/v1/silent", CLOSE))).count(b"HTTP/1.1 500 ") == 2
    assert "ZeroDivisionError" in caplog.text


async def test_a_handler_that_breaks_in_mid_stream_cuts_the_connection(talk: Talk) -> None:
    try:
        answer = await talk(request(b"/v1/late-bug"))
    except ConnectionResetError:
        return
    assert b"0\r\n\r\n" not in answer


@pytest.mark.requirement("OPS-2")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"Host: localhost:7636", 200),
        (b"Host: LOCALHOST", 200),
        (b"Host: [::1]:7636", 200),
        (b"Host: evil.example", 403),
        (b"Host: localhost.evil.example", 403),
        (b"Host: localhost\r\nOrigin: http://localhost:3000", 200),
        (b"Host: localhost\r\nOrigin: https://evil.example", 403),
        (b"Host: localhost\r\nOrigin: null", 403),
    ],
)
async def test_only_known_hosts_and_origins_are_served(talk: Talk, line: bytes, status: int) -> None:
    answer = await talk(b"GET /v1/x HTTP/1.1\r\nConnection: close\r\n" + line + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.requirement("OPS-2")
async def test_the_host_of_an_absolute_target_counts(talk: Talk, handler: Recorder) -> None:
    answer = await talk(b"GET http://evil.example/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    answer = await talk(b"GET http://localhost/v1/x HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert handler.seen[0].path == "/v1/x"


async def test_connections_over_the_limit_get_503(server: HttpServer) -> None:
    kept = [await connect(server) for _ in range(LIMITS.connections)]
    reader, writer = await connect(server)
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 503 ")
    for _, each in [*kept, (reader, writer)]:
        each.close()
