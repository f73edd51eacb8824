"""What keeps tasks from learning, seen through a real server and the command line; what is known of tasks beside it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import forking
from server import Server


def ask(server: Server, task: str, count: int) -> list[str]:
    return [server.chat("auto", headers={"x-podium-task": task}).headers["x-request-id"] for _ in range(count)]


def codes(server: Server, task: str | None) -> dict[str, dict[str, Any]]:
    found = server.ok("GET", "/api/v1/doctor")["learning"]["findings"]
    return {one["code"]: one for one in found if one["task"] == task}


def podium(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forking.podium(*arguments, env={**os.environ, "PODIUM_URL": server.url, "PODIUM_HOME": str(server.home)})


def kept_at(server: Server) -> float:
    """When what was learned of quality was last written."""
    with closing(sqlite3.connect(server.home / "podium.db")) as database:
        found = database.execute("SELECT saved_at FROM learned WHERE name = 'quality'").fetchone()
    return found[0] if found else 0.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two active versions."""
    server = Server(tmp_path_factory.mktemp("doctor") / "home").start()
    for ref in ("a@1", "b@1"):
        server.script(ref, text="one two three")
    yield server
    server.stop()


@pytest.mark.requirement("LRN-5")
def test_a_task_without_a_quality_signal_is_named_with_the_command_that_gives_one(pair: Server):
    last = ask(pair, "silent", 20)[-1]
    found = codes(pair, "silent")["no_quality_signal"]
    assert (found["count"], found["severity"]) == (20, "problem")
    assert abs(found["since"] - time.time()) < 120
    assert found["do"] == f"podium feedback {last} --score S"
    assert any("task silent: no quality signal" in one for one in pair.ok("GET", "/api/v1/doctor")["problems"])
    metrics = pair.call("GET", "/metrics").body.decode()
    assert 'podium_findings{code="no_quality_signal",severity="problem"}' in metrics
    said = podium(pair, "doctor").stdout
    assert f"task silent: no quality signal: 20 requests since {time.strftime('%Y', time.gmtime())}" in said
    assert f"podium feedback {last} --score S" in said
    done = podium(pair, *found["do"].split()[1:-1], "0.5")
    assert done.returncode == 0, done.stderr
    assert "no_quality_signal" not in codes(pair, "silent")


@pytest.mark.requirement("LRN-5", "LRN-2", "LRN-1")
def test_a_task_that_learns_is_listed_and_what_is_known_of_it_is_shown(pair: Server):
    for number, request_id in enumerate(ask(pair, "taught", 40)):
        word = {"label": "too long"} if number % 4 == 0 else {}
        pair.ok("POST", "/api/v1/feedback", {"request_id": request_id, "score": (number % 5) / 4, **word})
    deadline = time.monotonic() + 10
    while "scores_not_learned" in codes(pair, "taught"):  # beliefs are published a quarter of a second later
        assert time.monotonic() < deadline
    assert codes(pair, "taught") == {}
    assert "taught" in pair.ok("GET", "/api/v1/doctor")["learning"]["tasks_learning"]
    weight = 0.0
    while weight != pytest.approx(40, rel=0.2):  # the last scores may be in the next publication
        assert time.monotonic() < deadline + 30, weight
        shown = pair.ok("GET", "/api/v1/tasks/taught")
        lately = shown["lately"]
        weight = sum(row["quality"]["weight"] for row in lately.values() if row["quality"])
    assert shown["findings"] == []
    for row in lately.values():
        assert row["success"]["low"] < row["success"]["mean"] <= row["success"]["high"] <= 1.0
        assert 0.0 < row["latency_ms"]["low"] < row["latency_ms"]["mean"] < row["latency_ms"]["high"]
        assert row["energy_mwh"] is None or row["energy_mwh"]["mean"] > 0.0
        assert set(row["missing"]) == {name for name, figure in row.items() if figure is None}
    learned = shown["learned"]
    assert learned["labels"] == {"too long": 10.0}
    assert learned["lessons"]["usual_quality"]["value"] == pytest.approx(0.5)
    assert learned["lessons"]["usual_quality"]["observations"] == 40
    assert learned["lessons"]["share_streamed"]["value"] == 0.0
    assert learned["sharpening"]["applied"] is False
    assert learned["sharpening"]["criteria"]["max_latency_ms"] > 0
    assert shown["criteria"]["max_latency_ms"] is None
    pair.ok("PUT", "/api/v1/tasks/taught", {"criteria": {"max_latency_ms": 9_000}})
    by_hand = pair.ok("GET", "/api/v1/tasks/taught")["learned"]
    assert by_hand["lessons"]["optimal_latency_ms"]["set_by_hand"] == 9_000
    assert by_hand["sharpening"]["criteria"]["max_latency_ms"] == 9_000
    assert by_hand["sharpening"]["criteria"]["soft"] == ["min_quality"]
    assert pair.ok("POST", "/api/v1/tasks/taught/swap", {"to": "b@1"})["ok"]
    assert pair.ok("GET", "/api/v1/tasks/taught")["learned"] == by_hand
    said = podium(pair, "tasks", "show", "taught").stdout
    assert "set by hand to 9,000" in said or "set by hand to 9000" in said
    assert "too long (10)" in said
    assert "LATELY" in said


def test_feedback_in_words_from_the_command_line(pair: Server):
    (request_id,) = ask(pair, "spoken", 1)
    done = podium(pair, "feedback", request_id, "--down", "--label", "Wrong language", "--comment", "in French")
    assert done.stdout.strip().startswith("0, label 'wrong language', comment 'in French' for ")
    done = podium(pair, "feedback", request_id, "--correction", "Bonjour", "--source", "agent", "--json")
    assert (json.loads(done.stdout)["score"], json.loads(done.stdout)["correction_chars"]) == (0.0, 7)
    assert "feedback by user: 0, label 'wrong language'" in podium(pair, "explain", request_id).stdout
    for wrong in (("feedback", request_id), ("feedback", "nobody", "--up"), ("feedback", request_id, "--score", "2")):
        failed = podium(pair, *wrong)
        assert failed.returncode != 0, wrong
        assert failed.stderr.strip(), wrong


@pytest.mark.requirement("LRN-2")
def test_a_limit_can_be_made_soft_by_hand(pair: Server):
    for ref in ("a@1", "b@1"):
        pair.ok("POST", "/api/v1/tasks/brisk/swap", {"to": ref})
        ask(pair, "brisk", 12)
    limits = {"max_latency_ms": 0.001, "soft": ["max_latency_ms"]}
    hard = {"x-podium-task": "brisk", "x-podium-criteria": json.dumps({**limits, "soft": []})}
    pair.ok("GET", "/api/v1/stats")  # answered after everything recorded so far was folded
    assert pair.chat("auto", headers=hard).status == 422
    soft = pair.chat("auto", headers={**hard, "x-podium-criteria": json.dumps(limits)})
    assert soft.status == 200
    said = pair.ok("GET", f"/api/v1/decisions/{soft.headers['x-request-id']}")["attempts"][0]
    assert "a soft limit" in said["reason"]
    wrong = pair.call("PUT", "/api/v1/tasks/brisk", {"criteria": {"soft": ["capabilities"]}})
    assert (wrong.status, wrong.error["param"]) == (400, "criteria.soft")


@pytest.mark.requirement("LRN-5")
def test_bindings_fixed_strategies_and_switched_off_exploration_are_noted(pair: Server):
    pair.ok("POST", "/api/v1/tasks/tied/swap", {"to": "a@1"})
    ask(pair, "tied", 20)
    assert "a@1" in codes(pair, "tied")["bound"]["says"]
    pair.ok("PUT", "/api/v1/tasks/stiff", {"strategy": "classic"})
    ask(pair, "stiff", 20)
    assert codes(pair, "stiff")["fixed_strategy"]["do"] == "podium tasks set stiff --strategy default"
    pair.ok("PUT", "/api/v1/tasks/timid", {"exploration": 0})
    ask(pair, "timid", 20)
    cure = codes(pair, "timid")["exploration_off"]["do"]
    assert podium(pair, *cure.split()[1:]).returncode == 0
    assert "exploration_off" not in codes(pair, "timid")


@pytest.mark.requirement("LRN-5")
def test_identical_scores_and_a_single_version_are_named(server: Server):
    server.script("a@1", text="one")
    for request_id in ask(server, "flat", 25):
        server.ok("POST", "/api/v1/feedback", {"request_id": request_id, "thumbs": "up"})
    found = codes(server, "flat")
    assert found["identical_scores"]["count"] == 25
    assert "all 25 scores are 1" in found["identical_scores"]["says"]
    assert "only a@1 can serve it" in found["one_version"]["says"]
    server.ok("POST", "/api/v1/models/a@1/deprecate", {"reason": "gone"})
    assert "no_version" in codes(server, "flat")


@pytest.mark.requirement("LRN-5")
def test_feedback_that_joins_nothing_shows_with_its_last_ids(server: Server):
    for name in ("gone-1", "gone-2"):
        assert server.call("POST", "/api/v1/feedback", {"request_id": name, "score": 1}).status == 404
    found = codes(server, None)["feedback_unjoined"]
    assert found["count"] == 2
    assert "gone-2, gone-1" in found["says"]
    document = json.loads(podium(server, "doctor", "--json").stdout)
    assert document["feedback"]["unjoined"] == 2
    assert [one["code"] for one in document["learning"]["findings"]] == ["feedback_unjoined"]
    assert re.search(
        r"^podium_feedback_unjoined(_total)? 2(\.0)?$", server.call("GET", "/metrics").body.decode(), re.MULTILINE
    )


@pytest.mark.requirement("LRN-2")
def test_criteria_are_sharpened_and_explained_where_that_is_switched_on(tmp_path: Path):
    config = tmp_path / "podium.toml"
    config.write_text("[selection]\nenhance = true\n")
    server = Server(tmp_path / "home", "--config", str(config)).start()
    try:
        for ref in ("a@1", "b@1"):
            server.script(ref, text="one two three")
        for number, request_id in enumerate(ask(server, "jobs", 40)):
            server.ok("POST", "/api/v1/feedback", {"request_id": request_id, "score": 0.5 + (number % 3) / 4})
        scored_at = time.time()
        deadline = time.monotonic() + 10
        reason = ""
        while "learned: " not in reason:
            assert time.monotonic() < deadline, reason
            (request_id,) = ask(server, "jobs", 1)
            reason = server.ok("GET", f"/api/v1/decisions/{request_id}")["attempts"][0]["reason"]
        assert "answers within" in reason
        assert "a mean quality below" in reason
        assert "learned: " in podium(server, "explain", request_id).stdout
        assert server.ok("GET", "/api/v1/tasks/jobs")["learned"]["sharpening"]["applied"] is True
        strict = {"x-podium-criteria": json.dumps({"max_latency_ms": 60_000, "min_quality": 0.01})}
        reply = server.chat("auto", headers={"x-podium-task": "jobs", **strict})
        said = server.ok("GET", f"/api/v1/decisions/{reply.headers['x-request-id']}")["attempts"][0]["reason"]
        assert "answers within" not in said
        assert "a mean quality below" not in said
        before = server.ok("GET", "/api/v1/tasks/jobs")["learned"]
        deadline = time.monotonic() + 30
        while kept_at(server) <= scored_at:  # what was learned is kept within a second
            assert time.monotonic() < deadline
        server.kill()
        server.start()
        assert server.ok("GET", "/api/v1/tasks/jobs")["learned"] == before
        deadline = time.monotonic() + 60
        while "scores_not_learned" in codes(server, "jobs"):  # beliefs go on from where they were
            assert time.monotonic() < deadline
        config.write_text("[selection]\nenhance = false\n")
        server.ok("POST", "/api/v1/reload")
        assert server.ok("GET", "/api/v1/tasks/jobs")["learned"]["sharpening"]["applied"] is False
    finally:
        server.stop()
