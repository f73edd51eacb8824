"""How long choosing takes (SEL-7): p50 and p99 with 100 candidates and 100 tasks while history keeps arriving.

Run ``python benchmarks/decision.py [--seconds 5] [--json]``. Every 50 ms the history of a few (task, version) pairs
changes and the changed tasks are ranked again between two decisions, as in the gateway's one thread. Reported apart:
decisions (what a request pays), the changes themselves, and a decision nobody asked for before (``cold``).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import replace

from podium.core.constraints import Option
from podium.core.selection import PolicySnapshot
from podium.domain.evidence import Evidence
from podium.domain.task import Criteria, TaskSpec
from podium.services.selector import Selector

CHURN_S = 0.05
ROWS_PER_CHURN = 3
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = measure(options.seconds, options.candidates, options.tasks, options.seed)
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['candidates']} candidates, {result['tasks']} tasks, microseconds")
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"  {name:26}", "  ".join(f"{key} {number:,}" for key, number in value.items()))


if __name__ == "__main__":
    main()
