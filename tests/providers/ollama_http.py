"""How a scripted Ollama reads and writes: what Go's decoder refuses, lines, statuses, resets."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from typing import Any

FLOATS = ("top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty")
WHOLE = ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n")


def reason(text: str) -> dict[str, str]:
    return {"done_reason": text}


async def opened(gate: threading.Event | None) -> None:
    while gate is not None and not gate.is_set():  # noqa: ASYNC110 - the gate is the test's, in another thread
        await asyncio.sleep(0.002)


def invalid(path: str, body: dict[str, Any]) -> str | None:
    """What Go's decoder and ``Options.FromMap`` would refuse."""
    given = body.get("input", [])
    if path == "/api/embed" and not (isinstance(given, str) or all(isinstance(each, str) for each in given)):
        return "invalid input type"
    if not 0 <= body.get("top_logprobs", 0) <= 20:
        return "top_logprobs must be between 0 and 20"
    found = [bad_option(name, value) for name, value in (body.get("options") or {}).items()]
    found += [bad_message(message) for message in body.get("messages", ())]
    return next((each for each in found if each is not None), None)


def bad_option(name: str, value: object) -> str | None:
    if name in (*FLOATS, *WHOLE, "num_ctx", "num_batch", "num_gpu", "num_thread"):
        kind = "float32" if name in FLOATS else "integer"
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        return None if fits else f'option "{name}" must be of type {kind}'
    return 'option "stop" must be of type array' if name == "stop" and not isinstance(value, list) else None


def bad_message(message: dict[str, Any]) -> str | None:
    if not isinstance(message.get("content"), str):
        return "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
    for call in message.get("tool_calls", ()):
        if not isinstance(call["function"]["arguments"], dict):
            return "json: cannot unmarshal string into Go struct field .arguments of type api.ToolCallFunctionArguments"
    return None


class Out:
    """Writes one answer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.begun = False

    def json(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {len(raw)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + raw)

    def line(self, value: object) -> None:
        self.bytes(json.dumps(value).encode() + b"\n")

    def bytes(self, data: bytes) -> None:
        if not self.begun:
            self.begun = True
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
            self.writer.write(head)
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")

    def reset(self) -> None:
        connected = self.writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
