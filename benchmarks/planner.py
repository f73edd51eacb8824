#!/usr/bin/env python3
"""Time the planner of the warm pool: 200 versions on 8 devices, 20 wants, in the situations a pool gets into.

    planner.py [--versions 200] [--devices 8] [--wants 20] [--rounds 300] [--json]

Every version is resident and every want may go to every device, so nothing is cut short. One plan per snapshot and
call; p50 and p99 over all calls of a situation, in milliseconds: the time on the clock, which foreign work on the
machine lengthens, and beside it the processor time of the thread. The goal is 1 ms.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable

from podium.core.planning import Device, PoolSnapshot, Resident, Rules, Want, plan
from podium.domain.instance import InstanceState

GIB = 1024**3
Shape = Callable[[random.Random], dict]


def free(pick: random.Random) -> dict:
    return {"age_s": 600.0}


def idle(pick: random.Random) -> dict:
    return {"age_s": 600.0, "idle_s": pick.uniform(0, 3600)}


def busy(pick: random.Random) -> dict:
    return {"age_s": 600.0, "active": 1}


def young(pick: random.Random) -> dict:
    return {"age_s": pick.uniform(0, 1.9)}


def mixed(pick: random.Random) -> dict:
    return {
        "age_s": pick.uniform(0, 120),
        "idle_s": pick.uniform(0, 600),
        "active": pick.choice([0, 0, 1]),
        "waiting": pick.choice([0, 0, 0, 4]),
        "pinned": pick.random() < 0.1,
        "helper": pick.random() < 0.1,
        "state": pick.choice([InstanceState.READY] * 8 + [InstanceState.LOADING, InstanceState.DRAINING]),
    }


# Name: shape of a resident, share of the capacity that is taken, seconds the wants have waited, refs with copies.
SITUATIONS: dict[str, tuple[Shape, float, float, bool]] = {
    "room for all": (free, 0.3, 0.0, False),
    "all idle, evict for each": (idle, 1.0, 0.0, False),
    "all busy, evict for the overdue": (busy, 1.0, 60.0, False),
    "all busy, all wait": (busy, 1.0, 0.0, False),
    "all young, all wait": (young, 1.0, 0.0, False),
    "mixed": (mixed, 1.0, 3.0, False),
    "mixed, overdue, with copies": (mixed, 1.0, 9.0, True),
}


def snapshot(situation: str, pick: random.Random, versions: int, devices: int, wants: int) -> PoolSnapshot:
    shape, taken, waited_s, copies = SITUATIONS[situation]
    names = [f"gpu{number}" for number in range(devices)]
    residents = []
    held = dict.fromkeys(names, 0)
    for number in range(versions):
        name = names[number % devices]
        size = pick.randint(1, 16) * GIB // 2
        held[name] += size
        facts = {"state": InstanceState.READY, "load_s": pick.choice([None, pick.uniform(0.2, 20)]), **shape(pick)}
        ref = f"v{number // 2 if copies else number}"
        residents.append(Resident(id=f"i{number}", ref=ref, device=name, footprint_bytes=size, **facts))
    return PoolSnapshot(
        devices=tuple(
            Device(id=name, capacity_bytes=int(held[name] / taken), reserve_bytes=GIB if taken < 1 else 0)
            for name in names
        ),
        residents=tuple(residents),
        wants=tuple(
            Want(
                ref=f"new{number}",
                footprint_bytes=pick.randint(4, 40) * GIB // 2,
                devices=tuple(pick.sample(names, devices)),
                waited_s=waited_s,
                helper=number % 10 == 7,
                optional=number % 10 == 9,
            )
            for number in range(wants)
        ),
        rules=Rules(),
    )


def measure(situation: str, args: argparse.Namespace) -> dict[str, object]:
    pick = random.Random(f"{situation} {args.seed}")
    taken: list[float] = []
    worked: list[float] = []
    answers: Counter[str] = Counter()
    for number in range(args.rounds + 20):
        pool = snapshot(situation, pick, args.versions, args.devices, args.wants)
        gc.collect(0)
        started, busy = time.perf_counter_ns(), time.thread_time_ns()
        steps = plan(pool)
        spent, used = time.perf_counter_ns() - started, time.thread_time_ns() - busy
        if number >= 20:
            taken.append(spent / 1e6)
            worked.append(used / 1e6)
            answers.update(type(step).__name__.lower() for step in steps)
    cuts, work = statistics.quantiles(taken, n=100), statistics.quantiles(worked, n=100)
    return {
        "p50_ms": round(cuts[49], 4),
        "p99_ms": round(cuts[98], 4),
        "cpu_p50_ms": round(work[49], 4),
        "cpu_p99_ms": round(work[98], 4),
        "steps": {name: round(count / args.rounds, 1) for name, count in sorted(answers.items())},
    }


def row(one: dict[str, object]) -> str:
    names = ("p50_ms", "p99_ms", "cpu_p50_ms", "cpu_p99_ms")
    return "".join(f"{name[:-3]} {one[name]:.3f}  " for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=200)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--wants", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = {situation: measure(situation, args) for situation in SITUATIONS}
    names = ("p50_ms", "p99_ms", "cpu_p50_ms", "cpu_p99_ms")
    worst = {f"worst_{name}": max(float(str(one[name])) for one in found.values()) for name in names}
    size = {name: getattr(args, name) for name in ("versions", "devices", "wants", "rounds")}
    if args.json:
        print(json.dumps({"benchmark": "planner", **size, **worst, "situations": found}))
        return
    print(", ".join(f"{count} {name}" for name, count in size.items()))
    for situation, one in found.items():
        print(f"{situation:34}{row(one)}  {one['steps']}")
    print(f"{'worst':34}{row({name: worst[f'worst_{name}'] for name in names})}")


if __name__ == "__main__":
    main()
