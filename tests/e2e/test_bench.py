"""Benchmarks end to end: the command line, kill -9 in the middle, the control API, the real model."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import forking
from server import Server

pytestmark = pytest.mark.requirement("LRN-6")
ROUTE = "/api/v1/benchmarks"


def write_suite(folder: Path, name: str = "sums", count: int = 12, task: str = "sums") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(f'title = "Sums"\ntask = "{task}"\nlicence = "Apache-2.0"\n[defaults]\ngrader = "numeric"\n')
    rows = [{"id": f"i{n:02}", "prompt": f"What is {n} plus {n}?", "number": 2 * n} for n in range(count)]
    path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def script(folder: Path, name: str, **content: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def podium(home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PODIUM_")}
    done = forking.podium(*arguments, env={**clean, "PODIUM_HOME": str(home)}, timeout=100)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def recorded(home: Path) -> dict[str, float]:
    """When each item was measured."""
    try:
        connection = sqlite3.connect(f"file:{home / 'podium.db'}?mode=ro", uri=True, timeout=5)
        try:
            return dict(connection.execute("SELECT item, at FROM benchmark_items").fetchall())
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return {}


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path):
    home = tmp_path / "home"
    suite = write_suite(tmp_path, count=40)
    slow = script(tmp_path, "slow", text="4", latency_ms=60, concurrency=1)
    podium(home, "models", "add", "slow", "--scripted", str(slow), "--version", "1")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PODIUM_")}
    with (tmp_path / "run.log").open("wb") as log:
        words = ("bench", "run", str(suite), "--models", "slow")
        running = forking.Process(words, env={**clean, "PODIUM_HOME": str(home)}, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while len(recorded(home)) < 5:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait(10)
    before = recorded(home)
    assert 5 <= len(before) < 40
    done = json.loads(podium(home, "bench", "run", str(suite), "--models", "slow", "--resume", "--json").stdout)
    assert (done["state"], done["results"][0]["done"]) == ("done", 40)
    assert done["results"][0]["kept"] == len(before)
    after = recorded(home)
    assert len(after) == 40
    assert {item: after[item] for item in before} == before, "an item that was graded before was asked again"
    listed = json.loads(podium(home, "bench", "ls", "--json").stdout)
    assert [run["state"] for run in listed["runs"]] == ["done", "interrupted"]
    assert {suite["name"] for suite in listed["suites"]} >= {"coding", "extraction"}
    assert listed["sandbox"]["network"]


def test_the_command_line_ranks_shows_and_says_what_is_wrong(server, tmp_path):
    home = server.home
    suite = write_suite(tmp_path)
    answers = [{"match": f"What is {n} plus", "text": f"The answer is {2 * n}."} for n in range(9)]
    server.script("good@1", text="I do not know", answers=answers)
    server.script("bad@1", text="zero")
    shown = podium(home, "bench", "run", str(suite.with_suffix(".jsonl")), "--models", "bad,good")
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert [line[0] for line in lines] == ["VERSION", "good@1", "bad@1"]
    assert lines[1][1:4] == ["12/12", "0", "0.75"]
    board = podium(home, "bench", "leaderboard", "--task", "sums").stdout.splitlines()
    assert board[1].split()[:3] == ["sums", "good@1", "0.75"]
    again = podium(home, "bench", "run", str(suite), "--models", "good")
    assert "--fresh asks again" in again.stderr
    for arguments, says in (
        (("run", "nothing", "--models", "good"), "there is no suite 'nothing'"),
        (("run", str(suite), "--models", "nobody"), "no model 'nobody'"),
        (("run", str(suite), "--models", ","), "at least one model"),
        (("run", str(tmp_path / "absent.toml"), "--models", "good"), "there is no"),
    ):
        failed = podium(home, "bench", *arguments, check=False)
        assert failed.returncode == 1
        assert says in failed.stderr
        assert failed.stdout == ""


def finished(server: Server, run_id: str) -> dict:
    deadline = time.monotonic() + 60
    while (state := server.ok("GET", f"{ROUTE}/runs/{run_id}"))["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return state


def inline(folder: Path, **more: object) -> dict:
    from podium.suites import read_files

    head, items = read_files(write_suite(folder, **more))
    return {"name": more.get("name", "sums"), "head": head, "items": items}


def test_the_control_api_runs_cancels_and_refuses(server, tmp_path):
    server.script("quick@1", text="4")
    server.script("slow@1", text="4", latency_ms=300, concurrency=2)
    started = server.call("POST", f"{ROUTE}/runs", {"suite": inline(tmp_path), "models": ["quick"]})
    assert started.status == 202
    done = finished(server, started.json["id"])
    assert (done["state"], done["results"][0]["mean"]) == ("done", pytest.approx(1 / 12))
    items = server.ok("GET", f"{ROUTE}/runs/{done['id']}/items")["items"]
    assert [item["item"] for item in items if item["score"] == 1] == ["i02"]
    assert {item["answer"] for item in items} == {None}
    assert server.ok("GET", f"{ROUTE}/leaderboard")["leaderboard"][0]["ref"] == "quick@1"
    long = {"suite": inline(tmp_path, name="long", count=200), "models": ["slow"], "parallel": 1}
    running = server.ok("POST", f"{ROUTE}/runs", long)
    again = server.call("POST", f"{ROUTE}/runs", long)
    assert (again.status, again.error["code"]) == (409, "conflict")
    assert server.chat("quick").status == 200, "live requests are served meanwhile"
    stopped = server.ok("DELETE", f"{ROUTE}/runs/{running['id']}")
    assert stopped["state"] == "cancelled"
    for body, status in (
        ({"suite": "sums", "models": []}, 404),
        ({"suite": "coding", "models": []}, 400),
        ({"suite": "coding", "models": ["nobody"]}, 404),
        ({"suite": "coding", "models": ["quick"], "parallel": 0}, 400),
        ({"suite": {"name": "x", "head": {}, "items": []}, "models": ["quick"]}, 400),
        (
            {
                "suite": {"name": "coding", "head": inline(tmp_path)["head"], "items": [{"id": "a"}]},
                "models": ["quick"],
            },
            400,
        ),
        ({"models": ["quick"]}, 400),
    ):
        reply = server.call("POST", f"{ROUTE}/runs", body)
        assert reply.status == status, (body, reply.body)
        assert reply.error["message"]
    assert server.call("GET", f"{ROUTE}/runs/bench_nope").status == 404


def test_the_servers_command_line_shows_no_benchmark_as_live_traffic(server, tmp_path):
    server.script("quick@1", text="4")
    before = server.ok("GET", "/api/v1/stats")["stats"]
    started = server.ok("POST", f"{ROUTE}/runs", {"suite": inline(tmp_path), "models": ["quick"]})
    finished(server, started["id"])
    assert server.ok("GET", "/api/v1/stats")["stats"] == before
    assert server.ok("GET", "/api/v1/decisions")["decisions"] == []


def test_generated_code_is_graded_in_the_sandbox_of_the_gateway(server):
    body = "```python\ndef double(x):\n    return x * 2\n```"
    loop = "while True: pass"
    server.script("coder@1", text="def nothing(): pass", answers=[
        {"match": r"function double\(", "text": body}, {"match": r"function is_even\(", "text": loop},
    ])  # fmt: skip
    started = server.ok("POST", f"{ROUTE}/runs", {"suite": "coding", "models": ["coder"]})
    done = finished(server, started["id"])
    items = {item["item"]: item for item in server.ok("GET", f"{ROUTE}/runs/{done['id']}/items")["items"]}
    assert [item for item, result in items.items() if result["score"] == 1] == ["double"]
    assert items["is-even"]["why"].startswith(("used more than 4 s of CPU", "took longer than 20 s"))
    assert "NameError" in items["power"]["why"]


def test_a_gateway_that_stops_leaves_its_run_to_be_continued(tmp_path):
    server = Server(tmp_path / "home").start()
    try:
        server.script("slow@1", text="4", latency_ms=100, concurrency=1)
        order = {"suite": inline(tmp_path, count=200), "models": ["slow"]}
        running = server.ok("POST", f"{ROUTE}/runs", order)
        deadline = time.monotonic() + 30
        while server.ok("GET", f"{ROUTE}/runs/{running['id']}")["results"][0]["done"] < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.stop()
        server.start()
        assert server.ok("GET", f"{ROUTE}/runs/{running['id']}")["state"] == "interrupted"
        again = server.ok("POST", f"{ROUTE}/runs", order)
        assert 3 <= again["results"][0]["kept"] < 200
    finally:
        server.stop()


def test_ctrl_c_stops_the_run_on_the_server(server, tmp_path):
    server.script("slow@1", text="4", latency_ms=200, concurrency=1)
    suite = write_suite(tmp_path, count=300)
    running = subprocess.Popen(
        [sys.executable, "-m", "podium", "bench", "run", str(suite), "--models", "slow"],
        env={**os.environ, "PODIUM_HOME": str(server.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here; a shell's background job ignores SIGINT
    )
    deadline = time.monotonic() + 60
    while not server.ok("GET", ROUTE)["runs"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 130
    assert server.ok("GET", ROUTE)["runs"][0]["state"] == "cancelled"


@pytest.mark.model
def test_the_real_model_answers_the_same_twice(model_server, tmp_path):
    suite = {"name": "short", "head": {"title": "T", "task": "t", "licence": "MIT", "max_tokens": 8}, "items": [
        {"id": "sum", "prompt": "What is 2+2?", "grader": "contains", "expected": ["4", "four"]},
        {"id": "say", "prompt": "Say hello.", "grader": "regex", "pattern": "(?i)hello|hi"},
        {"id": "day", "prompt": "Name a day of the week.", "grader": "contains", "expected": ["Monday", "Sunday"]},
    ]}  # fmt: skip
    hashes = []
    for _ in range(2):
        order = {"suite": suite, "models": ["smollm2@a"], "fresh": True, "parallel": 1}
        done = finished(model_server, model_server.ok("POST", f"{ROUTE}/runs", order)["id"])
        assert (done["state"], done["results"][0]["done"]) == ("done", 3)
        items = model_server.ok("GET", f"{ROUTE}/runs/{done['id']}/items")["items"]
        assert all(item["latency_ms"] > 0 and item["output_tokens"] > 0 for item in items)
        hashes.append([item["answer_hash"] for item in items])
    assert hashes[0] == hashes[1]
