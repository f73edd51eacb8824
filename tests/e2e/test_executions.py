"""Executions through a real server: joined by requests, learned from, durable, readable by another tracker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from podium import Podium
from podium.errors import Conflict, InvalidRequest, NotFound
from server import Server

ROUTE = "/api/v1/executions"
JOBS = {"x-podium-task": "jobs"}


@pytest.fixture
def stocked(server: Server) -> Server:
    server.script("m@1", text="one two three")
    server.script("m@2", text="four five six")
    return server


def start(server: Server, **said: Any) -> str:
    return str(server.ok("POST", ROUTE, {"type": "jobs", **said})["id"])


def until(condition: Callable[[], Any], deadline_s: float = 15.0) -> Any:
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


@pytest.mark.requirement("TRK-1", "TRK-2")
def test_requests_join_by_header_or_metadata_and_what_came_of_it_is_learned(stocked: Server):
    server = stocked
    execution = start(server, agent="writer")
    assert server.chat("m@1", headers={**JOBS, "x-podium-execution": execution}).status == 200
    streamed = server.chat("m@1", headers=JOBS, metadata={"execution": execution, "mine": 1}, stream=True)
    assert streamed.body.rstrip().endswith(b"[DONE]")
    server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@2"})
    assert server.chat("task:jobs", headers={"x-podium-execution": execution}).headers["x-podium-model"] == "m@2"
    server.ok("POST", f"{ROUTE}/{execution}/complete", {"success": True, "quality": 0.75, "metadata": {"n": 3}})

    (shown,) = server.ok("GET", ROUTE)["executions"]
    assert (shown["state"], shown["agent"], shown["quality"], shown["requests"]) == ("completed", "writer", 0.75, 3)
    assert [step["ref"] for step in shown["decisions"]] == ["m@1", "m@1", "m@2"]
    assert shown["cost"]["attempts"] == 3
    assert shown["cost"]["output_tokens"] > 0
    ((before, after),) = [(swap["before"], swap["after"]) for swap in shown["swaps"]]
    assert after == "m@2"
    assert before in (None, "m@1"), "nothing was bound; before it is what the strategy would have chosen"
    full = server.ok("GET", f"{ROUTE}/{execution}")
    assert [one["served"] for one in full["attempts"]] == ["m@1", "m@1", "m@2"]
    assert sum(one["outcome"]["latency_ms"] for one in full["attempts"]) == pytest.approx(
        sum(step["latency_ms"] for step in shown["decisions"])
    )
    assert {(said["ref"], said["source"], said["score"]) for said in full["feedback"]} == {
        ("m@1", "agent", 0.75),
        ("m@2", "agent", 0.75),
    }
    evidence = server.ok("GET", "/api/v1/tasks/jobs")["evidence"]
    assert {ref: row["quality_samples"] for ref, row in evidence.items()} == {"m@1": 1, "m@2": 1}
    later = start(server)
    server.chat("task:jobs", headers={"x-podium-execution": later})
    server.ok("POST", f"{ROUTE}/{later}/complete", {"success": True})
    assert server.ok("GET", f"{ROUTE}?limit=1")["executions"][0]["swaps"] == []


WRONG = [
    (b'{"success": true, "quality": 7}', "quality"),
    (b'{"success": true, "quality": NaN}', "quality"),
    (b'{"success": "yes"}', "success"),
    (b'{"quality": 1}', "success"),
    (b'{"success": true, "metadata": {"a": "' + b"x" * 1_000_000 + b'"}}', "65536"),
    (b'{"success": true, "metadata": {"a": "\\ud800"}}', "metadata"),
    (b'{"success": true, "metadata": {"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}", ""),
    (b"nothing like JSON", ""),
]


def test_a_completion_that_is_wrong_is_refused_and_can_be_said_again(server: Server):
    execution = start(server)
    for body, says in WRONG:
        reply = server.call("POST", f"{ROUTE}/{execution}/complete", body)
        assert (reply.status, says in reply.error["message"]) == (400, True), reply.body[:300]
    assert server.ok("POST", f"{ROUTE}/{execution}/complete", {"success": True})["state"] == "completed"


def test_completing_twice_and_unknown_ids_are_told_apart(stocked: Server):
    execution = start(stocked)
    said = {"success": True, "quality": 0.5}
    first = stocked.ok("POST", f"{ROUTE}/{execution}/complete", said)
    again = stocked.ok("POST", f"{ROUTE}/{execution}/complete", said)
    assert {**again, "seq": None} == {**first, "seq": None}
    other = stocked.call("POST", f"{ROUTE}/{execution}/complete", {"success": False})
    assert (other.status, other.error["code"]) == (409, "conflict")
    for method, path, body in (("POST", f"{ROUTE}/exe_none/complete", said), ("GET", f"{ROUTE}/exe_none", None)):
        unknown = stocked.call(method, path, body)
        assert (unknown.status, unknown.error["code"]) == (404, "execution_not_found")
    assert stocked.call("GET", f"{ROUTE}?state=strange").status == 400
    assert stocked.chat("m@1", headers={"x-podium-execution": "exe_none"}).status == 200
    assert stocked.ok("GET", ROUTE)["tracker"]["last_unjoined"][0]["execution"] == "exe_none"
    for headers, more in (({"x-podium-execution": "a b"}, {}), ({}, {"metadata": {"execution": 7}})):
        refused = stocked.chat("m@1", headers=headers, **more)
        assert (refused.status, "execution" in refused.error["param"]) == (400, True)


@pytest.mark.requirement("TRK-1")
def test_after_kill_9_open_executions_go_on_and_late_ones_are_given_up_for_all_to_see(stocked: Server):
    server = stocked
    going, short = start(server, agent="writer"), start(server, timeout_s=4)
    done = start(server)
    assert server.chat("m@1", headers={**JOBS, "x-podium-execution": going}).status == 200
    server.ok("POST", f"{ROUTE}/{done}/complete", {"success": True})
    server.ok("GET", "/api/v1/stats")  # these two are answered when all of that is durable
    server.ok("GET", ROUTE)
    server.kill()
    server.start()
    states = {one["id"]: one["state"] for one in server.ok("GET", ROUTE)["executions"]}
    assert states.pop(short) in {"open", "abandoned"}
    assert states == {going: "open", done: "completed"}
    assert server.chat("m@2", headers={**JOBS, "x-podium-execution": going}).status == 200
    server.ok("POST", f"{ROUTE}/{going}/complete", {"success": True, "quality": 0.25})
    full = server.ok("GET", f"{ROUTE}/{going}")
    assert [one["served"] for one in full["attempts"]] == ["m@1", "m@2"]
    assert {said["ref"] for said in full["feedback"]} == {"m@1", "m@2"}
    until(lambda: server.ok("GET", f"{ROUTE}?state=abandoned")["executions"])
    (gone,) = until(lambda: server.ok("GET", "/api/v1/events?kind=execution.*")["events"])
    assert (gone["kind"], gone["subject"], gone["data"]["count"]) == ("execution.abandoned", short, 1)


def test_a_batch_may_be_sent_again_and_says_what_it_refused(server: Server):
    changes = [
        {"id": "mine-1", "start": {"type": "jobs", "agent": "writer"}},
        {"id": "mine-1", "complete": {"success": True}},
        {"id": "mine-2", "complete": {"success": True}},
        {"id": "mine-3"},
    ]
    first = server.ok("POST", f"{ROUTE}/batch", {"changes": changes})
    assert first["done"] == 2
    assert [(one["place"], one["status"]) for one in first["problems"]] == [(2, 404), (3, 400)]
    server.ok("GET", ROUTE)
    server.kill()
    server.start()
    assert server.ok("POST", f"{ROUTE}/batch", {"changes": changes[:2], "again": True})["problems"] == []
    assert len(server.ok("GET", ROUTE)["executions"]) == 1
    assert server.call("POST", f"{ROUTE}/batch", {"changes": changes[:1] * 1001}).status == 400


@pytest.mark.requirement("TRK-1", "TRK-2")
async def test_the_client_never_waits_and_the_gateway_gets_everything(stocked: Server):
    async with Podium.connect(stocked.url) as podium:
        tracker = podium.tracker
        seen: list[str] = []
        async with tracker.on_completed(lambda one: seen.append(one["id"]), every_s=0.05):

            async def work(number: int) -> str:
                async with tracker.task("jobs", f"agent-{number % 3}") as execution:
                    if number % 20 == 0:
                        await podium.execute("hi", task="jobs", model="m@1", metadata={"execution": execution})
                    return execution

            ids = await asyncio.gather(*(work(number) for number in range(500)))
            async with asyncio.timeout(20):
                while len(seen) < 500:  # noqa: ASYNC110 - the callback has no event to wait for
                    await asyncio.sleep(0.02)
        assert set(seen) == set(ids)
        found = await tracker.executions(limit=1000)
        assert sum(one["requests"] for one in found) == 25
        assert (await tracker.decisions(ids[0]))[0]["served"] == "m@1"
        assert not tracker.problems

        failing = await tracker.start_task("jobs")
        with pytest.raises(InvalidRequest, match="quality"):
            await tracker.complete_task(failing, success=True, quality=7)
        await tracker.complete_task(failing, success=True, quality=1)
        await tracker.complete_task(failing, success=True, quality=1)
        with pytest.raises(Conflict, match="another quality"):
            await tracker.complete_task(failing, success=True, quality=0)
        with pytest.raises(NotFound):
            await tracker.complete_task("exe_none", success=True)
        with pytest.raises(RuntimeError, match="no idea"):
            async with tracker.task("jobs", "writer") as broken:
                raise RuntimeError("no idea")
        shown = await tracker.execution(broken)
        assert (shown["success"], shown["metadata"]) == (False, {"error": "RuntimeError: no idea"})


async def test_what_was_noted_while_the_gateway_was_away_arrives_when_it_is_back(stocked: Server):
    port = stocked.port
    async with Podium.connect(stocked.url) as podium:
        first = await podium.tracker.start_task("jobs", "writer")
        await podium.tracker.flush()
        stocked.kill()
        second = await podium.tracker.start_task("jobs", "writer")
        await podium.tracker.complete_task(first, success=True)
        stocked.arguments = ("--port", str(port))
        await asyncio.to_thread(stocked.start)
        assert stocked.port == port
        async with asyncio.timeout(20):
            await podium.tracker.complete_task(second, success=False)
            while len([one async for one in podium.tracker.completed()]) < 2:  # noqa: ASYNC110 - nothing to wait for
                await asyncio.sleep(0.05)
    assert {one["id"]: one["success"] for one in stocked.ok("GET", ROUTE)["executions"]} == {first: True, second: False}
