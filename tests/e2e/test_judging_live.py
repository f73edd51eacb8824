"""Judging from outside: routes, commands, and a gateway that is killed while answers wait to be judged."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import forking
from server import Server

RULES = "[judging]\nenabled = true\nsample = 1.0\n"
BROKE = RULES + 'judge = "j@1"\ncompute_share = 0.0\n'


def started(tmp_path: Path, settings: str) -> Server:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "podium.toml").write_text(settings)
    return Server(home).start()


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def live(server: Server) -> dict[str, Any]:
    return server.ok("GET", "/api/v1/judgments/stats")["live"]


def podium(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PODIUM_HOME": str(server.home)}
    return forking.podium(*arguments, env=env)


@pytest.mark.requirement("JDG-5")
def test_live_traffic_is_judged_and_estimated_over_http(tmp_path: Path):
    server = started(tmp_path, RULES)
    try:
        server.script("m@1", text="The capital of France is Paris.")
        for number in range(4):
            assert server.chat("m@1", f"What is the capital of France? {number}", task="qa").status == 200
        assert server.chat("m@1", "stream it", stream=True).status == 200
        until(lambda: live(server)["answers"] == 5)
        rows = server.ok("GET", "/api/v1/judgments?criterion=overall&limit=10")["judgments"]
        assert len(rows) == 5
        assert all(row["probability"] == 1.0 and row["score"] is not None for row in rows)
        found = server.ok("GET", "/api/v1/judgments/stats?hours=1")
        (overall,) = [one for one in found["estimates"] if one["criterion"] == "overall"][:1]
        assert overall["low"] <= overall["mean"] <= overall["high"]
        assert found["costs"][0]["judgments"] >= 16
        assert found["live"]["budget"]["energy_mwh"] is None, "nobody measures it and nobody said the watts"
        assert server.call("GET", "/api/v1/judgments/stats?hours=-1").status == 400
        shown = podium(server, "judgments", "--stats")
        assert "stands for".upper() in shown.stdout.upper()
        assert "no model was asked yet" in shown.stderr
        assert "no judgment is like that" in podium(server, "judgments", "--task", "nobody").stderr
        of_one = json.loads(podium(server, "judgments", "--json", "--request", rows[0]["request_id"]).stdout)[
            "judgments"
        ]
        assert {one["request_id"] for one in of_one} == {rows[0]["request_id"]}
        assert len(of_one) == 5
        assert len(json.loads(podium(server, "judgments", "--json", "--criterion", "overall").stdout)["judgments"]) == 5
    finally:
        server.stop()


@pytest.mark.requirement("JDG-5")
def test_what_waits_is_judged_after_a_kill_and_its_texts_go(tmp_path: Path):
    server = started(tmp_path, BROKE)
    try:
        server.script("m@1", text="The capital of France is Paris.")
        server.script("j@1", text='{"score": 5}')
        for number in range(6):
            server.chat("m@1", f"What is the capital of France? {number}")
        until(lambda: live(server)["waiting"] == 6)
        server.kill()
        with sqlite3.connect(tmp_path / "home" / "podium.db") as database:
            kept = database.execute("SELECT content FROM judge_queue").fetchall()
        database.close()
        assert len(kept) == 6
        assert "Paris" in kept[0][0]
        server = started(tmp_path, BROKE.replace("0.0", "1.0"))
        until(lambda: live(server)["answers"] == 6)
        assert live(server)["resumed"] == 6
        assert live(server)["waiting"] == 0
        rows = server.ok("GET", "/api/v1/judgments?judge=j@1&limit=100")["judgments"]
        assert {row["raw"] for row in rows} == {1.0}
        with sqlite3.connect(tmp_path / "home" / "podium.db") as database:
            assert database.execute("SELECT count(*) FROM judge_queue").fetchone() == (0,)
        database.close()
    finally:
        server.stop()


@pytest.mark.requirement("JDG-1", "JDG-4")
def test_answers_are_judged_on_demand_one_or_many(tmp_path: Path):
    server = started(tmp_path, "")
    try:
        server.script("j@1", text='{"score": 5}', latency_ms=30)
        item = {"task": "qa", "prompt": "What is the capital of France?", "output": "It is Paris.", "context": "Paris."}
        one = server.ok("POST", "/api/v1/judge", {"item": item})["results"][0]
        assert [part["criterion"] for part in one["criteria"]] == ["faithfulness", "relevance", "minimality", "safety"]
        assert [part["pass_mark"] for part in one["criteria"]] == [0.7, 0.7, 0.7, 0.8]
        assert {verdict["judge"] for part in one["criteria"] for verdict in part["verdicts"]} == {"rules", "j@1"}
        many = [
            {**item, "output": f"It is Paris, says number {number}.", "id": f"row-{number}"} for number in range(20)
        ]
        began = time.monotonic()
        found = server.ok("POST", "/api/v1/judge", {"items": many, "criteria": ["relevance"]})["results"]
        assert [one["id"] for one in found] == [f"row-{number}" for number in range(20)]
        assert time.monotonic() - began < 20 * 4 * 0.03 + 10
        again = server.ok("POST", "/api/v1/judge", {"items": many, "criteria": ["relevance"]})["results"]
        assert [one["overall"] for one in again] == [one["overall"] for one in found]
        assert all(one["criteria"][0]["verdicts"][-1]["cached"] for one in again)
        rules = server.ok("POST", "/api/v1/judge", {"item": item, "judge": "none"})["results"][0]
        assert {verdict["judge"] for part in rules["criteria"] for verdict in part["verdicts"]} == {"rules"}
        for body, status in (
            ({}, 400),
            ({"item": item, "items": [item]}, 400),
            ({"items": []}, 400),
            ({"item": {"task": "qa"}}, 400),
            ({"item": item, "criteria": ["tone"]}, 404),
            ({"item": item, "judge": "nobody@1"}, 404),
        ):
            assert server.call("POST", "/api/v1/judge", body).status == status, body
        big = server.ok("POST", "/api/v1/judge", {"item": {**item, "output": "word " * 200_000}, "judge": "none"})
        assert len(big["results"]) == 1
    finally:
        server.stop()


@pytest.mark.requirement("JDG-1", "JDG-4")
def test_a_file_is_judged_by_the_command(tmp_path: Path):
    server = started(tmp_path, "")
    rows = tmp_path / "rows.jsonl"
    item = {"task": "qa", "prompt": "What is the capital of France?", "output": "The capital of France is Paris."}
    rows.write_text(
        "\n".join(json.dumps(one) for one in (item, {**item, "output": ""}, {**item, "output": "\ud83d half"}))
    )
    try:
        shown = podium(server, "judge", str(rows), "--judge", "none")
        assert shown.returncode == 0, shown.stderr
        assert [line.split()[0] for line in shown.stdout.splitlines()[1:5]] == [
            "faithfulness", "relevance", "minimality", "safety",
        ]  # fmt: skip
        found = json.loads(podium(server, "judge", "--json", "--judge", "none", str(rows)).stdout)
        assert (found["items"], len(found["results"])) == (3, 3)
        assert found["criteria"]["safety"]["pass_mark"] == 0.8
        for content, says in (
            ("", "no rows"),
            ("{", "line 1 is not JSON"),
            ('{"task": "x"}', "'output' must be a text"),
        ):
            rows.write_text(content)
            wrong = podium(server, "judge", str(rows))
            assert wrong.returncode == 1
            assert says in wrong.stderr
        assert podium(server, "judge", str(tmp_path / "nothing")).returncode == 1
    finally:
        server.stop()


@pytest.mark.requirement("JDG-6")
def test_pairs_are_judged_in_both_orders_by_a_panel_over_http_and_from_a_file(tmp_path: Path):
    server = started(tmp_path, "")
    shorter = {"match": r"(?s)ANSWER A(?:(?!ANSWER B).)*?Yes\.", "text": '{"better": "A"}'}
    try:
        server.script("short@1", text='{"better": "B"}', answers=[shorter])
        server.script("place@1", text='{"better": "A"}')
        server.script("prose@1", text="Both are fine.")
        body = {
            "a": "Yes.",
            "b": "It may be that it is.",
            "prompt": "Is it?",
            "judges": ["short@1", "place@1", "prose@1"],
        }
        found = server.ok("POST", "/api/v1/judge/pair", body)
        assert (found["winner"], found["agreement"], found["criterion"]) == ("a", 0.5, "relevance")
        assert [(one["judge"], one["winner"]) for one in found["judges"]] == [
            ("short@1", "a"), ("place@1", "tie"), ("prose@1", None),
        ]  # fmt: skip
        assert found["judges"][2]["reply"] == "Both are fine."
        for wrong, status in (
            ({"judges": []}, 400),
            ({"judges": ["no@1"]}, 404),
            ({"criterion": "no"}, 404),
            ({"a": 1}, 400),
        ):
            assert server.call("POST", "/api/v1/judge/pair", {**body, **wrong}).status == status, wrong

        rows = tmp_path / "pairs.jsonl"
        rows.write_text(
            "\n".join(
                json.dumps({"context": f"Is it {n}?", "output_1": one, "output_2": other, "human": 1 + (one != "Yes.")})
                for n in range(10)
                for one, other in (("Yes.", "It may be."), ("It may be.", "Yes."))
            )
        )
        judges = [part for name in ("short@1", "place@1") for part in ("--judge", name)]
        told = json.loads(podium(server, "judge", "pairs", str(rows), *judges, "--json").stdout)
        right = {one["judge"]: one["right"] for one in told["judges"]}
        assert right == {"short@1": 1.0, "place@1": 0.5, "vote of all": 1.0, "panel": 1.0}
        assert told["judges"][0]["a"] == told["judges"][0]["b"] == 10
        assert (told["agreement"], told["problem"]) == (0.5, None)
        rows.write_text('{"output_1": "x", "output_2": "y", "human": 7}')
        bad = podium(server, "judge", "pairs", str(rows))
        assert (bad.returncode, "line 1, column human: 1 or 2" in bad.stderr) == (1, True)
    finally:
        server.stop()
