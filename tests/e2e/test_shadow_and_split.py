"""Shadow and A/B to their ends on a real server: nobody sees a shadow's answer, a split moves nothing by itself."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from server import Server

GOOD = "Paris is the capital of France. It lies on the river Seine."
BAD = "I cannot help with that."


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("shadow") / "home").start()
    started.script("m@good", text=GOOD)
    started.script("m@same", text=GOOD)
    started.script("m@bad", text=BAD)
    yield started
    started.stop()


def begin(server: Server, task: str, to: str, mode: str, **plan: Any) -> str:
    """Bind ``task`` to ``m@good`` and order a comparison with ``to``."""
    assert server.ok("POST", f"/api/v1/tasks/{task}/swap", {"to": "m@good"})["ok"]
    reply = server.call("POST", f"/api/v1/tasks/{task}/swap", {"to": to, "mode": mode, "plan": plan})
    assert reply.status == 202, reply.body
    return str(reply.json["id"])


def follow(
    server: Server, task: str, rollout: str, *, score: dict[str, float] | None = None
) -> tuple[Any, Counter[str]]:
    """Ask until the rollout is concluded or has ended, with a pause between requests; how it stands, and who answered."""
    served: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            reply = server.chat(f"task:{task}", "What is the capital of France?")
            assert reply.status == 200, reply.body
            served[reply.headers["x-podium-model"]] += 1
            if score is not None:
                given = score[reply.headers["x-podium-model"]]
                server.ok("POST", "/api/v1/feedback", {"request_id": reply.headers["x-request-id"], "score": given})
            stop.wait(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    deadline = time.monotonic() + 40
    try:
        while True:
            found = server.ok("GET", f"/api/v1/rollouts/{rollout}")
            if found["rollout"]["concluded"] or not found["rollout"]["open"]:
                return found, served
            assert time.monotonic() < deadline, found["says"]
            time.sleep(0.1)
    finally:
        stop.set()
        asking.join(20)


def readings(found: Any) -> dict[str, Any]:
    return {one["metric"]: one for one in found["readings"]}


@pytest.mark.requirement("SWP-5")
def test_a_shadow_is_judged_by_what_it_answers_and_nobody_gets_to_see_it(gateway: Server):
    rollout = begin(gateway, "shadowed", "m@bad", "shadow", shadow_s=3, shadow_sample=1.0, min_samples=5)
    found, served = follow(gateway, "shadowed", rollout)
    assert set(served) == {"m@good"}
    quality = readings(found)["quality"]
    assert quality["candidate_n"] >= 5, found["says"]
    assert quality["candidate"] < quality["baseline"]
    assert readings(found)["success"]["candidate_n"] >= 5
    if found["rollout"]["open"]:  # not worse for certain in so short a time: it waits for a word
        assert gateway.ok("POST", f"/api/v1/rollouts/{rollout}/abort")["state"] == "aborted"
    else:
        assert found["rollout"]["state"] == "rolled_back"
    assert gateway.chat("task:shadowed").headers["x-podium-model"] == "m@good"


@pytest.mark.requirement("SWP-5")
def test_a_split_ends_with_its_report_and_moves_only_when_it_is_told_to(gateway: Server):
    rollout = begin(gateway, "halves", "m@same", "ab", split=0.5, max_s=4, min_samples=2)
    found, served = follow(gateway, "halves", rollout, score={"m@good": 0.9, "m@same": 0.9})
    assert set(served) == {"m@good", "m@same"}
    assert found["rollout"]["concluded"]
    assert readings(found)["quality"]["candidate_n"] >= 2
    gateway.call("POST", f"/api/v1/rollouts/{rollout}/promote")
    ended = gateway.ok("GET", f"/api/v1/rollouts/{rollout}")["rollout"]
    assert ended["state"] == "promoted"
    assert gateway.chat("task:halves").headers["x-podium-model"] == "m@same"
