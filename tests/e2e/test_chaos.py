"""Worker killed, worker frozen, gateway killed while loading, disk full: honest errors, and service afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server import Server

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts of Linux")


def wait_for(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def pid_of(server: Server, ref: str) -> int | None:
    instances = server.ok("GET", "/api/v1/instances")["instances"]
    return next((item["pid"] for item in instances if item["ref"] == ref), None)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory, smollm_path: Path) -> Iterator[Server]:
    """SmolLM2 behind short time limits."""
    folder = tmp_path_factory.mktemp("chaos")
    config = folder / "podium.toml"
    config.write_text("[timeouts]\nfirst_token_s = 2.0\n")
    server = Server(folder / "home", "--config", str(config)).start()
    added = server.add("smollm2@a", "llamacpp", str(smollm_path), context=1024, slots=2, threads=1)
    assert added["problem"] is None, added
    yield server
    server.stop()


@pytest.mark.model
@pytest.mark.requirement("API-4", "PRV-2")
def test_a_worker_killed_in_mid_stream_gives_one_error_event_and_a_new_worker(frail: Server):
    before = pid_of(frail, "smollm2@a")
    assert before is not None
    lines = frail.stream("smollm2@a", "Tell me a long story.", max_tokens=500, temperature=0)
    head = json.loads(next(lines))
    received = [next(lines), next(lines)]
    os.kill(before, signal.SIGKILL)
    received += lines
    events = [event for event in b"".join(received).split(b"\n\n") if event]
    assert [event for event in events if b"error" in event] == events[-1:]
    assert events[-1].startswith(b"event: error\ndata: ")
    error = json.loads(events[-1].split(b"data: ", 1)[1])["error"]
    assert error["fault"] == "provider"
    assert error["request_id"] == head["x-request-id"]
    reply = frail.chat("smollm2@a", max_tokens=4)
    assert reply.status == 200, reply.body
    assert pid_of(frail, "smollm2@a") not in (None, before)
    assert gone(before)
    kinds = [event["kind"] for event in frail.ok("GET", "/api/v1/events?limit=1000")["events"]]
    assert "instance.crashed" in kinds


@pytest.mark.model
@pytest.mark.requirement("PRV-11")
@pytest.mark.parametrize("stream", [False, True])
def test_a_frozen_worker_runs_into_the_configured_time_limit(frail: Server, stream: bool):
    assert frail.chat("smollm2@a", max_tokens=1).status == 200
    pid = pid_of(frail, "smollm2@a")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        reply = frail.chat("smollm2@a", max_tokens=4, stream=stream)
        took = time.monotonic() - began
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert reply.status == 504, reply.body
    assert reply.error["fault"] == "provider"
    assert "2 s" in reply.error["message"]
    assert 1.9 < took < 6
    assert frail.chat("smollm2@a", max_tokens=1).status == 200


@pytest.mark.requirement("PRV-3", "LRN-4")
def test_a_gateway_killed_while_a_model_loads_leaves_no_process_behind(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    assert server.process is not None
    mark = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    command = f'{sys.executable} -c "import time; time.sleep(120)" {mark} ${{PORT}}'

    def order() -> None:
        with contextlib.suppress(OSError):
            server.call("POST", "/api/v1/models", {"name": "slow", "source": source, "activate": True})

    source = {"provider": "command", "location": command}
    ordering = threading.Thread(target=order)
    ordering.start()
    wait_for(lambda: bool(_running(mark, server.process.pid)))
    server.kill()
    ordering.join()
    server.start()
    try:
        wait_for(lambda: not _running(mark))
        server.script("m@1", text="fine")
        assert server.chat("m@1").status == 200
        assert [m["status"] for m in server.ok("GET", "/api/v1/models?name=slow")["models"]] == ["registered"]
    finally:
        server.stop()


def _running(mark: str, above: int | None = None) -> list[int]:
    """Processes with ``mark`` on their command line; ``above``: only descendants of that process."""
    candidates = psutil.process_iter() if above is None else psutil.Process(above).children(recursive=True)
    found = []
    for process in candidates:
        with contextlib.suppress(psutil.Error):
            if mark in process.cmdline():
                found.append(process.pid)
    return found


class TinyDisk:
    """A home on a file system of 8 MB, which a ballast file fills to the last byte."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        mount = shutil.which("mount")
        made = mount and subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(home)], check=False, capture_output=True
        )
        if not made or made.returncode:
            pytest.skip("this user may not mount a file system")
        self.home = home

    def fill(self, server: Server) -> None:
        with contextlib.suppress(OSError), (self.home / "ballast").open("wb", buffering=0) as ballast:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(b"\0" * size):
                        pass

    def free(self, server: Server) -> None:
        (self.home / "ballast").unlink()

    def close(self) -> None:
        subprocess.run(["umount", str(self.home)], check=True)


class FileLimit:
    """A home on the normal disk; the kernel refuses the gateway to write any file beyond its first kilobyte."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def fill(self, server: Server) -> None:
        self._limit(server, 1024)

    def free(self, server: Server) -> None:
        self._limit(server, resource.RLIM_INFINITY)

    def close(self) -> None:
        pass

    def _limit(self, server: Server, size: int) -> None:
        assert server.process is not None
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@LINUX
@pytest.mark.requirement("OPS-4")
@pytest.mark.parametrize("kind", [TinyDisk, FileLimit])
def test_a_full_disk_stops_the_record_and_not_the_answers(tmp_path: Path, kind: Any):
    config = tmp_path / "podium.toml"
    config.write_text("[recording]\nbuffer = 50\nflush_ms = 50\n")
    disk = kind(tmp_path / "home")
    server = Server(tmp_path / "home", "--config", str(config)).start()
    try:
        server.script("m@1", text="still here")
        assert server.call("GET", "/readyz").status == 200
        disk.fill(server)

        def dropped() -> int:
            assert server.chat("m@1").status == 200
            return int(server.ok("GET", "/api/v1/stats")["recorder"]["dropped"])

        wait_for(lambda: server.chat("m@1").status == 200 and server.call("GET", "/readyz").status == 503)
        assert b"recording fails" in server.call("GET", "/readyz").body
        wait_for(lambda: dropped() > 0)
        for route in ("decisions", "costs", "events", "models", "tasks", "instances", "swaps"):
            assert server.call("GET", f"/api/v1/{route}").status == 200, route
        problems = server.ok("GET", "/api/v1/doctor")["problems"]
        assert any("dropped" in problem for problem in problems), problems
        other = tmp_path / "other.json"
        other.write_text(json.dumps({"text": "other"}))
        body = {"name": "other", "version": "1", "source": {"provider": "scripted", "location": str(other)}}
        refused = server.call("POST", "/api/v1/models", body)
        assert refused.status == 503, refused.body
        assert refused.error["code"] in ("store_unavailable", "audit_unavailable")
        assert server.call("GET", "/api/v1/models/other@1").status == 404
        swap = server.call("POST", "/api/v1/tasks/jobs/swap", {"to": "m@1"})
        assert swap.status in (200, 503)
        assert swap.status == 503 or not swap.json["ok"]
        lost = dropped()

        disk.free(server)
        wait_for(lambda: server.call("GET", "/readyz").status == 200)
        assert server.call("POST", "/api/v1/models", body).status == 201
        reply = server.chat("m@1")
        assert server.ok("GET", f"/api/v1/decisions/{reply.headers['x-request-id']}")["attempts"]
        assert server.ok("GET", "/api/v1/stats")["recorder"]["dropped"] >= lost
        server.stop()
        server.start()
        assert server.call("GET", "/api/v1/models/other@1").status == 200
    finally:
        server.stop()
        disk.close()
