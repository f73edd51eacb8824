"""Requests that may not pass: refused from their head, in order, without a task, and slower when they do not end."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable

import pytest

from podium.core.limits import read_limits
from podium.domain.limit import Limits as KeyLimits
from podium.domain.principal import ApiKey
from podium.server.browsers import Browsers
from podium.server.connection import HELD_BYTES, SLICE_BYTES
from podium.server.doorman import Doorman
from podium.server.exchange import Exchange
from podium.server.gate import Gate
from podium.server.http import HttpServer, Limits
from podium.server.patience import CREDENTIAL, MOST_S, Patience
from podium.services.keys import Keys
from podium.services.limiting import Limiter

pytestmark = pytest.mark.requirement("OPS-2")
CLOSE = b"Connection: close"
FREE = int(CREDENTIAL.burst)


class Rows:
    """A store of keys in memory."""

    async def keys(self) -> tuple[ApiKey, ...]:
        return ()

    async def save_keys(self, *keys: ApiKey) -> None:
        pass

    async def keys_used(self, seen: dict[str, float]) -> None:
        pass


class Clock:
    """Time that the test turns, and the one timer of the patience."""

    def __init__(self) -> None:
        self.at = 1_000.0
        self.ticks: list[Callable[[], None]] = []

    def now(self) -> float:
        return self.at

    monotonic = now

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.ticks.append(call)

    def on(self, seconds: float) -> None:
        self.at += seconds
        due, self.ticks = self.ticks, []
        for call in due:
            call()


class Plane:
    """A data plane that says who asked what, behind a gate with keys and limits."""

    def __init__(self, *, patient: bool = False) -> None:
        self.clock = Clock()
        self.keys = Keys(Rows(), self.clock)
        numbers = itertools.count(1)
        doorman = Doorman(self.keys, Browsers(self.clock))
        doorman.limiter = self.limiter = Limiter(self.clock)
        patience = Patience() if patient else Patience(self.clock.now, self.clock.later)
        self.gate = Gate(doorman, lambda kind: f"{kind}_{next(numbers)}", patience)
        self.served: list[bytes] = []
        self.tasks = 0
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.server = HttpServer(limits=Limits(linger_s=0.2))

    async def handle(self, exchange: Exchange) -> None:
        self.tasks += 1
        try:
            self.entered.set()
            if exchange.path == "/v1/hold":
                await self.release.wait()
            self.served.append(exchange.body)
            exchange.respond(200, [(b"x-request-id", (exchange.request_id or "").encode())], exchange.body)
        finally:
            if exchange.grant is not None:
                exchange.grant.leave()

    async def key(self, limits: KeyLimits | None = None, role: str = "user") -> bytes:
        _, secret = await self.keys.create("ci", role, by="test", **({} if limits is None else {"limits": limits}))
        return secret.encode()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", int(self.server.address.rpartition(":")[2]))

    async def ask(self, *pieces: bytes) -> bytes:
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()


async def started(plane: Plane) -> AsyncIterator[Plane]:
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    await plane.server.start(data_handler=plane.handle, gate=plane.gate, asgi_app=app)
    yield plane
    await plane.server.stop(0.1)


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    async for one in started(Plane()):
        yield one


@pytest.fixture
async def patient() -> AsyncIterator[Plane]:
    """One whose patience runs on real time."""
    async for one in started(Plane(patient=True)):
        yield one


def request(key: bytes, body: bytes = b"{}", *lines: bytes, path: bytes = b"/v1/chat/completions") -> bytes:
    head = [b"POST %b HTTP/1.1" % path, b"Host: x", b"Authorization: Bearer " + key, *lines]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body])


def answers(raw: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Status, headers and body of each answer."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        length = int(headers[b"content-length"])
        found.append((int(first.split()[1]), headers, raw[:length]))
        raw = raw[length:]
    return found


async def test_an_unknown_key_gets_401_at_once_without_a_task_and_each_with_its_own_id(plane: Plane) -> None:
    good = await plane.key()
    bad = b"pod_" + b"x" * 40
    raw = await plane.ask(request(bad), request(bad, b"{}", b"X-Request-Id: mine-7"), request(good, b"{}", CLOSE))
    first, second, third = answers(raw)
    assert [first[0], second[0], third[0]] == [401, 401, 200]
    ids = [headers[b"x-request-id"] for _, headers, _ in (first, second, third)]
    assert ids[1] == b"mine-7"
    assert len(set(ids)) == 3
    for (_, _, body), identity in zip((first, second), ids, strict=False):
        error = json.loads(body)["error"]
        assert (error["code"], error["request_id"]) == ("invalid_api_key", identity.decode())
    assert plane.tasks == 1


async def test_a_refusal_on_anthropics_paths_has_its_shape_and_both_ids(plane: Plane) -> None:
    await plane.key()
    ((status, headers, body),) = answers(await plane.ask(request(b"bad", b"{}", CLOSE, path=b"/v1/messages")))
    said = json.loads(body)
    assert (status, said["type"], said["error"]["type"]) == (401, "error", "authentication_error")
    assert headers[b"request-id"] == headers[b"x-request-id"] == said["request_id"].encode()


async def test_over_the_limit_says_when_to_come_back_and_what_is_left(plane: Plane) -> None:
    key = await plane.key(read_limits("2/min"))
    raw = await plane.ask(*(request(key) for _ in range(3)), request(key, b"{}", CLOSE))
    found = answers(raw)
    assert [status for status, _, _ in found] == [200, 200, 429, 429]
    for _, headers, body in found[2:]:
        assert headers[b"retry-after"] == b"30"
        assert headers[b"x-ratelimit-remaining-requests"] == b"0"
        assert json.loads(body)["error"]["details"] == {"limit": "requests"}
    assert plane.tasks == 2


async def test_pipelined_refusals_wait_for_the_answers_before_them(plane: Plane) -> None:
    good = await plane.key()
    reader, writer = await plane.connect()
    writer.write(request(good, b"slow", path=b"/v1/hold") + request(b"bad") + request(good, b"after", CLOSE))
    await asyncio.wait_for(plane.entered.wait(), 20)
    plane.release.set()
    found = answers(await asyncio.wait_for(reader.read(), 20))
    assert [status for status, _, _ in found] == [200, 401, 200]
    assert plane.served == [b"slow", b"after"]
    writer.close()


async def test_hundreds_of_refusals_in_one_write_do_not_nest(plane: Plane) -> None:
    await plane.key()
    keys = [b"pod_%08d" % number for number in range(300)]
    found = answers(await plane.ask(b"".join(request(key) for key in keys), request(b"pod_last", b"{}", CLOSE)))
    assert [status for status, _, _ in found] == [401] * 301


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked", b"Expect: 100-continue\r\nContent-Length: 9"]
)
async def test_nobody_sends_a_large_body_to_be_refused(plane: Plane, framing: bytes) -> None:
    await plane.key()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\n" + framing + b"\r\n\r\n"
    ((status, headers, _),) = answers(await plane.ask(head))
    assert (status, headers[b"connection"]) == (401, b"close")
    assert headers[b"x-request-id"]


async def test_a_good_key_sends_its_large_body(plane: Plane) -> None:
    good = await plane.key()
    body = b"z" * (4 * HELD_BYTES)
    ((status, _, said),) = answers(await plane.ask(request(good, body, CLOSE)))
    assert (status, len(said)) == (200, len(body))


class Wire(asyncio.Transport):
    """The server's end of a connection without a socket."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.sent = b""
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


async def test_a_place_is_given_back_by_a_client_that_left_before_its_handler_began(plane: Plane) -> None:
    key = await plane.key(read_limits(concurrency=1))
    ends = [plane.server._connect(), plane.server._connect()]
    wires = [Wire(), Wire()]
    for end, wire in zip(ends, wires, strict=True):
        end.connection_made(wire)
        end.data_received(request(key))
        if end is ends[0]:
            end.connection_lost(None)  # before the loop has turned once
    await eventually(lambda: bool(wires[1].sent))
    assert (wires[0].sent, wires[1].sent[:12], plane.tasks) == (b"", b"HTTP/1.1 200", 1)
    ends[1].connection_lost(None)


async def test_of_many_small_requests_in_one_read_few_are_taken_apart_before_their_turn(plane: Plane) -> None:
    good = await plane.key()
    wire = Wire()
    end = plane.server._connect()
    end.connection_made(wire)
    count = 3_000
    end.data_received(request(good) * count)
    assert len(end._reader.queue) * len(request(good)) <= SLICE_BYTES
    assert not wire.reading
    await eventually(lambda: wire.sent.count(b"HTTP/1.1 200") == count)
    assert wire.reading
    end.connection_lost(None)


async def eventually(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not reached():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)


async def test_whoever_goes_on_is_answered_later_and_meanwhile_a_good_key_at_once(plane: Plane) -> None:
    good = await plane.key()
    reader, writer = await plane.connect()
    writer.write(request(b"bad") * (FREE + 1) + request(b"bad", b"{}", CLOSE))
    await eventually(lambda: plane.gate.patience.waiting == 1)
    ((status, _, _),) = answers(await plane.ask(request(good, b"{}", CLOSE)))
    assert status == 200
    assert plane.gate.patience.waiting == 1
    plane.clock.on(MOST_S)
    plane.clock.on(MOST_S)
    found = answers(await asyncio.wait_for(reader.read(), 20))
    assert [status for status, _, _ in found] == [401] * (FREE + 2)
    writer.close()


async def test_what_waits_is_looked_at_again_when_its_time_has_come(plane: Plane) -> None:
    key = await plane.key(read_limits("60/min"))
    reader, writer = await plane.connect()
    writer.write(request(key) * (60 + FREE) + request(key, b"late", CLOSE))
    await eventually(lambda: plane.gate.patience.waiting == 1)
    plane.clock.on(MOST_S)  # the limit has room for one by now
    found = answers(await asyncio.wait_for(reader.read(), 20))
    assert [status for status, _, _ in found] == [200] * 60 + [429] * FREE + [200]
    assert plane.served[-1] == b"late"
    writer.close()


async def test_a_client_that_leaves_while_it_waits_costs_nothing_more(plane: Plane) -> None:
    await plane.key()
    _, writer = await plane.connect()
    writer.write(request(b"bad") * (FREE + 1))
    await eventually(lambda: plane.gate.patience.waiting == 1)
    writer.transport.abort()
    plane.clock.on(MOST_S)
    await eventually(lambda: plane.server.connections == 0)
    assert plane.gate.patience.waiting == 0


async def test_a_connection_that_waits_is_not_read_from_and_one_that_is_served_is(plane: Plane) -> None:
    good = await plane.key()
    wire = Wire()
    end = plane.server._connect()
    end.connection_made(wire)
    end.data_received(request(b"bad") * (FREE + 1) + request(good, path=b"/v1/hold"))
    assert (plane.gate.patience.waiting, wire.reading) == (1, False)
    plane.clock.on(MOST_S)
    assert (plane.gate.patience.waiting, wire.reading) == (0, True)  # so that its leaving is seen
    plane.release.set()
    await eventually(lambda: b"200 OK" in wire.sent)
    end.connection_lost(None)


async def test_refusals_of_the_other_plane_wait_too(patient: Plane) -> None:
    await patient.key()
    began = asyncio.get_running_loop().time()
    count = FREE + 30
    found = answers(
        await patient.ask(
            request(b"bad", path=b"/api/v1/models") * (count - 1) + request(b"bad", b"", CLOSE, path=b"/api/v1/models")
        )
    )
    assert [status for status, _, _ in found] == [401] * count
    assert asyncio.get_running_loop().time() - began > 29 / CREDENTIAL.per_s


async def test_under_a_flood_of_bad_keys_every_request_of_a_good_key_is_answered_in_order(patient: Plane) -> None:
    good = await patient.key()
    ended = asyncio.Event()
    refused: list[int] = []

    async def flood(number: int) -> None:
        reader, writer = await patient.connect()
        count = 0
        while not ended.is_set():
            writer.write(request(b"pod_bad"))
            await reader.readuntil(b"}}")
            count += 1
        refused.append(count)
        writer.close()

    began = asyncio.get_running_loop().time()
    floods = [asyncio.ensure_future(flood(number)) for number in range(16)]
    await eventually(lambda: patient.gate.patience.waiting >= 8)
    bodies = [b"%d" % number for number in range(200)]
    raw = await patient.ask(*(request(good, body) for body in bodies), request(good, b"last", CLOSE))
    assert [(status, body) for status, _, body in answers(raw)] == [(200, body) for body in [*bodies, b"last"]]
    assert patient.gate.patience.waiting >= 8
    ended.set()
    await asyncio.gather(*floods)
    took = asyncio.get_running_loop().time() - began
    assert sum(refused) <= CREDENTIAL.burst + CREDENTIAL.per_s * took + 16 * (1 + took / MOST_S)
