"""Secrets are planted everywhere one can be, the product is used, broken and asked for all it knows, and none is found.

What is searched: logs at debug level, every reply, page, metric, event, webhook call, export, command's output, what the
processes of models can see, the database and every other file but the ones that are meant to hold a secret.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import resource
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer

from podium.cli.main import app
from podium.errors import PodiumError
from server import Server
from webhook_endpoint import Endpoint

pytestmark = pytest.mark.requirement("OPS-1")
COMMANDS = typer.main.get_command(app)


def canary(name: str) -> str:
    return f"canary-{name}-{secrets.token_hex(12)}"


class Echo(BaseHTTPRequestHandler):
    """A provider that repeats the key it was called with wherever it can: in errors, headers and redirects."""

    protocol_version = "HTTP/1.1"
    timeout = 2.0

    def do_GET(self) -> None:
        self.heard()
        self.send(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.heard()
        said = str(body.get("messages", [{}])[-1].get("content"))
        if said.startswith("fail "):
            status = int(said.split()[1])
            self.send(status, {"error": {"message": f"Incorrect API key provided: {key}", "code": "invalid_api_key"}})
        elif said == "breaks":
            self.send(200, {"error": f"never mind {key}"})
        elif body.get("stream"):
            chunk = {"choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}]}
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            lines = [f"data: {json.dumps(one)}\n\n" for one in (chunk, end)]
            if said == "stream fails":
                lines = [lines[0], f"data: {json.dumps({'error': {'message': f'bad key {key}'}})}\n\n"]
            self.raw(200, "".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream")
        else:
            message = {"role": "assistant", "content": "hello"}
            usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
            self.send(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})

    def heard(self) -> str:
        key = self.headers.get("authorization", "")
        self.server.keys.add(key)
        return key

    def send(self, status: int, body: object) -> None:
        self.raw(status, json.dumps(body).encode(), "application/json")

    def raw(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-echo", self.headers.get("authorization", ""))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


class Provider(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.keys: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Planted:
    """A gateway that was given a canary by every way there is."""

    def __init__(self, folder: Path, hook: Endpoint, providers: dict[str, Provider]) -> None:
        self.hook, self.providers = hook, providers
        self.values = {name: canary(name) for name in ("env", "sealed", "child", "database", "hub", "replaced")}
        self.values["hook"] = base64.b64encode(f"canary-hook-{secrets.token_hex(8)}".encode()).decode()
        self.values["hook path"] = canary("path")
        self.values["master"], self.values["old master"] = secrets.token_hex(32), secrets.token_hex(32)
        (folder / "hook.secret").touch(0o600)
        (folder / "hook.secret").write_text(f"whsec_{self.values['hook']}\n")
        config = folder / "podium.toml"
        url = hook.url.partition("?")[0]
        config.write_text(
            f'[logging]\nlevel = "debug"\n[webhooks.ops]\nurl = "{url}?token={self.values["hook path"]}"\n'
            'secret = "file:hook.secret"\n'
            f'[models.fromenv]\nurl = "{providers["env"].url}"\nremote = "m"\nsettings = {{ api_key = "env:THEIR_KEY" }}\n'
        )
        environ = {
            "PODIUM_MASTER_KEY": self.values["master"],
            "THEIR_KEY": self.values["env"],
            "DATABASE_URL": f"postgresql://podium:{self.values['database']}@db/podium",
            "HF_TOKEN": self.values["hub"],
            "PYTHONFAULTHANDLER": "1",
        }
        self.server = Server(folder / "home", "--config", str(config), env=environ, anew=True).start(100)
        self.seen: list[tuple[str, str]] = []

    def look(self, where: str, text: str | bytes) -> None:
        self.seen.append((where, text if isinstance(text, str) else text.decode("utf-8", "replace")))

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        reply = self.server.call(method, path, body, headers)
        self.look(f"{method} {path}", reply.body)
        self.look(f"headers of {method} {path}", json.dumps(reply.headers))
        return reply

    def found(self) -> list[tuple[str, str]]:
        """(which canary, where it was seen)."""
        return [(name, where) for where, text in self.seen for name, value in self.values.items() if value in text]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    providers = {name: Provider() for name in ("env", "sealed")}
    with Endpoint() as hook:
        made = Planted(tmp_path_factory.mktemp("canaries"), hook, providers)
        yield made
        made.server.stop()
    for provider in providers.values():
        provider.shutdown()
        provider.server_close()


def run(planted: Planted, *words: str, given: str = "") -> str:
    """A command as the user who runs the server gives it, in this process; with what it says on both streams."""
    said, aside, before = io.StringIO(), io.StringIO(), os.environ.get("PODIUM_HOME")
    os.environ["PODIUM_HOME"] = str(planted.server.home)
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(given.encode()))
    failed: BaseException | None = None
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(aside):
            COMMANDS.main(list(words), "podium", standalone_mode=False)
    except (PodiumError, SystemExit) as error:
        failed = error
    finally:
        sys.stdin = stdin
        os.environ.pop("PODIUM_HOME")
        if before is not None:
            os.environ["PODIUM_HOME"] = before
    planted.look(f"podium {' '.join(words)}", f"{said.getvalue()}\n{aside.getvalue()}\n{failed!r}")
    return said.getvalue()


def loaded(server: Server, ref: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while server.chat(ref).status != 200:
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.05)


def test_nothing_of_the_cipher_is_in_memory_before_a_secret_is_used(planted: Planted) -> None:
    assert planted.server.process is not None
    maps = Path(f"/proc/{planted.server.process.pid}/maps").read_text()
    assert "sqlite3" in maps
    assert "cryptography" not in maps


def test_a_sealed_key_is_set_by_standard_input_used_and_replaced_without_a_restart(planted: Planted) -> None:
    run(planted, "secrets", "set", "theirs", given=planted.values["replaced"] + "\n")
    location = planted.providers["sealed"].url
    added = planted.server.add("sealed@1", "openai", location, remote="m", api_key="secret:theirs")
    assert added["problem"] is None, added
    loaded(planted.server, "sealed@1")
    assert planted.providers["sealed"].keys == {f"Bearer {planted.values['replaced']}"}
    run(planted, "secrets", "set", "theirs", given=planted.values["sealed"])
    planted.providers["sealed"].keys.clear()
    assert planted.server.chat("sealed@1").status == 200
    assert planted.providers["sealed"].keys == {f"Bearer {planted.values['sealed']}"}
    listed = json.loads(run(planted, "secrets", "ls", "--json"))["secrets"]
    assert [(one["name"], one["version"], one["problem"]) for one in listed] == [("theirs", 2, None)]


def test_each_server_is_told_its_own_key_and_no_other(planted: Planted) -> None:
    loaded(planted.server, "fromenv")
    assert planted.providers["env"].keys == {f"Bearer {planted.values['env']}"}


def test_a_models_process_inherits_no_secret_but_the_one_its_registration_names(
    planted: Planted, tmp_path: Path
) -> None:
    run(planted, "secrets", "set", "child", given=planted.values["child"])
    script = tmp_path / "m.json"
    script.write_text('{"text": "hello"}')
    command = f"{sys.executable} -m podium.providers.scripted_server {script} --port ${{PORT}}"
    env = {"CHILD_TOKEN": "secret:child", "PLAIN": "value"}
    added = planted.server.add("own@1", "command", command, remote="m", env=env)
    assert added["problem"] is None, added
    (instance,) = [one for one in planted.server.ok("GET", "/api/v1/instances")["instances"] if one["ref"] == "own@1"]
    own = Path(f"/proc/{instance['pid']}/environ").read_text().split("\0")
    assert f"CHILD_TOKEN={planted.values['child']}" in own
    assert "PLAIN=value" in own
    names = {entry.partition("=")[0] for entry in own}
    assert not names & {"PODIUM_MASTER_KEY", "THEIR_KEY", "DATABASE_URL", "HF_TOKEN", "PODIUM_HOME"}
    assert "PATH" in names
    processes = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    for path in processes:  # arguments are there for every user to read
        try:
            planted.look(f"arguments of {path.name}", (path / "cmdline").read_bytes())
        except OSError:
            continue


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "CANARY"},
        {"api_key": "secret:absent"},
        {"api_key": "secret:CANARY!"},
        {"api_key_env": "CANARY"},
    ],
)
def test_a_registration_holds_no_key_itself_and_the_refusal_does_not_repeat_it(planted: Planted, settings: Any) -> None:
    given = planted.values.setdefault("literal", canary("literal"))
    settings = {
        name: text.replace("CANARY", given) for name, text in settings.items() if name != "api_key_env"
    } or settings
    source = {"provider": "openai", "location": planted.providers["env"].url, "settings": {"remote": "m", **settings}}
    reply = planted.ask("POST", "/api/v1/models", {"name": "x", "source": source})
    assert reply.status == 400, reply.body


def test_a_command_with_a_key_in_its_line_or_environment_is_refused(planted: Planted) -> None:
    given = f"sk-{canary('line')}"
    planted.values["line"] = given
    for location, env in (
        (f"server --port ${{PORT}} --key {given}", {}),
        ("server --port ${PORT}", {"HF_TOKEN": given}),
    ):
        source = {"provider": "command", "location": location, "settings": {"env": env}}
        reply = planted.ask("POST", "/api/v1/models", {"name": "x", "source": source})
        assert reply.status == 400, reply.body
        assert "podium secrets set" in reply.json["error"]["message"]


def test_a_child_that_prints_its_environment_and_dies_does_not_put_it_into_the_error(planted: Planted) -> None:
    command = f"{sys.executable} -c 'import os,sys;print(os.environ[\"CHILD_TOKEN\"]);sys.exit(3)' ${{PORT}}"
    source = {"provider": "command", "location": command, "settings": {"env": {"CHILD_TOKEN": "secret:child"}}}
    reply = planted.ask("POST", "/api/v1/models", {"name": "dies", "version": "1", "source": source})
    assert "********" in reply.json["problem"]["message"]


def test_what_a_provider_repeats_of_our_key_is_not_passed_on(planted: Planted) -> None:
    for model in ("sealed@1", "fromenv"):
        for said in ("fail 400", "fail 401", "fail 404", "fail 429", "fail 500", "breaks"):
            planted.look(f"chat {said}", planted.server.chat(model, said).body)
            messages = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": said}]}
            planted.ask("POST", "/v1/messages", messages)
            planted.ask("POST", "/v1/responses", {"model": model, "input": said})
        for said in ("fail 500", "stream fails", "hello"):
            planted.look(f"stream {said}", b"".join(planted.server.stream(model, said)))


def test_keys_of_our_own_are_told_once_and_then_nowhere(planted: Planted) -> None:
    server = planted.server
    made = server.ok("POST", "/api/v1/keys", {"role": "admin", "name": "admin"})
    planted.values["admin key"] = made["key"].partition("_")[2].partition("_")[2]
    admin = {"authorization": f"Bearer {made['key']}"}
    rotated = server.ok("POST", f"/api/v1/keys/{made['id']}/rotate", {"overlap_s": 60}, admin)
    planted.values["rotated key"] = rotated["key"].partition("_")[2].partition("_")[2]
    planted.values["local key"] = (server.home / "run" / "local.key").read_text().strip()
    planted.values["guessed key"] = guessed = secrets.token_urlsafe(32)
    for headers in ({"authorization": f"Bearer pod_abcdefgh_{guessed}"}, {"x-api-key": guessed}):
        assert planted.ask("GET", "/v1/models", **headers).status == 401
    assert planted.ask("GET", f"/v1/models?key=pod_abcdefgh_{guessed}", **admin).status == 400
    planted.admin = {"authorization": f"Bearer {rotated['key']}"}


def paths(planted: Planted) -> Iterator[str]:
    """Every GET of the control plane, with names that are there where it takes one."""
    (decision, *_) = planted.server.ok("GET", "/api/v1/decisions", None, planted.admin)["decisions"]
    names = {
        "spec": "sealed@1", "task": "default", "request_id": decision["request_id"], "charged_to": "known", "name": "x",
        "number": "1",
    }  # fmt: skip
    for path, operations in planted.server.ok("GET", "/openapi.json", None, planted.admin)["paths"].items():
        if "get" in operations:
            parts = [names.get(part[1:-1], "unknown") if part[:1] == "{" else part for part in path.split("/")]
            yield "/".join(parts) + ("?a=1&b=1" if path.endswith(("diff", "compare")) else "")


def test_nothing_that_can_be_asked_tells_a_secret(planted: Planted) -> None:
    server = planted.server
    planted.ask("POST", "/api/v1/feedback", {"request_id": "unknown", "score": 1}, **planted.admin)
    planted.ask("POST", "/api/v1/reload", **planted.admin)
    planted.ask("POST", "/api/v1/webhooks/ops/test", **planted.admin)
    asked = list(paths(planted))
    assert {"/api/v1/secrets", "/api/v1/audit", "/api/v1/events", "/api/v1/config/history/1"} <= set(asked)
    for path in asked:
        if not path.startswith("/api/v1/events"):
            assert planted.ask("GET", path, **planted.admin).status < 500, path
    for path in (
        "/metrics",
        "/openapi.json",
        "/",
        "/livez",
        "/readyz",
        "/v1/models",
        "/api/v1/events?after=0&limit=500",
    ):
        planted.ask("GET", path, **planted.admin)
    for page in ("", "health", "decisions", "leaderboard", "models"):
        planted.ask("GET", f"/{page}", **planted.admin, accept="text/html")
    assert server.process is not None


READS = (
    "ps", "stats", "doctor", "models ls", "models show sealed@1", "models show own@1", "tasks ls", "rollouts ls",
    "schedules ls", "costs compare sealed@1 fromenv", "costs trends", "costs advice", "alerts ls", "budgets ls", "keys ls",
    "secrets ls", "webhooks ls", "swaps ls", "swaps stats", "bench ls", "judgments", "rules check", "config check",
    "config schema", "config history", "audit verify", "audit export",
)  # fmt: skip


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))


def test_no_command_that_reads_tells_a_secret(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    known = set(commands(COMMANDS))
    lists = {name for name in known if name.endswith((" ls", " history"))}
    assert lists <= set(READS), "a command that lists something is not looked at"
    monkeypatch.setenv("PODIUM_CONFIG", str(planted.server.home.parent / "podium.toml"))
    told = [words for words in READS if run(planted, *words.split(), "--json").strip()[:1] in ("{", "[")]
    assert len(told) >= len(READS) - 6, set(READS) - set(told)


def test_webhooks_are_signed_and_carry_no_secret(planted: Planted) -> None:
    calls = planted.hook.wait(1, 30)
    key = base64.b64decode(planted.values["hook"])
    assert all(call.signed_by(key) for call in calls)
    for call in calls:
        planted.look("webhook call", call.body)
        planted.look("headers of a webhook call", json.dumps(call.headers))


def test_a_crash_tells_no_secret_and_in_the_end_none_was_found_anywhere(planted: Planted) -> None:
    server = planted.server
    assert server.process is not None
    resource.prlimit(server.process.pid, resource.RLIMIT_CORE, (0, 0))
    os.kill(server.process.pid, signal.SIGABRT)  # the fault handler prints what every thread was doing
    server.process.wait(30)
    log = (server.home.parent / f"{server.home.name}.log").read_text(errors="replace")
    assert "Fatal Python error: Aborted" in log
    assert '"level": "debug"' in log
    planted.look("log of the server", log)
    meant = {"local.key", "master.key"}
    for path in server.home.rglob("*"):
        if (
            path.is_file() and path.name not in meant and path.parent.name != "logs"
        ):  # logs are the children's own words
            planted.look(str(path), path.read_bytes())
    assert len(planted.seen) > 200
    assert len(planted.values) >= 14
    assert planted.found() == []
