"""Through a real server: a task is learned from labelled requests, kept over a restart, shown, and nothing breaks it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

import forking
from server import Server

GOODS = ("steel bolts", "oak planks", "copper pipes", "glass panes", "paint tins", "door hinges", "roof tiles")
PLACES = ("Leeds", "Porto", "Gdansk", "Lyon", "Graz", "Turin")
UNSEEN = "Dispatch note 77: nine crates of window frames leave the depot for Bergen, forklift bay two."


def note(number: int) -> str:
    goods, place = GOODS[number % len(GOODS)], PLACES[number % len(PLACES)]
    return f"Dispatch note {number}: {number + 3} crates of {goods} leave the depot for {place}, forklift bay {number}."


def until(server: Server, fits: Callable[[dict[str, Any]], bool], timeout_s: float = 60) -> dict[str, Any]:
    """The classifier's report as soon as it fits."""
    deadline = time.monotonic() + timeout_s
    report: dict[str, Any] = {}
    while time.monotonic() < deadline:
        report = server.ok("GET", "/api/v1/tasks/classifier")
        if fits(report):
            return report
        time.sleep(0.05)  # polling with a deadline
    raise AssertionError(report)


def podium(server: Server, *arguments: str) -> str:
    done = forking.podium(*arguments, env={**os.environ, "PODIUM_URL": server.url, "PODIUM_HOME": str(server.home)})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.requirement("SEL-8")
def test_thirty_labelled_requests_teach_a_task_that_survives_a_restart(server: Server):
    server.script("m@1", text="done")
    until(server, lambda report: report["trained"])
    assert server.chat(text=UNSEEN).headers["x-podium-task"] != "dispatch"
    for number in range(30):
        ways: tuple[dict[str, Any], ...] = (
            {"headers": {"x-podium-task": "dispatch"}},
            {"metadata": {"task": "dispatch"}},
            {"model": "task:dispatch"} if number > 1 else {"metadata": {"task": "dispatch"}},
        )
        assert server.chat(text=note(number), **ways[number % 3]).headers["x-podium-task"] == "dispatch"
    report = until(server, lambda report: report["tasks"].get("dispatch", {}).get("own", 0) >= 20)
    assert report["tasks"]["dispatch"]["accuracy"] > 0.9
    answered = server.chat(text=UNSEEN)
    assert answered.headers["x-podium-task"] == "dispatch"
    explained = server.ok("GET", f"/api/v1/decisions/{answered.headers['x-request-id']}")
    assert "learned: dispatch" in json.dumps(explained)
    shown = json.loads(podium(server, "tasks", "show", "dispatch", "--json"))["recognition"]
    assert shown["learned"]
    assert "dispatch" in podium(server, "tasks", "ls")
    before = json.loads(podium(server, "classify", UNSEEN, "--json"))
    assert (before["task"], before["abstained"], len(before["likeliest"])) == ("dispatch", False, 3)

    server.stop()
    for file in server.home.glob("podium.db*"):
        assert b"forklift" not in file.read_bytes()
    server.start()
    assert server.ok("POST", "/api/v1/tasks/classify", {"text": UNSEEN}) == before
    assert server.chat(text=UNSEEN).headers["x-podium-task"] == "dispatch"


@pytest.mark.requirement("SEL-8")
def test_prompts_made_to_hurt_are_answered_as_the_default_task(server: Server):
    server.script("m@1", text="done", context_length=2_000_000)
    until(server, lambda report: report["trained"])
    junk = bytes(range(1, 256)).decode("latin-1") * 40
    for text in ("a" * 1_000_000, " " * 100_000, junk, "\u0000\ud83d\ude00" * 5_000, "{" * 50_000, ""):
        reply = server.chat(text=text)
        assert reply.status == 200, reply.body
        assert reply.headers["x-podium-task"] == "general"
        labelled = server.chat(text=text, headers={"x-podium-task": "junk"})
        assert labelled.headers["x-podium-task"] == "junk"
    refused = server.call("POST", "/api/v1/tasks/classify", {"text": "x" * 1_000_001})
    assert refused.status == 400
    assert server.ok("GET", "/api/v1/tasks/classifier")["trained"]


def test_learning_can_be_switched_off(server: Server):
    (server.home / "podium.toml").write_text("[selection]\nlearn_tasks = false\n")
    server.stop()
    server.start()
    server.script("m@1", text="done")
    for number in range(30):
        server.chat(text=note(number), headers={"x-podium-task": "dispatch"})
    report = until(server, lambda report: report["trained"])
    assert report["learning"] is False
    assert report["tasks"].get("dispatch") is None
