"""A real HTTP server that receives webhooks and misbehaves as it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
Act = Callable[["Handler"], None]


@dataclass
class Call:
    at: float
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def subject(self) -> str:
        return self.json["subject"]

    def signed_by(self, key: bytes) -> bool:
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return expected in self.headers["webhook-signature"].split(" ")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 2.0
    """A connection its caller could not close yet, because it waits for this endpoint to end, is closed here."""
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        call = Call(time.monotonic(), {name.lower(): value for name, value in self.headers.items()}, body)
        with self.server.lock:
            self.server.calls.append(call)
            act = self.server.choose(call, len(self.server.calls))
        act(self)

    def log_message(self, *_: object) -> None:
        return None


def answer(status: int, **headers: str) -> Act:
    def act(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return act


def hang(handler: Handler) -> None:
    """Nothing until the caller leaves or the endpoint ends."""
    handler.connection.settimeout(0.05)
    while not handler.server.ended.is_set():
        try:
            if not handler.connection.recv(1):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    handler.close_connection = True


def close(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """A head that comes byte by byte and never ends."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        while not handler.server.ended.wait(0.02):
            handler.wfile.write(b"x")
    except OSError:
        pass
    handler.close_connection = True


OK = answer(200)


class Endpoint(ThreadingHTTPServer):
    """``choose`` says what to do with a call, given the number of calls so far."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def __init__(self, choose: Callable[[Call, int], Act] | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.calls: list[Call] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.choose = choose or (lambda call, number: OK)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=hidden"

    def handle_error(self, request: object, client_address: object) -> None:
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def wait(self, count: int, deadline_s: float = 10.0) -> list[Call]:
        """The calls once there are ``count``."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            if len(self.calls) >= count:
                return list(self.calls)
            time.sleep(0.005)
        raise AssertionError(f"{len(self.calls)} of {count} calls came: {[c.body for c in self.calls]}")
