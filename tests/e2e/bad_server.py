"""A tiny OpenAI-compatible server that misbehaves on demand; run through the provider ``command``, or alone.

Owns both ends of its switch: a JSON file that says how it behaves from now on (``Switch`` writes it, the server reads
it at every request), and a log with one line per generation. Standard library alone, so that it starts fast. A prompt
``fault:NAME`` has that fault for itself. It must not import anything of Podium.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

FOREVER_S = 3600.0
_RESET = struct.pack("ii", 1, 0)
_JSON = "application/json"


class Switch:
    """How one model behaves, seen from the test. All its copies share it."""

    def __init__(self, folder: Path, name: str, **state: Any) -> None:
        self.path = folder / f"{name}.switch.json"
        self.log = folder / f"{name}.log.jsonl"
        self.log.touch()
        self.set(**state)

    def set(self, **state: Any) -> None:
        """``fault``, ``health`` (a status, or ``hang``), ``words``, ``gap_ms``, ``delay_ms``, ``load_s``,
        ``load_error``; what is left out is normal."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(state))
        partial.replace(self.path)

    def command(self, *more: str) -> str:
        """The command template of the provider ``command``."""
        words = [sys.executable, "-I", "-S", __file__, "--switch", str(self.path), "--log", str(self.log), *more]
        return shlex.join(words) + " --port ${PORT}"

    def lines(self) -> list[dict[str, Any]]:
        """What reached the server: ``pid``, ``at`` (monotonic seconds) and ``text`` of each generation."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def count(self) -> int:
        """Generations that reached any copy, and loads are not among them."""
        return len([line for line in self.lines() if "text" in line])

    def loads(self) -> int:
        """How often it was started."""
        return len([line for line in self.lines() if "loaded" in line])


class _Server:
    def __init__(self, switch: Path, log: Path, port: int, hold_mb: int) -> None:
        self._switch = switch
        self._log = log
        self._port = port
        self._held = bytearray(hold_mb * 1024 * 1024)
        self._held[::4096] = b"x" * (len(self._held) // 4096)

    def state(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self._switch.read_text())
        return value

    def note(self, **what: Any) -> None:
        line = json.dumps({"pid": os.getpid(), "at": time.monotonic(), **what}) + "\n"
        with self._log.open("ab", buffering=0) as file:
            file.write(line.encode())

    def serve(self) -> None:
        state = self.state()
        time.sleep(state.get("load_s", 0))
        if state.get("load_error"):
            sys.exit(str(state["load_error"]))
        listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
        self.note(loaded=True)
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                while self._one(connection, reader):
                    pass
            except OSError:
                return

    def _one(self, connection: socket.socket, reader: Any) -> bool:
        first = reader.readline().decode("latin-1").split()
        if len(first) < 2:
            return False
        length = 0
        while line := reader.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = reader.read(length)
        if first[0] == "GET":
            return self._get(connection, first[1])
        return self._post(connection, json.loads(body))

    def _get(self, connection: socket.socket, path: str) -> bool:
        if path == "/v1/models":
            rows = [{"id": "bad", "object": "model"}]
            connection.sendall(_whole(200, _JSON, json.dumps({"object": "list", "data": rows}).encode()))
            return True
        if path != "/health":
            connection.sendall(_whole(404, _JSON, b"{}"))
            return True
        health = self.state().get("health", 200)
        if health == "hang":
            time.sleep(FOREVER_S)
        connection.sendall(_whole(int(health), _JSON, b"{}"))
        return True

    def _post(self, connection: socket.socket, body: dict[str, Any]) -> bool:
        state = self.state()
        text = str(body["messages"][-1]["content"])
        self.note(text=text)
        fault = text[6:] if text.startswith("fault:") else state.get("fault")
        if fault is not None:
            _misbehave(connection, str(fault), bool(body.get("stream")))
            return False
        time.sleep(state.get("delay_ms", 0) / 1000)
        words = [f"w{number}" for number in range(min(state.get("words", 3), body.get("max_tokens", 1_000_000)))]
        usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)}
        if not body.get("stream"):
            message = {"role": "assistant", "content": " ".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            connection.sendall(_whole(200, _JSON, json.dumps({"choices": [choice], "usage": usage}).encode()))
            return True
        connection.sendall(_head(200, "text/event-stream", None))
        for word in words:
            connection.sendall(_event(word))
            time.sleep(state.get("gap_ms", 0) / 1000)
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
        connection.sendall(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n")
        return False


def _misbehave(connection: socket.socket, fault: str, stream: bool) -> None:
    """Say what the fault says, then nothing more for ever, or a reset, or the end; the caller closes."""
    kind = "text/event-stream" if stream else _JSON
    begun = _event("w0") if stream else b'{"choices": [{"index": 0, "mess'
    half, open_end = b'data: {"choices": [{"ind', _head(200, kind, None)
    said = {
        "500": _whole(500, _JSON, b'{"error": {"message": "out of luck", "type": "server_error"}}'),
        "html": _whole(200, "text/html", b"<html><body>a proxy's page</body></html>\n"),
        "garbage": _whole(200, kind, b"\x00\xff not what you expect\n\n"),
        "not_http": b"\x16\x03\x01 what?\r\n\r\n",
        "half_first": open_end + half,
        "half_line": open_end + begun + half,
        "short": _head(200, kind, len(begun) + 500) + begun,
        "long": _head(200, kind, 7) + begun,
        "mid_silence": open_end + begun,
        "mid_reset": open_end + begun,
        "empty": b"",
        "silence": b"",
        "reset": b"",
        "exit": b"",
    }[fault]
    connection.sendall(said)
    if fault == "exit":
        os._exit(9)
    if fault.endswith("silence"):
        time.sleep(FOREVER_S)
    if fault.endswith("reset"):
        time.sleep(0.1 if said else 0)  # a reset throws away what was not sent yet
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _event(word: str) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _head(status: int, kind: str, length: int | None) -> bytes:
    framing = "connection: close" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status} Bad\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n".encode()


def _whole(status: int, kind: str, body: bytes) -> bytes:
    return _head(status, kind, len(body)) + body


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--switch", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hold-mb", type=int, default=0)
    given = parser.parse_args()
    _Server(given.switch, given.log, given.port, given.hold_mb).serve()


if __name__ == "__main__":
    main()
