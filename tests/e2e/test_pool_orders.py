"""What callers and operators order of the pool: how long models stay, who goes first, how many copies, what may go."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import forking
from server import Reply, Server
from watching import bad, events, gone, instances, kinds, read, ready, running, wait_for, waiting

CONFIG = """
[pool]
memory_budget_mb = 300
min_residency_s = 0.1
max_wait_s = 0.5
residency_loads = 1.0
health_interval_s = 1.0
scale_up_after_s = 0.8
scale_down_after_s = 1.5
scale_cooldown_s = 0.5
"""
HOLD_MB = 150
"""Two models that hold this much do not fit together."""


def start(folder: Path) -> Server:
    (folder / "podium.toml").write_text(CONFIG)
    return Server(folder / "home", "--config", str(folder / "podium.toml")).start()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One gateway; every test brings its own models."""
    started = start(tmp_path_factory.mktemp("pool-orders"))
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def free_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test loaded does not stand in the way of the next."""
    yield
    if "server" in request.fixturenames:
        server: Server = request.getfixturevalue("server")
        for item in server.ok("GET", "/api/v1/instances")["instances"]:
            if item["state"] == "ready":
                server.ok("POST", f"/api/v1/instances/{item['ref']}/pin", {"pinned": False})
                server.ok("PUT", f"/api/v1/instances/{item['ref']}/directive", {"min_copies": 0, "max_copies": 1})
                server.call("DELETE", f"/api/v1/instances/{item['ref']}")


def podium(server: Server, *words: str) -> Any:
    """One command of the command line, as JSON."""
    done = forking.podium(*words, "--json", env={**os.environ, "PODIUM_HOME": str(server.home)})
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


@pytest.mark.requirement("POOL-7")
def test_keep_alive_of_a_request_says_how_long_the_model_stays(server: Server):
    switch = bad(server, "stay@1")
    assert server.chat("stay@1", keep_alive=0).status == 200
    wait_for(lambda: not running(server, "stay@1"))
    loads = switch.loads()
    assert server.chat("stay@1").status == 200
    assert switch.loads() == loads + 1
    assert server.chat("stay@1").status == 200
    assert switch.loads() == loads + 1, "keep_alive 0 was for that one request"
    began = time.monotonic()
    assert server.chat("stay@1", keep_alive="300ms").status == 200
    wait_for(lambda: not running(server, "stay@1"))
    assert 0.3 < time.monotonic() - began < 5
    for forever in (-1, "-1s", "24h", 3600, None):
        assert server.chat("stay@1", keep_alive=forever).status == 200, forever
    assert ready(server, "stay@1")["active"] == 0


@pytest.mark.requirement("POOL-7")
def test_keep_alive_ends_an_idle_model_only_after_its_last_request(server: Server):
    switch = bad(server, "busy@1", words=40, gap_ms=20)
    pid = ready(server, "busy@1")["pid"]
    lines = server.stream("busy@1")
    assert json.loads(next(lines))["status"] == 200
    switch.set()
    assert server.chat("busy@1", keep_alive=0).status == 200
    assert ready(server, "busy@1")["pid"] == pid
    assert b"[DONE]" in b"".join(lines)
    wait_for(lambda: gone(pid))


@pytest.mark.requirement("POOL-7")
@pytest.mark.parametrize("wrong", ["", "5", "5 m", "soon", "1d", True, [], {"s": 5}, "9" * 30 + "h"], ids=repr)
def test_a_keep_alive_that_is_none_says_what_to_write(server: Server, wrong: object):
    refused = server.chat("any@1", keep_alive=wrong)
    assert refused.status == 400, refused.body
    assert refused.error["param"] == "keep_alive"
    assert '"5m"' in refused.error["message"]


@pytest.mark.requirement("POOL-3")
def test_a_high_priority_overtakes_and_a_wrong_one_is_refused(server: Server):
    switch = bad(server, "line@1", slots=1)
    switch.set(delay_ms=150)
    begin = switch.count()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(server.chat, "line@1", "first")
        wait_for(lambda: switch.count() == begin + 1)
        others = []
        for text in ("low", "normal", "high"):
            for number in range(2):
                headers = {"x-podium-priority": text}
                others.append(threads.submit(server.chat, "line@1", f"{text} {number}", headers))
                wait_for(lambda: waiting(server) == len(others) or switch.count() > begin + 1)
        assert [each.result().status for each in (first, *others)] == [200] * 7
    order = [line["text"].split()[0] for line in switch.lines() if line.get("text", "").split()[-1:] in (["0"], ["1"])]
    assert order.index("low") == 4, order
    assert sorted(order[:2]) in (["high", "high"], ["high", "normal"]), order
    refused = server.chat("line@1", headers={"x-podium-priority": "urgent"})
    assert refused.status == 400
    assert "high, normal or low" in refused.error["message"]


@pytest.mark.slow
@pytest.mark.requirement("POOL-7", "POOL-2")
def test_orders_on_the_command_line_work_and_outlast_a_restart(tmp_path: Path):
    server = start(tmp_path)
    try:
        first = bad(server, "first@1", hold_mb=HOLD_MB)
        bad(server, "second@1", hold_mb=HOLD_MB)
        assert podium(server, "load", "first")["ref"] == "first@1"
        assert not running(server, "second@1")
        assert podium(server, "pin", "first")["pinned"]
        assert podium(server, "keep", "second", "--alive", "4s", "--preload")["keep_alive_s"] == 4
        refused_by(server.chat("second@1"))
        server.stop()
        server.start()
        wait_for(lambda: [item["pinned"] for item in instances(server, "first@1")] == [True])
        order = server.ok("GET", "/api/v1/instances/second@1/directive")
        assert (order["keep_alive_s"], order["preload"]) == (4, True)
        wait_for(lambda: "instance.stopped" in kinds(server, "second@1")[-1:])  # preloaded, and unused for 4 s
        loads = first.loads()
        assert server.ok("POST", "/api/v1/instances", {"ref": "first"})["load_s"] > 0
        assert first.loads() == loads + 1
        refused_by(server.chat("second@1"))
        assert podium(server, "pin", "first", "--off") == {"ref": "first@1", "pinned": False}
        assert server.chat("second@1").status == 200
        assert not running(server, "first@1")
        assert podium(server, "unload", "second") == {"ref": "second@1", "unloaded": True}
        assert not running(server, "second@1")
    finally:
        server.stop()


def refused_by(reply: Reply) -> None:
    """The memory is pinned: 503 with the numbers and what to do."""
    assert reply.status == 503, reply.body
    assert reply.error["code"] == "model_does_not_fit"
    message = reply.error["message"]
    assert "of the 300 MB" in message
    assert "are pinned" in message
    assert "podium pin --off" in message
    assert reply.headers["retry-after"]


@pytest.mark.requirement("POOL-2")
def test_a_model_larger_than_the_whole_budget_is_refused_at_once(server: Server):
    bad(server, "bystander@1", hold_mb=HOLD_MB)
    began = time.monotonic()
    location = f"{sys.executable} -c pass ${{PORT}}"
    added = server.add("huge@1", "command", location, memory_mb=4000)
    message = added["problem"]["message"]
    assert "4,000 MB" in message
    assert "300 MB" in message
    assert "pool.memory_budget_mb" in message
    refused = server.chat("huge@1")
    assert refused.status == 422, refused.body
    assert "needs 4,000 MB of memory, the budget is 300 MB" in refused.error["message"]
    assert time.monotonic() - began < 5
    assert running(server, "bystander@1"), "nothing is evicted for what never fits"


@pytest.mark.requirement("POOL-1", "POOL-2")
def test_what_was_evicted_for_a_load_that_fails_comes_back(server: Server):
    bad(server, "steady@1", hold_mb=HOLD_MB)
    switch = bad(server, "broken@1", hold_mb=HOLD_MB)
    assert server.chat("steady@1").status == 200
    assert not running(server, "broken@1")
    switch.set(load_error="the weights are torn")
    reply = server.chat("broken@1")
    assert reply.status == 503, reply.body
    assert "the weights are torn" in reply.error["message"]
    assert int(reply.headers["retry-after"]) >= 1
    quick = time.monotonic()
    again = server.chat("broken@1")
    assert again.status == 503
    assert int(again.headers["retry-after"]) >= 1
    assert time.monotonic() - quick < 1
    wait_for(lambda: running(server, "steady@1"))
    assert server.chat("steady@1").status == 200


@pytest.mark.requirement("POOL-3", "SWP-2", "POOL-1")
def test_two_models_that_do_not_fit_together_take_turns_and_nobody_is_dropped(server: Server):
    models = ("left@1", "right@1")
    switches = [bad(server, ref, hold_mb=HOLD_MB, slots=4) for ref in models]
    for switch in switches:
        switch.set(delay_ms=20, words=4)
    loads = sum(switch.loads() for switch in switches)
    until = time.monotonic() + 6
    waits: defaultdict[int, list[float]] = defaultdict(list)

    def client(number: int) -> None:
        turn = number * 4
        while time.monotonic() < until:
            turn += 1
            model = models[turn // 4 % 2]
            began = time.monotonic()
            if turn % 3:
                reply = server.chat(model, f"{number} {turn}")
                assert reply.status == 200, reply.body
                assert reply.json["choices"][0]["message"]["content"] == "w0 w1 w2 w3"
                served = reply.headers["x-podium-model"]
            else:
                head, found = read(server, model, f"{number} {turn}")
                assert found[-1] == b"data: [DONE]", found
                assert not any(b"error" in event for event in found)
                served = head["x-podium-model"]
            assert served == model
            waits[number].append(time.monotonic() - began)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(client, number) for number in range(8)]:
            done.result()
    swaps = sum(switch.loads() for switch in switches) - loads
    longest = max(max(each) for each in waits.values())
    requests = sum(len(each) for each in waits.values())
    print(f"{requests} requests, {swaps} loads, longest wait {longest:.2f} s")
    assert 2 <= swaps <= 6 / 0.5 + 2, "loads are bounded by max_wait_s"
    assert requests > 4 * swaps
    assert longest < 8
    assert min(len(each) for each in waits.values()) >= 3


@pytest.mark.requirement("POOL-3")
def test_a_full_line_refuses_with_a_time_to_come_back(server: Server):
    switch = bad(server, "full@1", load_s=0.5)
    server.ok("DELETE", "/api/v1/instances/full@1")
    switch.set(load_s=2.5)
    body = json.dumps({"model": "full@1", "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        line = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(256)]
        for one in line:
            one.sendall(head + body)
        wait_for(lambda: waiting(server) == 256)
        refused = server.chat("full@1")
        assert refused.status == 503, refused.body
        assert refused.error["code"] == "queue_full"
        assert 1 <= int(refused.headers["retry-after"]) <= 120
        assert "256" in refused.error["message"]
        for one in line:
            one.settimeout(30)
            assert one.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.requirement("PRV-11", "POOL-1")
def test_clients_that_leave_at_any_moment_hold_nothing(server: Server):
    bad(server, "fickle@1", slots=2, delay_ms=5)
    body = json.dumps({"model": "fickle@1", "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def come_and_go(number: int) -> None:
        for step in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(head + body)
                client.settimeout(0.001 * ((number * 7 + step * 3) % 40 + 1))
                with contextlib.suppress(TimeoutError):
                    client.recv(1)

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(come_and_go, range(10)))
    wait_for(lambda: ready(server, "fickle@1")["active"] == 0 and waiting(server) == 0)
    with ThreadPoolExecutor(2) as threads:
        assert [each.status for each in threads.map(lambda _: server.chat("fickle@1"), range(6))] == [200] * 6


@pytest.mark.requirement("POOL-6")
def test_a_second_copy_comes_under_load_and_goes_after_it(server: Server):
    switch = bad(server, "wide@1", slots=1, delay_ms=80)
    podium(server, "keep", "wide", "--copies", "0:2")
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            assert server.chat("wide@1").status == 200

    began = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        clients = [threads.submit(client) for _ in range(3)]
        try:
            wait_for(lambda: len(running(server, "wide@1")) == 2, timeout_s=20)
            took = time.monotonic() - began
            first, second = running(server, "wide@1")
            assert first["pid"] != second["pid"]
            base = {line["pid"] for line in switch.lines() if "text" in line}
            wait_for(lambda: {line["pid"] for line in switch.lines() if "text" in line} != base or len(base) > 1)
        finally:
            stop.set()
        for each in clients:
            each.result()
    assert took < 15
    assert len(instances(server, "wide@1")) == 2, "never more than max_copies"
    wait_for(lambda: len(running(server, "wide@1")) == 1, timeout_s=20)
    assert server.chat("wide@1").status == 200
    assert "instance.scaling" in kinds(server, "wide@1")


@pytest.mark.requirement("POOL-4", "POOL-6")
def test_conversations_stay_on_their_copy_and_different_ones_spread(server: Server):
    switch = bad(server, "pair@1", slots=4)
    server.ok("PUT", "/api/v1/instances/pair@1/directive", {"min_copies": 2})
    wait_for(lambda: len(running(server, "pair@1")) == 2)
    before = {item["id"]: item["served"] for item in running(server, "pair@1")}
    where: defaultdict[int, set[int]] = defaultdict(set)
    for turn in range(4):
        for talk in range(12):
            messages = [{"role": "user", "content": f"talk {talk}"}]
            for past in range(turn):
                messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"turn {past}"}]
            seen = len(switch.lines())
            reply = server.call("POST", "/v1/chat/completions", {"model": "pair@1", "messages": messages})
            assert reply.status == 200
            assert reply.headers["x-podium-model"] == "pair@1"
            where[talk].add(switch.lines()[seen]["pid"])
    assert [len(pids) for pids in where.values()] == [1] * 12
    assert len(set.union(*where.values())) == 2, "all conversations went to one copy"
    after = {item["id"]: item["served"] for item in running(server, "pair@1")}
    assert sum(after.values()) - sum(before.values()) == 48
    assert all(after[one] > before[one] for one in before)
    pid = running(server, "pair@1")[0]["pid"]
    os.kill(pid, 9)
    assert [server.chat("pair@1", f"talk {talk}").status for talk in range(12)] == [200] * 12
    wait_for(lambda: len(running(server, "pair@1")) == 2)


@pytest.mark.slow
@pytest.mark.requirement("API-4", "POOL-3")
def test_who_waits_for_a_load_is_told_what_for_and_about_how_long(server: Server):
    switch = bad(server, "slow@1", load_s=1.5)
    switch.set(load_s=5.8)
    server.ok("DELETE", "/api/v1/instances/slow@1")
    with ThreadPoolExecutor(2) as threads:
        streaming = threads.submit(lambda: list(server.stream("slow@1")))
        wait_for(lambda: waiting(server) == 1)
        wait_for(lambda: server.ok("GET", "/api/v1/queue")["queues"][0]["waits_for"].startswith("loading"))
        (queue,) = server.ok("GET", "/api/v1/queue")["queues"]
        assert queue["ref"] == "slow@1"
        assert 0.1 < queue["expected_s"] < 6
        shown = forking.podium("ps", env={**os.environ, "PODIUM_HOME": str(server.home)}, check=True).stdout
        assert "1 wait for slow@1" in shown
        lines = streaming.result()
    comments = [line for line in lines if line.startswith(b":")]
    assert comments
    assert comments[0].startswith(b": waiting for slow@1: loading since")
    assert b"s left" in comments[0]
    assert lines[-2] == b"data: [DONE]\n"
    assert switch.loads() == 2
    assert not server.ok("GET", "/api/v1/queue")["queues"]


@pytest.mark.requirement("POOL-1")
def test_live_events_tell_the_life_of_an_instance_in_order(server: Server):
    bad(server, "told@1")
    server.ok("DELETE", "/api/v1/instances/told@1")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/api/v1/events", headers={"Accept": "text/event-stream"})
        reply = connection.getresponse()
        assert reply.readline() == b": listening\n"
        assert server.chat("told@1", keep_alive=0).status == 200
        seen: list[str] = []
        while "instance.stopped" not in seen:
            line = reply.readline()
            if line.startswith(b"data:") and json.loads(line[5:])["subject"] == "told@1":
                seen.append(json.loads(line[5:])["kind"])
    finally:
        connection.close()
    recorded = [event["kind"] for event in events(server, "told@1")]
    assert recorded[-len(seen) :] == seen
    life = [kind for kind in seen if kind.startswith("instance.")]
    assert life == ["instance.loading", "instance.ready", "instance.draining", "instance.stopped"]
