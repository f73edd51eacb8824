"""Regressions and objectives on a running server: seen, told by events, shown, over a restart, and over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import forking
from server import Server

pytestmark = pytest.mark.requirement("TRK-5")
BAD = "broken pipe"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Server]:
    """``jobs`` is bound to ``m@1``, which fails on some prompts, and promises something."""
    home = tmp_path / "home"
    home.mkdir()
    script = tmp_path / "m1.json"
    script.write_text(json.dumps({"text": "one", "faults": [{"kind": "error", "match": "broken"}]}))
    (home / "podium.toml").write_text(
        f'[pool]\nbreaker_failures = 1000\n[models."m@1"]\nscripted = "{script}"\n'
        '[tasks.jobs]\nbinding = "m@1"\n[tasks.jobs.objectives]\nsuccess = 0.99\nlatency_ms = 20000\nwindow = "7d"\n'
    )
    started = Server(home).start()
    until(lambda: started.ok("GET", "/api/v1/tasks/jobs")["bound_to"] == "m@1", "the declared binding")
    yield started
    started.stop()


def until(done: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Poll until it is true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := done():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {timeout_s:g} s")


def told(server: Server, kind: str) -> list[dict[str, Any]]:
    return server.ok("GET", f"/api/v1/events?limit=1000&kind={kind}")["events"]


def shown(server: Server, *command: str) -> str:
    done = forking.podium(
        *command, env={**os.environ, "PODIUM_HOME": str(server.home), "PODIUM_URL": server.url}, check=True, timeout=30
    )
    return done.stdout


def test_a_version_that_begins_to_fail_is_an_alert_until_it_works_again(live: Server):
    for _ in range(130):
        assert live.chat("task:jobs", "hello").status == 200
    assert live.ok("GET", "/api/v1/alerts")["alerts"] == []
    for _ in range(16):
        assert live.chat("task:jobs", BAD).status >= 500
    opened = until(lambda: len(told(live, "alert.opened")) >= 3 and told(live, "alert.opened"), "the alerts")
    regressions = [event for event in opened if event["data"]["cause"] == "regression"]
    burns = {event["data"]["speed"] for event in opened if event["data"]["cause"] == "objective"}
    assert [(one["subject"], one["data"]["ref"], one["data"]["aspect"]) for one in regressions] == [
        ("jobs", "m@1", "errors")
    ]
    assert burns == {"fast", "slow"}

    stats = live.ok("GET", "/api/v1/stats")
    assert {one["id"] for one in stats["alerts"]} == {event["data"]["alert"] for event in opened}
    errors, latency = live.ok("GET", "/api/v1/objectives?task=jobs")["objectives"]
    assert (errors["aspect"], errors["events"], errors["bad"], errors["window_s"]) == ("errors", 146, 16, 7 * 86400)
    assert errors["left"] < 0 < latency["left"]
    assert stats["objectives"][0]["left"] == errors["left"]
    says = regressions[0]["data"]["says"]
    assert says in live.ok("GET", "/api/v1/doctor")["problems"]
    assert says in shown(live, "stats")
    assert says in shown(live, "alerts", "ls", "--open")

    live.stop()
    live.start()
    until(lambda: live.ok("GET", "/api/v1/tasks/jobs")["bound_to"] == "m@1", "the binding")
    assert len(live.ok("GET", "/api/v1/alerts?state=open")["alerts"]) == 3, "they outlive a restart"
    again = live.ok("GET", "/api/v1/objectives")["objectives"][0]
    assert (again["events"], again["bad"]) == (146, 16), "the budget is no better for it"
    for _ in range(130):
        assert live.chat("task:jobs", "hello").status == 200
    (closed,) = until(lambda: told(live, "alert.closed"), "the end")
    assert closed["data"]["alert"] == regressions[0]["data"]["alert"]
    assert "it is over" in closed["data"]["ending"]
    assert len(told(live, "alert.opened")) == 3, "each was told once"
    rows = json.loads(shown(live, "alerts", "ls", "--json"))["alerts"]
    assert sorted(row["open"] for row in rows) == [False, True, True]


def test_objectives_are_changed_by_a_reload_and_bad_ones_are_refused(live: Server):
    file = live.home / "podium.toml"
    good = file.read_text()
    for line, said in (
        ("success = 1.2", "tasks.jobs.objectives.success"),
        ('window = "-7d"', "tasks.jobs.objectives.window"),
        ("window = -3600", "tasks.jobs.objectives.window"),
        ("sucess = 0.9", "unknown key 'sucess'; did you mean 'success'?"),
    ):
        key = line.split(" ", 1)[0]
        kept = [one for one in good.splitlines() if not one.startswith((key, "sucess"))]
        file.write_text("\n".join([*kept, line]))
        refused = live.call("POST", "/api/v1/reload", {})
        assert refused.status >= 400, refused.body
        assert said in refused.error["message"]
    file.write_text(good.replace("success = 0.99", "quality = 0.8"))
    assert live.ok("POST", "/api/v1/reload", {})["tasks_changed"] == ["jobs"]
    assert [one["aspect"] for one in live.ok("GET", "/api/v1/objectives")["objectives"]] == ["latency", "quality"]
    assert live.call("GET", "/api/v1/alerts?state=closed").status == 400
