"""Budgets of a running server, over real sockets: a hundred at once, a kill, a reload, the commands."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import forking
from server import Server

TEN = "one two three four five six seven eight nine ten"


def wait_for(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("budgets") / "home").start()
    server.script("m@1", text=TEN)
    server.script("slow@1", text=TEN, latency_ms=100, chunk_gap_ms=20)
    yield server
    server.stop()


def put(server: Server, name: str, **fields: Any) -> Any:
    body = {"scope": "task", "subject": name, "unit": "tokens", "limit": 100, "period": "day", **fields}
    return server.ok("PUT", f"/api/v1/budgets/{name}", body)


def account(server: Server, name: str) -> dict[str, Any]:
    return server.ok("GET", f"/api/v1/budgets/{name}")["accounts"][0]


def ask(server: Server, task: str, model: str = "m@1", headers: dict[str, str] | None = None, **more: Any) -> Any:
    return server.chat(model, headers={"x-podium-task": task, **(headers or {})}, **more)


@pytest.mark.requirement("COST-3")
def test_a_hundred_requests_at_once_use_no_more_than_the_budget(shared: Server):
    put(shared, "crowd", limit=1000)
    with ThreadPoolExecutor(100) as pool:
        replies = list(pool.map(lambda _: ask(shared, "crowd", "slow@1", max_tokens=10), range(100)))
    used = sum(reply.json["usage"]["total_tokens"] for reply in replies if reply.status == 200)
    assert {reply.status for reply in replies} == {200, 429}
    now = account(shared, "crowd")
    assert now["used"] == used <= 1000
    assert now["reserved"] == 0
    for reply in replies:
        if reply.status == 429:
            assert reply.error["type"] == "insufficient_quota"
            assert "budget crowd" in reply.error["message"]
            assert int(reply.headers["retry-after"]) >= 1
    while (reply := ask(shared, "crowd", max_tokens=10)).status == 200:
        used += reply.json["usage"]["total_tokens"]
    assert account(shared, "crowd")["used"] == used <= 1000
    assert "max_tokens" in reply.error["message"]


def test_requests_that_say_no_limit_spend_at_most_what_one_of_them_uses_too_much(shared: Server):
    put(shared, "vague", limit=200)
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: ask(shared, "vague", "slow@1"), range(50)))
    used = sum(reply.json["usage"]["total_tokens"] for reply in replies if reply.status == 200)
    assert 0 < account(shared, "vague")["used"] == used <= 200


@pytest.mark.requirement("COST-3")
def test_it_warns_defers_low_priority_and_refuses(shared: Server):
    put(shared, "short", limit=1000)
    deferred = 0
    while (normal := ask(shared, "short", max_tokens=10)).status == 200:
        low = ask(shared, "short", max_tokens=10, headers={"x-podium-priority": "low"})
        if low.status == 429:
            assert low.error["code"] == "budget_deferred"
            assert 0 < int(low.headers["retry-after"]) <= 86_400
            deferred += 1
        else:
            assert not deferred
    assert deferred
    assert normal.status == 429
    assert normal.error["code"] == "insufficient_quota"
    wait_for(lambda: {"budget.warned", "budget.refused"} <= kinds(shared, "short"))


def kinds(server: Server, subject: str) -> set[str]:
    events = server.ok("GET", "/api/v1/events?limit=1000")["events"]
    return {event["kind"] for event in events if event["subject"] == subject}


def test_a_stream_is_refused_before_it_begins_and_one_that_is_left_holds_nothing(shared: Server):
    put(shared, "streams", limit=400)
    body = {"model": "slow@1", "stream": True, "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"x-podium-task": "streams"})
    reply = connection.getresponse()
    assert reply.status == 200
    reply.readline()
    assert account(shared, "streams")["reserved"] > 0
    connection.close()
    wait_for(lambda: account(shared, "streams")["reserved"] == 0)
    assert account(shared, "streams")["used"] > 0
    put(shared, "streams", limit=1)
    refused = shared.call("POST", "/v1/chat/completions", body, {"x-podium-task": "streams"})
    assert refused.status == 429
    assert refused.headers["content-type"] == "application/json"


def test_the_budget_of_a_provider_lets_another_provider_answer(tmp_path: Path):
    config = tmp_path / "podium.toml"
    config.write_text(
        '[budgets.remote]\nscope = "provider"\nsubject = "openai"\nunit = "tokens"\nlimit = 0\n'
        '[fallbacks]\n"far@1" = ["near@1"]\n'
    )
    server = Server(tmp_path / "home", "--config", str(config)).start()
    try:
        server.script("near@1", text=TEN)
        server.add("far@1", "openai", f"{server.url}/v1", remote="near@1")
        reply = server.chat("far@1", headers={"x-request-id": "turned"})
        assert reply.status == 200
        assert reply.headers["x-podium-model"] == "near@1"
        decisions = server.ok("GET", "/api/v1/decisions/turned")
        assert "insufficient_quota" in json.dumps(decisions)
        config.write_text(config.read_text().replace("limit = 0", "limit = 100000"))
        assert "budgets" in server.ok("POST", "/api/v1/reload", {})["live"]
        assert server.chat("far@1").headers["x-podium-model"] == "far@1"
        assert account(server, "remote")["used"] > 0
        refused = server.call("DELETE", "/api/v1/budgets/remote")
        assert refused.status == 409
        assert "[budgets.remote]" in refused.error["message"]
    finally:
        server.stop()


@pytest.mark.requirement("COST-3")
def test_after_a_kill_what_was_used_is_known_and_nothing_is_reserved(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    try:
        server.script("m@1", text=TEN)
        server.script("slow@1", text=TEN, latency_ms=5000)
        put(server, "kill", limit=10_000)
        for _ in range(5):
            assert ask(server, "kill", max_tokens=10).status == 200
        used = account(server, "kill")["used"]
        wait_for(lambda: stored(server) == used)
        with ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask, server, "kill", "slow@1", max_tokens=10) for _ in range(3)]
            wait_for(lambda: account(server, "kill")["reserved"] > 0)
            server.kill()
            assert all(one.exception() is not None for one in asking)
        server.start()
        now = account(server, "kill")
        assert (now["used"], now["reserved"]) == (used, 0)
    finally:
        server.stop()


def stored(server: Server) -> int:
    with sqlite3.connect(f"file:{server.home / 'podium.db'}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT used FROM budget_accounts").fetchall()
    connection.close()
    return sum(used for (used,) in rows)


BAD = [
    ({"limit": -1}, "0 or more"),
    ({"limit": 1.5}, "whole number"),
    ({"unit": "hours"}, "unit"),
    ({"scope": "planet"}, "scope"),
    ({"period": "year"}, "period"),
    ({"timezone": "Mars/Olympus"}, "time zone"),
    ({"timezone": "../../etc/passwd"}, "time zone"),
    ({"subject": ""}, "subject"),
    ({"limit": "many"}, "limit"),
    ({"limit": "5"}, "limit must be a number"),
    ({"limit": True}, "must be a number"),
    ({"colour": 1}, "colour"),
]


@pytest.mark.parametrize(("wrong", "said"), BAD, ids=[said for _, said in BAD])
def test_a_budget_that_makes_no_sense_is_refused_in_words(shared: Server, wrong: dict[str, Any], said: str):
    body = {"scope": "task", "subject": "t", "unit": "tokens", "limit": 5, "period": "day", **wrong}
    reply = shared.call("PUT", "/api/v1/budgets/wrong", body)
    assert reply.status == 400
    assert said in reply.error["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_limit_that_is_no_number_is_refused(shared: Server, number: str):
    raw = f'{{"scope": "task", "subject": "t", "unit": "usd", "limit": {number}}}'.encode()
    reply = shared.call("PUT", "/api/v1/budgets/wrong", raw, {"content-type": "application/json"})
    assert reply.status == 400
    assert "finite" in reply.error["message"]


def podium(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forking.podium(*arguments, env={**os.environ, "PODIUM_HOME": str(server.home), "PODIUM_URL": server.url})


def test_the_commands_set_list_change_and_remove(shared: Server):
    made = podium(shared, "budgets", "set", "mine", "--provider", "*", "--limit", "2.5", "--unit", "compute_seconds")
    assert made.returncode == 0, made.stderr
    assert "2.5 s per month for each provider" in made.stdout
    changed = podium(shared, "budgets", "set", "mine", "--limit", "3", "--json")
    assert json.loads(changed.stdout)["unit"] == "compute_seconds"
    listed = podium(shared, "budgets", "ls")
    assert "mine" in listed.stdout
    assert podium(shared, "budgets", "rm", "mine").returncode == 0
    gone = podium(shared, "budgets", "rm", "mine")
    assert gone.returncode == 1
    assert "no budget 'mine'" in gone.stderr


def test_a_file_with_a_wrong_budget_names_line_and_key(tmp_path: Path):
    config = tmp_path / "podium.toml"
    config.write_text('[budgets.a]\nscope = "task"\nsubject = "t"\nunit = "usd"\nlimit = -1\n')
    found = forking.podium("config", "check", "--config", str(config), env={**os.environ, "PODIUM_HOME": str(tmp_path)})
    assert found.returncode == 1
    assert f"{config}:5: budgets.a.limit: limit must be 0 or more usd" in found.stderr + found.stdout


@pytest.mark.requirement("COST-3")
def test_money_is_counted_by_the_prices_and_refused_when_it_is_spent(tmp_path: Path):
    config = tmp_path / "podium.toml"
    config.write_text(
        '[prices."near@1"]\ninput = 1000.0\noutput = 2000.0\n'
        '[budgets.bill]\nscope = "provider"\nsubject = "openai"\nunit = "usd"\nlimit = 0.15\nperiod = "total"\n'
    )
    server = Server(tmp_path / "home", "--config", str(config)).start()
    try:
        server.script("near@1", text=TEN)
        server.add("far@1", "openai", f"{server.url}/v1", remote="near@1")
        spent = 0.0
        while (reply := server.chat("far@1", max_tokens=10)).status == 200:
            usage = reply.json["usage"]
            spent += (usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 2000) / 1e6
            now = account(server, "bill")
            assert now["used"] == pytest.approx(spent, abs=1e-6)
            assert (now["reserved"], now["unmeasured"]) == (0, 0)
        assert 0.05 < spent <= 0.15
        assert reply.error["code"] == "insufficient_quota"
        assert "budget bill ($0.15 in all" in reply.error["message"]
        assert "retry-after" not in reply.headers
        wait_for(lambda: not held(server))
    finally:
        server.stop()


def held(server: Server) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{server.home / 'podium.db'}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT * FROM budget_reservations").fetchall()
    connection.close()
    return rows
