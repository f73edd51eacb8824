"""What the zero-drop benchmark runs against: scripts with known words, our own server, or any other one.

Owns the models and the processes. ``prepare`` writes scripts, and beside them the configuration that makes
llama-swap run the very same scripts as real processes; ``Server`` is one control connection to a server.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Expected = dict[str, dict[str, str]]
"""Text by model and prompt."""
Json = dict[str, Any]
PROMPTS = tuple(f"say p{number:02d}" for number in range(16))
SCRIPTED_SERVER = "podium.providers.scripted_server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How slow the scripted models are, in milliseconds."""

    load_ms: float = 40.0
    ttft_ms: float = 5.0
    chunk_gap_ms: float = 2.0
    concurrency: int = 32


def write_scripts(folder: Path, names: list[str], timing: Timing, memory_mb: float) -> None:
    """One script per model: every prompt has an answer of its own, every word says model and prompt."""
    for name in names:
        rng = random.Random(name)
        answers = []
        for prompt in PROMPTS:
            key = prompt.split()[1]
            text = " ".join(f"{name}.{key}.{step}" for step in range(rng.randint(6, 18)))
            answers.append({"match": f"{key}$", "text": text})
        script = {
            "text": f"{name} was asked something else",
            "answers": answers,
            "ttft_ms": timing.ttft_ms,
            "chunk_gap_ms": timing.chunk_gap_ms,
            "load_ms": timing.load_ms,
            "concurrency": timing.concurrency,
            "memory_mb": memory_mb,
        }
        (folder / f"{name}.json").write_text(json.dumps(script))


def read_expected(folder: Path, names: list[str]) -> Expected:
    """What each model must say, from its script."""
    found: Expected = {}
    for name in names:
        answers = json.loads((folder / f"{name}.json").read_text())["answers"]
        found[name] = {prompt: answer["text"] for prompt, answer in zip(PROMPTS, answers, strict=True)}
    return found


def command(folder: Path, name: str) -> str:
    """The command line of a scripted model as a process of its own; it notes every start in ``loads.log``."""
    return shlex.join([sys.executable, str(Path(__file__).resolve()), str(folder / f"{name}.json")]) + " --port ${PORT}"


def prepare(folder: Path, names: list[str], timing: Timing) -> None:
    """Write scripts and ``llama-swap.yaml`` (one model at a time, as is its default) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_scripts(folder, names, timing, 100.0)
    lines = ["healthCheckTimeout: 60", "models:"]
    for name in names:
        lines += [f"  {name}:", f"    cmd: {json.dumps(command(folder, name))}"]
    (folder / "llama-swap.yaml").write_text("\n".join(lines) + "\n")


@dataclass(slots=True)
class Server:
    """A server under test: where it is, and the process if it is ours."""

    url: str
    child: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    path: str = field(init=False)
    host: str = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        base = parts.path.rstrip("/")
        self.path = f"{base if base.endswith('/v1') else base + '/v1'}/chat/completions"

    async def call(self, method: str, path: str, body: object = None, timeout_s: float = 300) -> tuple[int, Json]:
        """One control request: status and JSON."""
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                raw = b"" if body is None else json.dumps(body).encode()
                writer.write(
                    f"{method} {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\nconnection: close\r\n"
                    f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n".encode()
                    + raw
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
                text = await (reader.readexactly(int(length[1])) if length else reader.read())
            except asyncio.IncompleteReadError as error:
                raise ConnectionError(f"{method} {path}: the answer ended early: {error}") from None
            finally:
                writer.close()
        status = int(head.split(b" ", 2)[1])
        try:
            return status, json.loads(text)
        except ValueError:
            return status, {"text": text[:200].decode(errors="replace")}

    async def order(self, method: str, path: str, body: object = None) -> Json:
        """A control request that must succeed."""
        status, found = await self.call(method, path, body)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {found}")
        return found

    def stop(self) -> None:
        """End the process and its children, if it is ours."""
        if self.child is None:
            return
        for sig, wait_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.child.pid, sig)
            except ProcessLookupError:
                break
            try:
                self.child.wait(wait_s)
                break
            except subprocess.TimeoutExpired:
                continue


def start_podium(home: Path, budget_mb: float, pool: str = "") -> Server:
    """``podium serve`` on a free port. ``pool``: further lines of its ``[pool]`` table."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "podium.toml").write_text(f"[pool]\nmemory_budget_mb = {budget_mb:g}\n{pool}\n")
    log = home / "serve.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "podium", "serve", "--port", "0"],
            env={**os.environ, "PODIUM_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    record = home / "run" / "server.json"
    deadline = time.monotonic() + 60
    while not record.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            raise RuntimeError(f"podium serve did not start:\n{log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.05)
    return Server(json.loads(record.read_text())["url"], child, log)


def start_peer(url: str, line: str | None, folder: Path) -> Server:
    """Another server at ``url``, started by the command ``line`` unless it runs already."""
    if line is None:
        return Server(url)
    log = folder / "peer.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            shlex.split(line), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    return Server(url, child, log)


async def wait_ready(server: Server, limit_s: float = 60) -> None:
    """Until it lists its models. Raises ``RuntimeError`` with the end of its log."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            status, _ = await server.call("GET", server.path.removesuffix("chat/completions") + "models", timeout_s=5)
            if status == 200:
                return
        except (OSError, TimeoutError):
            pass
        if (server.child is not None and server.child.poll() is not None) or time.monotonic() > deadline:
            text = server.log.read_text(errors="replace")[-1500:] if server.log else ""
            raise RuntimeError(f"{server.url} does not answer /v1/models\n{text}")
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    script = Path(sys.argv[1])
    with (script.parent / "loads.log").open("a") as starts:
        starts.write(f"{script.stem}\n")
    runpy.run_module(SCRIPTED_SERVER, run_name="__main__", alter_sys=True)
