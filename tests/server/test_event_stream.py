"""The stream of events over a real socket: ids in order, nothing twice, nothing missing, and it gives everything back."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import pytest

from podium import Podium
from podium.config import Config, Recording, Server
from podium.domain.swap import Event
from podium.errors import InvalidRequest, ProviderUnreachable
from podium.maintenance import Maintenance
from podium.ports import Batch
from podium.runtime import Gateway
from podium.server.control import events as stream_module
from podium.services.meter import Meter

pytestmark = pytest.mark.requirement("SWP-10")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway.open(Config(home=tmp_path / "home", server=Server(port=0, drain_s=5))) as opened:
        await opened.serve()
        yield opened


def note(gateway: Gateway, *numbers: int, kind: str = "test.tick") -> None:
    """Emit events, as services do: live at once, on record a little later."""
    for number in numbers:
        gateway.services.events.emit(Event(kind=kind, at=float(number), subject="t", data=(("n", number),)))


async def record(gateway: Gateway, count: int, kind: str = "test.tick", text: str = "") -> None:
    made = [Event(kind=kind, at=float(n), subject="t", data=(("n", n), ("text", text))) for n in range(count)]
    await gateway.services.store.write_batch(Batch(events=made))


async def until(condition: Callable[[], object], deadline_s: float = 10.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - the other end of a socket has no event to wait for
            await asyncio.sleep(0.005)


class Reader:
    """A plain client of server-sent events."""

    def __init__(self, gateway: Gateway, *, query: str = "", last: object = None) -> None:
        self.port = int(str(gateway.url).rsplit(":", 1)[1])
        self.query, self.last = query, last

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        last = "" if self.last is None else f"Last-Event-ID: {self.last}\r\n"
        head = f"GET /api/v1/events{self.query} HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n{last}\r\n"
        self.writer.write(head.encode())
        async with asyncio.timeout(10):
            answer = await self.reader.readuntil(b"\r\n\r\n")
            self.status = int(answer.split()[1])
            if self.status == 200:
                first = await self.block()
                assert first.startswith(": listening\n")
                self.id = int(first.split("id: ")[1].split("\n")[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def block(self) -> str:
        async with asyncio.timeout(10):
            return (await self.reader.readuntil(b"\n\n")).decode()[:-2]

    async def take(self, count: int) -> list[dict[str, Any]]:
        """Events; heartbeats are passed over, and each ``id:`` must be the event's own."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            fields = dict(line.split(": ", 1) for line in (await self.block()).split("\n") if not line.startswith(":"))
            if "data" in fields:
                data = json.loads(fields["data"])
                found.append({"event": fields["event"], "data": data, "id": int(fields["id"])})
                assert fields["event"] == "lost" or (data["kind"], data["id"]) == (fields["event"], int(fields["id"]))
        return found


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return [item["data"]["data"]["n"] for item in found]


async def test_live_events_carry_the_ids_of_the_record_in_order(gateway: Gateway) -> None:
    note(gateway, 0)
    async with Reader(gateway) as reader:
        note(gateway, 1, 2)
        await record(gateway, 1)
        note(gateway, 3)
        found = await reader.take(4)
    assert sorted(numbers(found)) == [0, 1, 2, 3], "what was told before the stream began is not repeated"
    assert [item["id"] for item in found] == list(range(reader.id + 1, reader.id + 5))


async def test_a_reader_that_comes_back_misses_nothing_and_hears_nothing_twice(gateway: Gateway) -> None:
    seen: list[int] = []
    last: int | None = None
    written = 0
    async with Reader(gateway) as reader:
        last = reader.id
    for step in range(12):
        note(gateway, *range(written, written + 7))
        written += 7
        async with Reader(gateway, last=last) as reader:
            found = await reader.take(step % 5 + 1)
            seen += numbers(found)
            last = found[-1]["id"]
    async with Reader(gateway, last=last) as reader:
        seen += numbers(await reader.take(written - len(seen)))
    assert seen == list(range(written))


async def test_only_kinds_asked_for_arrive_and_heartbeats_carry_the_place(gateway: Gateway, monkeypatch) -> None:
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.05)
    async with Reader(gateway, query="?kind=swap.*,rollout.*&kind=x.y") as reader:
        note(gateway, 1)
        note(gateway, 2, kind="swap.started")
        note(gateway, 3, kind="x.y")
        note(gateway, 4, kind="x.z")
        assert numbers(await reader.take(2)) == [2, 3]
        async with asyncio.timeout(5):
            while f"id: {reader.id + 4}" not in await reader.block():
                continue


async def test_what_the_record_lost_is_said_and_the_rest_follows(gateway: Gateway) -> None:
    await record(gateway, 5000)
    await gateway.services.event_log.prune_events(100)
    async with Reader(gateway, last=10) as reader:
        lost, *rest = await reader.take(101)
    assert lost["event"] == "lost"
    assert (lost["data"]["after"], lost["data"]["count"], lost["id"]) == (10, 4890, 4900)
    assert [item["id"] for item in rest] == list(range(4901, 5001))


async def test_what_is_pruned_under_a_slow_reader_is_said_too(gateway: Gateway) -> None:
    async with Reader(gateway) as reader:
        start = reader.id
        await record(gateway, 3000, text="x" * 4000)
        for _ in range(3):
            await asyncio.sleep(0)
        await gateway.services.event_log.prune_events(100)
        ids, lost = [], 0
        while not ids or ids[-1] < start + 3000:
            (item,) = await reader.take(1)
            lost += item["data"].get("count", 0)
            if item["event"] != "lost":
                ids.append(item["id"])
    assert ids == sorted(set(ids))
    assert lost > 0, "the socket holds less than was pruned"
    assert lost + len(ids) == 3000


async def test_an_id_of_another_record_starts_over_and_says_so(gateway: Gateway) -> None:
    await record(gateway, 3)
    async with Reader(gateway, last=999_999) as reader:
        lost, *rest = await reader.take(4)
    assert lost["event"] == "lost"
    assert "replaced" in lost["data"]["why"]
    assert numbers(rest) == [0, 1, 2]


@pytest.mark.parametrize(
    ("query", "last"), [("", "abc"), ("", "-1"), ("", "9" * 30), ("?kind=A", None), ("?after=-1", 0)]
)
async def test_nonsense_is_refused(gateway: Gateway, query: str, last: object) -> None:
    async with Reader(gateway, query=query, last=last) as reader:
        assert reader.status in (400, 422)
    assert gateway.services.events.followers == 0


async def test_a_slow_reader_costs_a_batch_and_harms_nobody(gateway: Gateway) -> None:
    async with Reader(gateway) as slow, Reader(gateway) as quick:
        for _ in range(10):
            await record(gateway, 500, text="x" * 4000)
        assert len(await quick.take(5000)) == 5000
        assert len(await slow.take(5000)) == 5000, "it reads later, and all of it"


async def test_a_reader_that_takes_nothing_is_cut_off(gateway: Gateway, monkeypatch) -> None:
    monkeypatch.setattr(stream_module, "STALL_S", 0.2)
    async with Reader(gateway):
        assert gateway.services.events.followers == 1
        await record(gateway, 5000, text="x" * 4000)
        await until(lambda: gateway.services.events.followers == 0)


async def test_a_reader_that_leaves_frees_everything(gateway: Gateway) -> None:
    before = len(asyncio.all_tasks())
    readers = [Reader(gateway) for _ in range(20)]
    for reader in readers:
        await reader.__aenter__()
    assert gateway.services.events.followers == 20
    for reader in readers:
        await reader.__aexit__()
    await until(lambda: gateway.services.events.followers == 0)
    await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_there_is_a_most_of_streams(gateway: Gateway, monkeypatch) -> None:
    monkeypatch.setattr(stream_module, "MOST_STREAMS", 1)
    async with Reader(gateway) as first, Reader(gateway) as second:
        assert (first.status, second.status) == (200, 503)


async def test_open_streams_do_not_hold_up_the_end(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with Gateway.open(Config(home=tmp_path / "home", server=Server(port=0, drain_s=30))) as gateway:
        await gateway.serve()
        reader = await Reader(gateway).__aenter__()
        started = loop.time()
    assert loop.time() - started < 5
    assert await reader.block() == ": the gateway stops"
    await reader.__aexit__()


async def test_the_hourly_tidy_keeps_the_record_within_its_bound(tmp_path: Path) -> None:
    config = Config(home=tmp_path / "home", recording=Recording(max_events=100))
    async with Gateway.open(config) as gateway:
        await record(gateway, 2500)
        log = gateway.services.event_log
        await Maintenance(gateway.services, Meter(gateway.services.clock), config.recording).tidy()
        oldest, newest = await log.event_bounds()
        assert newest - oldest + 1 == 100
        assert newest >= 2500


# ---------------------------------------------------------------- the client


async def test_following_survives_a_gateway_that_goes_and_comes_back(tmp_path: Path) -> None:
    home = tmp_path / "home"
    seen: list[dict[str, Any]] = []
    connected = asyncio.Event()
    async with Gateway.open(Config(home=home, server=Server(port=0))) as gateway:
        url = await gateway.serve()
        port = int(url.rsplit(":", 1)[1])

        async def listen() -> None:
            async with Podium.connect(url) as podium:
                connected.set()
                async for event in podium.follow("test.*"):
                    seen.append(event)  # noqa: PERF401 - looked at from outside while it grows

        listening = asyncio.create_task(listen())
        await connected.wait()
        await until(lambda: gateway.services.events.followers == 1)
        note(gateway, 1, 2)
        await until(lambda: len(seen) == 2)
    async with Gateway.open(Config(home=home, server=Server(port=port))) as gateway:
        note(gateway, 3)
        await gateway.services.recorder.flush()
        await gateway.serve()
        note(gateway, 4)
        await until(lambda: len(seen) == 4)
        assert [event["data"]["n"] for event in seen] == [1, 2, 3, 4]
        ids = [event["id"] for event in seen]
        assert ids == sorted(set(ids))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_following_a_gateway_that_stays_away_ends_with_an_error(tmp_path: Path) -> None:
    async with Gateway.open(Config(home=tmp_path / "home", server=Server(port=0))) as gateway:
        url = await gateway.serve()
        podium = await (context := Podium.connect(url)).__aenter__()
        events = podium.follow(patience_s=0.3)
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: gateway.services.events.followers == 1)
    with pytest.raises(ProviderUnreachable):
        async with asyncio.timeout(5):
            await waiting
    await context.__aexit__(None, None, None)
    async with Podium.connect(url) as podium:
        with pytest.raises(ProviderUnreachable):
            await anext(podium.follow())


async def test_a_refused_pattern_is_raised_at_once(gateway: Gateway) -> None:
    async with Podium.connect(gateway.url) as podium:
        with pytest.raises(InvalidRequest):
            await anext(podium.follow("Swap.*"))
        with pytest.raises(InvalidRequest):
            async with podium.on_event(print, "Swap.*"):
                pytest.fail("it was refused")


async def test_a_callback_that_raises_is_called_again(gateway: Gateway) -> None:
    heard: list[int] = []

    def callback(event: dict[str, Any]) -> None:
        heard.append(event["data"]["n"])
        assert threading.current_thread() is not threading.main_thread()
        raise ValueError("a mistake")

    async with Podium.connect(gateway.url) as podium:
        async with podium.on_event(callback, "test.*") as subscription:
            note(gateway, 1, 2, 3)
            await until(lambda: subscription.raised == 3)
        assert heard == [1, 2, 3]
    await until(lambda: gateway.services.events.followers == 0)


async def test_a_callback_that_never_returns_harms_nobody(gateway: Gateway) -> None:
    stuck, heard = threading.Event(), []

    async def other(event: dict[str, Any]) -> None:
        heard.append(event["data"]["n"])

    try:
        async with Podium.connect(gateway.url) as podium:
            async with (
                podium.on_event(lambda event: stuck.wait(60), "test.*") as first,
                podium.on_event(other, "test.*"),
            ):
                note(gateway, *range(2000))
                await until(lambda: len(heard) == 2000)
                assert first.called == 1
            assert (await podium.doctor())["version"]
    finally:
        stuck.set()
    assert heard == list(range(2000))
