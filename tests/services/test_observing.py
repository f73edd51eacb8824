"""Finished answers are shown to those who asked, whole as they went out; background work keeps out of users' way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType

import pytest

from podium.config import Config
from podium.domain.model import Source
from podium.domain.request import Endpoint, RequestHead
from podium.errors import PodiumError
from podium.runtime import Gateway
from podium.services import wire
from podium.services.idleness import Idleness, Interrupted
from podium.services.observing import MOST_BYTES, Answered, read_body, read_stream
from podium.services.onboarding import Registration


class Caller:
    """Takes an answer and forgets it."""

    def __init__(self) -> None:
        self.bytes_started = False
        self.on_pause = self.on_resume = None

    def respond(self, status, headers, body) -> None:
        self.bytes_started = True

    def start_stream(self, status, headers) -> None:
        self.bytes_started = True

    def write(self, data) -> None:
        pass

    def finish(self) -> None:
        pass


class Watcher:
    def __init__(self, task: str) -> None:
        self.task = task
        self.seen: list[Answered] = []

    def wants(self, head: RequestHead, decision) -> bool:
        return decision.choice.task == self.task

    def take(self, answered: Answered) -> None:
        self.seen.append(answered)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        path = tmp_path / "m.json"
        path.write_text(json.dumps({"text": "four words in all", "faults": [{"kind": "error", "match": "boom"}]}))
        source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
        await gateway.services.onboarding.add(Registration(name="m", version="1", source=source, activate=True), "test")
        yield gateway


def head(text: str = "hi", *, stream: bool, task: str = "watched") -> RequestHead:
    body = {"model": "m@1", "stream": stream, "messages": [{"role": "user", "content": text}]}
    return wire.parse(Endpoint.CHAT, json.dumps(body).encode(), request_id="req-1", task=task, session=None)


@pytest.mark.requirement("JDG-4")
@pytest.mark.parametrize("stream", [True, False])
async def test_an_observer_sees_the_answers_it_wants_and_no_others(running: Gateway, stream: bool):
    watcher = Watcher("watched")
    front = running.services.gateway
    front.observers = (watcher,)
    await front.handle(head(stream=stream), None, Caller())
    await front.handle(head(stream=stream, task="elsewhere"), None, Caller())
    assert len(watcher.seen) == 1
    seen = watcher.seen[0]
    assert seen.text().text == "four words in all"
    assert seen.text().finish == "stop"
    assert seen.outcome.success
    assert seen.decision.served == "m@1"
    assert front.idleness.users == 0


async def test_an_answer_that_failed_is_shown_as_one(running: Gateway):
    watcher = Watcher("watched")
    running.services.gateway.observers = (watcher,)
    with pytest.raises(PodiumError):
        await running.services.gateway.handle(head("boom", stream=False), None, Caller())
    assert [seen.outcome.success for seen in watcher.seen] == [False]
    assert watcher.seen[0].text().text == ""
    assert running.services.gateway.idleness.users == 0


def test_no_more_than_a_megabyte_of_an_answer_is_kept():
    from podium.services.observing import Keeping

    keeping = Keeping(())
    for _ in range(5):
        keeping.add(b"x" * (MOST_BYTES // 4))
    assert keeping.cut
    assert sum(map(len, keeping._parts)) == MOST_BYTES


@pytest.mark.parametrize("raw", [b"", b"rubbish", b'{"choices": []}', b'{"choices": 7}', b"\xff\xfe", b"null"])
def test_what_is_no_answer_reads_as_no_words(raw: bytes):
    assert read_body(raw).text == ""
    assert read_stream(b"data: " + raw + b"\n\n").text == ""


def test_pieces_of_a_stream_and_its_tool_calls_are_put_together():
    def chunk(**delta: object) -> bytes:
        return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"

    other = b'data: {"choices": [{"index": 1, "delta": {"content": "second choice"}}]}\n\n'
    raw = chunk(content="a") + chunk(tool_calls=[{"index": 0}]) + other + b"data: nonsense\n\n" + chunk(content="b")
    found = read_stream(raw + b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n')
    assert (found.text, found.finish, found.tool_calls) == ("ab", "length", 1)


# ------------------------------------------------------------ idleness


async def test_background_work_waits_for_quiet_and_is_called_off_when_a_user_comes():
    idle = Idleness()
    ended: list[str] = []

    async def work() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "done"

    idle.entered()
    waiting = asyncio.create_task(idle.quiet())
    await asyncio.sleep(0)
    assert not waiting.done()
    idle.left()
    await asyncio.wait_for(waiting, 1)
    running = asyncio.create_task(idle.run(work()))
    await asyncio.sleep(0.01)
    idle.entered()
    with pytest.raises(Interrupted):
        await running
    assert ended == ["cancelled"]
    idle.left()

    async def quick() -> str:
        return "done"

    assert await idle.run(quick()) == "done"


async def test_work_that_is_cancelled_from_outside_ends_as_cancelled_and_takes_its_child_along():
    idle = Idleness()
    started = asyncio.Event()
    stopped = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.sleep(30)
        finally:
            stopped.set()

    running = asyncio.create_task(idle.run(work()))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(stopped.wait(), 1)
