"""Auto-swap, rules and following on a running server: traffic moves, and no request pays for it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import forking
from server import Reply, Server

BAD = "broken pipe"
FAULTS = [{"kind": "error", "match": "broken"}]
CONFIG = """
[autoswap]
enabled = true
cooldown_s = 5
start_share = 0.5
step_share = 0.5
step_s = 0.2

[pool]
breaker_failures = 1000

[tasks.chat]
follow = "assistant"

[rules.watch]
task = "jobs"
metric = "success"
below = 0.01
to = "m@2"

[rules.never]
task = "jobs"
metric = "energy_mwh"
above = 1
to = "m@2"
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Server]:
    """``jobs`` is bound to ``m@1``, which fails on some prompts; ``m@2`` answers all."""
    home = tmp_path / "home"
    home.mkdir()
    script = tmp_path / "m1.json"
    script.write_text(json.dumps({"text": "one", "faults": FAULTS}))
    second = tmp_path / "m2.json"
    second.write_text(json.dumps({"text": "two"}))
    models = f'[models."m@1"]\nscripted = "{script}"\n[models."m@2"]\nscripted = "{second}"\nactivate = true\n'
    (home / "podium.toml").write_text(f'{CONFIG}\n[tasks.jobs]\nbinding = "m@1"\n{models}')
    started = Server(home).start()
    until(lambda: started.ok("GET", "/api/v1/tasks/jobs")["bound_to"] == "m@1", "the declared binding")
    until(lambda: len(started.ok("GET", "/api/v1/models")["models"]) == 2, "the declared models")
    yield started
    started.stop()


def until(done: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Poll until it is true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := done():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {timeout_s:g} s")


def text(reply: Reply) -> str:
    return str(reply.json["choices"][0]["message"]["content"])


def events(server: Server, kind: str) -> list[dict[str, Any]]:
    found = server.ok("GET", "/api/v1/events?limit=1000")["events"]
    return [event for event in found if event["kind"] == kind]


def bound(server: Server, task: str = "jobs") -> str | None:
    return server.ok("GET", f"/api/v1/tasks/{task}")["bound_to"]


@pytest.mark.requirement("SWP-6")
def test_a_version_that_begins_to_fail_is_replaced_at_once_and_every_request_is_answered(live: Server):
    for _ in range(8):
        assert text(live.chat("task:jobs", "hello")) == "one"
    answers = [live.chat("task:jobs", BAD) for _ in range(5)]
    assert [(one.status, text(one), one.headers["x-podium-model"]) for one in answers] == [(200, "two", "m@2")] * 5, (
        "the failing requests, the one that triggers among them, got their fallback"
    )
    until(lambda: bound(live) == "m@2", "the swap")
    assert text(live.chat("task:jobs", "hello")) == "two"
    (told,) = events(live, "autoswap.triggered")
    data = told["data"]
    assert (told["subject"], data["cause"], data["before"], data["to"]) == ("jobs", "streak", "m@1", "m@2")
    assert (data["value"], data["samples"], data["mode"]) == (5, 13, "immediate")
    assert "failed 5 requests in a row" in data["reason"]
    assert [event["subject"] for event in events(live, "swap.completed")][-1] == "jobs"
    (swap,) = [one for one in live.ok("GET", "/api/v1/swaps?task=jobs")["swaps"] if one["by"] == "autoswap"]
    assert swap["reason"] == data["reason"]
    state = {one["task"]: one for one in live.ok("GET", "/api/v1/autoswap")["tasks"]}["jobs"]
    assert (state["serving"], state["enabled"]) == ("m@2", True)
    assert 0 < state["cooldown_left_s"] <= 5


@pytest.mark.requirement("SWP-6")
def test_one_that_falls_short_is_replaced_gradually_as_far_as_the_evidence_carries(live: Server):
    prompts = ["hello", "hello", BAD]
    statuses = [live.chat("task:jobs", prompts[number % 3]).status for number in range(12)]
    (told,) = until(lambda: events(live, "autoswap.triggered"), "the trigger")
    assert (told["data"]["cause"], told["data"]["mode"]) == ("success", "gradual")
    number = 0
    deadline = time.monotonic() + 20
    while bound(live) != "m@2" and time.monotonic() < deadline:
        statuses += [live.chat("task:jobs", prompts[(number := number + 1) % 3]).status for _ in range(10)]
    assert bound(live) == "m@2"
    assert set(statuses) == {200}, "no request paid for it"
    (started,) = events(live, "rollout.started")
    (promoted,) = events(live, "rollout.promoted")
    assert told["at"] <= started["at"] < promoted["at"]
    (rollout,) = live.ok("GET", "/api/v1/rollouts?task=jobs")["rollouts"]
    assert (rollout["by"], rollout["state"], rollout["reason"]) == ("autoswap", "promoted", told["data"]["reason"])


@pytest.mark.slow
@pytest.mark.requirement("SWP-6")
def test_when_the_old_version_dies_during_its_rollout_the_candidate_takes_over_without_waiting(live: Server):
    file = live.home / "podium.toml"
    file.write_text(file.read_text().replace("step_s = 0.2", "step_s = 36000"))
    assert "autoswap.step_s" in live.ok("POST", "/api/v1/reload", {})["live"]
    for number in range(12):
        assert live.chat("task:jobs", BAD if number % 3 == 2 else "hello").status == 200

    def answered() -> bool:
        assert live.chat("task:jobs", "hello").status == 200
        rollouts = live.ok("GET", "/api/v1/rollouts?task=jobs")["rollouts"]
        return bool(rollouts) and rollouts[0]["state"] == "canary" and samples() >= before + 5

    def samples() -> int:
        shown = live.ok("GET", "/api/v1/tasks/jobs")["evidence"].get("m@2")
        return shown["samples"] if shown else 0

    before = samples()
    until(answered, "five answers of the candidate")
    statuses: list[int] = []

    def moved() -> bool:
        statuses.append(live.chat("task:jobs", BAD).status)
        return bound(live) == "m@2"

    until(moved, "the promotion")
    assert set(statuses) == {200}
    assert [told["data"]["mode"] for told in events(live, "autoswap.triggered")] == ["gradual", "promote"]
    (rollout,) = live.ok("GET", "/api/v1/rollouts?task=jobs")["rollouts"]
    assert rollout["state"] == "promoted"


@pytest.mark.slow
@pytest.mark.requirement("SWP-6")
def test_without_an_alternative_each_request_gets_its_own_error_unchanged(live: Server):
    live.ok("POST", "/api/v1/models/m@2/deprecate", {"reason": "test"})
    replies = [live.chat("task:jobs", BAD) for _ in range(14)]
    assert len({(one.status, one.error["code"], one.error["type"]) for one in replies}) == 1, "before and after it"
    assert replies[0].status >= 500
    told = until(lambda: events(live, "autoswap.failed"), "the failure")
    assert "m@2: not active" in told[0]["data"]["error"]
    assert bound(live) == "m@1"


@pytest.mark.requirement("SWP-13")
def test_the_judges_scores_have_a_version_replaced(live: Server):
    live.ok("PUT", "/api/v1/tasks/jobs", {"criteria": {"min_quality": 0.8}})
    for _ in range(10):
        request = live.chat("task:jobs", "hello").headers["x-request-id"]
        assert live.ok("POST", "/api/v1/feedback", {"request_id": request, "score": 0.2, "source": "judge"})["joined"]
    (told,) = until(lambda: events(live, "autoswap.triggered"), "the trigger")
    assert (told["data"]["cause"], told["data"]["samples"]) == ("quality", 10)
    assert told["data"]["value"] == pytest.approx(0.2)


@pytest.mark.requirement("SWP-13")
def test_a_new_version_goes_live_by_being_registered(live: Server):
    live.script("assistant@1", text="first")
    until(lambda: bound(live, "chat") == "assistant@1", "the first binding")
    path = live.home.parent / "assistant-2.json"
    path.write_text(json.dumps({"text": "second"}))
    live.add("assistant@2", "scripted", str(path), activate=None)
    (told,) = until(
        lambda: [e for e in events(live, "follow.ordered") if e["data"]["to"] == "assistant@2"], "the offer"
    )
    assert told["data"]["mode"] == "gradual"
    deadline = time.monotonic() + 20
    while bound(live, "chat") != "assistant@2" and time.monotonic() < deadline:
        for _ in range(10):
            assert live.chat("task:chat").status == 200
    assert bound(live, "chat") == "assistant@2"
    assert text(live.chat("task:chat")) == "second"


@pytest.mark.requirement("SWP-9")
def test_a_dry_run_shows_what_rules_see_and_a_reload_refuses_names_that_are_not_there(live: Server):
    done = forking.podium(
        "rules",
        "check",
        "--json",
        env={**os.environ, "PODIUM_HOME": str(live.home), "PODIUM_URL": live.url},
        check=True,
        timeout=30,
    )
    shown = {one["rule"]: one for one in json.loads(done.stdout)["rules"]}
    assert set(shown) == {"watch", "never"}
    assert shown["never"]["value"] is None
    assert shown["never"]["unavailable"]
    assert not shown["never"]["fires"]
    assert shown["watch"]["order"]["to"] == "m@2"
    assert bound(live) == "m@1"
    file = live.home / "podium.toml"
    good = file.read_text()
    file.write_text(good.replace('to = "m@2"', 'to = "m@9"', 1))
    refused = live.call("POST", "/api/v1/reload", {})
    assert refused.status >= 400
    assert "rules.watch.to: there is no version 'm@9'; did you mean 'm@" in refused.error["message"]
    file.write_text(good.replace("below = 0.01", "below = 0.9\nmin_samples = 4"))
    assert "rules" in live.ok("POST", "/api/v1/reload", {})["live"]
    for prompt in ("hello", BAD, "hello", BAD):
        assert live.chat("task:jobs", prompt).status == 200
    (told,) = until(lambda: events(live, "rule.fired"), "the rule")
    assert (told["data"]["rule"], told["data"]["to"]) == ("watch", "m@2")


@pytest.mark.requirement("SWP-9")
def test_a_server_with_a_rule_about_nothing_does_not_start(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "podium.toml").write_text('[rules.r]\ntask = "jbos"\nmetric = "success"\nbelow = 0.5\n[tasks.jobs]\n')
    with pytest.raises(AssertionError, match="there is no task 'jbos'; did you mean 'jobs'"):
        Server(home).start()
