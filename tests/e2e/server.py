"""A real ``podium serve`` in a process of its own, and a plain HTTP client to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forking import Process, podium


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


class Server:
    """One gateway process on its own home; ``anew``: of a new interpreter, where its start or memory is what counts."""

    def __init__(self, home: Path, *arguments: str, env: dict[str, str] | None = None, anew: bool = False) -> None:
        self.home = home
        self.arguments = arguments
        self.env = env or {}
        self.anew = anew
        self.process: subprocess.Popen[bytes] | Process | None = None
        self.port = 0

    def start(self, timeout_s: float = 30) -> Server:
        record = self.home / "run" / "server.json"
        record.unlink(missing_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        log = (self.home.parent / f"{self.home.name}.log").open("ab")
        with log:
            words = ("serve", "--port", "0", *self.arguments)
            if self.anew:
                command = [sys.executable, "-m", "podium", *words]
                self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
            else:
                self.process = Process(words, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            if record.exists():
                self.port = int(json.loads(record.read_text())["url"].rsplit(":", 1)[1])
                return self
            time.sleep(0.01)
        self.kill()
        raise AssertionError("the gateway was not ready in time\n" + self.log())

    @property
    def environment(self) -> dict[str, str]:
        """What programs of the user who runs it see."""
        return {**os.environ, "PODIUM_HOME": str(self.home), **self.env}

    def cli(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command as that user would."""
        ran = podium(*words, env=self.environment)
        assert ran.returncode == code, ran.stderr
        return ran

    def log(self) -> str:
        return (self.home.parent / f"{self.home.name}.log").read_text(errors="replace")[-4000:]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)  # a frozen model process takes its ten seconds, requests in flight theirs
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None, timeout: float = 60
    ) -> Reply:
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, raw, headers or {})
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def ok(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        reply = self.call(method, path, body, headers)
        assert reply.status < 400, (reply.status, reply.body)
        return reply.json

    def chat(self, model: str = "auto", text: str = "hi", headers: dict[str, str] | None = None, **more: Any) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.call("POST", "/v1/chat/completions", body, headers)

    def add(self, ref: str, provider: str, location: str, *, activate: bool | None = True, **settings: Any) -> Any:
        name, _, version = ref.partition("@")
        source = {"provider": provider, "location": location, "settings": settings}
        body = {"name": name, "version": version or None, "source": source, "activate": activate}
        return self.ok("POST", "/api/v1/models", body)

    def script(self, ref: str, **script: Any) -> Any:
        """Register a version of the scripted provider."""
        path = self.home.parent / f"{ref.replace('@', '-')}.json"
        path.write_text(json.dumps(script))
        return self.add(ref, "scripted", str(path))

    def stream(self, model: str, text: str = "hi", **more: Any) -> Iterator[bytes]:
        """Lines of a streamed chat; the response headers come first as one JSON line."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}], **more}
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            reply = connection.getresponse()
            yield json.dumps({"status": reply.status, **{k.lower(): v for k, v in reply.getheaders()}}).encode()
            yield from reply
        finally:
            connection.close()
