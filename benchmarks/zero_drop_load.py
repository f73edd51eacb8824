"""One streaming client of the zero-drop benchmark, and the judgement of each answer. Owns no policy and no server.

Plain sockets and httptools: thousands of events per second on one core. ``judge`` is pure: what arrived, and what
exactly that model must say, in; a verdict out.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

import httptools
import msgspec

_CONTENT = re.compile(rb'"content"\s*:\s*"(?!")')


class Verdict(StrEnum):
    """What became of one request."""

    OK = "ok"
    FAILED = "failed"
    """No answer: refused, an error status, an error before the first word, silence beyond the time-out."""
    CUT = "cut"
    """An answer that began and did not end properly: no finish reason, no ``[DONE]``, words missing."""
    WRONG_MODEL = "wrong_model"
    """Whole, but from another model than asked for, than the header names, or from two of them."""
    SHED = "shed"
    """429 or 503 with ``Retry-After``: refused on purpose, counted apart."""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    model: str | None = None
    usage: object = None
    error: object = None


_chunk = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class Reply:
    """What came back. Times are ``time.perf_counter`` seconds."""

    sent: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: list[bytes] = field(default_factory=list)
    head_at: float | None = None
    first_word_at: float | None = None
    complete: bool = False
    reason: str = ""
    """Why it is not complete."""


@dataclass(slots=True, eq=False)
class Request:
    """One request under way. ``allowed`` are the models that may serve it; a swap adds the one it moves to."""

    model: str
    prompt: str
    allowed: set[str]
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """``served``: the model that answered, as far as the answer tells."""

    verdict: Verdict
    served: str | None
    why: str = ""


class _Wire(asyncio.Protocol):
    """One connection. It hears for its client until one of them lets go; a new connection has a new wire."""

    def __init__(self, client: Client) -> None:
        self.client: Client | None = client
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        if self.client is not None:
            self.client.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client is not None:
            self.client.lost(f"the connection closed{f': {exc}' if exc else ''}")

    def close(self) -> None:
        self.client = None
        if self.transport is not None:
            self.transport.abort()


class Client:
    """Asks one thing at a time over a keep-alive connection."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._wire: _Wire | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._reply = Reply(0.0)
        self._done: asyncio.Future[None] | None = None

    async def ask(self, request: Request, path: str, timeout_s: float) -> Reply:
        """Send and wait for the end of the answer. Never raises for what the server does."""
        body: dict[str, object] = {
            "model": request.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "messages": [{"role": "user", "content": request.prompt}],
        }
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        raw = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        )
        self._reply = reply = Reply(time.perf_counter())
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                if self._wire is None:
                    _, self._wire = await loop.create_connection(lambda: _Wire(self), self._host, self._port)
                assert self._wire.transport is not None
                self._parser = httptools.HttpResponseParser(self)
                self._done = loop.create_future()
                self._wire.transport.write(head.encode() + raw)
                await self._done
        except TimeoutError:
            reply.reason = f"no end within {timeout_s:g} s"
        except OSError as error:
            reply.reason = f"{type(error).__name__}: {error}"
        finally:
            self._done = None
            if not reply.complete:
                self.close()
        return reply

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def feed(self, data: bytes) -> None:
        """Bytes arrived."""
        try:
            if self._parser is not None:
                self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(f"no HTTP: {error}")

    def lost(self, reason: str) -> None:
        """The other side closed, or the network did."""
        self._wire = None
        self._finish(reason)

    def _finish(self, reason: str) -> None:
        if self._done is not None and not self._done.done():
            self._reply.reason = "" if self._reply.complete else reason
            self._done.set_result(None)

    # ---------------------------------------------------------------- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._reply.status = self._parser.get_status_code()
        self._reply.head_at = time.perf_counter()

    def on_body(self, data: bytes) -> None:
        reply = self._reply
        reply.body.append(data)
        if reply.first_word_at is None and _CONTENT.search(data):
            reply.first_word_at = time.perf_counter()

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self._reply.complete = True
        if not self._parser.should_keep_alive():
            self.close()
        self._finish("")


def judge(request: Request, reply: Reply, known: frozenset[str], expected: dict[str, dict[str, str]] | None) -> Judged:
    """What became of ``request``. ``known``: names of models a chunk may carry. ``expected``: text by model and
    prompt; ``None`` when a model's exact words cannot be known (a real one), then names, finish and usage count.
    """
    served = reply.headers.get("x-podium-model") or min(request.allowed)
    if reply.status in (429, 503) and reply.complete and "retry-after" in reply.headers:
        return Judged(Verdict.SHED, None, f"{reply.status}, Retry-After {reply.headers['retry-after']}")
    if reply.status != 200:
        body = b"".join(reply.body)[:200].decode(errors="replace")
        return Judged(Verdict.FAILED, None, reply.reason or f"status {reply.status}: {body}")
    try:
        answer = _Answer.read(b"".join(reply.body), known)
    except msgspec.DecodeError as error:
        return Judged(Verdict.CUT, served, f"half an event: {error}")
    return _judge_answer(request, reply, answer, served, expected)


@dataclass(slots=True)
class _Answer:
    """What a stream says."""

    text: str = ""
    names: set[str] = field(default_factory=set)
    finished: bool = False
    done: bool = False
    usage: object = None
    error: object = None

    @classmethod
    def read(cls, body: bytes, known: frozenset[str]) -> _Answer:
        """Raises ``msgspec.DecodeError`` at half an event."""
        found = cls()
        words: list[str] = []
        for line in body.splitlines():
            if line == b"data: [DONE]":
                found.done = True
            elif line.startswith(b"data: {"):
                chunk = _chunk.decode(line[6:])
                found.error, found.usage = found.error or chunk.error, found.usage or chunk.usage
                if chunk.model in known:
                    found.names.add(chunk.model)
                for choice in chunk.choices:
                    words.append(choice.delta.content or "")
                    found.finished = found.finished or choice.finish_reason is not None
        found.text = "".join(words)
        return found


def _judge_answer(
    request: Request, reply: Reply, answer: _Answer, served: str, expected: dict[str, dict[str, str]] | None
) -> Judged:
    if answer.error is not None or not (reply.complete and answer.done and answer.finished):
        why = reply.reason or (f"error event: {answer.error}" if answer.error else "no finish_reason or no [DONE]")
        return Judged(Verdict.CUT if answer.text else Verdict.FAILED, served, why[:300])
    if served not in request.allowed:
        return Judged(Verdict.WRONG_MODEL, served, f"{served} served what was for {sorted(request.allowed)}")
    if answer.names - {served}:
        return Judged(Verdict.WRONG_MODEL, served, f"chunks name {sorted(answer.names)}, the header {served}")
    if expected is None:
        missing = "no text" if not answer.text else "no usage" if answer.usage is None else ""
        return Judged(Verdict.CUT if missing else Verdict.OK, served, missing)
    right = expected[served][request.prompt]
    if answer.text == right:
        return Judged(Verdict.OK, served)
    if right.startswith(answer.text):
        return Judged(Verdict.CUT, served, f"words missing: {answer.text!r} of {right!r}")
    return Judged(Verdict.WRONG_MODEL, served, f"{served} must say {right!r}, not {answer.text!r}")
