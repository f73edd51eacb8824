"""The audit log of a real server: every control route leaves exactly one action, also after kill -9; configurations."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podium.core.access import USERS_POSTS
from podium.store import open_store
from server import Reply, Server

CANARIES = ("canary-in-a-prompt", "canary-api-key-0123456789", "pod_canaryca_0123456789abcdefghij", "canary-password")


def until(condition: Callable[[], Any], timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


@dataclass
class Audited:
    server: Server
    config: Path
    keys: dict[str, str]

    def call(self, role: str | None, method: str, path: str, body: object = None, **headers: str) -> Reply:
        given = {"authorization": f"Bearer {self.keys[role]}"} if role is not None else {}
        return self.server.call(method, path, body, {**given, **headers})

    def ok(self, method: str, path: str, body: object = None) -> Any:
        reply = self.call("admin", method, path, body)
        assert reply.status < 400, reply.body
        return reply.json

    def actions(self, **query: object) -> list[dict[str, Any]]:
        words = "&".join(f"{name}={value}" for name, value in {"limit": 1000, **query}.items())
        return list(self.ok("GET", f"/api/v1/audit?{words}")["actions"])

    def verified(self) -> dict[str, Any]:
        return dict(self.ok("GET", "/api/v1/audit/verify"))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    folder = tmp_path_factory.mktemp("audit")
    config = folder / "podium.toml"
    config.write_text("[server]\nwatch_config = true\n[pool]\nqueue_limit = 100\n")
    server = Server(folder / "home", "--config", str(config)).start()
    server.script("m@1", text="hello")
    keys: dict[str, str] = {}
    for role in ("admin", "operator", "user", "viewer"):
        headers = {"authorization": f"Bearer {keys['admin']}"} if keys else {}
        keys[role] = server.ok("POST", "/api/v1/keys", {"role": role, "name": f"a {role}"}, headers)["key"]
    yield Audited(server, config, keys)
    server.stop()


@pytest.mark.requirement("OPS-3")
def test_every_route_that_changes_something_leaves_exactly_one_action_also_when_refused(audited: Audited) -> None:
    document = audited.ok("GET", "/openapi.json")
    wanted: dict[str, tuple[str, str, int]] = {}
    for path, operations in document["paths"].items():
        for method in set(operations) - {"get"}:
            for role in ("viewer", "admin"):
                filled = re.sub(r"{order}", "pause", path)
                reply = audited.call(role, method.upper(), re.sub(r"{\w+}", "nothing", filled), {})
                assert (reply.status == 403) == (role == "viewer"), (method, path, reply.body)
                request_id = reply.headers["x-request-id"]
                if path not in USERS_POSTS or role == "viewer":
                    wanted[request_id] = (f"{method.upper()} {path}", f"a {role}", reply.status)
    found: dict[str, list[dict[str, Any]]] = {}
    for action in audited.actions():
        found.setdefault(action["request_id"], []).append(action)
    assert len(wanted) > 40
    for request_id, (what, who, status) in wanted.items():
        (action,) = found[request_id]
        assert (action["what"], action["by"]["name"], action["status"]) == (what, who, status)
        assert action["origin"] == "127.0.0.1"
        assert action["outcome"] == ("forbidden" if status == 403 else action["outcome"]) != ""
        assert len(action["rows"]) == (1 if status == 403 else 2), "before and after"
    names = {request_id for request_id, actions in found.items() if actions[0]["what"].split()[-1] in USERS_POSTS}
    assert all(found[name][0]["status"] == 403 for name in names), "what users report is no control action"
    statuses = {status for _, _, status in wanted.values()}
    assert {200, 400, 403, 404} <= statuses
    assert audited.verified()["ok"]


@pytest.mark.requirement("OPS-3")
def test_an_action_tells_who_did_what_before_and_after(audited: Audited) -> None:
    audited.ok("POST", "/api/v1/tasks/poems/swap", {"to": "m@1", "reason": "it rhymes"})
    reply = audited.call("operator", "PUT", "/api/v1/tasks/poems", {"criteria": {"min_quality": 0.4}})
    assert reply.status == 200
    changed, swapped = audited.actions(task="poems", by="a%20operator") + audited.actions(task="poems", by="a%20admin")
    assert changed["by"]["role"] == "operator"
    assert (changed["before"]["criteria"], changed["after"]["criteria"]) == ({}, {"min_quality": 0.4})
    assert (swapped["before"], swapped["after"]["serves"]) == ({"serves": None}, "m@1")
    assert (swapped["asked"]["reason"], swapped["outcome"], swapped["subject"]) == ("it rhymes", "ok", "task:poems")
    conflict = audited.call("operator", "POST", "/api/v1/tasks/poems/swap", {"to": "m@1"})
    (newest, *_) = audited.actions(task="poems")
    assert (newest["status"], newest["outcome"]) == (conflict.status, conflict.error["code"])
    made = audited.ok("POST", "/api/v1/keys", {"role": "viewer", "name": "short"})
    audited.ok("DELETE", f"/api/v1/keys/{made['id']}")
    ended, begun = audited.actions(subject=f"key:{made['id']}")
    assert (begun["before"], begun["after"]["role"]) == (None, "viewer")
    assert (ended["before"]["revoked_at"], type(ended["after"]["revoked_at"])) == (None, float)


@pytest.mark.requirement("OPS-3")
def test_neither_secrets_nor_prompts_are_in_the_log(audited: Audited) -> None:
    prompt, key, ours, password = CANARIES
    audited.call("admin", "POST", "/api/v1/judge", {"item": {"output": prompt, "prompt": prompt, "task": "poems"}})
    settings = {"api_key": key, "system_prompt": prompt}
    source = {"provider": "openai", "location": f"https://ann:{password}@example.com/v1", "settings": settings}
    audited.call("admin", "POST", "/api/v1/models", {"name": "x", "source": source, "tags": [ours]})
    audited.call("admin", "PUT", "/api/v1/aliases/x", {"target": ours})
    audited.call("admin", "POST", "/api/v1/rollouts/x/pause", {"reason": f"--api-key {key}"})
    audited.call(None, "DELETE", f"/api/v1/keys/{ours}", **{"x-podium-actor": f"Bearer {key}"})
    audited.call(None, "DELETE", "/api/v1/keys/x", authorization=f"Bearer {ours}")
    exported = audited.call("admin", "GET", "/api/v1/audit/export").body.decode()
    assert "says key canaryca" in exported, "the part of a key that may be shown"
    for canary in (prompt, key, "0123456789abcdefghij", password, *audited.keys.values()):
        assert canary not in exported
    assert audited.actions()[0]["what"] == "GET /api/v1/audit/export", "taking data away is an action"


@pytest.mark.requirement("OPS-3")
def test_who_has_no_key_is_counted_and_written_at_a_bounded_rate(audited: Audited) -> None:
    def written() -> int:
        return len([one for one in audited.actions() if one["by"]["id"] == "unknown" and not one["missed"]])

    def counted() -> int:
        return int(audited.ok("GET", "/api/v1/audit?limit=1")["since_start"]["refused"])

    before, seen = counted(), written()
    for _ in range(150):
        assert audited.call(None, "DELETE", "/api/v1/keys/nothing").status == 401
    assert counted() - before == 150
    assert 0 < written() - seen <= 62
    assert audited.call("operator", "GET", "/api/v1/audit").status == 403
    assert audited.call(None, "GET", "/api/v1/audit").status == 401


@pytest.mark.requirement("OPS-6", "OPS-3")
def test_reloads_by_signal_by_api_and_by_the_watched_file_are_on_record_and_in_the_history(audited: Audited) -> None:
    def limit() -> int:
        """Of the newest configuration in the history."""
        newest = audited.ok("GET", "/api/v1/config/history")["configurations"][0]["number"]
        return int(audited.ok("GET", f"/api/v1/config/history/{newest}")["content"].rpartition("= ")[2])

    text = audited.config.read_text()
    assert limit() == 100
    audited.config.write_text(text.replace("100", "101"))
    until(lambda: limit() == 101)
    audited.config.write_text(text.replace("100", "10 1"))
    until(lambda: any(one["outcome"] == "invalid_config" for one in audited.actions(subject="config")))
    assert any("not in force" in problem for problem in audited.ok("GET", "/api/v1/doctor")["problems"])
    audited.config.write_text(text.replace("100", "102"))
    assert audited.server.process is not None
    audited.server.process.send_signal(signal.SIGHUP)
    until(lambda: limit() == 102)
    audited.config.write_text(text.replace("100", "103"))
    assert audited.ok("POST", "/api/v1/reload")["number"] > 1
    history = audited.ok("GET", "/api/v1/config/history")["configurations"]
    assert history[0]["changes"] == ["live pool.queue_limit"]
    assert history[0]["by"].startswith("a admin (")
    assert {one["how"] for one in history} <= {"api", "SIGHUP", "watch", "start"}
    ways = {one["what"] for one in audited.actions() if "reload" in one["what"]}
    assert "POST /api/v1/reload" in ways
    assert "reload by watch" in ways
    first, last = history[-1]["number"], history[0]["number"]
    diff = audited.ok("GET", f"/api/v1/config/diff?a={first}&b={last}")["diff"].splitlines()
    assert diff[-2:] == ["-queue_limit = 100", "+queue_limit = 103"]
    assert audited.ok("GET", f"/api/v1/config/diff?a={last}")["diff"] == ""


@pytest.mark.requirement("OPS-6")
def test_a_configuration_is_restored_unless_somebody_changed_the_file_meanwhile(audited: Audited) -> None:
    first = audited.ok("GET", "/api/v1/config/history")["configurations"][-1]["number"]
    unread = audited.config.with_name("other.toml")
    unread.write_text(audited.config.read_text() + "# by hand\nnonsense")
    unread.replace(audited.config)
    refused = audited.call("admin", "POST", "/api/v1/config/restore", {"number": first})
    assert (refused.status, refused.error["code"]) == (409, "config_changed")
    assert "by hand" in audited.config.read_text()
    done = audited.ok("POST", "/api/v1/config/restore", {"number": first, "force": True})
    assert "queue_limit = 100" in audited.config.read_text()
    assert "by hand" in Path(done["copy"]).read_text(), "nothing is lost"
    newest = audited.ok("GET", "/api/v1/config/history")["configurations"][0]
    assert (newest["how"], done["changed"]) == (f"restore of {first}", True)
    assert audited.call("admin", "POST", "/api/v1/config/restore", {"number": 9999}).status == 404
    assert audited.call("operator", "POST", "/api/v1/config/restore", {"number": first}).status == 403


@pytest.mark.requirement("OPS-3")
async def test_what_happened_is_in_the_log_after_kill_9(tmp_path: Path) -> None:
    server = Server(tmp_path / "home").start()
    answered: list[str] = []

    def work(part: int) -> None:
        try:
            for number in range(10_000):
                name = f"t{part}x{number}"
                if server.call("PUT", f"/api/v1/tasks/{name}", {"exploration": 0.5}).status == 200:
                    answered.append(name)
        except OSError:
            return

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 40:
        assert threads[0].is_alive()
        await asyncio.sleep(0.005)
    server.kill()
    for thread in threads:
        thread.join(30)
    path = server.home / "podium.db"
    connection = sqlite3.connect(path)
    there = {row[0] for row in connection.execute("SELECT name FROM tasks WHERE name LIKE 't%x%'")}
    asked = {row[0] for row in connection.execute("SELECT task FROM audit WHERE phase = 'asked'")}
    done = {row[0] for row in connection.execute("SELECT task FROM audit WHERE phase = 'done' AND outcome = 'ok'")}
    assert set(answered) <= there <= asked, "nothing happened that the log does not know of"
    assert set(answered) <= done, "whoever was answered is on record with the answer"

    connection.close()
    store = open_store(path)
    assert store.warnings == (), "a head that is behind is no alarm"
    assert (await store.check_audit())[0].problem is None
    left = {row.entry.task for row in await store.unended_audit()}
    assert left == asked - done, "what was under way is known to be of unknown end"
    await store.close()
