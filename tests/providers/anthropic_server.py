"""Anthropic's API as its reference has it, on a real socket: messages, their events, models, errors."""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any

MODEL = "claude-haiku-4-5"
ROW = {
    "type": "model",
    "id": MODEL,
    "display_name": "Claude Haiku 4.5",
    "created_at": "2025-10-15T00:00:00Z",
    "max_input_tokens": 200_000,
    "max_tokens": 64_000,
    "capabilities": {
        "image_input": {"supported": True},
        "structured_outputs": {"supported": True},
        "batch": {"supported": True},
    },
}
USAGE = {"input_tokens": 10, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 5, "output_tokens": 1}


def events(*parts: dict[str, Any], stop: str = "end_turn", output: int = 7) -> bytes:
    """The stream of a message with these blocks: its start, pings and ends as the API sends them."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": MODEL, "stop_reason": None}
    made: list[dict[str, Any]] = [{"type": "message_start", "message": {**start, "usage": USAGE}}]
    for index, part in enumerate(parts):
        made.append({"type": "content_block_start", "index": index, "content_block": part["start"]})
        made.append({"type": "ping"})
        made += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in part["deltas"]]
        made.append({"type": "content_block_stop", "index": index})
    made.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop, "stop_sequence": None},
            "usage": {"output_tokens": output},
        }
    )
    made.append({"type": "message_stop"})
    return sse(*made)


def sse(*made: dict[str, Any]) -> bytes:
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in made)


def text(*pieces: str) -> dict[str, Any]:
    return {
        "start": {"type": "text", "text": ""},
        "deltas": [{"type": "text_delta", "text": piece} for piece in pieces],
    }


def call(name: str, *pieces: str) -> dict[str, Any]:
    return {
        "start": {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}},
        "deltas": [{"type": "input_json_delta", "partial_json": piece} for piece in pieces],
    }


def thought(*pieces: str) -> dict[str, Any]:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    return {
        "start": {"type": "thinking", "thinking": "", "signature": ""},
        "deltas": [*deltas, {"type": "signature_delta", "signature": "c2ln"}],
    }


def message(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL}
    usage = {**USAGE, "output_tokens": 7}
    return {**head, "content": list(content), "stop_reason": stop, "stop_sequence": None, "usage": usage}


class Anthropic:
    """``answer``: (status, body) of the next messages. ``asked``: bodies; ``keys``: what came as x-api-key."""

    def __init__(self, key: str = "sk-ant-test") -> None:
        self.answer: tuple[int, Any] = (200, message({"type": "text", "text": "Hello."}))
        self.streamed = events(text("Hel", "lo."))
        self.asked: list[dict[str, Any]] = []
        self.gets: list[str] = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def allowed(self) -> bool:
                if self.headers["x-api-key"] != key:
                    said = {"type": "authentication_error", "message": "invalid x-api-key"}
                    self.reply(401, {"type": "error", "error": said})
                    return False
                assert self.headers["anthropic-version"] == "2023-06-01"
                return True

            def do_GET(self) -> None:
                fake.gets.append(self.path)
                if self.allowed():
                    known = self.path == f"/v1/models/{MODEL}"
                    said = {"type": "not_found_error", "message": f"model: {self.path}"}
                    self.reply(200 if known else 404, ROW if known else {"type": "error", "error": said})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if not self.allowed():
                    return
                fake.asked.append(body)
                status, answer = fake.answer
                self.reply(status, fake.streamed if body.get("stream") and status == 200 else answer)

            def reply(self, status: int, value: Any) -> None:
                raw = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                for start in range(0, len(raw), 37):  # pieces that end anywhere
                    self.wfile.write(raw[start : start + 37])

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
