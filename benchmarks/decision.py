"""How long choosing takes (SEL-7): p50 and p99 with 100 candidates and 100 tasks while history keeps arriving.

Run ``python benchmarks/decision.py [--seconds 5] [--json]``. Two parts: the presets with their selector alone, and
(``learned``) the ``default`` strategy through the services that a gateway has: registry, tasks, policy, explorer,
recorder and learner, with 400 outcomes and 200 scores a second, beliefs published four times a second, in one event loop.
There a decision is what a request pays between its parsed head and the version it goes to.

In the first part, every 50 ms the history of a few (task, version) pairs
changes and the changed tasks are ranked again between two decisions, as in the gateway's one thread. Reported apart:
decisions (what a request pays), the changes themselves, and a decision nobody asked for before (``cold``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from podium.core.constraints import Option
from podium.core.selection import PolicySnapshot
from podium.domain.cost import Cost
from podium.domain.decision import Choice, Decision, Feedback, Outcome
from podium.domain.evidence import Evidence
from podium.domain.model import Category, Facts, Lifecycle, ModelVersion, Source
from podium.domain.request import Endpoint
from podium.domain.task import Criteria, TaskSpec
from podium.maintenance import PAIRS_AT_ONCE, SWEEP_S
from podium.ports import Recorded
from podium.services import wire
from podium.services.exploring import Explorer
from podium.services.learner import Learner
from podium.services.policy import Policy
from podium.services.recorder import Recorder
from podium.services.registry import Registry
from podium.services.selector import Selector
from podium.services.tasks import Tasks

CHURN_S = 0.05
ROWS_PER_CHURN = 3
OUTCOMES_PER_S = 400
NEEDS = frozenset({"chat"})


def row(rng: random.Random, now: float) -> Evidence:
    """A plausible history."""
    samples = rng.randrange(0, 200)
    return Evidence(
        samples=samples,
        successes=samples,
        latency_ms_sum=samples * rng.uniform(200, 8_000),
        quality_sum=samples * rng.random(),
        quality_samples=samples,
        memory_mb_max=rng.uniform(100, 4_000),
        last_at=now - rng.uniform(0, 86_400),
    )


def world(candidates: int, tasks: int, rng: random.Random, now: float) -> PolicySnapshot:
    """A full table: every version has a history on every task."""
    options = tuple(
        Option(
            ref=f"model-{index}@1",
            capabilities=NEEDS,
            context_length=rng.choice((2_048, 8_192, 32_768)),
            footprint_bytes=2**28,
            hardware=frozenset({"cpu"}),
        )
        for index in range(candidates)
    )
    names = [f"task-{index}" for index in range(tasks)]
    return PolicySnapshot(
        options=options,
        tasks={name: TaskSpec(name=name, criteria=Criteria(max_latency_ms=7_500)) for name in names},
        evidence={name: {option.ref: row(rng, now) for option in options} for name in names},
        memory_budget_bytes=2**33,
        now=now,
    )


def quantiles(samples: list[int]) -> dict[str, float]:
    """Microseconds."""
    ordered = sorted(samples)
    at = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    picked = {name: ordered[min(len(ordered) - 1, int(q * len(ordered)))] / 1_000 for name, q in at.items()}
    return {"n": len(ordered), **{name: round(value, 2) for name, value in picked.items()}}


def measure(seconds: float, candidates: int, tasks: int, seed: int) -> dict[str, object]:
    rng = random.Random(seed)
    now = 1_000_000_000.0
    snapshot = world(candidates, tasks, rng, now)
    selector = Selector(snapshot)
    names = list(snapshot.tasks)
    tick = time.perf_counter_ns

    cold: list[int] = []
    for name in names:
        begin = tick()
        selector.choose(name, needs=NEEDS, size=1_500)
        cold.append(tick() - begin)

    warm: list[int] = []
    changes: list[int] = []
    end = time.perf_counter() + seconds
    due = time.perf_counter() + CHURN_S
    while time.perf_counter() < end:
        if time.perf_counter() >= due:
            due += CHURN_S
            fresh = [
                (rng.choice(names), rng.choice(snapshot.options).ref, row(rng, now)) for _ in range(ROWS_PER_CHURN)
            ]
            begin = tick()
            changed = selector.snapshot
            for task, ref, evidence in fresh:
                changed = changed.with_evidence(task, ref, evidence)
            selector.replace(changed)
            changes.append(tick() - begin)
        name, size = rng.choice(names), rng.randrange(100, 16_000)
        begin = tick()
        selector.choose(name, needs=NEEDS, size=size)
        warm.append(tick() - begin)

    everything: list[int] = []
    for index in range(5):
        options = list(selector.snapshot.options)
        options[index] = replace(options[index], unavailable="breaker open")
        begin = tick()
        selector.replace(replace(selector.snapshot, options=tuple(options)))
        everything.append(tick() - begin)
    return {
        "candidates": candidates,
        "tasks": tasks,
        "seed": seed,
        "decision_us": quantiles(warm),
        "cold_decision_us": quantiles(cold),
        "change_of_3_rows_us": quantiles(changes),
        "change_of_one_version_us": quantiles(everything),
    }


class Clock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Nowhere:
    """A store that is instant: what is measured here is what happens in memory."""

    async def write_batch(self, batch: object) -> None:
        pass


def _version(index: int) -> ModelVersion:
    return ModelVersion(
        name=f"model-{index}",
        version="1",
        source=Source(provider="openai", location="http://127.0.0.1:9", settings=MappingProxyType({})),
        facts=Facts(digest=f"sha256:{index:064x}", parameters=10**8 * (1 + index), capabilities=NEEDS),
        category=Category.FAST,
        tags=frozenset(),
        created_at=float(index),
        status=Lifecycle.ACTIVE,
    )


def _outcome(number: int, task: str, ref: str, rng: random.Random) -> Outcome:
    cost = Cost(wall_ms=1.0, peak_memory_mb=900.0, energy_mwh=rng.uniform(0.1, 1), tokens_per_s=rng.uniform(10, 90))
    return Outcome(
        decision_id=f"d{number}",
        request_id=f"r{number}",
        task=task,
        ref=ref,
        at=time.time(),
        success=rng.random() > 0.02,
        error=None,
        streamed=True,
        latency_ms=rng.lognormvariate(6.0, 0.5),
        ttft_ms=rng.uniform(20, 200),
        cost=cost,
    )


class Plane:
    """The services that decide and learn, with a full table: ten outcomes and four scores of every pair."""

    def __init__(self, candidates: int, tasks: int, rng: random.Random) -> None:
        self.rng, clock, store = rng, Clock(), Nowhere()
        versions = tuple(_version(index) for index in range(candidates))
        self.names = [f"task-{index}" for index in range(tasks)]
        specs = [
            TaskSpec(name=name, strategy="default", criteria=Criteria(max_latency_ms=1_500)) for name in self.names
        ]
        recorded = Recorded(
            versions=versions,
            profiles={},
            aliases={},
            tasks=tuple(specs),
            bindings=(),
            evidence={},
            unfinished_swaps=(),
        )
        registry = Registry(store, recorded, clock)  # type: ignore[arg-type] # the part of a store that is used
        self.policy = Policy(
            registry=registry,
            tasks=Tasks(store, specs, "default"),  # type: ignore[arg-type] # the same
            recorded=recorded,
            weights={},
            footprint=lambda version: 2**28,
            context_length=lambda version: 8_192,
            unavailable=lambda version: None,
            hardware=lambda: frozenset({"cpu"}),
            memory_bytes=lambda: 2**36,
            clock=clock,
        )
        self.learner = Learner(self.policy.believe, registry.active_refs)
        self.recorder = Recorder(
            store,  # type: ignore[arg-type] # the same
            clock,
            on_evidence=self.policy.learn,
            on_outcomes=self.learner.outcomes,
            on_feedback=self.learner.feedback,
        )
        self.policy.refresh()
        self.learner.meet(versions)
        self._explorer = Explorer(rng.random, lambda ref: 1)
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "x" * 1_500}]}).encode()
        self._head = wire.parse(Endpoint.CHAT, body, request_id="r", task=self.names[0])
        self._number = 0
        for task in self.names:
            for version in versions:
                self.learner.outcomes([_outcome(number, task, version.ref, rng) for number in range(10)])
                for _ in range(4):
                    self.learner.score(task, version.ref, rng.random())

    def decide(self, name: str) -> Choice:
        choice = self.policy.choose(name, needs=NEEDS, size=1_500, explicit=None, criteria=None)
        return self._explorer.settle(choice, self._head)

    def request(self) -> None:
        """One more answer, scored every second time."""
        self._number += 1
        number, name = self._number, self.rng.choice(self.names)
        made = self.decide(name)
        decision = Decision(
            id=f"d{number}", request_id=f"r{number}", at=0.0, choice=made, served=made.chosen, propensity=1.0
        )
        self.recorder.record(decision, _outcome(number, name, made.chosen, self.rng))
        if number % 2:
            score = self.rng.random()
            given = Feedback(request_id="r", decision_id="d", task=name, ref=made.chosen, score=score, at=0.0)
            self.learner.feedback(given)


def timed(work: Callable[[], object], walls: list[int], cpus: list[int] | None = None) -> None:
    busy, begin = time.thread_time_ns(), time.perf_counter_ns()
    work()
    walls.append(time.perf_counter_ns() - begin)
    if cpus is not None:
        cpus.append(time.thread_time_ns() - busy)


async def through_services(seconds: float, candidates: int, tasks: int, seed: int) -> dict[str, object]:
    plane = Plane(candidates, tasks, random.Random(seed))
    everything: list[int] = []
    timed(plane.learner.publish, everything)
    state = plane.learner.state()
    cold: list[int] = []
    for name in plane.names:
        timed(partial(plane.decide, name), cold)
    warm: list[int] = []
    cpu: list[int] = []
    folds: list[int] = []
    publications: list[int] = []
    plane.recorder.start()
    fold_due = publish_due = time.perf_counter()
    end = fold_due + seconds
    while (now := time.perf_counter()) < end:
        if now >= fold_due:
            fold_due += CHURN_S
            for _ in range(int(OUTCOMES_PER_S * CHURN_S)):
                plane.request()
            timed(plane.recorder.catch_up, folds)
        if now >= publish_due:
            publish_due += SWEEP_S
            timed(partial(plane.learner.publish, PAIRS_AT_ONCE), publications)
        for _ in range(50):
            timed(partial(plane.decide, plane.rng.choice(plane.names)), warm, cpu)
        await asyncio.sleep(0)
    await plane.recorder.close()
    return {
        "learned_decision_us": quantiles(warm),
        "learned_decision_cpu_us": quantiles(cpu),
        "learned_cold_decision_us": quantiles(cold),
        "fold_of_20_outcomes_us": quantiles(folds),
        "publication_us": quantiles(publications),
        "publication_of_everything_us": quantiles(everything),
        "state": {"bytes_per_pair": round(len(state) / (candidates * tasks), 1)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    sizes = (options.seconds, options.candidates, options.tasks, options.seed)
    result = {**measure(*sizes), **asyncio.run(through_services(*sizes))}
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['candidates']} candidates, {result['tasks']} tasks, microseconds")
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"  {name:28}", "  ".join(f"{key} {number:,}" for key, number in value.items()))


if __name__ == "__main__":
    main()
