"""The gateway without a socket: heartbeats while a model loads, and how a stream ends that only had those."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from podium.config import Config, Selection
from podium.domain.model import Source
from podium.domain.request import Endpoint, RequestHead
from podium.errors import NoCandidate, NotFound, ProviderRejected
from podium.runtime import Gateway
from podium.services import wire
from podium.services.gateway import Headers
from podium.services.onboarding import Registration


class Caller:
    """Keeps what it is sent, in order."""

    def __init__(self) -> None:
        self.bytes_started = False
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.ended = 0

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.start_stream(status, headers)
        self.write(body)
        self.finish()

    def start_stream(self, status: int, headers: Headers) -> None:
        assert not self.bytes_started
        self.bytes_started = True
        self.status, self.headers = status, dict(headers)

    def write(self, data: bytes) -> None:
        assert self.bytes_started
        assert not self.ended
        self.body += data

    def finish(self) -> None:
        self.ended += 1

    @property
    def events(self) -> list[bytes]:
        return [event for event in self.body.split(b"\n\n") if event]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    config = Config(home=tmp_path / "home", selection=Selection(strategy="classic"))
    async with Gateway.open(config) as gateway:
        front = gateway.services.gateway
        front.limits = replace(front.limits, heartbeat_s=0.05)
        yield gateway


async def add(gateway: Gateway, tmp_path: Path, ref: str, **script: Any) -> None:
    path = tmp_path / f"{ref}.json"
    path.write_text(json.dumps(script))
    name, _, version = ref.partition("@")
    source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
    order = Registration(name=name, version=version, source=source, activate=True)
    _, _, problem = await gateway.services.onboarding.add(order, "test")
    assert problem is None


def head(model: str, text: str = "hi", *, stream: bool = True, task: str | None = None) -> RequestHead:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}
    return wire.parse(Endpoint.CHAT, json.dumps(body).encode(), request_id="req-1", task=task, session=None)


@pytest.mark.requirement("API-4")
async def test_a_stream_hears_a_comment_while_its_model_loads_and_then_the_answer(running: Gateway, tmp_path: Path):
    await add(running, tmp_path, "slow@1", text="here now", load_ms=400)
    await running.services.pool.unload("slow@1")
    caller = Caller()
    await running.services.gateway.handle(head("slow@1"), None, caller)
    comments = [event for event in caller.events if event.startswith(b":")]
    assert 3 <= len(comments) <= 8
    assert all(comment.startswith(b": waiting for slow@1: loading since") for comment in comments)
    assert all(b"usually" in comment and b"about 0." in comment for comment in comments)
    assert caller.events[: len(comments)] == comments, "a comment inside the answer"
    assert caller.events[-1] == b"data: [DONE]"
    assert caller.headers[b"x-podium-model"] == b"slow@1"
    assert caller.ended == 1


@pytest.mark.requirement("API-4")
async def test_a_model_that_is_ready_is_answered_without_comments(running: Gateway, tmp_path: Path):
    await add(running, tmp_path, "m@1", text="at once", ttft_ms=200)
    caller = Caller()
    await running.services.gateway.handle(head("m@1"), None, caller)
    assert not any(event.startswith(b":") for event in caller.events)


@pytest.mark.requirement("API-4")
@pytest.mark.parametrize("status", [400, 500])
async def test_a_stream_that_only_had_comments_still_ends_with_one_error_event(
    running: Gateway, tmp_path: Path, status: int
):
    fault = {"kind": "error", "status": status, "match": "boom"}
    await add(running, tmp_path, "slow@1", text="never", load_ms=200, faults=[fault])
    await running.services.pool.unload("slow@1")
    caller = Caller()
    await running.services.gateway.handle(head("slow@1", "boom"), None, caller)
    errors = [event for event in caller.events if not event.startswith(b":")]
    assert len(errors) == 1
    assert errors[0].startswith(b"event: error\ndata: ")
    error = json.loads(errors[0].split(b"data: ", 1)[1])["error"]
    assert error["request_id"] == "req-1"
    assert caller.events[-1] is not None
    assert caller.events[-1] == errors[0]
    assert caller.ended == 1


async def test_an_error_before_anything_was_sent_is_raised_and_sends_nothing(running: Gateway, tmp_path: Path):
    await add(running, tmp_path, "m@1", text="x", faults=[{"kind": "error", "status": 400, "match": "boom"}])
    for model, kind in (("m@1", ProviderRejected), ("task:nowhere", NotFound), ("nothing@1", NotFound)):
        caller = Caller()
        with pytest.raises(kind):
            await running.services.gateway.handle(head(model, "boom"), None, caller)
        assert not caller.bytes_started
    assert [view.active for view in running.services.pool.views()] == [0]


@pytest.mark.requirement("SEL-3", "SEL-4")
async def test_a_task_named_for_the_first_time_is_chosen_for_by_the_installations_strategy(
    running: Gateway, tmp_path: Path
):
    await add(running, tmp_path, "m@1", text="x")
    caller = Caller()
    await running.services.gateway.handle(head("auto", task="brand-new", stream=False), None, caller)
    assert caller.status == 200
    assert caller.headers[b"x-podium-task"] == b"brand-new"
    await running.services.recorder.flush()
    ((decision, _),) = await running.services.store.find_decisions("req-1")
    assert decision.choice.strategy == "classic"


async def test_without_any_model_the_error_says_so(running: Gateway):
    with pytest.raises(NoCandidate):
        await running.services.gateway.handle(head("auto"), None, Caller())
