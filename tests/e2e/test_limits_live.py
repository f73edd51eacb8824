"""Limits of a running server over real sockets: what is refused and how it is said, what holds a place, what changes them."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server import Reply, Server

pytestmark = pytest.mark.requirement("OPS-3")
TEN = "one two three four five six seven eight nine ten"
FILE = '[limits.viewer]\nrequests = "3/day"\n'


def wait_for(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Owned(Server):
    """A server whose tests act for its owner."""

    def owner(self, method: str, path: str, body: object = None) -> Reply:
        local = (self.home / "run" / "local.key").read_text()
        return self.call(method, path, body, {"authorization": f"Bearer {local}"})

    def as_owner(self, method: str, path: str, body: object) -> bytes:
        reply = self.owner(method, path, body)
        assert reply.status < 300, reply.body
        return reply.body


@dataclass
class Limited:
    server: Owned
    ids: dict[str, str] = field(default_factory=dict)

    def key(self, role: str = "user", **limits: Any) -> dict[str, str]:
        """Headers of a new key with those limits."""
        made = json.loads(self.server.as_owner("POST", "/api/v1/keys", {"role": role, "limits": limits}))
        self.ids[made["key"]] = made["id"]
        return {"authorization": f"Bearer {made['key']}"}

    def id_of(self, key: dict[str, str]) -> str:
        return self.ids[key["authorization"].removeprefix("Bearer ")]

    def ask(self, key: dict[str, str], model: str = "m@1", path: str = "/v1/chat/completions", **more: Any) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10, **more}
        return self.server.call("POST", path, body, key)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    home = tmp_path_factory.mktemp("limits") / "home"
    home.mkdir()
    (home / "podium.toml").write_text(FILE)
    server = Owned(home)
    server.start()
    server.script("m@1", text=TEN)
    server.script("long@1", text=" ".join([TEN] * 10))
    server.script("slow@1", text=TEN, latency_ms=50, chunk_gap_ms=50)
    yield Limited(server)
    server.stop()


def test_requests_are_counted_down_and_refused_in_the_shape_of_openai(limited: Limited) -> None:
    key = limited.key(requests="2/day", tokens="100k/day")
    first = limited.ask(key)
    assert first.status == 200
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert re.fullmatch(r"11h59m\d+s|12h0m0s", first.headers["x-ratelimit-reset-requests"])
    assert first.headers["x-ratelimit-limit-tokens"] == "100000"
    assert 99_800 < int(first.headers["x-ratelimit-remaining-tokens"]) < 100_000
    assert limited.ask(key, "no-such-model").headers["x-ratelimit-remaining-requests"] == "0"
    refused = limited.ask(key)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert refused.error["type"] == "rate_limit_error"
    assert 43_000 < int(refused.headers["retry-after"]) <= 43_200
    assert f"come back in {refused.headers['retry-after']} s" in refused.error["message"]
    assert "2/day of requests" in refused.error["message"]
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-request-id"]


def test_anthropics_clients_see_anthropics_names_and_error(limited: Limited) -> None:
    key = limited.key(requests="1/h", tokens="10k/h")
    first = limited.ask(key, path="/v1/messages")
    assert first.status == 200, first.body
    assert first.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert first.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert first.headers["anthropic-ratelimit-tokens-limit"] == "10000"
    assert not any(name.startswith("x-ratelimit") for name in first.headers)
    whole = datetime.fromisoformat(first.headers["anthropic-ratelimit-requests-reset"])
    assert timedelta(minutes=58) < whole - datetime.now(UTC) < timedelta(minutes=61)
    refused = limited.ask(key, path="/v1/messages")
    assert (refused.status, refused.json["type"], refused.error["type"]) == (429, "error", "rate_limit_error")
    assert refused.headers["retry-after"]
    assert refused.headers["anthropic-ratelimit-requests-remaining"] == "0"


def test_tokens_are_what_the_answer_used_and_too_many_are_refused_before_a_model_is_asked(limited: Limited) -> None:
    key = limited.key(tokens="1000/day")
    answer = limited.ask(key)
    used = answer.json["usage"]["total_tokens"]
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages"):
        name = "max_output_tokens" if path.endswith("responses") else "max_tokens"
        body = {"model": "m@1", "input": "hi"} if path.endswith("responses") else {"model": "m@1", "messages": MESSAGES}
        never = limited.server.call("POST", path, {**body, name: 5000}, key)
        assert never.status == 429, never.body
        assert "can never have as many" in never.error["message"]
        assert "retry-after" not in never.headers
    later = limited.ask(key, max_tokens=965)
    assert later.status == 429
    assert f"{1000 - used} are left" in later.error["message"]
    assert int(later.headers["retry-after"]) > 60
    assert limited.ask(key, max_tokens=20).status == 200
    assert limited.ask(key, max_tokens=None).status == 200, "a guess takes no more than there is"


MESSAGES = [{"role": "user", "content": "hi"}]


def test_what_is_used_beyond_the_estimate_is_owed(limited: Limited) -> None:
    key = limited.key(tokens="80/day")
    assert limited.ask(key, "long@1", max_tokens=None).status == 200
    refused = limited.ask(key, max_tokens=1)
    assert "80/day of tokens and has used them" in refused.error["message"]
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    assert int(refused.headers["retry-after"]) > 20 * 86400 / 80


def begin_stream(limited: Limited, key: dict[str, str]) -> socket.socket:
    """A stream that has begun and is not read to its end."""
    body = json.dumps({"model": "slow@1", "stream": True, "messages": MESSAGES}).encode()
    stream = socket.create_connection(("127.0.0.1", limited.server.port), timeout=20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: {key['authorization']}\r\n"
    stream.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    seen = b""
    while b"data:" not in seen:
        seen += stream.recv(4096)
    assert b" 200 " in seen.split(b"\r\n", 1)[0]
    return stream


def test_a_stream_holds_its_place_until_its_last_byte_or_the_client_leaves(limited: Limited) -> None:
    key = limited.key(concurrency=1)
    with begin_stream(limited, key) as stream:
        busy = limited.ask(key)
        assert (busy.status, busy.headers["retry-after"]) == (429, "1")
        assert "may have 1 requests under way" in busy.error["message"]
        while b"[DONE]" not in stream.recv(65536):
            pass
    wait_for(lambda: limited.ask(key).status == 200)
    with begin_stream(limited, key):
        assert limited.ask(key).status == 429
    wait_for(lambda: limited.ask(key).status == 200)


def test_feedback_and_the_control_api_count_too_and_the_owner_is_never_locked_out(limited: Limited) -> None:
    key = limited.key(requests="3/day")
    found = [limited.server.call("GET", "/api/v1/tasks", headers=key) for _ in range(2)]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in found] == ["2", "1"]
    given = limited.server.call("POST", "/api/v1/feedback", {"request_id": "none", "score": 1}, key)
    assert given.status == 404
    refused = [limited.server.call("GET", path, headers=key) for path in ("/api/v1/tasks", "/v1/models")]
    assert [reply.status for reply in refused] == [429, 429]
    assert refused[0].error["code"] == "rate_limit_exceeded"
    assert int(refused[0].headers["retry-after"]) > 3600
    forbidden = limited.key(requests="1/day")
    assert limited.server.call("DELETE", "/api/v1/keys/x", headers=forbidden).status == 403
    assert limited.server.call("DELETE", "/api/v1/keys/x", headers=forbidden).status == 429
    for _ in range(5):
        assert limited.server.owner("GET", "/api/v1/keys").status == 200


def test_pages_of_the_dashboard_count_too(limited: Limited) -> None:
    key = {**limited.key("viewer", requests="1/day"), "accept": "text/html"}
    assert limited.server.call("GET", "/", headers=key).status == 200
    refused = limited.server.call("GET", "/", headers=key)
    assert refused.status == 429
    assert b"1/day of requests" in refused.body


def test_an_event_stream_holds_a_place_too(limited: Limited) -> None:
    key = limited.key("viewer", requests="none", concurrency=1)
    with socket.create_connection(("127.0.0.1", limited.server.port), timeout=20) as stream:
        head = f"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nauthorization: {key['authorization']}\r\n\r\n"
        stream.sendall(head.encode())
        assert b" 200 " in stream.recv(4096)
        assert limited.server.call("GET", "/api/v1/tasks", headers=key).status == 429
    wait_for(lambda: limited.server.call("GET", "/api/v1/tasks", headers=key).status == 200)


def test_commands_set_show_and_change_limits_without_a_restart(limited: Limited) -> None:
    server = limited.server
    made = json.loads(server.cli("keys", "create", "--requests", "1/day", "--concurrency", "4", "--json").stdout)
    key = {"authorization": f"Bearer {made['key']}"}
    assert made["limits"] == {"requests": "1/day", "tokens": None, "concurrency": 4}
    assert [limited.ask(key).status for _ in range(2)] == [200, 429]
    said = server.cli("keys", "update", made["id"], "--requests", "3/day", "--tokens", "100k/min").stdout
    assert "3/day requests, 100000/min tokens, 4 at a time" in said
    assert "3/day requests" in server.cli("keys", "ls").stdout
    assert [limited.ask(key).status for _ in range(3)] == [200, 200, 429]
    limited.server.as_owner("PATCH", f"/api/v1/keys/{made['id']}", {"requests": "none"})
    assert limited.ask(key).status == 200
    refused = server.cli("keys", "update", made["id"], "--requests=abc", code=1)
    assert "such as 60/min" in refused.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": "0/min"},
        {"requests": "-1/min"},
        {"requests": "abc"},
        {"tokens": "1/month"},
        {"concurrency": 0},
        {"concurrency": -1},
        {"concurrency": "abc"},
        {"concurrency": 10**400},
        {"reqests": "1/min"},
    ],
)
def test_a_limit_that_makes_no_sense_changes_nothing(limited: Limited, wrong: dict[str, Any]) -> None:
    key = limited.id_of(limited.key(requests="5/day"))
    for method, path, body in (
        ("PATCH", f"/api/v1/keys/{key}", wrong),
        ("POST", "/api/v1/keys", {"role": "user", "limits": wrong}),
    ):
        refused = limited.server.owner(method, path, body)
        assert refused.status == 400, refused.body
        assert next(iter(wrong)) in refused.error["message"]
    shown = json.loads(limited.server.as_owner("PATCH", f"/api/v1/keys/{key}", {}))
    assert shown["limits"] == {"requests": "5/day", "tokens": None, "concurrency": None}


def test_a_rotated_key_goes_on_with_what_is_left_and_so_does_its_budget(limited: Limited) -> None:
    key = limited.key(requests="2/day")
    old = limited.id_of(key)
    budget = {"scope": "key", "subject": old, "unit": "tokens", "limit": 60, "period": "day"}
    limited.server.as_owner("PUT", "/api/v1/budgets/rotated", budget)
    assert limited.ask(key, max_tokens=30).status == 200
    made = json.loads(limited.server.as_owner("POST", f"/api/v1/keys/{old}/rotate", {}))
    new = {"authorization": f"Bearer {made['key']}"}
    refused = limited.ask(new, max_tokens=50)
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert limited.ask(new).status == 429
    assert limited.ask(key).error["code"] == "rate_limit_exceeded"
    again = {**budget, "subject": made["id"], "limit": 61}
    limited.server.as_owner("PUT", "/api/v1/budgets/rotated", again)
    shown = json.loads(limited.server.as_owner("GET", "/api/v1/budgets/rotated", None))
    assert (shown["subject"], shown["accounts"][0]["used"] > 0) == (old, True)


def test_roles_have_limits_by_the_file_and_a_reload_changes_them_and_forgets_nothing(limited: Limited) -> None:
    viewer = limited.key("viewer")
    assert [limited.server.call("GET", "/v1/models", headers=viewer).status for _ in range(4)] == [200, 200, 200, 429]
    file = limited.server.home / "podium.toml"
    file.write_text('[limits.viewer]\nrequests = "0/day"\n\n[limits.vewer]\nconcurrency = -1\n')
    refused = limited.server.owner("POST", "/api/v1/reload")
    assert refused.status >= 400
    assert "podium.toml:2: limits.viewer.requests: requests must be 1 or more" in refused.error["message"]
    assert "'vewer' is no role" in refused.error["message"]
    assert limited.server.call("GET", "/v1/models", headers=viewer).status == 429, "the old file stays in force"
    file.write_text('[limits.viewer]\nrequests = "4/day"\n')
    limited.server.as_owner("POST", "/api/v1/reload", None)
    assert [limited.server.call("GET", "/v1/models", headers=viewer).status for _ in range(2)] == [200, 429]


def raw(limited: Limited, *lines: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Status and error of a request that is written as it stands."""
    with socket.create_connection(("127.0.0.1", limited.server.port), timeout=20) as client:
        client.sendall("".join(f"{line}\r\n" for line in (*lines, "connection: close", "")).encode() + body)
        seen = b""
        while more := client.recv(65536):
            seen += more
    head, _, rest = seen.partition(b"\r\n\r\n")
    assert len(re.findall(rb"HTTP/1.1 [0-9]{3} ", seen)) == 1, "two answers to one request"
    return int(head.split()[1]), json.loads(rest).get("error", {})


@pytest.mark.requirement("OPS-1")
def test_a_request_speaks_for_one_key_only(limited: Limited) -> None:
    mine = limited.key()["authorization"].removeprefix("Bearer ")
    other = limited.key("admin")["authorization"].removeprefix("Bearer ")
    start = ("GET /api/v1/keys HTTP/1.1", "host: localhost")
    cases = {
        ("authorization: Bearer " + mine, "authorization: Bearer " + other): (400, "bad_http"),
        ("authorization: Bearer " + mine, "Authorization : Bearer " + other): (400, "bad_http"),
        ("x-api-key: " + mine, "x-api-key: " + other): (400, "bad_http"),
        ("x-api-key: " + other, "authorization: Bearer " + mine): (400, "two_keys"),
        ("x-api-key: " + mine, "authorization: Bearer " + mine): (403, "forbidden"),
        ("authorization: Bearer " + mine + ", Bearer " + other,): (401, "invalid_api_key"),
        ("authorization: Bearer " + mine + "\n x-api-key: " + other,): (400, "bad_http"),
        ("authorization: Basic " + other,): (401, "invalid_api_key"),
        ("authorization: Bearer " + other[:-1],): (401, "invalid_api_key"),
        ("authorization: Bearer " + other + "x",): (401, "invalid_api_key"),
        ("authorization: Bearer",): (401, "invalid_api_key"),
        ("authorization: Bearer " + other,): (200, None),
        ("x-api-key: " + other,): (200, None),
    }
    for lines, (status, code) in cases.items():
        found, error = raw(limited, *start, *lines)
        assert (found, error.get("code")) == (status, code), (lines, error)
    content = json.dumps({"model": "m@1", "messages": MESSAGES}).encode()
    post = ("POST /v1/chat/completions HTTP/1.1", "host: localhost", "authorization: Bearer " + mine)
    smuggled = content + b"GET /api/v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer " + other.encode()
    for framing in (
        (f"content-length: {len(content)}", "transfer-encoding: chunked"),
        (f"content-length: {len(content)}", f"content-length: {len(smuggled)}"),
        ("transfer-encoding: chunked", "transfer-encoding: identity"),
        ("content-length: +5",),
    ):
        status, error = raw(limited, *post, *framing, body=smuggled + b"\r\n\r\n")
        assert (status, error["code"]) == (400, "bad_http"), framing
