"""What the decisions of the pool cost per request, in nanoseconds per operation.

    python benchmarks/pool_parts.py [--seconds 0.3] [--json]

Every case is a loop of about ``--seconds``, five times; the fastest is printed, the median beside it. CPU time, so
that other processes disturb little; what they do to the caches and the clock of the CPU remains. ``queue_push_pop`` is one push and one pop with 1,000 waiting, ``_age`` is
the same while everybody moves up a band on the way; ``queue_discard`` is one push and one discard. ``pick_*`` chooses
among 8 copies. The cost of the loop itself is in all of them (``empty``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator

from podium.core.autoscaling import Scaler, ScaleRules
from podium.core.balancing import Copy, Strategy, pick, prefix_key
from podium.core.breaker import Breaker, BreakerRules
from podium.core.concurrency import AdaptiveLimit
from podium.core.fair_queue import FairQueue
from podium.core.keep_alive import parse_keep_alive
from podium.core.waiting import ServiceRate, expected_wait_s

WAITING = 1_000
REPEATS = 5
Loop = Callable[[int], None]
AIM_NS = {"pick_": 5_000}


class Item:
    """A waiter."""


def queue_cases(callers: int, tasks: int) -> Iterator[tuple[str, Loop]]:
    """With 1,000 waiting, from so many callers with so many tasks each."""
    names = [(f"caller {n % callers}", f"task {n % tasks}") for n in range(WAITING)]

    def filled(patience_s: float) -> FairQueue[Item]:
        queue: FairQueue[Item] = FairQueue(patience_s)
        for n, (caller, task) in enumerate(names):
            queue.push(Item(), caller=caller, task=task, priority=n % 3, now=0.0)
        return queue

    steady, ageing, leaving = filled(1e9), filled(500.0), filled(1e9)
    clock = 0.0

    def push_pop(rounds: int) -> None:
        for n in range(rounds):
            caller, task = names[n % WAITING]
            steady.push(Item(), caller=caller, task=task, priority=1, now=0.0)
            steady.pop(0.0)

    def push_pop_age(rounds: int) -> None:
        nonlocal clock
        for n in range(rounds):
            clock += 1.0
            caller, task = names[n % WAITING]
            ageing.push(Item(), caller=caller, task=task, priority=2, now=clock)
            ageing.pop(clock)

    def push_discard(rounds: int) -> None:
        for n in range(rounds):
            caller, task = names[n % WAITING]
            item = Item()
            leaving.push(item, caller=caller, task=task, priority=1, now=0.0)
            leaving.discard(item)

    yield "queue_push_pop", push_pop
    yield "queue_push_pop_age", push_pop_age
    yield "queue_push_discard", push_discard


def pick_cases(count: int) -> Iterator[tuple[str, Loop]]:
    """Every strategy over so many half-full copies, the request counted like in the pool."""
    asked = [(prefix_key(b"%d" % n), n / WAITING) for n in range(WAITING)]
    for strategy in Strategy:
        copies = [Copy(f"model@1#{n}", n % 4, 8) for n in range(count)]

        def loop(rounds: int, strategy: Strategy = strategy, copies: list[Copy] = copies) -> None:
            for turn in range(rounds // WAITING):
                for key, draw in asked:
                    pick(strategy, copies, key=key, draw=draw, turn=turn)

        yield f"pick_{strategy.value}", loop


def instance_cases() -> Iterator[tuple[str, Loop]]:
    breaker, limit = Breaker(BreakerRules()), AdaptiveLimit(8, 64)

    def empty(rounds: int) -> None:
        for _ in range(rounds):
            pass

    def admit(rounds: int) -> None:
        for _ in range(rounds):
            breaker.admit(0.0)

    def succeeded(rounds: int) -> None:
        for n in range(rounds):
            breaker.succeeded(n / 1000)

    def start_finish(rounds: int) -> None:
        for n in range(rounds):
            limit.finished(limit.started(), in_flight=6, latency_s=0.1, now=n / 1000)

    yield "empty", empty
    yield "breaker_admit", admit
    yield "breaker_succeeded", succeeded
    yield "limit_start_finish", start_finish


def other_cases() -> Iterator[tuple[str, Loop]]:
    rate, scaler = ServiceRate(), Scaler(ScaleRules(max_copies=4))
    prefix, clock = b"x" * 1024, 0.0

    def waits(rounds: int) -> None:
        for _ in range(rounds):
            rate.observe(1.5)
            expected_wait_s(position=10, width=4, held_s=rate.held_s, load_left_s=None)

    def observe(rounds: int) -> None:
        nonlocal clock
        for _ in range(rounds):
            clock += 1.0
            scaler.observe(clock, busy=6, capacity=10, waiting=0, copies=2)

    def key(rounds: int) -> None:
        for _ in range(rounds):
            prefix_key(prefix)

    def keep_alive(rounds: int) -> None:
        for _ in range(rounds):
            parse_keep_alive("1h30m")

    yield "rate_and_wait", waits
    yield "scaler_observe", observe
    yield "prefix_key_1_kb", key
    yield "keep_alive", keep_alive


def measure(loop: Loop, seconds: float) -> dict[str, float]:
    """Nanoseconds per round: the fastest and the median of five."""
    rounds = WAITING  # always a multiple of it
    while True:  # how many rounds fill the time
        begin = time.process_time()
        loop(rounds)
        took = time.process_time() - begin
        if took >= seconds / 4:
            break
        rounds *= 4
    rounds = max(1, round(rounds * seconds / took / WAITING)) * WAITING
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        loop(rounds)
        times.append((time.process_time() - begin) / rounds * 1e9)
    return {"best_ns": round(min(times), 1), "median_ns": round(statistics.median(times), 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--callers", type=int, default=10)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    cases = [
        *instance_cases(),
        *other_cases(),
        *queue_cases(options.callers, options.tasks),
        *pick_cases(options.copies),
    ]
    found = {name: measure(loop, options.seconds) for name, loop in cases}
    missed = [
        name
        for name, value in found.items()
        for prefix, aim in AIM_NS.items()
        if name.startswith(prefix) and value["best_ns"] > aim
    ]
    if options.json:
        shape = {"waiting": WAITING, "callers": options.callers, "tasks": options.tasks, "copies": options.copies}
        print(json.dumps({**shape, "ns": found, "missed": missed}))
    else:
        for name, value in found.items():
            print(f"{name:22} {value['best_ns']:>10,.0f} ns   median {value['median_ns']:>10,.0f} ns")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
