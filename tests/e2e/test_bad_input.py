"""Rubbish in, a clear error out: the right status, what to do, nothing lost, still serving."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import forking
from server import Reply, Server

pytestmark = pytest.mark.requirement("API-3")


def chat(**body: object) -> Callable[[Server], Reply]:
    whole = {"model": "m@1", "messages": [{"role": "user", "content": "hi"}], **body}
    return lambda server: server.call("POST", "/v1/chat/completions", whole)


def raw(body: bytes) -> Callable[[Server], Reply]:
    return lambda server: server.call("POST", "/v1/chat/completions", body)


def swap(**body: object) -> Callable[[Server], Reply]:
    return lambda server: server.call("POST", "/api/v1/tasks/jobs/swap", body)


def add(provider: str, location: str, **more: object) -> Callable[[Server], Reply]:
    body = {"name": "bad", "version": "1", "source": {"provider": provider, "location": location}, **more}
    return lambda server: server.call("POST", "/api/v1/models", body)


REQUESTS: dict[str, tuple[Callable[[Server], Reply], int, str, str]] = {
    "unknown model": (chat(model="nope"), 404, "model_not_found", "nope"),
    "unknown version of a known model": (chat(model="m@9"), 404, "model_not_found", "m@1"),
    "unknown task by model name": (chat(model="task:nonsense"), 404, "model_not_found", "task"),
    "impossible task name": (chat(metadata={"task": "no such/task"}, model="auto"), 400, "invalid_request", "task"),
    "malformed JSON": (raw(b'{"model": "m@1", "messages": ['), 400, "invalid_request", "JSON"),
    "a JSON array": (raw(b"[1, 2]"), 400, "invalid_request", "object"),
    "an empty body": (raw(b""), 400, "invalid_request", "JSON"),
    "invalid UTF-8": (raw(b'{"model":"m@1","messages":[{"content":"\xff\xfe"}]}'), 400, "invalid_request", "UTF-8"),
    "negative max_tokens": (chat(max_tokens=-1), 400, "invalid_request", "max_tokens"),
    "absurd max_tokens": (chat(max_tokens=10**18), 400, "invalid_request", "max_tokens"),
    "missing messages": (raw(b'{"model": "m@1"}'), 400, "missing_required_parameter", "messages"),
    "unknown route": (lambda s: s.call("POST", "/v1/nonsense", {}), 404, "not_found", "/v1/chat/completions"),
    "wrong method": (lambda s: s.call("GET", "/v1/chat/completions"), 405, "method_not_allowed", "POST"),
    "swap without a target": (swap(), 400, "invalid_request", "to"),
    "swap to an unknown version": (swap(to="nope@1"), 404, "model_not_found", "nope"),
    "unknown task in the control API": (lambda s: s.call("GET", "/api/v1/tasks/none"), 404, "task_not_found", "tasks"),
    "unknown request to explain": (lambda s: s.call("GET", "/api/v1/decisions/req_x"), 404, "not_found", "req_x"),
    "feedback that joins nothing": (
        lambda s: s.call("POST", "/api/v1/feedback", {"request_id": "req_x", "score": 1}),
        404,
        "not_found",
        "req_x",
    ),
    "feedback above one": (
        lambda s: s.call("POST", "/api/v1/feedback", {"request_id": "req_x", "score": 7}),
        400,
        "invalid_request",
        "score",
    ),
    "unknown provider": (add("lamacpp", "x"), 400, "invalid_request", "llamacpp"),
    "a GGUF that is not there": (add("llamacpp", "missing.gguf"), 400, "invalid_request", "missing.gguf"),
    "a GGUF that is a directory": (add("llamacpp", os.sep), 400, "invalid_request", "director"),
    "a command without its port": (add("command", "sleep 5"), 400, "invalid_request", "${PORT}"),
    "a command that is not there": (add("command", "no-such-program ${PORT}"), 400, "invalid_request", "no-such"),
    "a foreign host header": (
        lambda s: s.call("GET", "/v1/models", headers={"Host": "evil.example"}),
        403,
        "forbidden",
        "evil.example",
    ),
    "a foreign origin": (
        lambda s: s.call("GET", "/api/v1/models", headers={"Origin": "https://evil.example"}),
        403,
        "forbidden",
        "evil.example",
    ),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    started = Server(tmp_path_factory.mktemp("bad") / "home").start()
    started.script("m@1", text="fine")
    yield started
    started.stop()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_bad_request_gets_a_clear_error_and_the_server_still_serves(shared: Server, name: str):
    send, status, code, word = REQUESTS[name]
    reply = send(shared)
    assert reply.status == status, reply.body
    error = reply.error
    assert error["code"] == code
    assert word in error["message"]
    assert error["fault"] in {"caller", "policy", "provider", "internal"}
    assert {"message", "type", "param", "code"} <= set(error)
    assert shared.chat("m@1").status == 200


@pytest.mark.requirement("REG-2")
def test_the_same_version_with_another_content_is_refused_and_names_both(shared: Server, tmp_path: Path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"text": "different"}))
    source = {"provider": "scripted", "location": str(other)}
    reply = shared.call("POST", "/api/v1/models", {"name": "m", "version": "1", "source": source})
    assert reply.status == 409
    digest = shared.ok("GET", "/api/v1/models/m@1")["digest"].removeprefix("sha256:")[:8]
    assert digest in reply.error["message"]


@pytest.mark.requirement("PRV-2")
@pytest.mark.parametrize("kind", ["truncated", "random", "empty"])
def test_a_broken_gguf_is_refused_before_anything_is_registered(
    shared: Server, tmp_path: Path, smollm_path: Path, kind: str
):
    path = tmp_path / f"{kind}.gguf"
    with smollm_path.open("rb") as whole:
        path.write_bytes({"truncated": whole.read(5_000_000), "random": os.urandom(100_000), "empty": b""}[kind])
    reply = add("llamacpp", str(path))(shared)
    assert reply.status == 400, reply.body
    assert str(path) in reply.error["message"]
    assert shared.call("GET", "/api/v1/models/bad@1").status == 404


def test_a_body_of_200_mb_is_refused_without_reading_it(shared: Server):
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nContent-Length: 209715200\r\n\r\n"
        )
        head = client.recv(65536)
    assert b" 413 " in head.split(b"\r\n", 1)[0]
    assert shared.chat("m@1").status == 200


@pytest.mark.requirement("PRV-3")
def test_a_command_that_never_becomes_ready_is_given_up_with_its_log(shared: Server):
    command = f"{sys.executable} -c \"print('hello from the log', flush=True); import time; time.sleep(60)\" ${{PORT}}"
    added = shared.add("slow@1", "command", command, ready_timeout_s=1.0)
    assert added["status"] == "registered"
    assert "ready" in added["problem"]["message"]
    assert "hello from the log" in added["problem"]["message"]


def test_a_port_already_taken_is_an_error_that_names_it(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = _serve(tmp_path / "home", "--port", str(port))
    assert result.returncode != 0
    assert str(port) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.requirement("OPS-2")
def test_an_address_other_than_loopback_is_refused(tmp_path: Path):
    result = _serve(tmp_path / "home", "--host", "0.0.0.0")
    assert result.returncode != 0
    assert "loopback" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.requirement("OPS-6")
def test_a_config_with_an_unknown_key_names_file_line_and_the_nearest_key(tmp_path: Path):
    config = tmp_path / "podium.toml"
    config.write_text("[server]\nprot = 1\n")
    result = _serve(tmp_path / "home", "--config", str(config))
    assert result.returncode != 0
    assert "podium.toml" in result.stderr
    assert "2" in result.stderr
    assert "'port'" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="uses a Linux file system nobody may write, not even root")
def test_a_read_only_home_is_an_error_that_says_what_to_do():
    home = Path("/sys/podium-home")
    result = _serve(home)
    assert result.returncode != 0
    assert str(home) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_home_that_is_a_file_is_an_error_that_says_what_to_do(tmp_path: Path):
    home = tmp_path / "home"
    home.write_text("")
    result = _serve(home)
    assert result.returncode != 0
    assert str(home) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.requirement("OPS-4")
def test_a_corrupt_database_is_kept_aside_and_the_server_starts(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    server.stop()
    database = server.home / "podium.db"
    broken = b"SQLite format 3\x00" + os.urandom(20_000)
    database.write_bytes(broken)
    for leftover in server.home.glob("podium.db-*"):
        leftover.unlink()
    server.start()
    try:
        kept = list(server.home.glob("podium.db.corrupt-*"))
        assert len(kept) == 1
        assert kept[0].read_bytes() == broken
        assert any("corrupt" in problem for problem in server.ok("GET", "/api/v1/doctor")["problems"])
        assert server.call("GET", "/readyz").status == 200
    finally:
        server.stop()


@pytest.mark.requirement("REG-2", "REG-3")
def test_the_database_itself_refuses_to_change_a_version_or_skip_a_step(server: Server):
    server.script("m@1", text="fine")
    server.stop()
    with sqlite3.connect(server.home / "podium.db") as database:
        columns = [row[1] for row in database.execute("pragma table_info(versions)")]
        assert "digest" in columns
        for order in ("update versions set digest = 'sha256:0'", "delete from versions"):
            with pytest.raises(sqlite3.DatabaseError):
                database.execute(order)
        with pytest.raises(sqlite3.DatabaseError):
            database.execute("update versions set status = 'registered'")


def _serve(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forking.podium(
        "serve", *(arguments or ("--port", "0")), env={**os.environ, "PODIUM_HOME": str(home)}, timeout=30
    )
