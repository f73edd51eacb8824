"""An OpenAI-compatible server that plays what real servers have been seen to send; alone, or under provider ``command``.

A prompt ``play:NAME`` gets that answer, byte for byte; everything else gets four words. ``GET /last`` is the body of the
last generation, so that a test sees what reached the server. It must not import anything of Podium.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
ARGUMENTS = '{"city": "Bern", "days": 2}'
LOGPROBS = {
    "content": [
        {"token": "yes", "logprob": -0.1, "bytes": [121, 101, 115], "top_logprobs": [{"token": "yes", "logprob": -0.1, "bytes": [121, 101, 115]}]}
    ]
}  # fmt: skip


def delta(finish: str | None = None, *, index: int = 0, **what: Any) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "delta": what, "finish_reason": finish}
    if "stop_reason" in what:
        choice["stop_reason"] = what.pop("stop_reason")
    if "logprobs" in what:
        choice["logprobs"] = what.pop("logprobs")
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "played", "choices": [choice]}


def call(
    index: int | None, identity: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    made: dict[str, Any] = {"function": function}
    if index is not None:
        made["index"] = index
    if identity is not None:
        made |= {"id": identity, "type": "function"}
    return delta(tool_calls=[made])


def usage(**figures: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "played",
        "choices": [],
        "usage": figures or USAGE,
    }


def pieces(text: str, size: int = 5) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


WORDS = [delta(role="assistant", content=""), *(delta(content=word) for word in ("one", " two", " three", " four"))]
STREAMS: dict[str, list[dict[str, Any]]] = {
    "words": [*WORDS, delta("stop"), usage()],
    "tool": [call(0, "call_a", "weather", ""), *(call(0, arguments=piece) for piece in pieces(ARGUMENTS)), delta("tool_calls"), usage()],
    "two_tools": [
        delta(content="Let me look."),
        call(0, "call_a", "weather", ""),
        *(call(0, arguments=piece) for piece in pieces(ARGUMENTS, 9)),
        call(1, "call_b", "time", "{}"),
        delta("tool_calls"),
        usage(),
    ],
    "interleaved_tools": [
        call(0, "call_a", "weather", ""),
        call(1, "call_b", "weather", ""),
        *(call(which, arguments=piece) for piece in pieces(ARGUMENTS) for which in (0, 1)),
        delta("tool_calls"),
        usage(),
    ],
    "same_index_tools": [call(0, "call_a", "weather", ARGUMENTS), call(0, "call_b", "time", "{}"), delta("tool_calls"), usage()],
    "no_index_tools": [
        call(None, "call_a", "weather", ARGUMENTS[:8]),
        call(None, None, None, ARGUMENTS[8:]),
        call(None, "call_b", "time", "{}"),
        delta("tool_calls"),
        usage(),
    ],
    "object_arguments": [call(0, "call_a", "weather", json.loads(ARGUMENTS)), delta("tool_calls"), usage()],
    "stop_says_stop": [call(0, "call_a", "weather", ARGUMENTS), delta("stop"), usage()],
    "bad_arguments": [call(0, "call_a", "weather", '{"city": "Be'), delta("tool_calls"), usage()],
    "nameless_tool": [call(0, "call_a", None, "{}"), delta("tool_calls"), usage()],
    "thinking": [delta(reasoning_content="Let me "), delta(reasoning_content="think."), delta(content="Done."), delta("stop"), usage()],
    "reasoning": [delta(reasoning="Hm."), delta(content="Done."), delta("stop"), usage()],
    "cut_by_length": [*WORDS, delta("length"), usage()],
    "filtered": [delta(content="I"), delta("content_filter"), usage()],
    "stop_sequence": [delta(content="one"), delta("stop", stop_reason="END"), usage()],
    "zero_usage": [*WORDS, delta("stop"), usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)],
    "no_usage": [*WORDS, delta("stop")],
    "counting_usage": [{**delta(content="one"), "usage": {"prompt_tokens": 11, "completion_tokens": 1}}, {**delta("stop"), "usage": USAGE}, usage(prompt_tokens=0, completion_tokens=0)],
    "cached": [*WORDS, delta("stop"), usage(prompt_tokens=11, completion_tokens=7, prompt_tokens_details={"cached_tokens": 8}, completion_tokens_details={"reasoning_tokens": 3})],
    "lying_model": [{**delta(content="one"), "model": "gpt-9-turbo"}, {**delta("stop"), "model": "x"}, usage()],
    "logprobs": [delta(content="yes", logprobs=LOGPROBS), delta("stop"), usage()],
    "second_choice": [delta(index=1, content="no"), delta(content="yes"), delta("stop"), delta("stop", index=1), usage()],
    "wrong_types": [delta(content="one"), {"choices": [{"index": 0, "delta": {"tool_calls": "yes"}}]}, delta("stop")],
    "error_event": [delta(content="one"), {"error": {"message": "out of memory", "type": "server_error"}}],
}  # fmt: skip
CUT = {"ends_early": [delta(content="one"), delta(content=" two")]}


def whole(name: str) -> dict[str, Any]:
    """The same answer in one piece, as such a server would send it."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[Any, dict[str, Any]] = {}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
    counted: dict[str, Any] | None = None
    for chunk in STREAMS[name]:
        counted = chunk.get("usage") or counted
        for one in chunk.get("choices", []):
            if one["index"] == 0:
                choice |= {
                    key: one[key] for key in ("finish_reason", "stop_reason", "logprobs") if one.get(key) is not None
                }
                _grow(message, calls, one["delta"])
    if name == "interleaved_tools":
        for made in calls.values():
            made["function"]["arguments"] = ARGUMENTS
    if calls:
        message["tool_calls"] = list(calls.values())
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "played",
        "choices": [choice],
        "usage": counted,
    }


def _grow(message: dict[str, Any], calls: dict[Any, dict[str, Any]], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if isinstance(value, str) and key != "role":
            message[key] = (message.get(key) or "") + value
    for piece in delta.get("tool_calls") or ():
        at = piece.get("id") or next(reversed(calls))
        made = calls.setdefault(at, {"id": at, "type": "function", "function": {"name": None, "arguments": ""}})[
            "function"
        ]
        given = piece["function"].get("arguments", "")
        made["arguments"] += given if isinstance(given, str) else json.dumps(given)
        made["name"] = piece["function"].get("name") or made["name"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PlayedServer

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": "played", "object": "model"}]})
        elif self.path == "/last":
            self._send(200, self.server.last)
        else:
            self._send(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.path.endswith("/v1/chat/completions"):
            self._send(404, {"error": {"message": f"there is no {self.path}"}})
            return
        self.server.last = body
        said = [str(message.get("content")) for message in body["messages"] if message["role"] == "user"]
        name = said[-1].rpartition("play:")[2] if said and "play:" in said[-1] else "words"
        if name == "refuses":
            self._send(
                400,
                {"error": {"message": "no such thing", "type": "invalid_request_error", "param": "x", "code": "odd"}},
            )
        elif name == "nonsense":
            self._send(200, {"hello": "world"})
        elif not body.get("stream"):
            self._send(200, whole(name))
        else:
            self._stream(name)

    def _stream(self, name: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        if name == "endless":
            with self.server.counted:
                self.server.running += 1
            try:
                while True:
                    self._event(delta(content="word "))
                    time.sleep(0.01)
            except OSError:
                with self.server.counted:
                    self.server.running -= 1
            return
        style, _, name = name.rpartition("/")
        self._event(delta(role="assistant", content=""))
        for chunk in CUT.get(name) or STREAMS[name]:
            if style == "no_space":
                self.wfile.write(b"data:" + json.dumps(chunk).encode() + b"\n\n")
            elif style == "crlf":
                self.wfile.write(b": hello\r\n\r\ndata: " + json.dumps(chunk).encode() + b"\r\n\r\n")
            elif style == "bytewise":
                for byte in b"data: " + json.dumps(chunk).encode() + b"\n\n":
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
            else:
                self._event(chunk)
        if style != "no_done" and name not in CUT and name != "error_event":
            self.wfile.write(b"data:[DONE]\n\n" if style == "no_space" else b"data: [DONE]\n\n")

    def _event(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def _send(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


class PlayedServer(ThreadingHTTPServer):
    """Use as a context manager; ``url`` is its base."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.last: dict[str, Any] = {}
        self.running = 0
        """Endless answers being written."""
        self.counted = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    PlayedServer(parser.parse_args().port).serve_forever()
