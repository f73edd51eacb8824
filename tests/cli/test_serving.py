"""``podium serve`` as a process, and the commands that need it running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def podium(*arguments: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "podium", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)


def ok(*arguments: str) -> Any:
    done = podium(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def serving(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A running server with one scripted model; its stderr goes to ``home/../serve.log``."""
    script = home.parent / "script.json"
    script.write_text(json.dumps({"text": "served"}))
    assert ok("models", "add", "echo", "--scripted", str(script), "--version", "1")["status"] == "active"
    with (home.parent / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "podium", "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], last: str) -> str:
    """Lines of stdout up to one that contains ``last``; the suite's time-out ends a wait in vain."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if last in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.02)


@pytest.mark.requirement("OPS-6", "POOL-7")
def test_the_first_screen_the_pool_commands_reload_and_a_clean_end(serving, home):
    screen = read_until(serving, "Ctrl-C")
    record = json.loads((home / "run" / "server.json").read_text())
    assert f"on {record['url']}" in screen
    assert "echo@1" in screen
    assert f"curl {record['url']}/v1/chat/completions" in screen

    assert ok("load", "echo@1")["ref"] == "echo@1"
    (instance,) = ok("ps")["instances"]
    assert (instance["ref"], instance["state"]) == ("echo@1", "ready")
    assert ok("pin", "echo@1")["pinned"] is True
    assert ok("pin", "echo@1", "--off")["pinned"] is False
    assert ok("run", "hello")["text"] == "served"
    assert "echo@1" in podium("ps").stdout
    assert ok("unload", "echo@1")["unloaded"] is True

    (home / "podium.toml").write_text("[tasks.fresh]\nmin_context = 8\n")
    assert ok("config", "reload")["tasks_added"] == ["fresh"]
    (home / "podium.toml").write_text("[tasks.fresh]\nmin_contxt = 8\n")
    refused = podium("config", "reload")
    assert refused.returncode == 1
    assert "did you mean 'min_context'?" in refused.stderr
    serving.send_signal(signal.SIGHUP)
    wait_for(home.parent / "serve.log", "stays as it was")
    assert ok("tasks", "show", "fresh")["criteria"]["min_context"] == 8

    os.kill(record["pid"], signal.SIGTERM)
    assert serving.wait(20) == 0
    assert not (home / "run" / "server.json").exists()
    said = (home.parent / "serve.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in said][-1] == "stopping: running requests finish first", "JSON alone"


@pytest.mark.requirement("OPS-2")
def test_an_address_others_could_reach_is_refused(home):
    done = podium("serve", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "refusing to listen on 0.0.0.0: without keys" in done.stderr
    assert "Traceback" not in done.stderr
