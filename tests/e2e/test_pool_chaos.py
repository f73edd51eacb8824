"""Children that are killed, frozen, or answer garbage: what the client sees, and what serves the next request."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from bad_server import Switch
from server import Reply, Server
from watching import bad, error_of, gone, instances, kinds, read, ready, split, wait_for, waiting

CONFIG = """
[timeouts]
connect_s = 2.0
first_token_s = 1.0
total_s = 3.0

[pool]
health_interval_s = 0.3
health_timeout_s = 0.5
health_failures = 2
hang_timeout_s = 1.5
breaker_failures = 3
breaker_open_s = 1.0

[fallbacks]
"prime@1" = ["spare@1"]
"""
NEVER_BEGAN = ["500", "html", "garbage", "not_http", "half_first", "empty", "reset", "silence"]
BROKE = ["half_line", "short", "long", "mid_reset", "mid_silence"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One gateway with short limits; every test brings its own model."""
    folder = tmp_path_factory.mktemp("pool-chaos")
    (folder / "podium.toml").write_text(CONFIG)
    started = Server(folder / "home", "--config", str(folder / "podium.toml")).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def odd(server: Server) -> str:
    """A model that answers most prompts well, so that its breaker stays closed."""
    bad(server, "odd@1")
    for _ in range(4):
        assert server.chat("odd@1").status == 200
    return "odd@1"


@pytest.mark.requirement("API-4", "POOL-5")
def test_killing_a_process_cuts_begun_streams_with_one_error_and_nothing_else(server: Server):
    switch = bad(server, "kill@1", slots=3, words=200, gap_ms=20)
    before = ready(server, "kill@1")["pid"]
    streams = [server.stream("kill@1"), server.stream("kill@1")]
    heads = [json.loads(next(lines)) for lines in streams]
    for lines in streams:
        assert next(lines).startswith(b"data: ")
    switch.set(delay_ms=60_000)
    with ThreadPoolExecutor(6) as threads:
        # One of these is on the killed process without an answer so far, the others still wait for a place on it.
        whole = [threads.submit(server.chat, "kill@1", f"whole {n}") for n in range(3)]
        queued = [threads.submit(read, server, "kill@1", f"queued {n}") for n in range(3)]
        wait_for(lambda: ready(server, "kill@1")["active"] == 3 and ready(server, "kill@1")["waiting"] == 5)
        switch.set()
        os.kill(before, signal.SIGKILL)
        for head, lines in zip(heads, streams, strict=True):
            events = split(lines)
            assert [event for event in events if b"error" in event] == events[-1:]
            error = error_of(events[-1])
            assert error["fault"] == "provider"
            assert "the process of kill@1 ended on its own" in error["message"]
            assert error["request_id"] == head["x-request-id"]
        for reply in whole:
            assert reply.result().status == 200, reply.result().body
            assert reply.result().json["choices"][0]["message"]["content"] == "w0 w1 w2"
        for stream in queued:
            head, events = stream.result()
            assert head["status"] == 200
            assert events[-1] == b"data: [DONE]"
            assert not any(b"error" in event for event in events)
    assert ready(server, "kill@1")["pid"] != before
    assert gone(before)
    assert kinds(server, "kill@1").count("instance.crashed") == 1


@pytest.mark.requirement("POOL-5")
def test_a_request_that_kills_its_process_is_not_repeated_for_ever(server: Server):
    switch = bad(server, "killer@1")
    sent = switch.count()
    reply = server.chat("killer@1", "fault:exit")
    assert reply.status == 502, reply.body
    assert reply.error["fault"] == "provider"
    assert "the process of killer@1 ended on its own" in reply.error["message"]
    assert switch.count() - sent == 2
    assert server.chat("killer@1").status == 200


@pytest.mark.requirement("POOL-5")
def test_an_idle_process_that_freezes_is_found_killed_and_replaced(server: Server):
    bad(server, "frozen@1")
    server.ok("PUT", "/api/v1/instances/frozen@1/directive", {"preload": True})
    before = ready(server, "frozen@1")["pid"]
    os.kill(before, signal.SIGSTOP)
    began = time.monotonic()
    wait_for(lambda: gone(before), timeout_s=10)
    took = time.monotonic() - began
    wait_for(lambda: any(item["state"] == "ready" for item in instances(server, "frozen@1")))
    assert ready(server, "frozen@1")["pid"] != before
    assert took < 8
    assert server.chat("frozen@1").status == 200
    found = kinds(server, "frozen@1")
    assert found.index("instance.unhealthy") < found.index("instance.crashed")


@pytest.mark.requirement("POOL-5", "PRV-11")
def test_a_busy_process_that_freezes_ends_its_streams_with_a_clear_error_and_is_replaced(server: Server):
    bad(server, "stuck@1", words=500, gap_ms=20)
    before = ready(server, "stuck@1")["pid"]
    lines = server.stream("stuck@1")
    head = json.loads(next(lines))
    assert next(lines).startswith(b"data: ")
    os.kill(before, signal.SIGSTOP)
    began = time.monotonic()
    events = split(lines)
    took = time.monotonic() - began
    error = error_of(events[-1])
    assert error["request_id"] == head["x-request-id"]
    assert "stuck@1" in error["message"]
    assert took < 1.5 + 2.5, took
    wait_for(lambda: gone(before))
    assert server.chat("stuck@1").status == 200
    assert ready(server, "stuck@1")["pid"] != before


@pytest.mark.requirement("API-4", "POOL-5", "SEL-5")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", NEVER_BEGAN)
def test_what_is_no_answer_becomes_a_clear_error_before_any_byte(server: Server, odd: str, fault: str, stream: bool):
    pid = ready(server, odd)["pid"]
    began = time.monotonic()
    reply = server.chat(odd, f"fault:{fault}", stream=stream)
    assert reply.status == (504 if fault == "silence" else 502), reply.body
    assert time.monotonic() - began < 4
    assert reply.error["fault"] == "provider"
    assert reply.error["message"]
    assert [server.chat(odd, stream=stream).status for _ in range(2)] == [200, 200]
    assert ready(server, odd)["pid"] == pid, "one bad answer is no reason to restart it"


@pytest.mark.requirement("API-4", "POOL-5")
@pytest.mark.parametrize("fault", BROKE)
def test_an_answer_that_breaks_off_ends_its_stream_with_one_error_event(server: Server, odd: str, fault: str):
    began = time.monotonic()
    head, events = read(server, odd, f"fault:{fault}")
    assert time.monotonic() - began < 5
    assert head["status"] == 200 or fault == "long"
    if head["status"] == 200:
        assert [event for event in events if b"error" in event] == events[-1:]
        assert error_of(events[-1])["fault"] == "provider"
    reply = server.chat(odd, f"fault:{fault}")
    assert reply.status in (502, 504), reply.body
    assert [server.chat(odd).status for _ in range(3)] == [200] * 3
    wait_for(lambda: ready(server, odd)["active"] == 0)


def hold_open(server: Server, switch: Switch, ref: str) -> Reply:
    """Fail until the breaker opens; returns the first refusal that came from the breaker."""
    switch.set(fault="500")
    for _ in range(10):
        reply = server.chat(ref)
        if reply.error["code"] == "circuit_open":
            return reply
    raise AssertionError("the breaker did not open")


@pytest.mark.requirement("POOL-5")
def test_a_breaker_opens_lets_one_probe_through_and_closes_again(server: Server):
    switch = bad(server, "trip@1", slots=8)
    sent = switch.count()
    began = time.monotonic()
    refused = hold_open(server, switch, "trip@1")
    reached = switch.count() - sent
    assert 3 <= reached <= 6  # the successes of its registration count too
    assert refused.status == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert "trip@1" in refused.error["message"]
    assert time.monotonic() - began < 4
    quick = time.monotonic()
    assert server.chat("trip@1").status == 503
    assert time.monotonic() - quick < 0.5
    assert switch.count() - sent == reached, "an open breaker lets nothing through"
    # Half open: many ask at once, one of them reaches the server, and takes its time.
    switch.set(delay_ms=400)
    deadline = time.monotonic() + 10
    with ThreadPoolExecutor(12) as threads:
        while switch.count() - sent == reached:
            assert time.monotonic() < deadline
            replies = list(threads.map(lambda _: server.chat("trip@1").status, range(12)))
    assert switch.count() - sent == reached + 1
    assert sorted(set(replies)) == [200, 503]
    assert replies.count(200) == 1
    assert server.chat("trip@1").status == 200
    found = kinds(server, "trip@1")
    assert found.index("breaker.opened") < found.index("breaker.closed")


@pytest.mark.requirement("POOL-5", "SEL-5")
def test_while_a_breaker_is_open_the_fallbacks_serve(server: Server):
    switch = bad(server, "weak@1")
    bad(server, "strong@1")
    server.ok("POST", "/api/v1/tasks/hard-work/swap", {"to": "weak@1"})
    switch.set(fault="500")
    for _ in range(6):
        reply = server.chat("task:hard-work")
        assert reply.status == 200, reply.body
        assert reply.headers["x-podium-model"] != "weak@1"
    reached = switch.count()
    assert server.chat("weak@1").error["code"] == "circuit_open"
    assert server.chat("task:hard-work").status == 200
    assert switch.count() == reached


@pytest.mark.requirement("POOL-5")
def test_health_that_fails_takes_requests_away_before_any_of_them_fails(server: Server):
    switch = bad(server, "ill@1")
    pid = ready(server, "ill@1")["pid"]
    switch.set(health=500)
    wait_for(lambda: gone(pid))
    switch.set()
    assert server.chat("ill@1").status == 200
    assert ready(server, "ill@1")["pid"] != pid


@pytest.mark.requirement("POOL-5")
def test_a_busy_server_that_answers_no_health_check_is_left_to_work(server: Server):
    switch = bad(server, "single@1", words=150, gap_ms=20)
    pid = ready(server, "single@1")["pid"]
    switch.set(words=90, gap_ms=20, health="hang")
    _, events = read(server, "single@1")
    switch.set()
    assert events[-1] == b"data: [DONE]"
    assert ready(server, "single@1")["pid"] == pid


@pytest.mark.requirement("PRV-11", "POOL-3")
def test_a_thousand_clients_that_leave_while_a_model_loads_leave_nothing_behind(server: Server):
    switch = bad(server, "crowd@1", slots=2)
    server.ok("DELETE", "/api/v1/instances/crowd@1")
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    wait_for(lambda: not instances(server, "crowd@1")[0]["active"])
    before = process.num_fds()
    sent = switch.count()
    switch.set(load_s=3)
    left = leave_all(server, "crowd@1", 1000)
    assert left == 1000
    wait_for(lambda: not server.ok("GET", "/api/v1/queue")["queues"])
    began = time.monotonic()
    assert server.chat("crowd@1").status == 200
    assert time.monotonic() - began < 8
    assert ready(server, "crowd@1")["active"] == 0
    assert switch.count() - sent == 1, "requests of clients that left were sent all the same"
    wait_for(lambda: process.num_fds() <= before + 8)


def leave_all(server: Server, ref: str, clients: int) -> int:
    """Ask as many clients, a few hundred at a time, and let every one of them go without an answer."""
    body = json.dumps({"model": ref, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    left = 0
    while left < clients:
        batch = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        for one in batch:
            one.sendall(head + body)
        wait_for(lambda: waiting(server) == 200)
        for one in batch:
            one.close()
        wait_for(lambda: waiting(server) == 0)
        left += len(batch)
    return left


@pytest.mark.requirement("PRV-11")
def test_a_client_that_sends_byte_by_byte_holds_no_place(server: Server):
    bad(server, "loris@1", slots=1)
    stop = threading.Event()
    with socket.create_connection(("127.0.0.1", server.port)) as loris:
        loris.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\n{")

        def drip() -> None:
            while not stop.wait(0.02):
                loris.sendall(b" ")

        trickle = threading.Thread(target=drip)
        trickle.start()
        try:
            assert ready(server, "loris@1")["active"] == 0
            assert [server.chat("loris@1").status for _ in range(5)] == [200] * 5
        finally:
            stop.set()
            trickle.join()


@pytest.mark.requirement("POOL-5", "SEL-5")
def test_a_configured_fallback_serves_a_model_asked_for_by_name_while_it_fails(server: Server):
    switch = bad(server, "prime@1")
    bad(server, "spare@1")
    switch.set(fault="500")
    reached = switch.count()
    for _ in range(8):
        reply = server.chat("prime@1")
        assert reply.status == 200, reply.body
        assert reply.headers["x-podium-model"] == "spare@1"
    head, events = read(server, "prime@1")
    assert head["x-podium-model"] == "spare@1"
    assert events[-1] == b"data: [DONE]"
    assert switch.count() - reached <= 6, "the breaker is there to spare it"
    switch.set()
    wait_for(lambda: server.chat("prime@1").headers["x-podium-model"] == "prime@1")


@pytest.mark.requirement("POOL-5", "PRV-11")
def test_a_server_that_is_not_ours_goes_away_with_all_its_versions_and_comes_back(server: Server):
    switch = Switch(server.home.parent, "remote")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = start_remote(switch, port)
    try:
        for ref in ("far@1", "near@1"):
            added = server.add(ref, "openai", f"http://127.0.0.1:{port}/v1", remote="bad")
            assert added["problem"] is None, added
        started.kill()
        started.wait()
        first = server.chat("far@1")
        assert first.status in (502, 503), first.body
        for ref in ("far@1", "near@1"):
            wait_for(lambda ref=ref: server.chat(ref).error["code"] == "circuit_open")
            began = time.monotonic()
            refused = server.chat(ref)
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert time.monotonic() - began < 0.5
            assert kinds(server, ref).count("instance.crashed") == 0
        wait_for(lambda: "instance.unhealthy" in kinds(server, "near@1"))
        started = start_remote(switch, port)
        for ref in ("far@1", "near@1"):
            wait_for(lambda ref=ref: server.chat(ref).status == 200)
        assert "instance.healthy" in kinds(server, "near@1")
        assert all(ready(server, ref)["healthy"] for ref in ("far@1", "near@1"))
    finally:
        started.kill()
        started.wait()


def start_remote(switch: Switch, port: int) -> subprocess.Popen[bytes]:
    """The same server, run by somebody else."""
    loads = switch.loads()
    command = shlex.split(switch.command().replace("${PORT}", str(port)))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: switch.loads() > loads)
    return process


@pytest.mark.requirement("PRV-3", "POOL-1")
def test_a_frozen_process_can_be_unloaded(server: Server):
    bad(server, "ice@1")
    pid = ready(server, "ice@1")["pid"]
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    assert server.call("DELETE", "/api/v1/instances/ice@1").status in (200, 404)
    wait_for(lambda: gone(pid))
    assert time.monotonic() - began < 6
    assert server.chat("ice@1").status == 200


@pytest.mark.requirement("POOL-1")
def test_a_process_killed_while_it_drains_ends_its_stream_and_the_order_to_unload(server: Server):
    switch = bad(server, "drain@1")
    switch.set(words=500, gap_ms=20)
    pid = ready(server, "drain@1")["pid"]
    lines = server.stream("drain@1")
    assert json.loads(next(lines))["status"] == 200
    with ThreadPoolExecutor(1) as threads:
        unloading = threads.submit(server.call, "DELETE", "/api/v1/instances/drain@1")
        wait_for(lambda: [item["state"] for item in instances(server, "drain@1")] == ["draining"])
        os.kill(pid, signal.SIGKILL)
        assert error_of(split(lines)[-1])["fault"] == "provider"
        assert unloading.result().status in (200, 404)
    switch.set()
    assert server.chat("drain@1").status == 200


@pytest.mark.requirement("POOL-1", "POOL-5")
def test_a_process_killed_while_it_loads_tells_its_waiters_and_the_next_one_loads(server: Server):
    switch = bad(server, "young@1")
    server.ok("DELETE", "/api/v1/instances/young@1")
    switch.set(load_s=30)
    with ThreadPoolExecutor(3) as threads:
        waiters = [threads.submit(server.chat, "young@1") for _ in range(3)]
        wait_for(lambda: children(server, "young-1") and waiting(server) == 3)
        switch.set()
        for pid in children(server, "young-1"):
            os.kill(pid, signal.SIGKILL)
        replies = [each.result() for each in waiters]
    for reply in replies:
        assert reply.status == 503, reply.body
        assert "killed by SIGKILL" in reply.error["message"]
        assert int(reply.headers["retry-after"]) >= 1
    wait_for(lambda: server.chat("young@1").status == 200)


@pytest.mark.requirement("POOL-1")
def test_an_order_to_unload_during_a_load_drops_nobody_who_waits_for_it(server: Server):
    switch = bad(server, "torn@1", slots=1)
    server.ok("DELETE", "/api/v1/instances/torn@1")
    switch.set(load_s=1, delay_ms=50)
    with ThreadPoolExecutor(6) as threads:
        waiters = [threads.submit(server.chat, "torn@1") for _ in range(4)]
        wait_for(lambda: waiting(server) == 4 and instances(server, "torn@1")[0]["state"] == "loading")
        unloading = threads.submit(server.call, "DELETE", "/api/v1/instances/torn@1")
        assert [each.result().status for each in waiters] == [200] * 4
        assert unloading.result().status == 200


@pytest.mark.requirement("PRV-3")
def test_a_gateway_killed_while_it_serves_leaves_no_process_and_starts_again(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    try:
        bad(server, "one@1", words=50)
        bad(server, "two@1")
        pids = [ready(server, ref)["pid"] for ref in ("one@1", "two@1")]
        server.kill()
        wait_for(lambda: all(gone(pid) for pid in pids))
        server.start()
        assert [server.chat(ref).status for ref in ("one@1", "two@1")] == [200, 200]
    finally:
        server.stop()


@pytest.mark.requirement("API-4")
def test_a_gateway_that_stops_tells_who_still_waits_or_reads(tmp_path: Path):
    config = tmp_path / "podium.toml"
    config.write_text("[server]\ndrain_s = 1.0\n")
    server = Server(tmp_path / "home", "--config", str(config)).start()
    try:
        talker = bad(server, "talker@1")
        sleeper = bad(server, "sleeper@1")
        server.ok("DELETE", "/api/v1/instances/sleeper@1")
        talker.set(words=5000, gap_ms=20)
        sleeper.set(load_s=60)
        lines = server.stream("talker@1")
        assert json.loads(next(lines))["status"] == 200
        with ThreadPoolExecutor(2) as threads:
            waiter = threads.submit(server.chat, "sleeper@1")
            wait_for(lambda: waiting(server) == 1)
            stopping = threads.submit(server.stop)
            events = split(lines)
            stopping.result()
            assert waiter.result().status == 503
            assert "shutting down" in waiter.result().error["message"]
        assert "shutting down" in error_of(events[-1])["message"]
        assert sum(b"error" in event for event in events) == 1
        assert server.process is not None
        assert server.process.returncode == 0
    finally:
        server.stop()


def children(server: Server, mark: str) -> list[int]:
    """Processes of this gateway whose command line names this switch, not their guards."""
    assert server.process is not None
    found = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(word.endswith(f"{mark}.switch.json") for word in process.cmdline()):
                found.append(process.pid)
    return found
