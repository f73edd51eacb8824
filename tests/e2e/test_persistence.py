"""kill -9 at any moment: what was acknowledged is there, what serves is the same."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from server import Server

ECHO = {"text": "one two three"}


@pytest.mark.requirement("LRN-4", "OPS-4", "SWP-11")
def test_everything_acknowledged_survives_kill_9(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    server.script("m@1", **ECHO)
    server.script("m@2", **ECHO)
    server.ok("PUT", "/api/v1/tasks/poetry", {"criteria": {"max_latency_ms": 900}, "keywords": ["haiku"]})
    for ref in ("m@1", "m@2"):
        swapped = server.ok("POST", "/api/v1/tasks/poetry/swap", {"to": ref})
        assert swapped["ok"], swapped
    replies = [server.chat("auto", headers={"x-podium-task": "poetry"}) for _ in range(20)]
    ids = [reply.headers["x-request-id"] for reply in replies]
    server.ok("POST", "/api/v1/feedback", {"request_id": ids[0], "score": 0.75})
    time.sleep(1.0)  # the write-behind window that may be lost
    before = server.ok("GET", "/api/v1/tasks/poetry")
    server.kill()

    server.start()
    try:
        after = server.ok("GET", "/api/v1/tasks/poetry")
        assert after == before
        assert after["bound_to"] == "m@2"
        assert after["evidence"]["m@2"]["samples"] == 20
        assert after["evidence"]["m@2"]["quality"] == 0.75
        explained = server.ok("GET", f"/api/v1/decisions/{ids[-1]}")
        assert explained["attempts"][0]["served"] == "m@2"
        assert server.chat("task:poetry").headers["x-podium-model"] == "m@2"
        assert server.ok("POST", "/api/v1/tasks/poetry/rollback")["after"] == "m@1"
    finally:
        server.stop()


@pytest.mark.requirement("LRN-4")
def test_kill_9_at_many_moments_loses_no_acknowledged_registration_or_swap(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    server.script("m@0", **ECHO)
    bound = "m@0"
    for round_number in range(1, 6):
        server.script(f"m@{round_number}", **ECHO)
        swap = server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": f"m@{round_number}"})
        assert swap["ok"], swap
        bound = f"m@{round_number}"
        server.kill()
        server.start()
        assert server.ok("GET", "/api/v1/tasks/jobs")["bound_to"] == bound
        assert server.ok("GET", "/api/v1/models")["total"] == round_number + 1
    server.stop()


@pytest.mark.model
@pytest.mark.requirement("PRV-2", "LRN-4")
def test_the_model_process_dies_with_a_gateway_that_was_killed(tmp_path: Path, smollm_path: Path):
    server = Server(tmp_path / "home").start()
    server.add("smollm2@a", "llamacpp", str(smollm_path), context=512, threads=1)
    (instance,) = server.ok("GET", "/api/v1/instances")["instances"]
    assert psutil.pid_exists(instance["pid"])
    server.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(instance["pid"]):
        time.sleep(0.02)
    assert not _alive(instance["pid"])


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_second_gateway_on_the_same_home_is_refused_with_the_way_out(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    try:
        with pytest.raises(AssertionError, match="another Podium is using"):
            Server(tmp_path / "home").start()
    finally:
        server.stop()


def test_a_command_waits_for_the_server_that_is_just_starting(tmp_path: Path):
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    with (home / "podium.lock").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        environment = {**os.environ, "PODIUM_HOME": str(home)}
        environment.pop("PODIUM_URL", None)
        command = subprocess.Popen(
            [sys.executable, "-m", "podium", "models", "ls", "--json"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert command.stderr is not None
        assert "waiting until it answers or ends" in command.stderr.readline()
        assert command.poll() is None
    out, err = command.communicate(timeout=60)
    assert (command.returncode, json.loads(out)["models"]) == (0, []), err
