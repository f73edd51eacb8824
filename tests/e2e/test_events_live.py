"""A real gateway process and a real endpoint: what was recorded is delivered, in order, whatever dies in between."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import Result
from typer.testing import CliRunner

from podium.cli.main import app
from server import Server
from webhook_endpoint import KEY, OK, SECRET, Call, Endpoint, answer, hang

pytestmark = pytest.mark.requirement("SWP-10")


def wait_for(condition: Callable[[], Any], deadline_s: float = 15) -> Any:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


class Told:
    """A gateway that tells an endpoint about swaps."""

    def __init__(self, folder: Path, url: str, **more: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hook.secret").touch(0o600)
        (folder / "hook.secret").write_text(SECRET + "\n")
        self.file = folder / "podium.toml"
        self.write(url, **more)
        self.server = Server(folder / "home", "--config", str(self.file))

    def write(self, url: str, secret: str = "file:hook.secret", **more: Any) -> None:
        lines = {"url": url, "secret": secret, "events": ["swap.*", "rollout.*"], "retry_first_s": 0.1, **more}
        lines.setdefault("retry_most_s", 0.3)
        self.file.write_text("[webhooks.ops]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in lines.items()))

    def view(self) -> dict[str, Any]:
        return self.server.ok("GET", "/api/v1/webhooks")["webhooks"][0]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as made:
        yield made


def told(calls: list[Call], subject: str) -> list[str]:
    """Kinds in the order of their first arrival."""
    return [kind for _, kind in dict.fromkeys((c.json["id"], c.json["type"]) for c in calls if c.subject == subject)]


SWAP = ["swap.started", "swap.validated", "swap.warmed", "swap.completed"]


def test_a_killed_gateway_delivers_after_its_restart_what_was_on_record_in_order(tmp_path: Path, endpoint: Endpoint):
    good = False
    endpoint.choose = lambda call, number: OK if good else (hang if number % 3 else answer(503))
    gateway = Told(tmp_path, endpoint.url)
    server = gateway.server.start()
    try:
        server.script("m@1", text="one")
        server.script("m@2", text="two")
        for number in range(6):
            server.ok("POST", f"/api/v1/tasks/job-{number % 2}/swap", {"to": f"m@{1 + number // 2 % 2}"})
        endpoint.wait(1)
        wait_for(lambda: gateway.view()["waiting"] == 24)
        recorded = server.ok("GET", "/api/v1/events?kind=swap.*&limit=1000")["events"]
        server.kill()
        assert told(endpoint.calls, "job-0") in ([], ["swap.started"])
        good = True
        server.start()
        wait_for(lambda: gateway.view()["waiting"] == 0)
        view = gateway.view()
        for task in ("job-0", "job-1"):
            assert told(endpoint.calls, task) == SWAP * 3
        assert {c.json["id"] for c in endpoint.calls} >= {event["id"] for event in recorded}
        assert all(call.signed_by(KEY) for call in endpoint.calls)
        assert (view["state"], view["delivered"], view["last_status"]) == ("idle", 24, 200)
        assert view["url"] == endpoint.url.partition("/hook")[0]
        assert SECRET not in server.log() + json.dumps(view)
        assert "hidden" not in server.log() + json.dumps(view)
    finally:
        server.stop()


@pytest.mark.slow
def test_events_on_record_when_it_is_killed_at_once_are_told_once_it_is_back(tmp_path: Path, endpoint: Endpoint):
    """The process dies right after the answer to an order, at five different moments; nothing recorded is forgotten."""
    gateway = Told(tmp_path, endpoint.url)
    server = gateway.server.start()
    try:
        server.script("m@1", text="one")
        server.script("m@2", text="two")
        for number in range(5):
            server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": f"m@{1 + number % 2}"})
            time.sleep(0.004 * number)  # the moment at which it dies, not a wait
            server.kill()
            server.start()
        recorded = [e["id"] for e in server.ok("GET", "/api/v1/events?kind=swap.*&limit=1000")["events"]]
        assert len(recorded) == 20
        wait_for(lambda: gateway.view()["waiting"] == 0)
        ids = [call.json["id"] for call in endpoint.calls]
        assert list(dict.fromkeys(ids)) == recorded, "each of them, in order"
        by_message = {call.id: call.json["id"] for call in endpoint.calls}
        assert len(by_message) == len(recorded), "one message id per event, the same when it is told again"
    finally:
        server.stop()


@pytest.mark.slow
def test_a_burst_to_a_dead_endpoint_costs_the_gateway_nothing(tmp_path: Path):
    with Endpoint(lambda call, number: hang) as dead:
        gateway = Told(tmp_path, dead.url, events=["*"], timeout_s=1, outbox_limit=400)
        server = gateway.server.start()
        try:
            server.script("m@1", text="one")
            server.script("m@2", text="two")
            assert server.chat("m@1").status == 200
            assert server.process is not None
            process = psutil.Process(server.process.pid)
            for number in range(10):
                server.ok("POST", f"/api/v1/tasks/warm-{number}/swap", {"to": "m@1"})
            before = process.memory_info().rss
            took = []
            for number in range(250):  # four events each
                server.ok("POST", f"/api/v1/tasks/job-{number}/swap", {"to": "m@2"})
                started = time.monotonic()
                assert server.chat("m@1").status == 200
                took.append(time.monotonic() - started)
            view = wait_for(lambda: (found := gateway.view())["waiting"] <= 400 and found)
            assert view["state"] in ("delivering", "failing")
            assert view["given_up"] >= 600
            grown = process.memory_info().rss - before
            assert grown < 40 << 20, grown
            assert sorted(took)[len(took) // 2] < 0.2
            gave_up = server.ok("GET", "/api/v1/events?kind=webhook.gave_up&limit=1000")["events"]
            assert sum(event["data"]["lost"] for event in gave_up) == view["given_up"]
            assert len(gave_up) < 60, "losses are told together"
        finally:
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < 10


def test_a_reload_brings_a_secret_that_was_missing_and_takes_webhooks_away(tmp_path: Path, endpoint: Endpoint):
    gateway = Told(tmp_path, endpoint.url, secret="file:absent.secret")
    server = gateway.server.start()
    try:
        assert gateway.view()["state"] == "unusable"
        assert any("webhook ops" in problem for problem in server.ok("GET", "/api/v1/doctor")["problems"])
        server.script("m@1", text="one")
        server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@1"})
        wait_for(lambda: gateway.view()["waiting"] == 4)
        tested = server.ok("POST", "/api/v1/webhooks/ops/test")
        assert (tested["ok"], tested["status"]) == (False, None)
        (tmp_path / "absent.secret").touch(0o600)
        (tmp_path / "absent.secret").write_text(SECRET)
        assert server.ok("POST", "/api/v1/reload")["problems"] == []
        assert told(endpoint.wait(4), "jobs") == SWAP
        assert server.ok("POST", "/api/v1/webhooks/ops/test")["ok"]
        gateway.file.write_text("")
        assert server.ok("POST", "/api/v1/reload")["live"] == ["webhooks"]
        assert server.ok("GET", "/api/v1/webhooks")["webhooks"] == []
        assert server.call("POST", "/api/v1/webhooks/ops/test").status == 404
    finally:
        server.stop()


def test_a_stream_read_across_a_kill_has_every_recorded_event_once(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    seen: list[int] = []
    ended = threading.Event()

    def read() -> None:
        last = None
        while not ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            try:
                headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
                connection.request("GET", "/api/v1/events?kind=swap.*&after=0", headers=headers)
                reply = connection.getresponse()
                name = ""
                while line := reply.readline():
                    key, _, value = line.decode().rstrip("\n").partition(": ")
                    name = value if key == "event" else name
                    last = value if key == "id" else last
                    if key == "data":
                        assert name != "lost"
                        seen.append(json.loads(value)["id"])
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # the gateway is away; it is asked again until the test ends
            finally:
                connection.close()

    reader = threading.Thread(target=read)
    try:
        server.script("m@1", text="one")
        server.script("m@2", text="two")
        reader.start()
        for number in range(12):
            server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": f"m@{1 + number % 2}"})
            if number == 7:
                server.kill()
                server.start()
        recorded = [e["id"] for e in server.ok("GET", "/api/v1/events?kind=swap.*&limit=1000")["events"]]
        assert len(recorded) == 48
        wait_for(lambda: len(seen) >= len(recorded))
        assert seen == recorded
    finally:
        ended.set()
        server.stop()
        reader.join()


def test_the_command_line_shows_events_webhooks_and_statistics(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    def podium(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    gateway = Told(tmp_path, endpoint.url)
    server = gateway.server.start()
    following: subprocess.Popen[str] | None = None
    try:
        server.script("m@1", text="one")
        server.script("m@2", text="two")
        server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@1"})
        monkeypatch.setenv("PODIUM_URL", server.url)
        monkeypatch.setenv("PODIUM_HOME", str(server.home))
        following = subprocess.Popen(
            [sys.executable, "-m", "podium", "events", "--follow", "--kind", "swap.*", "--last", "1", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a shell's background job ignores SIGINT
        )
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["kind"] == "swap.completed"
        server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@2"})
        assert [json.loads(following.stdout.readline())["kind"] for _ in SWAP] == SWAP
        following.send_signal(signal.SIGINT)
        assert following.wait(10) in (0, 130)
        server.ok("POST", "/api/v1/tasks/jobs/rollback", {})

        listed = json.loads(podium("events", "--kind", "swap.*", "--last", "5", "--json").stdout)["events"]
        assert [event["kind"] for event in listed] == ["swap.completed", *SWAP[:3], "swap.rolled_back"]
        assert "swap.rolled_back" in podium("events").stdout
        shown = podium("webhooks", "ls")
        assert "ops" in shown.stdout
        assert "hidden" not in shown.stdout
        assert podium("webhooks", "test", "ops").exit_code == 0
        endpoint.choose = lambda call, number: answer(500)
        failed = podium("webhooks", "test", "ops")
        assert (failed.exit_code, "500" in failed.stderr) == (1, True)
        assert "m@1 → m@2" in podium("swaps", "ls", "--task", "jobs").stdout
        (stats,) = json.loads(podium("swaps", "stats", "--json").stdout)["tasks"]
        swaps = server.ok("GET", "/api/v1/swaps?task=jobs")["swaps"]
        times = sorted(one["swap_ms"] for one in swaps)
        assert (stats["swaps"], stats["rollbacks"]) == ({"promoted": 2}, {"promoted": 1})
        assert stats["swap_ms"] == pytest.approx(times[1], abs=5)
        assert "jobs" in podium("swaps", "stats").stdout
    finally:
        if following is not None:
            following.kill()
            following.communicate()
        server.stop()
