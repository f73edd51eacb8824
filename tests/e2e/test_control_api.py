"""The control API of a real gateway: its own description, live events, reload, criteria, scores, lifecycle, cost."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from server import Server

TEXT = "one two three"


def wait_for(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``m@1`` is active with one request on record, ``m@2`` took the task ``jobs`` over from it."""
    server = Server(tmp_path_factory.mktemp("control") / "home").start()
    server.script("m@1", text=TEXT)
    server.script("m@2", text=TEXT)
    server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@1", "reason": "first"})
    assert server.chat("task:jobs", headers={"x-request-id": "known"}).status == 200
    server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@2", "reason": "second"})
    started = server.ok("POST", "/api/v1/benchmarks/runs", {"suite": "classification", "models": ["m@1"]})
    PARAMETERS["run_id"] = started["id"]
    began = server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@1", "mode": "gradual"})
    PARAMETERS["rollout_id"] = server.ok("POST", f"/api/v1/rollouts/{began['id']}/abort")["id"]
    planned = {"swaps": [{"task": "jobs", "to": "m@1"}], "at": time.time() + 86_400}
    PARAMETERS["schedule_id"] = server.ok("POST", "/api/v1/schedules", planned)["id"]
    PARAMETERS["execution_id"] = server.ok("POST", "/api/v1/executions", {"type": "jobs", "agent": "a"})["id"]
    planned = {"scope": "task", "subject": "jobs", "unit": "tokens", "limit": 1e9}
    PARAMETERS["name"] = server.ok("PUT", "/api/v1/budgets/plenty", planned)["name"]
    yield server
    server.stop()


PARAMETERS = {
    "number": "1",
    "spec": "m@1",
    "task": "jobs",
    "request_id": "known",
    "charged_to": "known",
    "alias": "short",
}


def test_the_openapi_document_describes_what_is_there_and_every_get_answers(shared: Server):
    document = shared.ok("GET", "/openapi.json")
    assert document["openapi"].startswith("3.")
    assert document["info"]["version"]
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation.get("summary"), path
            assert operation.get("description"), path
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        if "get" in operations:
            filled = path.format(**PARAMETERS)
            reply = shared.call("GET", filled)
            assert reply.status == 200, (filled, reply.body)
            written = reply.headers["content-type"].split(";")[0]
            assert written in operations["get"]["responses"]["200"].get("content", {"application/json": {}}), filled
            if written == "application/json":
                assert isinstance(reply.json, dict), filled
            assert reply.headers["cache-control"] == "no-store"
    references = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= set(document["components"]["schemas"])
    wanted = {
        "models",
        "tasks",
        "instances",
        "decisions",
        "feedback",
        "stats",
        "costs",
        "events",
        "swaps",
        "doctor",
        "rollouts",
    }
    assert wanted <= {path.split("/")[3] for path in document["paths"]}


@pytest.mark.requirement("SWP-7")
def test_a_swap_is_seen_live_on_the_event_stream(server: Server):
    server.script("m@1", text=TEXT)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", "/api/v1/events", headers={"Accept": "text/event-stream"})
        reply = connection.getresponse()
        assert reply.status == 200
        assert reply.getheader("content-type", "").startswith("text/event-stream")
        assert reply.readline() == b": listening\n"
        server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@1", "reason": "live"})
        seen = []
        while not seen or seen[-1]["kind"] != "swap.completed":
            line = reply.readline()
            assert line, "the stream ended before the swap was reported"
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:]))
    kinds = [event["kind"] for event in seen]
    assert kinds == ["swap.started", "swap.validated", "swap.warmed", "swap.completed"]
    assert seen[-1]["subject"] == "jobs"
    assert seen[-1]["data"]["after"] == "m@1"
    recorded = [event["kind"] for event in server.ok("GET", "/api/v1/events?limit=1000")["events"]]
    assert [kind for kind in recorded if kind in kinds and kind != "swap.warmed"] == [
        kind for kind in kinds if kind != "swap.warmed"
    ]
    server.stop()  # a listener that left must not hold the gateway up


@pytest.mark.model
@pytest.mark.requirement("OPS-6")
def test_a_reload_applies_the_difference_and_unchanged_models_keep_their_process(tmp_path: Path, smollm_path: Path):
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"text": TEXT}))
    config = tmp_path / "podium.toml"
    first = f'[models."smollm2@a"]\ngguf = "{smollm_path}"\nsettings = {{context = 256, threads = 1}}\n'
    second = first + f'[models."extra@1"]\nscripted = "{script}"\n'
    third = second + '[tasks.poetry]\nmin_quality = 0.5\nkeywords = ["haiku"]\n'
    config.write_text(first)
    server = Server(tmp_path / "home", "--config", str(config)).start()

    def pid() -> int | None:
        found = server.ok("GET", "/api/v1/instances")["instances"]
        return next((item["pid"] for item in found if item["ref"] == "smollm2@a"), None)

    def active() -> set[str]:
        return {model["ref"] for model in server.ok("GET", "/api/v1/models?status=active")["models"]}

    try:
        wait_for(lambda: active() == {"smollm2@a"}, 60)
        before = pid()
        assert before is not None
        config.write_text(second)
        done = server.ok("POST", "/api/v1/reload")
        assert done["changed"] is True
        assert done["models_added"] == ["extra@1"]
        assert done["models_changed"] == []
        assert active() == {"smollm2@a", "extra@1"}
        assert pid() == before
        assert server.ok("POST", "/api/v1/reload")["changed"] is False

        config.write_text(third)
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.call("GET", "/api/v1/tasks/poetry").status == 200)
        assert server.ok("GET", "/api/v1/tasks/poetry")["criteria"]["min_quality"] == 0.5
        assert pid() == before

        config.write_text(third + '[models."worse@1"]\nscripte = "x"\n')
        refused = server.call("POST", "/api/v1/reload")
        assert refused.status >= 400
        assert refused.error["code"] == "invalid_config"
        assert "scripte" in refused.error["message"]
        assert "podium.toml" in refused.error["message"]
        server.process.send_signal(signal.SIGHUP)
        assert server.ok("GET", "/api/v1/tasks/poetry")["criteria"]["min_quality"] == 0.5
        assert active() == {"smollm2@a", "extra@1"}
        assert pid() == before
        assert server.chat("extra@1").status == 200
    finally:
        server.stop()


def limits(**criteria: Any) -> dict[str, str]:
    return {"x-podium-criteria": json.dumps(criteria)}


@pytest.mark.requirement("SEL-1", "SEL-2")
def test_no_candidate_is_an_error_that_lists_every_model_with_its_reason(server: Server):
    server.script("m@1", text=TEXT)
    server.script("m@2", text=TEXT)
    server.ok("POST", "/api/v1/models/m@2/deprecate")
    reply = server.chat("auto", headers=limits(capabilities=["vision"]))
    assert reply.status == 422
    assert reply.error["code"] == "no_candidate"
    dropped = reply.error["details"]["dropped"]
    assert set(dropped) == {"m@1", "m@2"}
    assert "vision" in dropped["m@1"]
    assert "not active" in dropped["m@2"]
    for ref in ("m@1", "m@2"):
        assert ref in reply.error["message"]
    wrong = server.chat("auto", headers=limits(max_latency=5))
    assert wrong.status == 400
    assert "max_latency_ms" in wrong.error["message"]


@pytest.mark.requirement("SEL-1", "SEL-2", "SEL-3", "SEL-5")
def test_scores_equal_a_computation_by_hand_and_limits_become_hard_with_evidence(server: Server):
    server.script("fast@1", text=TEXT)
    server.script("slow@1", text=TEXT, latency_ms=60)
    for ref in ("slow@1", "fast@1"):
        server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": ref})
        for number in range(10):
            flagged = server.chat("task:jobs", headers=limits(max_latency_ms=30))
            assert flagged.headers["x-podium-model"] == ref, "a limit without enough evidence is best effort"
            request_id = flagged.headers["x-request-id"]
            score = 1.0 if ref == "fast@1" else (0.5 if number % 2 else 0.0)
            server.ok("POST", "/api/v1/feedback", {"request_id": request_id, "score": score})
    evidence = server.ok("GET", "/api/v1/tasks/jobs")["evidence"]
    assert {ref: row["samples"] for ref, row in evidence.items()} == {"fast@1": 10, "slow@1": 10}
    assert evidence["fast@1"]["quality"] == 1.0
    assert evidence["slow@1"]["quality"] == 0.25
    assert evidence["slow@1"]["latency_ms"] > 60

    reply = server.chat("task:jobs", headers=limits(max_latency_ms=500, max_memory_mb=1000))
    (attempt,) = server.ok("GET", f"/api/v1/decisions/{reply.headers['x-request-id']}")["attempts"]
    assert attempt["strategy"] == "bound"
    for candidate in attempt["candidates"]:
        row, terms = evidence[candidate["ref"]], candidate["terms"]
        assert candidate["samples"] == 10
        expected = {
            "quality": row["quality"],
            "latency": max(0.0, 1 - row["latency_ms"] / 500),
            "reliability": 1.0,
        }
        for name, value in expected.items():
            assert terms[name] == pytest.approx(value, abs=1e-9), name
        memory = row["memory_mb"] if row["memory_mb"] is not None else 0.0
        assert terms["memory"] == pytest.approx(max(0.0, 1 - memory / 1000), abs=1e-6)
        assert terms["recency"] == pytest.approx(1.0, abs=0.01)
        total = 0.4 * terms["quality"] + 0.3 * terms["latency"] + 0.1 * terms["memory"]
        total += 0.1 * terms["reliability"] + 0.1 * terms["recency"]
        assert candidate["score"] == pytest.approx(total, abs=1e-9)
    assert attempt["expected"]["samples"] == 10
    assert attempt["expected"]["latency_ms"] == pytest.approx(evidence["fast@1"]["latency_ms"])
    assert attempt["fallbacks"] == ["slow@1"]

    hard = server.chat("task:jobs", headers=limits(max_latency_ms=30, min_quality=0.9))
    (attempt,) = server.ok("GET", f"/api/v1/decisions/{hard.headers['x-request-id']}")["attempts"]
    dropped = {c["ref"]: c["dropped"] for c in attempt["candidates"]}
    assert dropped["fast@1"] is None
    assert "latency" in dropped["slow@1"]
    assert "quality" in dropped["slow@1"]
    nobody = server.chat("task:jobs", headers=limits(max_latency_ms=0.001))
    assert nobody.status == 422
    assert "fast@1" in nobody.error["message"]
    assert "slow@1" in nobody.error["message"]


@pytest.mark.requirement("REG-3")
def test_a_deprecated_version_is_not_chosen_and_a_bound_one_cannot_be_retired(server: Server):
    server.script("m@1", text=TEXT)
    server.script("m@2", text=TEXT)
    server.ok("POST", "/api/v1/models/m@2/activate", {"reason": "both"})
    server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@2"})
    for order in ("retire", "deprecate"):
        reply = server.call("POST", f"/api/v1/models/m@2/{order}", {"reason": "no"})
        assert reply.status == 409
        assert "jobs" in reply.error["message"]
    server.ok("POST", "/api/v1/models/m@1/deprecate", {"reason": "old now"})
    for _ in range(3):
        assert server.chat("auto").headers["x-podium-model"] == "m@2"
    shown = server.ok("GET", "/api/v1/models/m@1")
    assert [(t["from"], t["to"]) for t in shown["transitions"]][-2:] == [("ready", "active"), ("active", "deprecated")]
    last = shown["transitions"][-1]
    assert last["reason"] == "old now"
    assert last["by"]
    assert abs(last["at"] - time.time()) < 60
    server.ok("POST", "/api/v1/models/m@1/retire", {"reason": "gone"})
    assert "m@1" not in {item["ref"] for item in server.ok("GET", "/api/v1/instances")["instances"]}
    assert server.chat("m@1").status in (404, 409, 422)
    again = server.call("POST", "/api/v1/models/m@1/activate")
    assert again.status == 409


@pytest.mark.model
@pytest.mark.requirement("COST-1")
def test_the_cpu_time_of_two_concurrent_requests_adds_up_to_what_the_kernel_counted(model_server: Server):
    found = model_server.ok("GET", "/api/v1/instances")["instances"]
    assert model_server.chat("smollm2@a", max_tokens=1).status == 200
    found = model_server.ok("GET", "/api/v1/instances")["instances"]
    pid = next(item["pid"] for item in found if item["ref"] == "smollm2@a")
    process = psutil.Process(pid)

    def used() -> float:
        tree = [process, *process.children(recursive=True)]
        return sum(t.user + t.system for t in (one.cpu_times() for one in tree))

    def ask(number: int) -> str:
        text = f"Count from {number} to one hundred."
        reply = model_server.chat("smollm2@a", text, max_tokens=150, temperature=0, ignore_eos=True)
        assert reply.status == 200, reply.body
        return reply.headers["x-request-id"]

    before = used()
    with ThreadPoolExecutor(2) as threads:
        ids = list(threads.map(ask, (1, 2)))
    outside = used() - before
    costs = [
        model_server.ok("GET", f"/api/v1/decisions/{request_id}")["attempts"][0]["outcome"]["cost"]
        for request_id in ids
    ]
    inside = sum(cost["cpu_ms"] for cost in costs) / 1000
    assert outside > 0.5, "too little work to compare"
    assert inside == pytest.approx(outside, rel=0.05, abs=0.02)  # the kernel counts in ticks of 10 ms
    assert all(cost["output_tokens"] == 150 for cost in costs)
    rss = process.memory_info().rss / 1048576
    assert all(cost["peak_memory_mb"] + cost["mapped_memory_mb"] == pytest.approx(rss, rel=0.25) for cost in costs)
