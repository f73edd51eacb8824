"""Swaps under load: nothing dropped, nothing misrouted, failures leave the old version serving."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from server import Server


def words(name: str, count: int = 20) -> dict[str, object]:
    """A script whose every word is the version's own name, streamed with small gaps."""
    return {"text": " ".join([name] * count), "ttft_ms": 2, "chunk_gap_ms": 3}


def consume(server: Server, model: str) -> tuple[str, str, bool]:
    """(version in the header, text, ended properly) of one stream."""
    lines = server.stream(model)
    head = json.loads(next(lines))
    text, done = "", False
    for line in lines:
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
        done = done or line.startswith(b"data: [DONE]")
    return head.get("x-podium-model", f"HTTP {head['status']}"), text, done


@pytest.mark.requirement("SWP-1", "SWP-2", "SWP-7")
def test_streams_across_swaps_and_rollbacks_are_whole_and_come_from_the_version_they_name(server: Server):
    server.script("m@a", **words("alpha"))
    server.script("m@b", **words("beta"))
    assert server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@a"})["ok"]
    ended = threading.Event()
    results: list[tuple[str, str, bool]] = []

    def client() -> None:
        while not ended.is_set():
            results.append(consume(server, "task:jobs"))

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(client) for _ in range(8)]
        for number in range(20):
            order = "rollback" if number % 2 else "swap"
            body = {} if number % 2 else {"to": "m@b"}
            done = server.ok("POST", f"/api/v1/tasks/jobs/{order}", body)
            assert done["ok"], done
            served, _, _ = consume(server, "task:jobs")
            assert served == done["after"], "a request ordered after the swap went to the old version"
        ended.set()
        for future in running:
            future.result()
    expected = {"m@a": words("alpha")["text"], "m@b": words("beta")["text"]}
    assert len(results) >= 16
    assert [r for r in results if not r[2] or r[1].strip() != expected.get(r[0])] == []
    assert {r[0] for r in results} == {"m@a", "m@b"}


@pytest.mark.requirement("SWP-1")
def test_a_version_that_cannot_load_leaves_the_old_one_serving(server: Server, tmp_path: Path):
    server.script("m@a", text="alpha")
    assert server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@a"})["ok"]
    server.add("broken@1", "command", "/bin/false ${PORT}", activate=False)
    failed = server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "broken@1"})
    assert not failed["ok"]
    assert failed["state"] == "failed"
    assert failed["error"]
    assert server.chat("task:jobs").headers["x-podium-model"] == "m@a"
    kinds = [event["kind"] for event in server.ok("GET", "/api/v1/events?limit=1000")["events"]]
    assert "swap.failed" in kinds
    assert "swap.completed" in kinds


@pytest.mark.requirement("SWP-3")
def test_a_candidate_without_a_required_capability_is_blocked_with_the_gap(server: Server):
    server.script("m@a", text="alpha")
    server.script("m@b", text="beta")
    server.ok("PUT", "/api/v1/tasks/see", {"criteria": {"capabilities": ["vision"]}})
    blocked = server.ok("POST", "/api/v1/tasks/see/swap", {"to": "m@b"})
    assert not blocked["ok"]
    assert "vision" in blocked["error"]
    assert blocked["compatibility"]["gaps"]


@pytest.mark.requirement("SWP-1")
@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"to": "nothing@1"}, 404, "nothing"),
        ({"to": "m@a"}, 409, "already"),
        ({"to": "m@b", "mode": "immediate", "plan": {}}, 400, "gradual"),
        ({"to": "m@b", "mode": "sideways"}, 400, "sideways"),
        ({"too": "m@b"}, 400, "to"),
    ],
)
def test_misuse_of_a_swap_is_an_error_that_says_what_is_wrong(server: Server, body, status, word):
    server.script("m@a", text="alpha")
    server.script("m@b", text="beta")
    server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@a"})
    reply = server.call("POST", "/api/v1/tasks/jobs/swap", body)
    assert reply.status == status, reply.body
    assert word in reply.error["message"]


@pytest.mark.requirement("SWP-7")
def test_rolling_back_goes_step_by_step_and_never_in_a_circle(server: Server):
    for name in "abc":
        server.script(f"m@{name}", text=name)
        assert server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": f"m@{name}"})["ok"]
    assert server.ok("POST", "/api/v1/tasks/jobs/rollback")["after"] == "m@b"
    assert server.ok("POST", "/api/v1/tasks/jobs/rollback")["after"] == "m@a"
    reply = server.call("POST", "/api/v1/tasks/jobs/rollback", {})
    assert reply.status == 409
    assert "predecessor" in reply.error["message"]


@pytest.mark.requirement("SWP-11")
def test_concurrent_swaps_of_one_task_are_serialised_and_each_is_answered(server: Server):
    for name in "abcd":
        server.script(f"m@{name}", text=name)
    with ThreadPoolExecutor(8) as threads:
        orders = [
            threads.submit(server.call, "POST", "/api/v1/tasks/jobs/swap", {"to": f"m@{'abcd'[n % 4]}"})
            for n in range(16)
        ]
        replies = [order.result() for order in orders]
    assert {reply.status for reply in replies} <= {200, 409}
    done = [swap for swap in server.ok("GET", "/api/v1/swaps?task=jobs")["swaps"] if swap["ok"]]
    assert len(done) == sum(reply.status == 200 for reply in replies)
    done.sort(key=lambda swap: swap["finished_at"])
    for earlier, later in pairwise(done):
        assert later["before"] == earlier["after"]
