"""Gateways that are killed with signal 9 in the middle of a rollout: whoever comes after ends it as it would have ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from server import Server

pytestmark = pytest.mark.requirement("SWP-11")
FINAL = {"promoted", "rolled_back", "failed", "aborted"}
PLAN = {"start_share": 0.5, "step_share": 0.5, "step_s": 0.6, "min_samples": 5}
LEGAL = {
    "requested": {"requested", "validating", "failed", "aborted"},
    "validating": {"warming", "failed", "aborted"},
    "warming": {"shadow", "canary", "failed", "aborted"},
    "shadow": {"shadow", "canary", "paused", "promoted", "rolled_back", "failed", "aborted"},
    "canary": {"canary", "paused", "promoted", "rolled_back", "failed", "aborted"},
    "paused": {"shadow", "canary", "promoted", "rolled_back", "failed", "aborted"},
    "promoted": {"promoted"},
}
SUITE = """title = "Words"
task = "jobs"
licence = "CC0-1.0"

[defaults]
grader = "contains"
"""


class Story:
    """One task, an old version and a candidate, a gateway that dies and comes back, and callers all the while."""

    def __init__(self, folder: Path, **candidate: object) -> None:
        self.folder = folder
        self.server = Server(folder / "home")
        suites = folder / "home" / "suites"
        suites.mkdir(parents=True)
        (suites / "words.toml").write_text(SUITE)
        items = [{"id": f"i{n}", "prompt": "say fine", "expected": "fine"} for n in range(4)]
        (suites / "words.jsonl").write_text("\n".join(map(json.dumps, items)))
        self.server.start()
        self.server.script("m@1", text="fine", latency_ms=3)
        self.server.ok("POST", "/api/v1/tasks/jobs/swap", {"to": "m@1"})
        path = folder / "m-2.json"
        path.write_text(json.dumps({"text": "fine", "latency_ms": 3, "load_ms": 250, **candidate}))
        self.server.add("m@2", "scripted", str(path), activate=False)
        self.ended = threading.Event()
        self.up = threading.Event()
        self.up.set()
        self.wrong: list[str] = []
        self.callers = [threading.Thread(target=self.call) for _ in range(2)]
        for caller in self.callers:
            caller.start()

    def call(self) -> None:
        while not self.ended.is_set():
            self.up.wait(0.1)
            try:
                reply = self.server.chat("task:jobs")
            except (OSError, http.client.HTTPException):
                self.ended.wait(0.02)  # the gateway is dead
                continue
            if reply.status != 200:
                self.wrong.append(f"{reply.status}: {reply.body[:200]!r}")
            self.ended.wait(0.01)

    def order(self, **plan: object) -> str:
        body = {"to": "m@2", "mode": "gradual", "plan": {**PLAN, **plan}}
        return str(self.server.ok("POST", "/api/v1/tasks/jobs/swap", body)["id"])

    def row(self, query: str) -> list[tuple[object, ...]]:
        """From the database itself: it answers while nobody serves."""
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/home/podium.db?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()

    def state(self) -> str:
        return str(self.row("SELECT state FROM rollouts ORDER BY seq DESC LIMIT 1")[0][0])

    def until(self, *states: str, within_s: float = 40) -> str:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            state = self.state()
            if state in states:
                return state
            assert state not in FINAL, (state, self.steps())
            time.sleep(0.004)
        raise AssertionError(f"still {self.state()} after {within_s} s: {self.steps()}\n{self.server.log()}")

    def die(self) -> None:
        self.server.kill()

    def rise(self) -> None:
        self.server.start()

    def steps(self) -> list[tuple[object, ...]]:
        return self.row("SELECT before, after, share, reason FROM rollout_steps ORDER BY seq")

    def close(self) -> None:
        self.ended.set()
        for caller in self.callers:
            caller.join(70)
        self.server.stop()

    def proved(self, state: str, serves: str) -> None:
        """It ended so, once, over legal steps, and what serves is what is on record."""
        steps = self.steps()
        for before, after, share, reason in steps:
            assert after in LEGAL[str(before)], steps
            assert 0 <= float(str(share)) <= 1, reason
        for (_, after, *_), (before, *_) in pairwise(steps):
            assert before == after, steps
        assert self.row("SELECT count(*) FROM rollouts WHERE finished_at IS NULL") == [(0,)]
        kinds = [str(kind) for (kind,) in self.row("SELECT kind FROM events WHERE kind LIKE 'rollout.%' ORDER BY id")]
        assert kinds[0] == "rollout.started"
        assert [kind for kind in kinds if kind.removeprefix("rollout.") in FINAL] == [f"rollout.{state}"]
        for kind in ("rollout.started", "rollout.validated"):
            assert kinds.count(kind) <= 1, kinds
        task = self.server.ok("GET", "/api/v1/tasks/jobs")
        assert task["bound_to"] == serves
        assert {self.server.chat("task:jobs").headers["x-podium-model"] for _ in range(20)} == {serves}
        assert self.wrong == []


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Callable[..., Story]]:
    made: list[Story] = []

    def tell(**candidate: object) -> Story:
        made.append(Story(tmp_path / f"story{len(made)}", **candidate))
        return made[-1]

    yield tell
    for each in made:
        each.close()


def test_a_good_candidate_is_promoted_although_the_gateway_dies_at_every_step(story: Callable[..., Story]):
    one = story(latency_ms=40)
    one.order()
    for state in ("validating", "warming", "canary"):
        one.until(state)
        one.die()
        assert one.state() == state
        one.rise()
    rollout = one.server.ok("GET", "/api/v1/rollouts")["rollouts"][0]["id"]
    one.until("canary")
    one.server.ok("POST", f"/api/v1/rollouts/{rollout}/pause", {})
    one.die()
    one.rise()
    assert one.state() == "paused"
    assert {one.server.chat("task:jobs").headers["x-podium-model"] for _ in range(10)} == {"m@1"}
    one.server.ok("POST", f"/api/v1/rollouts/{rollout}/resume", {})
    one.until("promoted")
    one.proved("promoted", "m@2")


def test_a_bad_candidate_is_rolled_back_although_the_gateway_dies_on_the_way(story: Callable[..., Story]):
    one = story(faults=[{"kind": "error", "match": "hi"}])
    one.order(step_s=60)
    one.until("canary")
    one.die()
    one.rise()
    one.until("rolled_back")
    one.proved("rolled_back", "m@1")


@pytest.mark.slow
def test_killed_in_the_shadow_nobody_meets_the_candidate_and_orders_are_taken_afterwards(story: Callable[..., Story]):
    one = story()
    rollout = one.order(shadow_s=600)
    one.until("shadow")
    one.die()
    one.rise()
    assert one.state() == "shadow"
    assert {one.server.chat("task:jobs").headers["x-podium-model"] for _ in range(10)} == {"m@1"}
    one.server.ok("POST", f"/api/v1/rollouts/{rollout}/promote", {})
    one.proved("promoted", "m@2")


def outcome(candidate: dict[str, object]) -> tuple[str, str]:
    if "load_error" in candidate:
        return "failed", "m@1"
    return ("rolled_back", "m@1") if "faults" in candidate else ("promoted", "m@2")


CANDIDATES: dict[str, dict[str, object]] = {
    "good": {"latency_ms": 10},
    "failing": {"faults": [{"kind": "error", "match": "hi"}]},
    "unloadable": {"load_error": "out of tensors"},
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", CANDIDATES)
@pytest.mark.parametrize("seed", range(12))
def test_killed_at_random_moments_a_rollout_ends_as_it_would_without(story: Callable[..., Story], kind: str, seed: int):
    """Up to four kills at moments drawn with the seed, the first within the second after the order."""
    draw = random.Random(f"{kind}{seed}")
    one = story(**CANDIDATES[kind])
    one.order(early=bool(seed % 2))
    deadline = time.monotonic() + draw.uniform(0, 1.0)
    for _ in range(4):
        while time.monotonic() < deadline and one.state() not in FINAL:
            time.sleep(0.002)
        one.die()
        one.rise()
        deadline = time.monotonic() + draw.uniform(0, 3.0)
    one.until(outcome(CANDIDATES[kind])[0], within_s=60)
    one.proved(*outcome(CANDIDATES[kind]))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(12))
def test_killed_at_the_moment_of_promotion_the_task_and_the_record_agree(story: Callable[..., Story], seed: int):
    """The last step takes 0.6 s and a look comes every second: the kill falls around the promotion."""
    one = story()
    one.order(step_s=0.2)
    draw = random.Random(seed)
    deadline = time.monotonic() + 60
    while one.row("SELECT share FROM rollout_steps ORDER BY seq DESC LIMIT 1") != [(1.0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    moved = time.monotonic() + draw.uniform(0.7, 1.2)
    while time.monotonic() < moved and one.state() not in FINAL:
        time.sleep(0.0005)
    one.die()
    before = one.state()
    bound = one.row("SELECT ref FROM bindings WHERE task = 'jobs'")
    assert (before == "promoted") == (bound == [("m@2",)]), (before, bound)
    one.rise()
    one.until("promoted")
    one.proved("promoted", "m@2")
