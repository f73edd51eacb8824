"""Probes: who looks after the process asks them often, without a key, and no model hears of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from server import Server


class Counting(BaseHTTPRequestHandler):
    """A model that counts what it is asked. Health checks of the pool ask ``/v1/models``, generations anything else."""

    protocol_version = "HTTP/1.1"
    timeout = 2.0
    asked = 0

    def do_GET(self) -> None:
        self.answer({"data": [{"id": "m"}]})

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
        self.answer(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", "text/event-stream")

    def answer(self, body: object, kind: str = "application/json") -> None:
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def model() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.mark.requirement("API-5", "OPS-2")
def test_probes_need_no_key_call_no_model_and_tell_nothing_but_how_it_is(tmp_path: Path, model: str) -> None:
    server = Server(tmp_path / "home").start(100)
    try:
        assert server.call("GET", "/readyz").body == b"ok, no active model yet\n"
        made = server.add("m@1", "openai", model, remote="m", capabilities=["chat"])
        assert made["problem"] is None, made
        server.ok("POST", "/api/v1/keys", {"role": "admin", "name": "me"})
        assert server.call("GET", "/metrics").status == 401
        before = Counting.asked
        assert before >= 1
        for _ in range(50):
            live, ready = server.call("GET", "/livez"), server.call("GET", "/readyz")
            assert (live.status, live.body) == (200, b"ok\n")
            assert (ready.status, ready.body) == (200, b"ok, 1 active model(s)\n")
        assert server.call("HEAD", "/livez").status in (200, 405)
        assert server.call("POST", "/livez").status in (401, 405)
        assert Counting.asked == before
    finally:
        server.stop()
