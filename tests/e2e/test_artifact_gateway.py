"""Custom models through a gateway, with a worker whose framework is an echo: registered, asked, killed, swapped, gone.

The real frameworks are in ``test_artifact_models``, among the long tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import forking
from providers import artifact_files, echo_worker
from server import Server

pytestmark = pytest.mark.requirement("PRV-7", "REG-1")


def until(check: Callable[[], Any], within_s: float = 20.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < deadline, check
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("echo") / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {echo_worker.__file__} "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Iterator[Server]:
    """A gateway with ``mine@1`` from its configuration and ``mine@2`` from the command line."""
    folder = tmp_path_factory.mktemp("artifact-gateway")
    artifact_files.llama(folder / "one")
    artifact_files.llama(folder / "two", rope_theta=5)
    settings = f'{{ python = "{python}", threads = 1 }}'
    (folder / "podium.toml").write_text(f'[models."mine@1"]\nartifact = "one"\nsettings = {settings}\n')
    started = Server(folder / "home", "--config", str(folder / "podium.toml")).start()
    until(lambda: started.call("GET", "/api/v1/models/mine@1").status == 200)
    until(lambda: started.ok("GET", "/api/v1/models/mine@1")["status"] == "active")
    words = ("--artifact", str(folder / "two"), "--set", f"python={python}", "--no-activate")
    done = podium(started, "models", "add", "mine", "--version", "2", *words)
    assert done.returncode == 0, done.stderr
    yield started
    started.stop()


def podium(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return forking.podium(*words, env={**os.environ, "PODIUM_HOME": str(server.home)})


def pid_of(server: Server, ref: str) -> int:
    rows = server.ok("GET", "/api/v1/instances")["instances"]
    return next(each["pid"] for each in rows if each["ref"] == ref)


def test_a_folder_is_registered_with_its_facts_and_answers(gateway: Server):
    shown = json.loads(podium(gateway, "models", "show", "mine@1", "--json").stdout)
    assert (shown["provider"], shown["facts"]["architecture"], shown["facts"]["parameters"]) == (
        "artifact",
        "llama",
        576,
    )
    answer = gateway.chat("mine", "hello")
    assert answer.json["choices"][0]["message"]["content"] == "hello"
    assert answer.json["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    lines = [line for line in gateway.stream("mine", "hello") if line.startswith(b"data:")]
    assert lines[-1].strip() == b"data: [DONE]"


def test_a_prompt_that_is_too_long_and_a_model_that_explodes_are_told_apart(gateway: Server):
    refused = gateway.chat("mine", "x" * 5000)
    assert (refused.status, refused.error["code"]) == (400, "context_length_exceeded")
    failed = gateway.chat("mine", "explode")
    assert failed.status >= 500
    assert gateway.chat("mine", "on").status == 200


def test_a_worker_that_is_killed_is_started_again(gateway: Server):
    gateway.chat("mine", "hello")
    pid = pid_of(gateway, "mine@1")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))
    until(lambda: gateway.chat("mine", "again").status == 200)
    assert pid_of(gateway, "mine@1") != pid


def test_a_task_swaps_between_folders_and_unloading_ends_the_process(gateway: Server):
    for to in ("mine@1", "mine@2"):
        done = gateway.ok("POST", "/api/v1/tasks/own/swap", {"to": to})
        assert done["ok"], done
        assert gateway.chat("task:own", "hello").headers["x-podium-model"] == to
    process = psutil.Process(pid_of(gateway, "mine@2"))
    assert json.loads(podium(gateway, "unload", "mine@2", "--json").stdout)["unloaded"]
    until(lambda: not process.is_running())


def test_a_folder_that_changed_under_its_version_is_not_served(gateway: Server, python: Path, tmp_path: Path):
    folder = artifact_files.llama(tmp_path / "three")
    gateway.add("third@1", "artifact", str(folder), python=str(python), threads=1)
    assert gateway.chat("third", "hello").status == 200
    podium(gateway, "unload", "third@1")
    (folder / "generation_config.json").write_text('{"do_sample": true}')
    failed = gateway.chat("third", "hello")
    assert failed.status >= 500
    assert "not those of third@1 any more" in json.dumps(failed.json)


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (("--gguf", "x.gguf", "--framework", "onnx"), 2, "go with --artifact"),
        (("--url", "http://localhost:1", "--allow-pickle"), 2, "go with --artifact"),
        (("--artifact", "/nowhere"), 1, "is no folder"),
        (("--artifact", "/nowhere", "--framework", "tensorflow"), 1, "tensorflow"),
        ((), 2, "--artifact"),
    ],
)
def test_a_command_that_cannot_work_says_why(gateway: Server, words: tuple[str, ...], status: int, why: str):
    done = podium(gateway, "models", "add", "wrong", *words)
    assert (done.returncode, why in done.stderr) == (status, True), done.stderr


def test_a_gateway_that_is_killed_takes_its_workers_along(python: Path, tmp_path: Path):
    folder = artifact_files.llama(tmp_path / "mine")
    server = Server(tmp_path / "home").start()
    try:
        server.add("mine@1", "artifact", str(folder), python=str(python), threads=1)
        server.chat("mine", "hello")
        worker = psutil.Process(pid_of(server, "mine@1"))
    finally:
        server.kill()
    until(lambda: not worker.is_running())
