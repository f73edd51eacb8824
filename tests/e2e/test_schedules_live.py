"""Schedules and batches on a real server: ordered over HTTP and on the command line, and killed in the middle."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from podium.cli.main import app
from podium.errors import InvalidRequest
from server import Server

CRON = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "duration": "90m"}


def served(server: Server) -> dict[str, str | None]:
    return {one["task"]: one["bound_to"] for one in server.ok("GET", "/api/v1/tasks")["tasks"]}


def batch(ref: str, *tasks: str, **more: Any) -> dict[str, Any]:
    return {"swaps": [{"task": task, "to": ref} for task in tasks], **more}


def until(server: Server, schedule_id: str, *states: str, within_s: float = 20) -> dict[str, Any]:
    deadline = time.monotonic() + within_s
    while True:
        one: dict[str, Any] = server.ok("GET", f"/api/v1/schedules/{schedule_id}")
        if one["state"] in states:
            return one
        assert time.monotonic() < deadline, one
        time.sleep(0.05)  # between two looks


def podium(server: Server, *words: str) -> Result:
    return CliRunner().invoke(app, words, env={"PODIUM_HOME": str(server.home), "PODIUM_URL": server.url})


@pytest.mark.requirement("SWP-8")
def test_a_schedule_shows_its_next_openings_fires_in_time_and_keeps_its_history(server: Server):
    server.script("m@1")
    server.script("m@2")
    made = server.ok("POST", "/api/v1/schedules", {**batch("m@1", "jobs"), **CRON})
    assert made["state"] == "waiting"
    assert len(made["next"]) == 3
    assert {opening["local"][11:16] for opening in made["next"]} <= {"02:30", "03:00"}
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    due = server.ok("POST", "/api/v1/schedules", {**batch("m@2", "jobs", "chat"), "at": soon})
    done = until(server, due["id"], "done", "failed")
    assert done["state"] == "done", done["says"]
    assert [run["state"] for run in done["runs"]] == ["done"]
    assert (served(server)["jobs"], served(server)["chat"]) == ("m@2", "m@2")
    gone = server.ok("DELETE", f"/api/v1/schedules/{made['id']}")
    assert gone["state"] == "cancelled"
    assert server.call("DELETE", f"/api/v1/schedules/{made['id']}").status == 409
    listed = server.ok("GET", "/api/v1/schedules")["schedules"]
    assert [one["state"] for one in listed] == ["done", "cancelled"]
    kinds = [event["kind"] for event in server.ok("GET", "/api/v1/events?limit=1000")["events"]]
    assert {"schedule.added", "schedule.started", "schedule.done", "schedule.cancelled"} <= set(kinds)


@pytest.mark.requirement("SWP-8")
@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"cron": "0 0 31 2 *"}, 400, "never opens"),
        ({"cron": "nightly"}, 400, "five fields"),
        ({"timezone": "Mars/Olympus"}, 400, "no time zone"),
        ({"duration": "soon"}, 400, "no duration"),
        ({"duration": 1}, 400, "60 seconds"),
        ({"window": "nightly"}, 400, "exactly one of"),
        ({"cron": None}, 400, "found none"),
        ({"cron": None, "window": "nightly"}, 400, "no window 'nightly'"),
        ({"cron": None, "at": "2001-01-01T00:00"}, 400, "has passed"),
        ({"cron": None, "at": 1e300}, 400, "no time to plan for"),
        ({"swaps": []}, 400, "at least one swap"),
        ({"swaps": [{"task": "jobs", "to": "nobody@1"}]}, 404, "nobody@1"),
        ({"mode": "gradual", "plan": {"start_share": 3}}, 400, "share"),
        ({"plan": {}}, 400, "gradual"),
        ({"mode": "shadow"}, 400, "mode"),
        ({"surprise": 1}, 400, "surprise"),
    ],
)
def test_bad_orders_are_refused_in_words(one_server: Server, change: dict[str, Any], status: int, words: str):
    body = {key: value for key, value in {**batch("m@1", "jobs"), **CRON, **change}.items() if value is not None}
    reply = one_server.call("POST", "/api/v1/schedules", body)
    assert reply.status == status
    assert words in reply.error["message"]


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    started = Server(tmp_path_factory.mktemp("schedules") / "home").start()
    started.script("m@1")
    yield started
    started.stop()


@pytest.mark.requirement("SWP-8")
def test_a_batch_at_once_moves_all_or_says_why_none(server: Server):
    server.script("m@1")
    server.script("m@2")
    tasks = [f"t{number}" for number in range(5)]
    done = server.ok("POST", "/api/v1/swaps/batch", batch("m@1", *tasks))
    assert (done["ok"], done["state"]) == (True, "done")
    body = batch("m@2", *tasks, strict=False)
    body["swaps"][2]["task"] = "t9"
    server.ok("PUT", "/api/v1/tasks/t9", {"criteria": {"min_context": 10**6}})
    failed = server.ok("POST", "/api/v1/swaps/batch", body)
    assert (failed["ok"], failed["state"]) == (False, "failed")
    assert "m@2 cannot serve t9" in failed["says"]
    assert {task: served(server)[task] for task in tasks} == dict.fromkeys(tasks, "m@1")


@pytest.mark.requirement("SWP-8", "SWP-11", "OPS-4")
def test_a_server_killed_while_a_batch_loads_starts_it_again_while_its_window_is_open(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    try:
        server.script("m@1")
        server.ok("POST", "/api/v1/swaps/batch", batch("m@1", "t1", "t2"))
        file = tmp_path / "slow.json"
        file.write_text(json.dumps({"text": "slow", "load_ms": 1500}))
        server.add("slow@1", "scripted", str(file), activate=False)
        soon = datetime.now(UTC).isoformat()
        made = server.ok("POST", "/api/v1/schedules", {**batch("slow@1", "t1", "t2"), "at": soon})
        until(server, made["id"], "running")
        deadline = time.monotonic() + 10
        while (swap := server.ok("GET", "/api/v1/swaps?task=t1")["swaps"][0])["after"] != "slow@1":
            assert time.monotonic() < deadline
        assert swap["state"] == "warming"
        server.kill()
        server = Server(tmp_path / "home").start()
        assert (served(server)["t1"], served(server)["t2"]) == ("m@1", "m@1")
        done = until(server, made["id"], "done", "failed", "missed")
        assert done["state"] == "done", done["says"]
        assert len(done["runs"]) == 1
        assert (served(server)["t1"], served(server)["t2"]) == ("slow@1", "slow@1")
        swaps = server.ok("GET", "/api/v1/swaps?task=t1")["swaps"]
        assert [swap["state"] for swap in swaps] == ["promoted", "interrupted", "promoted"]
    finally:
        server.stop()


def test_the_command_line_adds_shows_lists_and_removes(server: Server):
    server.script("m@1")
    server.script("m@2")
    added = podium(
        server, "schedules", "add", "jobs", "m@1", "--also", "chat=m@2", "--cron", "30 2 * * *", "--timezone",
        "Europe/Berlin",
    )  # fmt: skip
    assert added.exit_code == 0, added.output
    assert "jobs → m@1, chat → m@2" in added.stdout
    assert len(added.stdout.splitlines()) == 4
    schedule_id = added.stdout.split()[0]
    assert schedule_id in podium(server, "schedules", "ls").stdout
    shown = json.loads(podium(server, "schedules", "show", schedule_id, "--json").stdout)
    assert shown["when"] == "30 2 * * *"
    assert podium(server, "schedules", "rm", schedule_id).stdout == f"{schedule_id} is cancelled\n"
    at_once = podium(server, "schedules", "add", "jobs", "m@1", "--now", "--json")
    assert json.loads(at_once.stdout)["state"] == "done"
    for words, why in (
        (("--cron", "0 0 31 2 *"), "never opens"),
        (("--now", "--also", "chat"), "TASK=NAME@VERSION"),
    ):
        refused = podium(server, "schedules", "add", "jobs", "m@2", *words)
        assert isinstance(refused.exception, InvalidRequest)
        assert why in str(refused.exception)


def test_windows_of_the_configuration_have_names_and_are_read_again(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    file = home / "podium.toml"
    file.write_text('[windows.nightly]\ncron = "30 2 * * *"\ntimezone = "Europe/Berlin"\nduration = "2h"\n')
    server = Server(home).start()
    try:
        server.script("m@1")
        made = server.ok("POST", "/api/v1/schedules", {**batch("m@1", "jobs"), "window": "nightly"})
        assert (made["when"], made["timezone"], made["duration_s"]) == ("30 2 * * * (nightly)", "Europe/Berlin", 7200)
        listed = server.ok("GET", "/api/v1/schedules")
        assert len(listed["windows"]["nightly"]["next"]) == 3
        file.write_text('[windows.weekly]\ncron = "0 4 * * SUN"\n')
        assert server.ok("POST", "/api/v1/reload")["live"] == ["windows"]
        assert set(server.ok("GET", "/api/v1/schedules")["windows"]) == {"weekly"}
        kept = server.ok("GET", f"/api/v1/schedules/{made['id']}")
        assert kept["when"] == "30 2 * * * (nightly)", "a schedule keeps the window it was made with"
        file.write_text('[windows.never]\ncron = "0 0 30 2 *"\n')
        refused = server.call("POST", "/api/v1/reload")
        assert "windows.never.cron" in refused.error["message"]
    finally:
        server.stop()
