"""A real OpenAI-compatible HTTP server that plays scripts: ``python -m podium.providers.scripted_server FILE --port P``.

For tests and demonstrations of the providers ``command`` and ``openai``: slow starts, real resets, hangs, silence and
garbage, on a real socket, without a model. One FILE is one model, named for the file. What to answer is decided in
``script.py``; nothing of Podium imports this module. ``GET /stats`` says ``requests``, ``active`` (answers being
written) and ``written_chunks``, which proves whether a generation really stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import sys
from pathlib import Path
from typing import Any, cast

import httptools
import msgspec

from podium.domain.request import Endpoint
from podium.errors import InvalidRequest
from podium.providers.script import FOREVER_S, Plan, Script, plan, read_script

_JSON = "application/json"
_RESET = struct.pack("ii", 1, 0)
_ENDPOINTS = {f"/v1/{endpoint.value}": endpoint for endpoint in Endpoint}


class Table:
    """What all connections share: the models by name, the key callers must show, and the counters."""

    def __init__(self, files: list[Path], key: str | None) -> None:
        self.models: dict[str, Script] = {}
        self.rows: list[dict[str, object]] = []
        for file in files:
            raw = file.read_bytes()
            script = self.models[file.stem] = read_script(raw, str(file))
            about = {"max_model_len": script.context_length, "meta": {"size": len(raw)}}
            self.rows.append({"id": file.stem, "object": "model", "created": 0, **about})
        self.requests = 0
        self.key = key
        self.active = 0
        self.written_chunks = 0

    def get(self, path: str) -> Plan:
        """Answer one GET."""
        if path == "/health":
            return _answer(200, {"status": "ok"})
        if path == "/stats":
            counts = {"requests": self.requests, "active": self.active, "written_chunks": self.written_chunks}
            return _answer(200, counts)
        if path == "/v1/models":
            return _answer(200, {"object": "list", "data": self.rows})
        return _refusal(404, f"there is no {path}", "not_found")

    def post(self, path: str, raw: bytes) -> tuple[Plan, int]:
        """The plan of one generation, and 1, or 0 when it is refused and not to be counted."""
        endpoint = _ENDPOINTS.get(path)
        if endpoint is None:
            return _refusal(404, f"there is no {path}", "not_found"), 0
        try:
            body: dict[str, Any] = msgspec.json.decode(raw)
            name = body.get("model")
            script = next(iter(self.models.values())) if len(self.models) == 1 else self.models.get(str(name))
            if script is None:
                return _refusal(404, f"there is no model {name!r}", "model_not_found"), 0
            self.requests += 1
            return plan(script, endpoint, body, self.requests), 1
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError, IndexError) as error:
            return _refusal(400, f"this request cannot be read: {error}", "invalid_request"), 0


class Connection(asyncio.Protocol):
    """One client: requests are answered one after the other, and playing stops when the client leaves."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._asked: asyncio.Queue[tuple[str, str, bytes, bool]] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self._fresh()

    def _fresh(self) -> None:
        self._url, self._body, self._allowed = b"", b"", self._table.key is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=16 * 1024)
        self._parser = httptools.HttpRequestParser(self)
        self._player = asyncio.get_running_loop().create_task(self._play_all())

    def connection_lost(self, exc: Exception | None) -> None:
        self._player.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.abort()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization" and value == f"Bearer {self._table.key}".encode():
            self._allowed = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        self._asked.put_nowait((method, self._url.decode("latin-1").partition("?")[0], self._body, self._allowed))
        self._fresh()

    async def _play_all(self) -> None:
        while True:
            method, path, body, allowed = await self._asked.get()
            if not allowed and path != "/stats":
                await self._play(_refusal(401, "wrong or missing key", "invalid_api_key"), 0)
            elif method == "POST":
                await self._play(*self._table.post(path, body))
            else:
                await self._play(self._table.get(path), 0)

    async def _play(self, made: Plan, counts: int) -> None:
        """The head goes out with the first bytes: a model that hangs says nothing at all."""
        self._table.active += counts
        try:
            head, chunked = _head(made), made.content_type != _JSON
            for pause, data in made.pieces:
                await asyncio.sleep(pause)
                await self._writable.wait()
                self._transport.write(head + (_chunk(data) if chunked and data else data))
                head = b""
                self._table.written_chunks += counts
            if made.cut:
                connected = self._transport.get_extra_info("socket")
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._transport.abort()
            elif chunked:
                self._transport.write(b"0\r\n\r\n")
        finally:
            self._table.active -= counts


def _head(made: Plan) -> bytes:
    ends = not made.cut and all(pause < FOREVER_S for pause, _ in made.pieces)
    length = sum(len(data) for _, data in made.pieces) + (0 if ends else 1)
    framing = f"content-length: {length}" if made.content_type == _JSON else "transfer-encoding: chunked"
    return f"HTTP/1.1 {made.status} Scripted\r\ncontent-type: {made.content_type}\r\n{framing}\r\n\r\n".encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _answer(status: int, body: object) -> Plan:
    return Plan(status=status, content_type=_JSON, pieces=((0.0, msgspec.json.encode(body)),))


def _refusal(status: int, message: str, code: str) -> Plan:
    return _answer(status, {"error": {"message": message, "type": "invalid_request_error", "code": code}})


async def serve(files: list[Path], port: int, key: str | None) -> None:
    """Load as slowly as the slowest script says, then serve until killed. Raises ``InvalidRequest``, ``OSError``."""
    table = Table(files, key)
    await asyncio.sleep(max(script.load_ms for script in table.models.values()) / 1000)
    for script in table.models.values():
        if script.load_error is not None:
            raise InvalidRequest(script.load_error)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(table), "127.0.0.1", port)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201 - its whole output
    await server.serve_forever()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="podium.providers.scripted_server", description="Serve scripts as models.")
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="scripts; a model is named for its file")
    parser.add_argument("--port", type=int, default=0, help="0 picks one and prints it")
    parser.add_argument("--key", help="answer 401 to callers without it")
    given = parser.parse_args()
    try:
        asyncio.run(serve(given.files, given.port, given.key))
    except (InvalidRequest, OSError) as error:
        sys.exit(f"scripted_server: {error}")


if __name__ == "__main__":
    main()
