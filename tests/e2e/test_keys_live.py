"""Keys on a real server: every route has a rule, roles hold, and the owner's own programs are never locked out."""

from __future__ import annotations

import json
import re
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import forking
from podium.core.access import PUBLIC
from podium.server.patience import CREDENTIAL
from server import Server

pytestmark = pytest.mark.requirement("OPS-1")
RANKS = ("viewer", "user", "operator", "admin")


@dataclass
class Guarded:
    server: Server
    keys: dict[str, str]

    def as_role(self, role: str | None, method: str, path: str, body: object = None, **headers: str) -> Any:
        given = {"authorization": f"Bearer {self.keys[role]}"} if role is not None else {}
        return self.server.call(method, path, body, {**given, **headers})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Server(tmp_path_factory.mktemp("keys") / "home").start()
    server.script("m@1", text="hello")
    keys = {}
    for role in reversed(RANKS):  # the first one is made without any key, the others by an admin
        headers = {"authorization": f"Bearer {keys['admin']}"} if keys else {}
        keys[role] = server.ok("POST", "/api/v1/keys", {"role": role, "name": f"a {role}"}, headers)["key"]
    yield Guarded(server, keys)
    server.stop()


def roles(guarded: Guarded, method: str, path: str) -> str | None:
    """The least role that is let in; a made-up parameter may then be unknown, but that is found out behind the door."""
    for role in (None, *RANKS):
        if guarded.as_role(role, method, path, {} if method in ("POST", "PUT", "PATCH") else None).status not in (
            401,
            403,
        ):
            return role
    raise AssertionError(f"nobody may {method} {path}")


def test_every_route_of_the_document_has_a_rule_and_keeps_it(guarded: Guarded) -> None:
    document = guarded.as_role("admin", "GET", "/openapi.json").json
    found: dict[tuple[str, str], str | None] = {}
    for path, operations in document["paths"].items():
        if path == "/api/v1/events":
            continue  # a stream without an end; below
        for method in operations:
            filled = re.sub(r"{\w+}", "nothing", path)
            found[method.upper(), path] = roles(guarded, method.upper(), filled)
    for (method, path), role in found.items():
        assert role is not None, (method, path)
        assert method == "GET" or role != "viewer", (method, path)
        if path.startswith(("/api/v1/keys", "/api/v1/export")):
            assert role == "admin", (method, path)
    assert found["POST", "/api/v1/tasks/{task}/swap"] == "operator"
    assert found["POST", "/api/v1/feedback"] == "user"
    assert guarded.as_role(None, "GET", "/api/v1/events").status == 401
    for path in PUBLIC:
        assert guarded.as_role(None, "GET", path).status == 200
    for path in ("/", "/openapi.json", "/metrics"):
        assert guarded.as_role(None, "GET", path).status == 401


def test_models_answer_users_and_refuse_viewers_and_strangers_in_the_shape_of_the_caller(guarded: Guarded) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    for path in ("/v1/chat/completions", "/v1/messages"):
        assert guarded.as_role("user", "POST", path, body).status == 200
        refused = guarded.as_role("viewer", "POST", path, body)
        assert (refused.status, refused.error["type"]) == (403, "permission_error")
        unknown = guarded.as_role(None, "POST", path, body)
        assert (unknown.status, unknown.error["type"]) == (401, "authentication_error")
        assert "podium keys create" in unknown.error["message"]
    by_header = guarded.server.call("POST", "/v1/messages", body, {"x-api-key": guarded.keys["user"]})
    assert by_header.status == 200
    assert guarded.as_role("viewer", "GET", "/v1/models").status == 200
    assert guarded.as_role(None, "GET", "/v1/models").status == 401


def test_a_scoped_key_asks_its_task_and_model_alone_and_sees_nothing_else(guarded: Guarded) -> None:
    order = {"role": "user", "scopes": ["task:code", "model:m"]}
    key = guarded.as_role("admin", "POST", "/api/v1/keys", order).json["key"]
    guarded.keys["scoped"] = key
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert guarded.as_role("scoped", "POST", "/v1/chat/completions", body, **{"x-podium-task": "code"}).status == 200
    refused = guarded.as_role("scoped", "POST", "/v1/chat/completions", body, **{"x-podium-task": "other"})
    assert refused.status == 403
    assert "not for the task 'other'" in refused.error["message"]
    tasks = guarded.as_role("admin", "GET", "/api/v1/tasks").json["tasks"]
    assert "other" not in {task["task"] for task in tasks}, "a refused request made a task"
    assert guarded.as_role("scoped", "GET", "/api/v1/decisions").status == 403
    for name in ("default", "no-such-task"):  # which tasks there are cannot be told by asking
        tried = guarded.as_role("scoped", "POST", "/v1/chat/completions", {**body, "model": f"task:{name}"})
        assert (tried.status, f"not for the task '{name}'" in tried.error["message"]) == (403, True)


def test_a_key_in_the_url_is_refused_and_said_to_be_known_to_others(guarded: Guarded) -> None:
    refused = guarded.server.call("GET", f"/v1/models?api_key={guarded.keys['admin']}")
    assert (refused.status, refused.error["code"]) == (400, "key_in_url")
    assert "revoke" in refused.error["message"]
    assert guarded.keys["admin"] not in refused.body.decode()


def test_revocation_holds_at_once_and_the_record_names_who_did_what(guarded: Guarded) -> None:
    made = guarded.as_role("admin", "POST", "/api/v1/keys", {"role": "viewer", "name": "short"}).json
    guarded.keys["short"] = made["key"]
    assert guarded.as_role("short", "GET", "/api/v1/tasks").status == 200
    guarded.as_role("admin", "DELETE", f"/api/v1/keys/{made['id']}")
    refused = guarded.as_role("short", "GET", "/api/v1/tasks")
    assert (refused.status, "was revoked" in refused.error["message"]) == (401, True)
    listed = guarded.as_role("admin", "GET", "/api/v1/keys").json["keys"]
    (row,) = [key for key in listed if key["id"] == made["id"]]
    assert row["created_by"].startswith("a admin (")
    assert row["last_used_at"] is not None
    assert not any("pod_" in json.dumps(key) for key in listed)


def test_commands_of_the_same_user_need_no_key_and_others_cannot_read_the_local_one(guarded: Guarded) -> None:
    file = guarded.server.home / "run" / "local.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ran = guarded.server.cli("keys", "ls", "--json")
    assert {key["role"] for key in json.loads(ran.stdout)["keys"]} >= set(RANKS)


def test_another_address_is_refused_until_there_is_a_key(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ran = forking.podium("serve", "--host", "0.0.0.0", "--port", "0", env=Server(home).environment)
    assert ran.returncode == 1
    assert "podium keys create --role admin" in ran.stderr


@pytest.mark.requirement("OPS-7")
def test_metrics_count_what_was_answered_and_are_for_viewers(guarded: Guarded) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert guarded.as_role("user", "POST", "/v1/chat/completions", body, **{"x-podium-task": "counted"}).status == 200
    page = guarded.as_role("viewer", "GET", "/metrics")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/plain")
    text = page.body.decode()
    assert 'podium_requests_total{model="m@1",result="ok",task="counted"} 1.0' in text
    for name in ("podium_instances", "podium_record_pending_rows", "podium_findings", "podium_feedback_unjoined_total"):
        assert f"# TYPE {name.removesuffix('_total')}" in text.replace("_total ", " "), name
    assert not any(key in text for key in guarded.keys.values())


@pytest.mark.requirement("OPS-2")
def test_bad_keys_in_a_loop_are_refused_ever_later_and_meanwhile_good_keys_are_served(guarded: Guarded) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    count = int(CREDENTIAL.burst) + 60
    bad = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer pod_bad\r\nContent-Length: 2\r\n"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", guarded.server.port), timeout=30) as flood:
        flood.sendall((bad + b"\r\n{}") * (count - 1) + bad + b"Connection: close\r\n\r\n{}")
        assert guarded.as_role("user", "POST", "/v1/chat/completions", body).status == 200
        seen = b"".join(iter(lambda: flood.recv(65536), b""))
    assert seen.count(b"HTTP/1.1 401 Unauthorized") == count
    assert len(set(re.findall(rb"x-request-id: (\S+)", seen))) == count
    assert time.monotonic() - began > 50 / CREDENTIAL.per_s
