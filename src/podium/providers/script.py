"""The script of the deterministic provider: what it answers, how fast, and what goes wrong. Pure, no I/O.

A script turns a request into a plan: a status, and pieces of bytes with the pause before each. The same script
and the same sequence of requests always give the same plan.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from podium.domain.model import Capability
from podium.domain.request import Endpoint
from podium.errors import InvalidRequest

Count = Annotated[int, msgspec.Meta(ge=1)]
Millis = Annotated[float, msgspec.Meta(ge=0)]
_encode = msgspec.json.encode
FOREVER_S = 1e9
_ALL = tuple(item.value for item in Capability if item is not Capability.VISION)


class FaultKind(StrEnum):
    """What goes wrong."""

    ERROR = "error"
    """An HTTP error with ``status``."""
    HANG = "hang"
    """No answer at all."""
    SILENCE = "silence"
    """The stream stops after ``after_chunks`` and stays open."""
    CUT = "cut"
    """The connection closes after ``after_chunks``."""
    HALF_EVENT = "half_event"
    """The body ends properly, inside an event."""
    GARBAGE = "garbage"
    """A body that is no JSON."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing that goes wrong, on every nth request or on prompts that match."""

    kind: FaultKind
    every: Count = 1
    match: str | None = None
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    after_chunks: Annotated[int, msgspec.Meta(ge=0)] = 1


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The text for prompts in which the regular expression ``match`` is found."""

    match: str
    text: str


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything about one scripted model. Times are milliseconds, memory is MB."""

    text: str = "This is a scripted answer."
    answers: tuple[Answer, ...] = ()
    latency_ms: Millis = 0.0
    """Before a whole answer."""
    ttft_ms: Millis = 0.0
    """Before the first chunk of a stream."""
    chunk_gap_ms: Millis = 0.0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Times vary by up to this fraction, from ``seed``."""
    seed: int = 0
    load_ms: Millis = 0.0
    load_error: str | None = None
    concurrency: Count = 64
    memory_mb: Millis = 0.0
    context_length: Count = 8192
    capabilities: tuple[str, ...] = _ALL
    embedding_size: Count = 8
    faults: tuple[Fault, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``pieces``: (seconds to wait, bytes). ``cut``: the connection breaks after the last piece."""

    status: int
    content_type: str
    pieces: tuple[tuple[float, bytes], ...]
    cut: bool = False


def read_script(raw: bytes, origin: str) -> Script:
    """Raises ``InvalidRequest`` naming ``origin`` and the field that is wrong."""
    try:
        script = msgspec.json.decode(raw, type=Script)
        for pattern in (*(a.match for a in script.answers), *(f.match for f in script.faults if f.match)):
            re.compile(pattern)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{origin} is no script of the scripted provider: {error}") from None
    except re.error as error:
        raise InvalidRequest(f"{origin}: {error.pattern!r} is no regular expression: {error}") from None
    return script


def plan(script: Script, endpoint: Endpoint, body: Mapping[str, Any], number: int) -> Plan:
    """What to answer to the ``number``-th request (from 1)."""
    prompt = _prompt(endpoint, body)
    fault = next((f for f in script.faults if _applies(f, prompt, number)), None)
    if fault is not None and fault.kind is FaultKind.ERROR:
        error = {"error": {"message": "scripted failure", "type": "server_error", "code": None}}
        return Plan(status=fault.status, content_type="application/json", pieces=((0.0, _encode(error)),))
    if fault is not None and fault.kind is FaultKind.HANG:
        return Plan(status=200, content_type="application/json", pieces=((FOREVER_S, b""),))
    if endpoint is Endpoint.EMBEDDING:
        return _embedding(script, body)
    words = _words(script, prompt, body)
    stream = body.get("stream") is True
    made = _stream(script, endpoint, body, words, number) if stream else _whole(script, endpoint, body, words, number)
    return _spoil(made, fault) if fault is not None else made


def _applies(fault: Fault, prompt: str, number: int) -> bool:
    return number % fault.every == 0 and (fault.match is None or re.search(fault.match, prompt) is not None)


def _prompt(endpoint: Endpoint, body: Mapping[str, Any]) -> str:
    if endpoint is Endpoint.CHAT:
        messages = body.get("messages") or [{}]
        content = messages[-1].get("content")
        return content if isinstance(content, str) else str(content)
    return str(body.get("prompt") or body.get("input") or "")


def _words(script: Script, prompt: str, body: Mapping[str, Any]) -> tuple[list[str], str]:
    text = next((a.text for a in script.answers if re.search(a.match, prompt)), script.text)
    words = re.findall(r"\s*\S+", text)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and len(words) > limit:
        return words[:limit], "length"
    return words, "stop"


def _pause(script: Script, base_ms: float, number: int, step: int) -> float:
    if not script.jitter or not base_ms:
        return base_ms / 1000
    draw = random.Random(f"{script.seed}:{number}:{step}").uniform(-1, 1)  # noqa: S311 - repeatable on purpose
    return base_ms * (1 + script.jitter * draw) / 1000


def _usage(body: Mapping[str, Any], words: list[str], endpoint: Endpoint) -> dict[str, int]:
    asked = max(1, len(_prompt(endpoint, body).split()))
    return {"prompt_tokens": asked, "completion_tokens": len(words), "total_tokens": asked + len(words)}


def _base(endpoint: Endpoint, body: Mapping[str, Any], number: int, *, chunk: bool) -> dict[str, Any]:
    kind = "text_completion" if endpoint is Endpoint.COMPLETION else "chat.completion" + (".chunk" if chunk else "")
    return {"id": f"scripted-{number}", "object": kind, "created": 0, "model": body.get("model", "scripted")}


def _whole(
    script: Script, endpoint: Endpoint, body: Mapping[str, Any], words: tuple[list[str], str], number: int
) -> Plan:
    text, reason = "".join(words[0]), words[1]
    choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "logprobs": None}
    if endpoint is Endpoint.CHAT:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    answer = {
        **_base(endpoint, body, number, chunk=False),
        "choices": [choice],
        "usage": _usage(body, words[0], endpoint),
    }
    pause = _pause(script, script.latency_ms, number, 0)
    return Plan(status=200, content_type="application/json", pieces=((pause, _encode(answer)),))


def _stream(
    script: Script, endpoint: Endpoint, body: Mapping[str, Any], words: tuple[list[str], str], number: int
) -> Plan:
    base = _base(endpoint, body, number, chunk=True)
    pieces = []
    for step, word in enumerate(words[0]):
        pause = _pause(script, script.chunk_gap_ms if step else script.ttft_ms, number, step)
        pieces.append((pause, _event({**base, "choices": [_delta(endpoint, word, None, first=not step)]})))
    pieces.append((0.0, _event({**base, "choices": [_delta(endpoint, "", words[1], first=not words[0])]})))
    if (body.get("stream_options") or {}).get("include_usage"):
        pieces.append((0.0, _event({**base, "choices": [], "usage": _usage(body, words[0], endpoint)})))
    pieces.append((0.0, b"data: [DONE]\n\n"))
    return Plan(status=200, content_type="text/event-stream", pieces=tuple(pieces))


def _delta(endpoint: Endpoint, text: str, reason: str | None, *, first: bool) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
    if endpoint is Endpoint.CHAT:
        delta = {"role": "assistant"} if first else {}
        choice["delta"] = {**delta, "content": text} if text or first else {}
    else:
        choice["text"] = text
    return choice


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"


def _embedding(script: Script, body: Mapping[str, Any]) -> Plan:
    given = body.get("input")
    inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    rows = []
    for index, item in enumerate(inputs):
        digest = hashlib.shake_128(repr(item).encode()).digest(script.embedding_size)
        rows.append({"object": "embedding", "index": index, "embedding": [byte / 255 for byte in digest]})
    asked = sum(len(str(item).split()) for item in inputs)
    answer = {
        "object": "list",
        "data": rows,
        "model": body.get("model", "scripted"),
        "usage": {"prompt_tokens": asked, "total_tokens": asked},
    }
    pieces = ((script.latency_ms / 1000, _encode(answer)),)
    return Plan(status=200, content_type="application/json", pieces=pieces)


def _spoil(made: Plan, fault: Fault) -> Plan:
    kept = made.pieces[: fault.after_chunks]
    match fault.kind:
        case FaultKind.GARBAGE:
            pieces: tuple[tuple[float, bytes], ...] = ((0.0, b"\x00\xffnot what you expect"),)
            return Plan(status=200, content_type=made.content_type, pieces=pieces)
        case FaultKind.SILENCE:
            return Plan(status=200, content_type=made.content_type, pieces=(*kept, (FOREVER_S, b"")))
        case FaultKind.HALF_EVENT:
            rest = made.pieces[min(fault.after_chunks, len(made.pieces) - 1)][1]
            return Plan(status=200, content_type=made.content_type, pieces=(*kept, (0.0, rest[: len(rest) // 2])))
        case _:
            rest = made.pieces[min(fault.after_chunks, len(made.pieces) - 1)][1]
            pieces = (*kept, (0.0, rest[: len(rest) // 2]))
            return Plan(status=200, content_type=made.content_type, pieces=pieces, cut=True)
