"""Anything at all on the real socket, from clients and from the servers of models: an answer or an end, in time, in our own
shape where it is an error, and the next request is served as if nothing had happened."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_cases import Filled, filled

pytestmark = pytest.mark.requirement("API-3")
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/models",
    "/v1/x",
)
PATIENCE_S = 30.0
GOOD = {"model": "m@1", "messages": [{"role": "user", "content": "hi"}]}
RAW = json.dumps(GOOD).encode()
WHOLE = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(RAW), RAW)
CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    b"%x\r\n%b\r\n%x;a=b\r\n%b\r\n0\r\n\r\n" % (10, RAW[:10], len(RAW) - 10, RAW[10:])
)
often = settings(
    max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["model", "messages", "prompt", "input", "stream", "stream_options", "max_tokens", "tools", "tool_choice", "metadata",
     "response_format", "n", "stop", "user", "keep_alive", "previous_response_id", "system", "logprobs"]
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(FIELDS, VALUES, max_size=4).map(
        lambda more: json.dumps({**GOOD, "prompt": "p", "input": "i", **more}).encode()
    ),
    st.dictionaries(FIELDS, VALUES, max_size=4).map(lambda more: json.dumps({**GOOD, **more, "stream": True}).encode()),
)
HEADER_NAMES = st.sampled_from(
    [b"x-podium-task", b"x-podium-session", b"x-podium-priority", b"x-podium-execution", b"x-podium-criteria", b"traceparent",
     b"tracestate", b"x-request-id", b"authorization", b"accept", b"expect", b"connection", b"anthropic-version", b"cookie"]
)  # fmt: skip
HEADER_VALUES = st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\r\n\0"))
HEADERS = st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=3)


class Upstream:
    """A server of models that answers every question with whatever it was told to."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.answer = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError, ValueError):
                    self._one(connection)

    def _one(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        reader = connection.makefile("rb")
        line = reader.readline()
        length = 0
        while (header := reader.readline().strip()) != b"":
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        reader.read(length)
        if line.startswith(b"POST"):
            connection.sendall(self.answer)
            return
        listed = b'{"object": "list", "data": [{"id": "odd", "object": "model"}]}'
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(listed), listed)
        )

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Filled]:
    with filled(tmp_path_factory.mktemp("fuzz")) as made:
        settings_ = {"remote": "odd", "capabilities": ["chat"], "concurrency": 4}
        source = {"provider": "openai", "location": f"http://127.0.0.1:{upstream.port}/v1", "settings": settings_}
        upstream.answer = _said(json.dumps({"choices": [{"message": {"role": "assistant", "content": "x"}}]}).encode())
        added = made.ask("POST", "/api/v1/models", {"name": "odd", "version": "1", "source": source, "activate": True})
        assert added["problem"] is None, added
        yield made


def _said(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nconnection: close\r\n\r\n%b" % (kind, body)


def talk(place: Filled, sent: list[bytes]) -> bytes:
    """Everything that comes back until the server ends the connection; fails when it does not in time."""
    port = int(place.url.rpartition(":")[2])
    parts = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in sent:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                parts.append(piece)
    return b"".join(parts)


def asked(place: Filled, method: str, path: str, body: bytes, headers: dict[bytes, bytes]) -> tuple[int, str, bytes]:
    """(status, content type, body) of one request that is well framed."""
    port = int(place.url.rpartition(":")[2])
    lines = [b"%b: %b\r\n" % pair for pair in headers.items()]
    head = b"%b %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n%b\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(head % (method.encode(), path.encode(), len(body), b"".join(lines)) + body)
        reply = HTTPResponse(connection, method=method)
        reply.begin()
        try:
            return reply.status, reply.headers.get("content-type", ""), reply.read()
        finally:
            reply.close()


def serves(place: Filled) -> None:
    status, _, body = asked(place, "POST", "/v1/chat/completions", RAW, {})
    assert status == 200, body


def check(status: int, kind: str, body: bytes) -> None:
    """An answer, or an error of ours."""
    assert 200 <= status < 600
    if status < 400:
        return
    assert kind.startswith("application/json")
    error = json.loads(body)["error"]
    assert error["message"]
    assert error["type"]


@often
@given(
    path=st.sampled_from(PATHS),
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT"]),
    body=BODIES,
    headers=HEADERS,
)
def test_any_body_with_any_headers_is_answered_in_our_shape(
    place: Filled, path: str, method: str, body: bytes, headers: dict[bytes, bytes]
):
    status, kind, said = asked(place, method, path, body, headers)
    check(status, kind, said)
    assert status != 500, (path, body, said)
    if status == 200 and kind.startswith("text/event-stream"):
        assert said.endswith(b"\n\n")


def spoiled(raw: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for where, cut, put in changes:
        at = int(where * len(raw))
        raw = raw[:at] + put + raw[at + cut :]
    return raw


PIECES = st.binary(max_size=6) | st.sampled_from(
    [b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\0", b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"HTTP/9.9", b"ffffffffffffffff"]
)  # fmt: skip
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 8), PIECES), min_size=1, max_size=3)


@often
@given(
    raw=st.binary(max_size=300)
    | st.tuples(st.sampled_from([WHOLE, CHUNKED, WHOLE + CHUNKED]), CHANGES).map(lambda pair: spoiled(*pair)),
    cut=st.floats(0, 1),
)
def test_any_bytes_on_the_socket_get_an_answer_or_an_end_and_cost_nobody_else_anything(
    place: Filled, raw: bytes, cut: float
):
    at = int(cut * len(raw))
    said = talk(place, [raw[:at], raw[at:]])
    if said:
        status = int(said[9:12])
        assert said.startswith(b"HTTP/1.1 ")
        if status >= 400:
            head, _, body = said.partition(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            check(status, "application/json", body[:length])
            assert status < 500, (raw, body)
    serves(place)


EVENTS = [
    b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n',
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}\n\n',
    b"data: [DONE]\n\n",
]  # fmt: skip
STREAM, BODY = (
    b"".join(EVENTS),
    json.dumps({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1}}).encode(),
)
ANSWERS = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=100).map(_said),
    VALUES.map(lambda value: _said(json.dumps(value).encode())),
    st.lists(st.sampled_from(EVENTS) | st.binary(max_size=20), max_size=5).map(
        lambda parts: _said(b"".join(parts), b"text/event-stream")
    ),
    CHANGES.map(lambda changes: _said(spoiled(STREAM, changes), b"text/event-stream")),
    CHANGES.map(lambda changes: _said(spoiled(BODY, changes))),
    CHANGES.map(lambda changes: spoiled(_said(BODY), changes)),
)


@often
@given(
    answer=ANSWERS,
    stream=st.booleans(),
    path=st.sampled_from(["/v1/chat/completions", "/v1/messages", "/v1/responses"]),
)
def test_whatever_the_server_of_a_model_sends_the_caller_gets_an_answer_or_our_error_and_an_end(
    place: Filled, upstream: Upstream, answer: bytes, stream: bool, path: str
):
    for _ in range(2):  # so that failures stay the smaller half and the breaker stays closed
        upstream.answer = _said(BODY)
        assert (
            asked(place, "POST", "/v1/chat/completions", json.dumps({**GOOD, "model": "odd@1"}).encode(), {})[0] == 200
        )
    upstream.answer = answer
    body: dict[str, Any] = {**GOOD, "model": "odd@1", "max_tokens": 9, "input": "hi", "stream": stream}
    status, kind, said = asked(place, "POST", path, json.dumps(body).encode(), {})
    check(status, kind, said)
    if status == 200 and stream:
        assert kind.startswith("text/event-stream")
    assert b"internal_error" not in said, (answer, said)
    serves(place)
