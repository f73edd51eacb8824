"""Whatever is wrong with a command is said, soon, and nothing of it is left running."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest
from provider_calls import version_of
from waiting import until

from podium.domain.model import Source
from podium.errors import InvalidRequest, LoadFailed, ProviderTimeout
from podium.providers import readiness
from podium.providers.command import CommandProvider, free_port
from podium.providers.process import LOG_BYTES

pytestmark = [
    pytest.mark.requirement("PRV-3"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

SERVER = """
import http.server, json, os, signal, socket, sys, threading, time
mode, port = sys.argv[1], int(sys.argv[2])
more = sys.argv[3:]

class Answer(http.server.BaseHTTPRequestHandler):
    status, said = 200, {}
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        known = {"/health": {"status": "ok"}, "/v1/models": {"object": "list", "data": [{"id": "m"}]}, **self.said}
        body = json.dumps(known.get(self.path, {})).encode()
        status = self.status if isinstance(self.status, int) else self.status.get(self.path, 404)
        if status == 200 and self.path not in known: status = 404
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

def serve(port, host="127.0.0.1"):
    server = http.server.ThreadingHTTPServer((host, port), Answer)
    print("serving on", server.server_address[1], flush=True)
    server.serve_forever()

def apart(function):
    threading.Thread(target=function, daemon=True).start()

match mode:
    case "daemon":
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print("daemon", os.getpid(), flush=True)
                time.sleep(0.3)
                serve(port)
            os._exit(0)
        os.wait()
        sys.exit(0)
    case "wrong-port":
        serve(0)
    case "wrong-port-below":
        if os.fork() == 0: serve(0)
        os.wait()
    case "wrong-address":
        serve(port, "127.0.0.2")
    case "two-ports":
        inner = socket.create_server(("127.0.0.1", 0))
        def hear():
            while True:
                with inner.accept()[0] as one:
                    one.sendall(b"0" * 8)
        apart(hear)
        class Metrics(Answer):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", "9")
                self.end_headers()
                self.wfile.write(b"metric 1\\\\n")
        apart(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics).serve_forever)
        time.sleep(1.5)
        serve(port)
    case "flood":
        line = ("x" * 99 + "\\\\n").encode()
        for number in range(200):
            os.write(1, line * 600)
            os.write(2, line * 600)
        print("flooded", flush=True)
        serve(port)
    case "one-line":
        os.write(1, b"y" * (3 << 20))
        sys.exit(7)
    case "rubbish":
        os.write(1, bytes(range(256)) * 50 + b"\\\\n\\\\x1b[31mred\\\\x1b[0m out of memory\\\\x00\\\\n")
        sys.exit(3)
    case "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        serve(port)
    case "status":
        Answer.status = int(more[0])
        serve(port)
    case "late":
        Answer.status = {"/health": 503, "/v1/models": 200}
        apart(lambda: (time.sleep(1.0), setattr(Answer, "status", 200)))
        serve(port)
    case "models-only":
        Answer.status = {"/v1/models": 200}
        serve(port)
    case "mute":
        listener = socket.create_server(("127.0.0.1", port))
        print("mute", flush=True)
        held = []
        while True: held.append(listener.accept())
    case "no-http":
        listener = socket.create_server(("127.0.0.1", port))
        while True:
            with listener.accept()[0] as one: one.sendall(b"220 mail.example ESMTP\\\\r\\\\n")
    case "abort":
        print("GGML_ASSERT failed", flush=True)
        os.abort()
    case "slots":
        Answer.said = {"/props": {"total_slots": int(more[0]), "model_path": "m.gguf"}}
        serve(port)
"""


@pytest.fixture
def provider(context):
    return CommandProvider(context)


@pytest.fixture
def command(tmp_path):
    """``command(mode, …)``: the command line of a server that behaves in that way."""
    path = tmp_path / "server.py"
    path.write_text(SERVER.replace("\\\\", "\\"))

    def line(mode: str, *more: object) -> str:
        return shlex.join([sys.executable, str(path), mode, "${PORT}", *map(str, more)])

    return line


@pytest.fixture
def load(provider, home, tmp_path):
    """Loads; after a failure nothing may be left. Returns what was loaded; the test unloads it."""

    async def start(location: str, **settings):
        source = Source(provider="command", location=location, settings=settings)
        version = version_of(source, await provider.inspect(source))
        try:
            return await provider.load(version, "one")
        except BaseException:
            nothing_is_left(home, tmp_path)
            raise

    return start


def nothing_is_left(home: Path, tmp_path: Path) -> None:
    assert not list((home / "run").iterdir())
    assert not those_with(str(tmp_path / "server.py"))


def those_with(word: str) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and word in (process.info["cmdline"] or [])
    ]


async def failure(load, location: str, within_s: float = 20.0, **settings) -> str:
    """What the load says; it must not have waited for its time-out of a minute."""
    began = time.monotonic()
    with pytest.raises(LoadFailed) as caught:
        await load(location, **{"ready_timeout_s": 60, **settings})
    assert time.monotonic() - began < within_s
    return caught.value.message


@pytest.mark.parametrize(
    ("template", "advice"),
    [
        ("sh server --port 8000", r"write `--port \$\{PORT\}` instead of `--port 8000`"),
        ("sh server --http-port=8000", r"write `--http-port=\$\{PORT\}` instead of `--http-port=8000`"),
        ("sh server -m x", r"as in `llama-server -m model.gguf --port \$\{PORT\}`"),
        ("sh server --port $PORTAL", "PORT"),
        ("sh server --port $$PORT", "PORT"),
    ],
)
async def test_a_template_without_a_port_is_refused_with_what_to_write(provider, template, advice):
    with pytest.raises(InvalidRequest, match=advice) as caught:
        await provider.inspect(Source(provider="command", location=template))
    assert caught.value.param == "source.location"


async def test_what_cannot_be_executed_is_refused_with_what_to_do(provider, tmp_path):
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\n")
    for program, advice in ((script, "chmod \\+x"), (tmp_path, "is a directory"), (tmp_path / "no", "does not exist")):
        with pytest.raises(InvalidRequest, match=advice):
            await provider.inspect(Source(provider="command", location=f"{program} ${{PORT}}"))


async def test_a_program_is_looked_up_in_the_path_that_was_set_for_it(provider, load, tmp_path):
    script = tmp_path / "my-server"
    script.write_text("#!/bin/sh\necho found me\nexit 9\n")
    script.chmod(0o755)
    with pytest.raises(InvalidRequest, match="no program 'my-server'"):
        await provider.inspect(Source(provider="command", location="my-server ${PORT}"))
    assert "found me" in await failure(load, "my-server ${PORT}", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})


async def test_a_program_that_vanished_since_it_was_registered_is_a_failed_load(provider, tmp_path):
    script = tmp_path / "server.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    source = Source(provider="command", location=f"{script} ${{PORT}}")
    version = version_of(source, await provider.inspect(source))
    script.unlink()
    with pytest.raises(LoadFailed, match=r"cannot be started any more: .* does not exist"):
        await provider.load(version, "one")


async def test_a_program_the_kernel_refuses_is_a_failed_load(load, tmp_path):
    script = tmp_path / "broken"
    script.write_bytes(b"\x7fELF broken")
    script.chmod(0o755)
    assert "could not be started: [Errno 8]" in await failure(load, f"{script} ${{PORT}}")


async def test_a_command_that_daemonises_is_told_to_stay_and_its_daemon_is_ended(load, command):
    said = await failure(load, command("daemon"))
    assert "ended (exit 0) before it answered on port" in said
    assert "run it in the foreground" in said
    daemon = next(line for line in said.splitlines() if line.startswith("daemon"))
    assert not psutil.pid_exists(int(daemon.split()[1]))


@pytest.mark.parametrize("mode", ["wrong-port", "wrong-port-below"])
async def test_a_server_on_another_port_is_told_which(load, command, mode):
    said = await failure(load, command(mode))
    actual = next(line.split()[2] for line in said.splitlines() if line.startswith("serving on"))
    assert f"it listens on {actual} instead of ${{PORT}}=" in said


async def test_a_server_that_loopback_does_not_reach_is_told_so(load, command):
    said = await failure(load, command("wrong-address"))
    assert "it listens on 127.0.0.2:" in said
    assert "make it listen on ${HOST}" in said


async def test_ports_for_metrics_and_private_talk_are_no_wrong_ports(load, command):
    instance = await load(command("two-ports"), ready_timeout_s=30)
    await instance.health()
    await instance.unload()


async def test_a_port_that_is_not_ours_and_says_nothing_useful_is_named_when_time_is_over(load, home):
    code = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); time.sleep(600)"
    location = f"{shlex.join([sys.executable, '-c', code])} ${{PORT}}"
    said = await failure(load, location, ready_timeout_s=2.5)
    port = said.splitlines()[-1]
    assert f"was not ready within 2.5 s: it listens on 127.0.0.1:{port} and not on ${{PORT}}=" in said


async def test_megabytes_of_output_neither_block_the_server_nor_fill_the_disk(load, command, home):
    instance = await load(command("flood"), ready_timeout_s=60)  # it has printed 24 MB by now
    try:
        files = list((home / "logs").iterdir())
        assert 0 < sum(file.stat().st_size for file in files) <= LOG_BYTES
        assert [each.split()[0] for each in instance._process.log_tail(2).splitlines()] == ["flooded", "serving"]
    finally:
        await instance.unload()


async def test_a_line_of_megabytes_is_shown_in_part(load, command):
    said = await failure(load, command("one-line"))
    assert "ended (exit 7)" in said
    assert said.endswith("yyy")
    assert len(said) < 2000


async def test_rubbish_in_the_output_does_not_reach_the_message(load, command):
    said = await failure(load, command("rubbish"))
    assert said.splitlines()[-1] == "red out of memory"
    assert said.replace("\n", "").replace("\t", "").isprintable() or "\ufffd" in said
    assert not {character for character in said if ord(character) < 32} - {"\n", "\t"}


async def test_a_crash_at_the_start_is_named_by_its_signal_with_the_log(load, command):
    said = await failure(load, command("abort"))
    assert "was killed by SIGABRT before it answered on port" in said
    assert "GGML_ASSERT failed" in said


async def test_a_server_that_ignores_sigterm_is_killed_when_its_time_is_over(load, command, home, tmp_path):
    instance = await load(command("stubborn"), stop_timeout_s=0.4)
    began = time.monotonic()
    await instance.unload()
    assert 0.39 <= time.monotonic() - began < 3.0
    nothing_is_left(home, tmp_path)


@pytest.mark.parametrize(
    ("status", "advice"), [(404, "set `health` to a path"), (401, "it wants a key"), (405, "set `health` to a path")]
)
async def test_a_server_that_refuses_to_tell_its_health_is_not_waited_for(load, command, monkeypatch, status, advice):
    monkeypatch.setattr(readiness, "CERTAIN_S", 0.5)
    said = await failure(load, command("status", status))
    assert f"GET /health answers HTTP {status}" in said
    assert ("GET /v1/models answers" in said) == (status in (404, 405))
    assert advice in said


async def test_a_server_that_fails_may_still_be_starting_until_its_time_is_over(load, command):
    said = await failure(load, command("status", 500), ready_timeout_s=2.0)
    assert "was not ready within 2 s: GET /health answers HTTP 500" in said
    assert "serving on" in said


async def test_a_server_that_lists_its_model_before_it_is_healthy_is_waited_for(load, command):
    began = time.monotonic()
    instance = await load(command("late"))
    assert time.monotonic() - began >= 1.0
    await instance.health()
    await instance.unload()


async def test_a_server_without_a_health_path_is_ready_when_it_lists_its_model(load, command):
    instance = await load(command("models-only"))
    await instance.health()
    await instance.unload()


async def test_a_server_that_accepts_and_never_answers_fails_in_its_time_with_the_log(load, command, monkeypatch):
    monkeypatch.setattr(readiness, "PROBE_S", 0.3)
    began = time.monotonic()
    said = await failure(load, command("mute"), ready_timeout_s=2.0)
    assert time.monotonic() - began < 6.0
    assert "was not ready within 2 s: it accepts connections on port" in said
    assert "but does not answer GET /health" in said
    assert said.endswith("mute")


async def test_a_command_that_never_listens_is_said_to_listen_nowhere(load):
    said = await failure(load, "sh -c 'exec sleep 600' ${PORT}", ready_timeout_s=1.5)
    assert "was not ready within 1.5 s: nothing listens on port" in said
    assert said.endswith("it printed nothing")


async def test_a_server_that_speaks_something_else_is_told_apart(load, command):
    said = await failure(load, command("no-http"), ready_timeout_s=1.5)
    assert "was not ready within 1.5 s: " in said
    assert "nothing listens" not in said


async def test_a_load_that_is_cancelled_leaves_nothing(load, command, home, tmp_path):
    loading = asyncio.create_task(load(command("mute"), ready_timeout_s=60))
    script = str(tmp_path / "server.py")
    await asyncio.to_thread(until, lambda: those_with(script))
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    nothing_is_left(home, tmp_path)


async def test_a_stopped_server_fails_its_health_check_and_can_still_be_unloaded(
    load, command, home, tmp_path, monkeypatch
):
    monkeypatch.setattr("podium.providers.http_instance._PROBE_S", 0.3)
    instance = await load(command("models-only"), stop_timeout_s=0.3)
    os.kill(instance.pid, signal.SIGSTOP)
    with pytest.raises(ProviderTimeout):
        await instance.health()
    assert instance.alive()
    await instance.unload()
    nothing_is_left(home, tmp_path)


@pytest.mark.requirement("POOL-7")
async def test_the_parallelism_is_asked_of_the_server_unless_it_was_set(load, command):
    for settings, expected, guessed in (({}, 3, False), ({"concurrency": 5}, 5, False)):
        instance = await load(command("slots", 3), **settings)
        assert (instance.concurrency, instance.adaptive) == (expected, guessed)
        await instance.unload()
    for line in (command("models-only"), command("slots", 0), command("slots", 1 << 20)):
        instance = await load(line)
        assert (instance.concurrency, instance.adaptive) == (16, True)
        await instance.unload()


def test_ports_that_are_given_out_are_free_and_not_given_twice_in_a_row():
    ports = [free_port() for _ in range(64)]
    assert len(set(ports)) == 64
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass
