"""Rubbish on every inbound format: never our fault, always an error in the caller's own shape."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.config import Config
from podium.domain.model import Source
from podium.runtime import Gateway
from podium.server.exchange import Exchange
from podium.services.onboarding import Registration

pytestmark = pytest.mark.requirement("API-3")

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {
        "model": "m@1",
        "max_tokens": 8,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "stop_sequences": ["x"],
        "metadata": {"user_id": "u", "task": "t"},
        "thinking": {"type": "enabled", "budget_tokens": 100},
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "document", "source": {"type": "text", "data": "d"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"}]}]},
        ],
    },
    "/v1/responses": {
        "model": "m@1",
        "max_output_tokens": 8,
        "instructions": "s",
        "metadata": {"task": "t"},
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "tools": [{"type": "function", **FUNCTION}],
        "tool_choice": "auto",
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "t"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "o"},
        ],
    },
    "/v1/chat/completions": {
        "model": "m@1",
        "max_tokens": 8,
        "metadata": {"task": "t"},
        "tools": [{"type": "function", "function": FUNCTION}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    },
}  # fmt: skip
BODIES["/v1/messages/count_tokens"] = BODIES["/v1/messages"]
BODIES["/v1/responses/input_tokens"] = BODIES["/v1/responses"]

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["auto", "function", "text", "json_schema", "tool_use", "image", "message", "task:x", "m@1", "", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "name", "role", "id", "content", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


class Transport:
    """The client's end of a socket."""

    def __init__(self) -> None:
        self.data = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.data += data

    def abort(self) -> None:
        self.aborted = True

    def get_extra_info(self, _: str) -> None:
        return None


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Gateway]:
    script = tmp_path / "m.json"
    script.write_text(json.dumps({"text": "fine"}))
    async with Gateway.open(Config(home=tmp_path / "home")) as opened:
        source = Source(provider="scripted", location=str(script), settings=MappingProxyType({}))
        await opened.services.onboarding.add(Registration(name="m", version="1", source=source, activate=True), "test")
        yield opened


async def answer(runtime: Gateway, path: str, body: bytes) -> tuple[int, bytes, bool]:
    transport = Transport()
    exchange = Exchange(transport, method="POST", path=path, query=b"", headers={}, body=body)
    async with asyncio.timeout(20):
        await runtime._data_plane.handle(exchange)
    return exchange.status, transport.data.partition(b"\r\n\r\n")[2], transport.aborted


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*at, key))
    return found


def spoiled(body: dict[str, Any], changes: list[tuple[float, Any]]) -> dict[str, Any]:
    made = copy.deepcopy(body)
    for where, junk in changes:
        found = places(made)
        *path, last = found[int(where * len(found))]
        inside: Any = made
        for key in path:
            inside = inside[key]
        inside[last] = junk
    return made


def check(path: str, status: int, body: bytes, aborted: bool) -> None:
    assert not aborted
    assert status < 500, body
    if status == 200:
        return
    said = json.loads(body)
    error = said["error"]
    assert error["message"]
    assert error["fault"] in {"caller", "policy"}
    if path.startswith("/v1/messages"):
        assert said["type"] == "error"
        assert said["request_id"].startswith("req_")
        assert error["type"] in {"invalid_request_error", "not_found_error", "request_too_large"}
    else:
        assert error["request_id"].startswith("req_")
        assert error["type"] in {"invalid_request_error", "policy_error"}


ANY = st.lists(st.tuples(st.floats(0, 0.999), JUNK), min_size=1, max_size=3)


async def test_bodies_that_are_right_are_answered(runtime: Gateway):
    for path, given_ in BODIES.items():
        status, body, _ = await answer(runtime, path, json.dumps(given_).encode())
        assert status == 200, body


async def test_a_body_with_anything_anywhere_is_answered_or_refused_in_the_callers_shape(runtime: Gateway):
    async def one(path: str, changes: list[tuple[float, Any]], stream: bool) -> None:
        body = spoiled({**BODIES[path], **({"stream": True} if stream and "tokens" not in path else {})}, changes)
        check(path, *await answer(runtime, path, json.dumps(body).encode()))

    loop = asyncio.get_running_loop()

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.sampled_from(sorted(BODIES)), ANY, st.booleans())
    def many(path: str, changes: list[tuple[float, Any]], stream: bool) -> None:
        asyncio.run_coroutine_threadsafe(one(path, changes, stream), loop).result(60)

    await asyncio.to_thread(many)


NO_REQUESTS = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a string": b'"x"',
    "cut": b"{",
    "not UTF-8": b"\xff\xfe",
    "half a surrogate": b'{"a":"\\ud800"}',
    "deep": b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "nothing": b"{}",
}


async def test_what_is_no_request_at_all_is_refused_in_the_callers_shape(runtime: Gateway):
    for path in BODIES:
        for body in NO_REQUESTS.values():
            status, said, aborted = await answer(runtime, path, body)
            assert status == 400
            check(path, status, said, aborted)
