"""The way of a request through a real gateway: fallback, streams that break, what is on record afterwards."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from server import Server

TEXT = "one two three four five six"
SECRET = "zebra-crossing-4711"


def faulty(kind: str, **more: Any) -> dict[str, Any]:
    """A script that works, except for prompts with the word ``boom``."""
    return {"text": TEXT, "faults": [{"kind": kind, "match": "boom", **more}]}


def explain(server: Server, headers: dict[str, str]) -> list[dict[str, Any]]:
    return server.ok("GET", f"/api/v1/decisions/{headers['x-request-id']}")["attempts"]


def read_stream(server: Server, model: str, text: str, **more: Any) -> tuple[dict[str, str], list[bytes]]:
    """(headers, events) of a stream that was read to its end."""
    lines = server.stream(model, text, **more)
    head = json.loads(next(lines))
    return head, [event for event in b"".join(lines).split(b"\n\n") if event]


def text_of(events: list[bytes]) -> str:
    chunks = [json.loads(event[6:]) for event in events if event.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


class Upstream(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that answers ``boom`` with whatever bytes the test wants."""

    protocol_version = "HTTP/1.1"
    boom: tuple[int, str, bytes] = (500, "application/json", b"{}")

    def do_GET(self) -> None:
        self._send(200, "application/json", json.dumps({"object": "list", "data": [{"id": "remote-id"}]}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if b"boom" in body:
            self._send(*self.boom)
            return
        usage = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
        chunk = b'{"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":"stop"}]}'
        whole = b'{"choices":[{"index":0,"message":{"content":"hello"}}],"usage":{"completion_tokens":1}}'
        if json.loads(body).get("stream"):
            self._send(200, "text/event-stream", b"data: %b\n\ndata: %b\n\ndata: [DONE]\n\n" % (chunk, usage))
        else:
            self._send(200, "application/json", whole)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[tuple[type[Upstream], str]]:
    handler = type("Handler", (Upstream,), {})
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    yield handler, f"http://127.0.0.1:{listener.server_address[1]}"
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.mark.requirement("SEL-5", "API-4")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ["error", "cut", "garbage", "half_event"])
def test_a_failure_before_the_first_byte_is_served_by_the_fallback(server: Server, kind: str, stream: bool):
    server.script("bad@1", **faulty(kind, after_chunks=0))
    server.script("good@1", text=TEXT)
    server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "bad@1"})
    if stream:
        headers, events = read_stream(server, "task:jobs", "boom")
        assert text_of(events) == TEXT
        assert events[-1] == b"data: [DONE]"
        assert not any(event.startswith(b"event: error") for event in events)
    else:
        reply = server.chat("task:jobs", "boom")
        headers = reply.headers
        assert reply.status == 200, reply.body
        assert reply.json["choices"][0]["message"]["content"] == TEXT
    assert headers["x-podium-model"] == "good@1"
    first, second = explain(server, headers)
    assert (first["served"], second["served"]) == ("bad@1", "good@1")
    assert first["parent"] is None
    assert second["parent"] == first["decision_id"]
    assert headers["x-podium-decision"] == second["decision_id"]
    assert not first["outcome"]["success"]
    assert first["outcome"]["error"]
    assert second["outcome"]["success"]
    assert second["propensity"] == 1.0
    assert first["fallbacks"] == ["good@1"]


@pytest.mark.requirement("SEL-5", "API-4")
@pytest.mark.parametrize(
    "body",
    [
        b'data: {"error": {"message": "out of slots", "code": 500}}\n\n',
        b'event: error\ndata: {"error": {"message": "out of slots"}}\n\n',
        b"data: [DONE]\n\n",
        b"",
        b"<html>a proxy's page</html>\n\n",
    ],
    ids=["data error", "error event", "nothing but the end", "empty", "a web page"],
)
def test_a_stream_that_starts_with_an_error_or_nothing_is_served_by_the_fallback(
    server: Server, upstream: tuple[type[Upstream], str], body: bytes
):
    handler, url = upstream
    handler.boom = (200, "text/event-stream", body)
    added = server.add("bad@1", "openai", url)
    assert added["problem"] is None, added
    server.script("good@1", text=TEXT)
    server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "bad@1"})
    headers, events = read_stream(server, "task:jobs", "boom")
    assert headers["x-podium-model"] == "good@1"
    assert text_of(events) == TEXT
    assert [attempt["served"] for attempt in explain(server, headers)] == ["bad@1", "good@1"]


@pytest.mark.requirement("SEL-5")
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_the_model_refuses_is_not_sent_to_another_one(server: Server, status: int):
    server.script("bad@1", **faulty("error", status=status))
    server.script("good@1", text=TEXT)
    server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "bad@1"})
    reply = server.chat("task:jobs", "boom", headers={"x-request-id": "req-refused"})
    assert reply.status == status
    assert reply.error["message"] == "bad@1: scripted failure"
    (only,) = explain(server, {"x-request-id": "req-refused"})
    assert only["served"] == "bad@1"
    assert only["outcome"]["error"] == reply.error["code"]


@pytest.mark.requirement("SEL-5")
def test_a_model_asked_for_by_name_is_never_replaced_silently(server: Server):
    server.script("bad@1", **faulty("error"))
    server.script("good@1", text=TEXT)
    for model, request_id in (("bad@1", "req-1"), ("bad", "req-2")):
        reply = server.chat(model, "boom", headers={"x-request-id": request_id})
        assert reply.status == 502
        assert reply.error["fault"] == "provider"
        assert "bad@1" in reply.error["message"]
        assert len(explain(server, {"x-request-id": request_id})) == 1


@pytest.mark.requirement("API-4")
@pytest.mark.parametrize("kind", ["cut", "half_event", "silence"])
def test_a_stream_that_breaks_ends_with_one_error_event_and_nothing_after_it(tmp_path: Path, kind: str):
    config = tmp_path / "podium.toml"
    config.write_text("[timeouts]\nfirst_token_s = 5.0\ntotal_s = 1.0\n")
    server = Server(tmp_path / "home", "--config", str(config)).start()
    try:
        server.script("bad@1", **faulty(kind, after_chunks=2))
        server.script("good@1", text=TEXT)
        server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "bad@1"})
        headers, events = read_stream(server, "task:jobs", "boom")
        assert headers["x-podium-model"] == "bad@1"
        assert text_of(events[:-1]) == "one two"
        assert len(events) == 3
        name, _, data = events[-1].partition(b"\n")
        assert name == b"event: error"
        error = json.loads(data.removeprefix(b"data: "))["error"]
        assert error["fault"] == "provider"
        assert error["request_id"] == headers["x-request-id"]
        (only,) = explain(server, headers)
        assert only["outcome"]["error"] == error["code"]
        assert only["outcome"]["ttft_ms"] is not None
        assert server.chat("task:jobs").status == 200
    finally:
        server.stop()


@pytest.mark.requirement("API-4")
def test_nothing_follows_done_even_when_the_upstream_goes_on(server: Server, upstream: tuple[type[Upstream], str]):
    handler, url = upstream
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
    handler.boom = (200, "text/event-stream", chunk + b"data: [DONE]\n\n" + chunk)
    server.add("odd@1", "openai", url)
    _, events = read_stream(server, "odd@1", "boom")
    assert text_of(events) == "hi"
    assert events[-1] == b"data: [DONE]"
    assert len(events) == 2


@pytest.mark.requirement("COST-1", "API-4")
def test_recorded_tokens_are_what_the_server_reported_whether_asked_for_or_not(server: Server):
    server.script("m@1", text=TEXT)
    prompt = "four words for you"
    whole = server.chat("m@1", prompt)
    usage = whole.json["usage"]
    assert usage == {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}
    silent, silent_events = read_stream(server, "m@1", prompt)
    asked, asked_events = read_stream(server, "m@1", prompt, stream_options={"include_usage": True})
    assert b'"usage"' not in b"".join(silent_events)
    assert b"".join(asked_events).count(b'"prompt_tokens"') == 1
    for headers in (whole.headers, silent, asked):
        (attempt,) = explain(server, headers)
        cost = attempt["outcome"]["cost"]
        assert (cost["input_tokens"], cost["output_tokens"]) == (4, 6)


@pytest.mark.requirement("SEL-4", "SEL-6", "COST-1")
def test_a_request_is_on_record_with_candidates_scores_and_reasons_for_what_is_unknown(server: Server):
    server.script("m@1", text=TEXT)
    server.script("m@2", text=TEXT)
    server.ok("POST", "/api/v1/models/m@2/activate")
    server.ok("PUT", "/api/v1/tasks/general", {"strategy": "balanced"})
    reply = server.chat("auto", "hello there", headers={"x-request-id": "my-own.id:7"})
    assert reply.headers["x-request-id"] == "my-own.id:7"
    (attempt,) = explain(server, reply.headers)
    assert attempt["chosen"] == attempt["served"] == reply.headers["x-podium-model"]
    assert attempt["propensity"] == 1.0
    assert {c["ref"] for c in attempt["candidates"]} == {"m@1", "m@2"}
    assert all(c["score"] == 0.5 and c["samples"] == 0 for c in attempt["candidates"])
    assert set(attempt["expected"]) == {"quality", "latency_ms", "memory_mb", "samples"}
    assert attempt["reason"]
    cost = attempt["outcome"]["cost"]
    unknown = {name for name, how in cost["methods"].items() if how == "unavailable"} - {"price_microusd"}
    assert unknown
    assert unknown <= set(cost["missing"])
    assert all(cost["missing"].values())
    assert all(cost[name] is None for name in unknown)
    assert cost["wall_ms"] > 0
    strange = server.chat("auto", headers={"x-request-id": "no spaces please"})
    assert strange.headers["x-request-id"].startswith("req_")


@pytest.mark.requirement("OPS-4")
def test_neither_prompt_nor_answer_is_on_disk(server: Server):
    server.script("m@1", text=f"the answer is {SECRET}-answer")
    for stream in (False, True):
        server.chat("m@1", f"remember {SECRET}-prompt", stream=stream, user=f"{SECRET}-user")
    server.script("bad@1", **faulty("error", status=400))
    server.chat("bad@1", f"boom {SECRET}-prompt")
    assert len(server.ok("GET", "/api/v1/decisions")["decisions"]) == 3
    server.stop()
    files = [path for path in server.home.rglob("*") if path.is_file()]
    assert any(path.name == "podium.db" for path in files)
    assert [str(path) for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in server.log()


@pytest.mark.requirement("PRV-11")
def test_clients_that_leave_at_once_hold_nothing(server: Server):
    server.script("slow@1", text=TEXT, concurrency=4, latency_ms=100, chunk_gap_ms=50, ttft_ms=50)

    def leave(number: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(chat_request("slow@1", stream=number % 2 == 0))
            if number % 3 == 0:  # half of a farewell: reset instead of a proper close
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(leave, range(200)))
    deadline = time.monotonic() + 10
    while (view := instance(server, "slow@1"))["active"] or view["waiting"]:
        assert time.monotonic() < deadline, view
        time.sleep(0.02)
    began = time.monotonic()
    assert server.chat("slow@1").status == 200
    assert time.monotonic() - began < 2, "departed clients still take the model's time"
    assert server.ok("GET", "/api/v1/stats")["recorder"]["dropped"] == 0


@pytest.mark.requirement("PRV-11")
def test_a_client_that_leaves_the_queue_holds_no_place_in_it(server: Server):
    server.script("one@1", text=TEXT, concurrency=1, faults=[{"kind": "hang", "match": "boom"}])
    with closing(socket.create_connection(("127.0.0.1", server.port))) as holder:
        holder.sendall(chat_request("one@1", "boom"))
        wait_for(lambda: instance(server, "one@1")["active"] == 1)
        with closing(socket.create_connection(("127.0.0.1", server.port))) as queued:
            queued.sendall(chat_request("one@1"))
            wait_for(lambda: instance(server, "one@1")["waiting"] == 1)
        wait_for(lambda: instance(server, "one@1")["waiting"] == 0)
        assert instance(server, "one@1")["active"] == 1
    wait_for(lambda: instance(server, "one@1")["active"] == 0)
    assert server.chat("one@1").status == 200
    errors = [d["outcome"]["error"] for d in server.ok("GET", "/api/v1/decisions")["decisions"]]
    assert errors.count("client_left") == 2


@pytest.mark.requirement("PRV-11")
def test_a_slow_reader_and_a_slow_sender_do_not_hold_up_the_others(server: Server):
    server.script("big@1", text=" ".join(["word"] * 20_000))
    server.script("m@1", text=TEXT)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with closing(reader), closing(socket.create_connection(("127.0.0.1", server.port))) as sender:
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(chat_request("big@1", stream=True))
        sender.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        until = time.monotonic() + 1.5
        times = []
        while time.monotonic() < until:
            assert reader.recv(1)
            sender.sendall(b"X")
            began = time.monotonic()
            assert server.chat("m@1").status == 200
            times.append(time.monotonic() - began)
    assert sorted(times)[len(times) // 2] < 0.2
    wait_for(lambda: instance(server, "big@1")["active"] == 0)


@pytest.mark.requirement("PRV-11")
def test_pipelined_requests_are_answered_in_their_order(server: Server):
    server.script("slow@1", text="slow", latency_ms=150)
    server.script("fast@1", text="fast")
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as client:
        last = chat_request("fast@1").replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        client.sendall(chat_request("slow@1") + chat_request("fast@1", stream=True) + last)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    models = [line.split(b": ")[1] for line in answer.split(b"\r\n") if line.startswith(b"x-podium-model")]
    assert models == [b"slow@1", b"fast@1", b"fast@1"]


def chat_request(model: str, text: str = "hi", *, stream: bool = False) -> bytes:
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def instance(server: Server, ref: str) -> dict[str, Any]:
    return next(item for item in server.ok("GET", "/api/v1/instances")["instances"] if item["ref"] == ref)


def wait_for(condition: Any, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
