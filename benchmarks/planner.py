#!/usr/bin/env python3
"""Time the planner of the warm pool: 200 versions on 8 devices, 20 wants, in the situations a pool gets into.

    planner.py [--versions 200] [--devices 8] [--wants 20] [--rounds 300] [--json]

Every version is resident and every want may go to every device, so nothing is cut short. Each plan is for a fresh
snapshot; p50 and p99 over the snapshots of a situation, in milliseconds: first the time on the clock, which foreign
work on the machine lengthens, then the processor time of the thread, then (``undisturbed``) the least processor time of
five plans of the same snapshot. The goal is 1 ms.
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


NAMES = ("p50_ms", "p99_ms", "cpu_p50_ms", "cpu_p99_ms", "undisturbed_p50_ms", "undisturbed_p99_ms")


def measure(situation: str, args: argparse.Namespace) -> dict[str, object]:
    pick = random.Random(f"{situation} {args.seed}")
    spent: list[float] = []
    worked: list[float] = []
    undisturbed: list[float] = []
    answers: Counter[str] = Counter()
    for number in range(args.rounds + 20):
        pool = snapshot(situation, pick, args.versions, args.devices, args.wants)
        gc.collect(0)
        times = [once(pool) for _ in range(5)]
        if number >= 20:
            spent.append(times[0][0])
            worked.append(times[0][1])
            undisturbed.append(min(cpu for _, cpu in times))
            answers.update(type(step).__name__.lower() for step in plan(pool))
    cuts = [cut for series in (spent, worked, undisturbed) for cut in quantiles(series)]
    return {
        **{name: round(cut, 4) for name, cut in zip(NAMES, cuts, strict=True)},
        "steps": {name: round(count / args.rounds, 1) for name, count in sorted(answers.items())},
    }


def once(pool: PoolSnapshot) -> tuple[float, float]:
    started, busy = time.perf_counter_ns(), time.thread_time_ns()
    plan(pool)
    return (time.perf_counter_ns() - started) / 1e6, (time.thread_time_ns() - busy) / 1e6


def quantiles(series: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(series, n=100)
    return cuts[49], cuts[98]


def row(one: dict[str, object]) -> str:
    return "".join(f"{name[:-3]} {one[name]:.3f}  " for name in NAMES)


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
    worst = {f"worst_{name}": max(float(str(one[name])) for one in found.values()) for name in NAMES}
    size = {name: getattr(args, name) for name in ("versions", "devices", "wants", "rounds")}
    if args.json:
        print(json.dumps({"benchmark": "planner", **size, **worst, "situations": found}))
        return
    print(", ".join(f"{count} {name}" for name, count in size.items()))
    for situation, one in found.items():
        print(f"{situation:34}{row(one)}  {one['steps']}")
    print(f"{'worst':34}{row({name: worst[f'worst_{name}'] for name in NAMES})}")


if __name__ == "__main__":
    main()
