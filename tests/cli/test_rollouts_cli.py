"""``podium swap --gradual`` and ``podium rollouts`` as a user types them, against a running server with traffic."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from podium.cli import main as entry
from podium.cli import rollouts as command
from podium.cli.swapping import limits_of, percent, seconds
from podium.domain.rollout import RolloutState

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from server import Server

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--start", "25", "--step", "25%", "--every", "0.3s", "--min-samples", "2")
SLOW = ("--start", "25", "--every", "10min")
pytestmark = pytest.mark.requirement("SWP-4", "SWP-5")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with ``m@a`` and ``m@b``; each test uses its own task."""
    started = Server(tmp_path_factory.mktemp("rollouts-cli") / "home").start()
    for version in "ab":
        # a time that both take: without any, what differs is the turn of the loop, and enough answers prove even that
        started.script(f"m@{version}", text=f"from {version}", latency_ms=10)
    yield started
    started.stop()


@pytest.fixture
def podium(gateway: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``podium ARGUMENTS`` in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("PODIUM_URL", gateway.url)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["podium", *arguments])
        with pytest.raises(SystemExit) as done:
            entry.main()
        shown = capsys.readouterr()
        code = done.value.code
        return (code if isinstance(code, int) else 0), shown.out, shown.err

    return run


def ok(podium: Run, *arguments: str) -> Any:
    """The JSON of a command that must succeed."""
    code, out, err = podium(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@contextmanager
def traffic(server: Server, task: str, worth: dict[str, float]) -> Iterator[None]:
    """Requests to a task, each scored by the version that answered, while the block runs."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            reply = server.chat(f"task:{task}")
            assert reply.status == 200, reply.body
            score = worth[reply.headers["x-podium-model"]]
            server.ok("POST", "/api/v1/feedback", {"request_id": reply.headers["x-request-id"], "score": score})

    asking = threading.Thread(target=work)
    asking.start()
    try:
        yield
    finally:
        stop.set()
        asking.join(20)


def test_a_version_that_is_rolled_back_makes_waiting_fail_and_is_drawn(gateway: Server, podium: Run, tmp_path: Path):
    ok(podium, "swap", "bad", "m@a")
    with traffic(gateway, "bad", {"m@a": 0.9, "m@b": 0.1}):
        code, out, err = podium("swap", "bad", "m@b", "--gradual", *SLOW, "--reason", "smaller", "--wait")
    assert code == 1
    assert out == "bad: rolled back\n"
    assert "canary 25 %" in err
    assert err.count("m@b is worse") == 1, "the cause is said once"
    assert "podium: m@b did not take over bad: m@b is worse: mean quality" in err
    code, out, _ = podium("rollouts", "show", "bad")
    assert code == 0
    assert re.search(r"^quality +0\.900 \(\d+\) +0\.100 \(\d+\) +-0\.800 .* worse$", out, re.MULTILINE), out
    assert "by cli: smaller" in out
    assert "─ m@a 0.900" in out
    assert "● m@b 0.100" in out
    code, out, _ = podium("rollouts", "show", "bad", "--ascii", "--metric", "success")
    assert out.isascii()
    assert "success (share of requests answered)" in out
    code, out, _ = podium("rollouts", "ls")
    assert "bad" in out
    assert "rolled back" in out
    for name, start in (("why.svg", b"<svg "), ("why.png", b"\x89PNG"), ("why.txt", b"bad: m@a"), ("why.json", b"{")):
        file = tmp_path / name
        assert podium("rollouts", "report", "bad", "-o", str(file))[0] == 0
        assert file.read_bytes().startswith(start)
    assert ok(podium, "rollouts", "report", "bad", "-o", str(tmp_path / "again.svg"))["bytes"] > 1000
    assert ok(podium, "rollouts", "report", "bad")["telling"] == "quality"
    assert re.search("^because +m@b is worse", podium("rollouts", "report", "bad")[1], re.MULTILINE)


def test_a_version_that_proves_itself_takes_over_while_one_waits(gateway: Server, podium: Run):
    ok(podium, "swap", "good", "m@a")
    with traffic(gateway, "good", {"m@a": 0.8, "m@b": 0.8}):
        done = ok(podium, "swap", "good", "m@b", "--gradual", *QUICK, "--wait")
    assert done["rollout"]["state"] == "promoted"
    assert done["rollout"]["plan"]["step_s"] == pytest.approx(0.3)
    assert ok(podium, "tasks", "show", "good")["bound_to"] == "m@b"


def test_a_rollout_is_watched_paused_resumed_and_ended_by_hand(gateway: Server, podium: Run):
    ok(podium, "swap", "hands", "m@a")
    with traffic(gateway, "hands", {"m@a": 0.8, "m@b": 0.8}):
        code, out, err = podium("swap", "hands", "m@b", "--gradual", *SLOW, "--limit", "latency=off")
        assert code == 0
        name = out.strip()
        assert f"podium rollouts show {name} --watch" in err
        began = ok(podium, "rollouts", "show", name)
        assert sorted(began["rollout"]["plan"]["limits"]) == ["energy", "memory", "quality", "success"]
        watching = subprocess.Popen(
            [sys.executable, "-m", "podium", "rollouts", "show", name, "--watch", "--every", "0.1", "--json"],
            env={**os.environ, "PODIUM_URL": gateway.url},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watching.stdout is not None
        for line in watching.stdout:
            if json.loads(line)["rollout"]["state"] == "canary":
                break
        assert ok(podium, "rollouts", "pause", name, "--reason", "lunch")["state"] == "paused"
        assert "paused, step 1 of 9, none of the traffic" in podium("rollouts", "show", name)[1]
        code, _, err = podium("rollouts", "pause", name)
        assert code == 1
        assert "paused already" in err
        assert podium("rollouts", "resume", "hands")[1] == f"{name} of hands: canary, 25 %\n"
        assert ok(podium, "rollouts", "abort", name)["state"] == "aborted"
        states = [json.loads(line)["rollout"]["state"] for line in watching.stdout]
        watching.stdout.close()
        assert watching.wait(20) == 0, "watching ends with the rollout"
        assert states[-1] == "aborted"
        assert ok(podium, "tasks", "show", "hands")["bound_to"] == "m@a"


def test_a_version_is_promoted_by_hand(podium: Run):
    ok(podium, "swap", "early", "m@a")
    name = ok(podium, "swap", "early", "m@b", "--ab", "--split", "40", "--for", "2d")["id"]
    shown = ok(podium, "rollouts", "show", name)["rollout"]
    assert (shown["plan"]["mode"], shown["plan"]["split"], shown["plan"]["max_s"]) == ("ab", 0.4, 172_800)
    on_canary(podium, name)
    assert ok(podium, "rollouts", "promote", "early")["state"] == "promoted"
    assert [one["id"] for one in ok(podium, "rollouts", "ls", "--task", "early")["rollouts"]] == [name]


def on_canary(podium: Run, name: str) -> None:
    """Wait until traffic moves: before that only aborting makes sense."""
    deadline = time.monotonic() + 20
    while ok(podium, "rollouts", "show", name)["rollout"]["state"] != "canary":
        assert time.monotonic() < deadline, "no traffic moved"


def test_a_task_names_its_open_rollout_and_that_is_rolled_back_by_hand(podium: Run):
    ok(podium, "swap", "hand", "m@a")
    made = ok(podium, "swap", "hand", "m@b", "--gradual", *SLOW)["id"]
    code, out, _ = podium("tasks", "show", "hand")
    assert code == 0
    assert re.search(rf"^rollout +{made}: m@b, ", out, re.MULTILINE), out
    assert ok(podium, "tasks", "show", "hand")["rollout"] == made
    assert {one["id"] for one in ok(podium, "rollouts", "ls", "--state", "open")["rollouts"]} >= {made}
    code, out, _ = podium("rollouts", "rollback", "hand", "--reason", "by hand")
    assert (code, "rolled back, 0 %" in out) == (0, True), out
    assert podium("rollouts", "rollback", made)[0] == 1, "it has ended"
    assert ok(podium, "tasks", "show", "hand")["rollout"] is None


def test_every_state_can_be_asked_for():
    assert {one.value for one in command.State} == {"open", *RolloutState}


def test_empty_lists_say_what_to_do_next(home: Path, podium: Run, monkeypatch: pytest.MonkeyPatch):
    code, out, err = podium("rollouts", "ls", "--task", "never")
    assert (code, out) == (0, "")
    assert "`podium rollouts ls` lists all" in err
    monkeypatch.delenv("PODIUM_URL")
    code, out, err = podium("rollouts", "ls")
    assert (code, out) == (0, "")
    assert "podium swap TASK NAME@VERSION --gradual" in err
    assert ok(podium, "rollouts", "ls") == {"rollouts": []}


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("swap", "t", "m@b", "--start", "5"), 2, "--gradual"),
        (("swap", "t", "m@b", "--gradual", "--ab"), 2, "choose one"),
        (("swap", "t", "m@b", "--gradual", "--every", "soon"), 2, "no duration"),
        (("swap", "t", "m@b", "--gradual", "--start", "some"), 2, "no percentage"),
        (("swap", "t", "m@b", "--gradual", "--limit", "quality"), 2, "METRIC=RATIO"),
        (("swap", "t", "m@b", "--gradual", "--limit", "beauty=1"), 2, "limits are for"),
        (("swap", "t", "m@b", "--gradual", "--start", "300"), 2, "up to 100"),
        (("swap", "t", "nobody@1", "--gradual"), 1, "nobody"),
        (("rollouts", "show", "nobody"), 1, "podium rollouts ls"),
        (("rollouts", "report", "nobody", "-o", "x.gif"), 2, ".svg"),
        (("rollouts", "ls", "--state", "asleep"), 2, "'open'"),
        (("schedules", "add", "t", "m@b"), 2, "--low-traffic"),
    ],
)
def test_wrong_usage_says_what_is_wrong(podium: Run, arguments: tuple[str, ...], code: int, word: str):
    found, out, err = podium(*arguments)
    assert (found, out) == (code, "")
    assert word in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("1h", 3600), ("1h30m", 5400), ("2 d", 172_800), ("250ms", 0.25), ("1.5 min", 90), ("10MIN", 600)],
)
def test_durations_are_read_as_people_write_them(text: str, value: float):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "soon", "1 week", "-5s", "h", "1h5"])
def test_other_durations_are_refused(text: str):
    with pytest.raises(typer.BadParameter):
        seconds(text)


def test_shares_and_limits_are_read_as_people_write_them():
    assert percent("10") == percent("10 %") == pytest.approx(0.1)
    assert limits_of(None) is None
    given = limits_of(["quality=.9", "latency=off"])
    assert given is not None
    assert given == {"success": 0.95, "quality": 0.9, "memory": 0.95, "energy": 0.95}


def test_the_chart_is_ascii_where_the_terminal_knows_nothing_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    assert command.unicode_works() is True
    monkeypatch.setenv("TERM", "dumb")
    assert command.unicode_works() is False
    monkeypatch.setenv("TERM", "xterm")
    with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as plain:
        monkeypatch.setattr(sys, "stdout", plain)
        assert command.unicode_works() is False
