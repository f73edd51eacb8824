"""An OpenAI-compatible server on a real socket whose replies a test writes, with the probabilities of its tokens."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from podium.domain.model import ModelVersion, Source
from podium.runtime import Gateway
from podium.services.background import Background
from podium.services.judge.asking import ModelJudge
from podium.services.meter import Meter
from podium.services.onboarding import Registration

Answer = tuple[int, bytes] | None
"""Status and body; ``None`` says nothing for ever."""


class JudgeServer:
    """``answer`` makes the reply to a body; ``bodies`` is what was asked, apart from what registering asks; ``gone`` counts callers that left."""

    def __init__(self, answer: Callable[[dict[str, Any]], Answer]) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.gone = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the caller left, or the test ended
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")), 0)
        raw = await reader.readexactly(length)
        answer: Answer = (404, b"{}")
        if head.startswith("get /v1/models "):
            answer = 200, json.dumps({"object": "list", "data": [{"id": "remote", "object": "model"}]}).encode()
        elif head.startswith("post"):
            body = json.loads(raw)
            messages = body.get("messages")
            if messages and messages[0]["content"].startswith("You "):
                answer = self.answer(body)
                self.bodies.append(body)
            elif messages:
                answer = _probed(body)
        if answer is None:
            await reader.read(1)
            self.gone += 1
            return False
        status, content = answer
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        return True


def _probed(body: dict[str, Any]) -> Answer:
    """What shows that the features asked about are really there: an object by schema, and probabilities."""
    text = "{" if "response_format" in body else "Hello"
    return reply(text, [(text, {text: 1.0})] if body.get("logprobs") else None)


def reply(text: str, tokens: list[tuple[str, dict[str, float]]] | None = None, finish: str = "stop") -> Answer:
    """A whole answer. ``tokens``: each with the probabilities at its place."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    if tokens is not None:
        said = []
        for token, likely in tokens:
            top = [{"token": one, "logprob": math.log(share)} for one, share in likely.items()]
            said.append({"token": token, "logprob": math.log(likely.get(token, 1.0)), "top_logprobs": top})
        choice["logprobs"] = {"content": said}
    usage = {"prompt_tokens": 100, "completion_tokens": len(tokens or []) or 1, "total_tokens": 101}
    return 200, json.dumps({"choices": [choice], "usage": usage}).encode()


def marked(mark: str, likely: dict[str, float]) -> Answer:
    """``{"score": MARK}`` with the probabilities of its mark."""
    tokens = [('{"', {'{"': 1.0}), ("score", {"score": 1.0}), ('":', {'":': 1.0}), (" ", {" ": 1.0})]
    return reply(f'{{"score": {mark}}}', [*tokens, (mark, likely), ("}", {"}": 1.0})])


async def add(gateway: Gateway, name: str, provider: str, location: str, **settings: object) -> ModelVersion:
    source = Source(provider=provider, location=location, settings=MappingProxyType(settings))
    order = Registration(name=name, version="1", source=source, activate=True)
    version, _, problem = await gateway.services.onboarding.add(order, "test")
    assert problem is None
    return version


def asker(gateway: Gateway, **limits: int) -> ModelJudge:
    services = gateway.services
    background = Background(
        services.pool, Meter(services.clock), services.gateway.idleness, services.clock, lambda version: True
    )
    return ModelJudge(background, lambda version: None, **limits)


async def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    for _ in iter(condition, True):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)
