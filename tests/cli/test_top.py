"""``podium top``: frames for scripts, and a real terminal with keys, another size, and a server that goes and comes back."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from podium.cli.main import app
from podium.cli.top.gathering import Look
from podium.cli.top.leaderboard import WIDTH, interval
from podium.cli.top.screen import PAGES, View, frame
from server import Server

pytestmark = pytest.mark.requirement("OPS-8")
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("top") / "home").start()
    server.script("fast@1", text="short", memory_mb=100)
    server.script("good@2", text="much longer")
    for number in range(6):
        answer = server.chat("fast@1" if number % 3 == 0 else "good@2", headers={"x-podium-task": "code"})
        score = 0.9 if answer.headers["x-podium-model"] == "good@2" else 0.4
        given = {"request_id": answer.headers["x-request-id"], "score": score}
        server.ok("POST", "/api/v1/feedback", given)
    server.chat("good@2", headers={"x-podium-task": "chat"})
    yield server
    server.stop()


def test_one_frame_is_printed_for_scripts_with_instances_and_the_newest_requests(busy: Server):
    shown = busy.cli("top", "--once").stdout
    assert "\x1b" not in shown
    assert busy.url in shown
    assert re.search(r"fast@1#\d+ +ready +0/\d+", shown)
    assert re.search(r"\d\d:\d\d:\d\d +chat +good@2 .* ok", shown)
    assert "instance.ready" in shown


def top(server: Server, *words: str, code: int = 0) -> str:
    """The command inside this process; what it printed."""
    ran = CliRunner().invoke(app, ["top", *words], env={"PODIUM_HOME": str(server.home), "COLUMNS": "120"})
    assert ran.exit_code == code, ran.output
    return ran.output


def test_the_leaderboard_puts_the_best_first_and_says_who_is_asked_and_why(busy: Server):
    shown = top(busy, "--page", "leaderboard")
    code = shown[shown.index("code  6 requests") :]
    assert code.index("good@2") < code.index("fast@1")
    heading = code.splitlines()[0]
    assert "→ good@2" in heading
    assert "samples)" in heading
    row = next(line for line in code.splitlines() if line.startswith("good@2"))
    assert re.search(r"good@2 +0\.\d\d +[·─●]{20} +4 .* 67%$", row.rstrip())


def test_the_same_is_one_document_for_programs(busy: Server):
    found = json.loads(top(busy, "--json"))
    assert {one["task"] for one in found["tasks"]} == {"code", "chat"}
    assert found["pool"]["instances"]
    assert len(found["recent"]) == 7


def test_without_a_server_it_says_so_and_fails(tmp_path: Path):
    server = Server(tmp_path / "nothing")
    assert "no Podium server is running" in top(server, "--once", code=1)
    assert "now or leaderboard" in top(server, "--page", "then", code=2)


class Terminal:
    """A process in a terminal of its own."""

    def __init__(self, server: Server, *, rows: int = 30, columns: int = 100) -> None:
        master, slave = pty.openpty()
        self.master = master
        self.size(rows, columns)
        env = {**server.environment, "TERM": "xterm-256color"}
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "podium", "top", "--interval", "0.2"], stdin=slave, stdout=slave, stderr=slave, env=env,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = b""

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, words: str, timeout_s: float = 60) -> str:
        """Until it is on the screen; returns what came until then, and begins anew behind it."""
        deadline = time.monotonic() + timeout_s
        while words not in (text := ESCAPES.sub(b"", self.seen).decode(errors="ignore")):
            assert time.monotonic() < deadline, f"{words!r} did not show up in {text[-3000:]!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                with suppress(OSError):
                    self.seen += os.read(self.master, 65536)
        self.seen = b""
        return text

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.master)


def test_in_a_terminal_keys_turn_pages_a_new_size_is_used_and_a_server_that_is_away_is_said_and_found_again(
    busy: Server,
):
    terminal = Terminal(busy)
    try:
        terminal.expect("good@2#")
        terminal.type("\t")
        terminal.expect("code  6 requests")
        terminal.size(12, 60)
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.expect("[Leaderboard]")
        terminal.type("1")
        terminal.expect("[Now]")
        busy.stop()
        assert "no answer for" in terminal.expect("trying again")
        busy.start()
        terminal.expect("nothing is loaded")
        terminal.type("q")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close()


def drawn(look: Look, view: View, width: int = 90, height: int = 30) -> str:
    console = Console(width=width, height=height, file=io.StringIO(), highlight=False)
    with console.capture() as shown:
        console.print(frame(look, view, height))
    return shown.get()


def row(ref: str) -> dict[str, object]:
    unknown = dict.fromkeys(("quality", "success", "latency_ms", "energy_mwh", "dropped", "share_24h"))
    return {"ref": ref, "leads": ref == "m@1", "scores": 0, **unknown}


def many(number: int) -> Look:
    shared = {"requests": 10, "leader": "m@1", "why": "first", "rollout": None, "versions": [row("m@1"), row("m@2")]}
    traffic = {"requests_per_s": 1.0, "p95_ms": None, "waiting": 0, "failed_per_s": 0.0}
    tasks = tuple({"task": f"task-{at}", **shared} for at in range(number))
    return Look(url="http://x", version="1", at=time.time(), traffic=traffic, tasks=tasks)


@pytest.mark.parametrize("height", [8, 12, 24, 50])
def test_a_frame_fits_the_screen_and_says_what_is_further_down(height: int):
    view = View(page=1)
    shown = drawn(many(9), view, height=height)
    assert len(shown.rstrip("\n").splitlines()) <= max(height, 10), "one task is always shown"
    assert "more: arrow down" in shown
    view.press("\x1b[B" * 3)
    assert "task-3" in drawn(many(9), view, height=height)
    view.press("\x1b[B" * 50)
    assert "task-8" in drawn(many(9), view, height=height)
    assert view.first == 8


@pytest.mark.parametrize("height", [10, 14, 24, 40])
def test_the_newest_requests_and_events_take_what_room_there_is(height: int):
    instance = dict.fromkeys(("memory_mb", "gpu_memory_mb", "last_used_at", "device"))
    instance |= {
        "id": "m@1#1",
        "ref": "m@1",
        "state": "ready",
        "active": 0,
        "concurrency": 4,
        "waiting": 0,
        "served": 1,
    }
    recent = {"at": 0.0, "task": "code", "served": "m@1", "outcome": None}
    event = {"kind": "instance.ready", "subject": "m@1", "at": 0.0}
    look = replace(many(0), pool={"instances": [instance]}, recent=(recent,) * 30, events=(event,) * 8)
    shown = drawn(look, View(), height=height).rstrip("\n").splitlines()
    assert height - 3 < len(shown) <= height
    assert any("under way" in line for line in shown) == (height >= 14)
    assert sum("instance.ready" in line for line in shown) == (4 if height >= 24 else 0)


def test_keys_that_come_at_once_are_all_taken_and_unknown_ones_do_nothing():
    view = View()
    view.press("x\x1b[C\x1b")
    assert (PAGES[view.page], view.over) == ("Leaderboard", False)
    view.press("1jjkq")
    assert (view.page, view.first, view.over) == (0, 1, True)


def test_an_interval_is_a_line_from_0_to_1_and_nothing_where_nobody_scored():
    assert interval(None).plain == "·" * WIDTH
    line = interval({"low": 0.0, "mean": 0.5, "high": 1.0}).plain
    assert (line[0], line[10], line[-1]) == ("─", "●", "─")
