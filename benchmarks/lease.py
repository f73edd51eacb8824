"""How long a lease on a ready instance takes with 1,000 callers at once.

    python benchmarks/lease.py --json

The real pool with the scripted provider, in this process, on the event loop the gateway uses. ``take`` and ``release``
are what the pool itself costs a request: the callers are all under way, the instance has room for everybody.
``handover`` is from the release of a place to the moment its next owner runs again, while 1,000 wait in line; it
contains the event loop. ``two copies`` adds the choice between instances by affinity. Microseconds, wall clock: what
else runs on the machine is in them, so the median over ``--rounds`` of each round's quantile is given, and the
quantiles of all rounds together beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

from podium.domain.directive import Directive
from podium.domain.model import ModelVersion, Source
from podium.domain.request import Ticket
from podium.ports import Provider
from podium.providers.scripted import ScriptedProvider
from podium.services.pool import Pool, PoolLimits

TARGET_US = 100.0
now_ns = time.perf_counter_ns


class SystemClock:
    """The gateway's own times."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


async def make(folder: Path, name: str, concurrency: int, copies: int) -> tuple[Pool, ModelVersion]:
    """A pool whose one version is loaded in ``copies`` instances of ``concurrency`` places each."""
    provider = cast("Provider", ScriptedProvider())
    script = folder / f"{name}.json"
    script.write_text(json.dumps({"concurrency": concurrency, "memory_mb": 1}))
    source = Source(provider="scripted", location=str(script))
    version = ModelVersion(name=name, version="1", source=source, facts=await provider.inspect(source))
    limits = PoolLimits(memory_bytes=1 << 30, queue_limit=10_000)
    pool = Pool(lambda kind: provider, SystemClock(), limits, lambda *args, **data: None)
    pool.direct(version, Directive(preload=True, min_copies=copies, max_copies=copies))
    await pool.warm(version, 10)
    async with asyncio.timeout(10):
        while pool.copies(version.ref) < copies:
            pool.sweep()
            await asyncio.sleep(0.01)
    return pool, version


async def with_room(pool: Pool, version: ModelVersion, callers: int, each: int) -> tuple[list[int], list[int]]:
    """Nanoseconds of every take and every release; the callers hold their lease over a turn of the loop."""
    took: list[int] = []
    gave: list[int] = []

    async def caller(number: int) -> None:
        ticket = Ticket(caller=str(number), affinity=number * 0x9E3779B97F4A7C15 % 2**64)
        for _ in range(each):
            began = now_ns()
            lease = pool.lease_now(version, ticket.affinity) or await pool.lease(version, 10, ticket)
            took.append(now_ns() - began)
            await asyncio.sleep(0)
            lease.succeeded(0.001)
            began = now_ns()
            lease.release()
            gave.append(now_ns() - began)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return took, gave


async def in_line(pool: Pool, version: ModelVersion, callers: int, each: int) -> list[int]:
    """Nanoseconds from a release to the next owner's turn, while everybody else waits."""
    released: deque[int] = deque()
    waits: list[int] = []

    async def caller(number: int) -> None:
        ticket = Ticket(caller=str(number))
        for _ in range(each):
            lease = await pool.lease(version, 60, ticket)
            if released:
                waits.append(now_ns() - released.popleft())
            await asyncio.sleep(0)
            lease.succeeded(0.001)
            released.append(now_ns())
            lease.release()

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return waits


def quantiles(values: list[int]) -> dict[str, float]:
    """Microseconds."""
    ordered = sorted(values)
    pick = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}
    return {name: round(ordered[min(len(ordered) - 1, int(q * len(ordered)))] / 1000, 2) for name, q in pick.items()}


def summary(rounds: list[list[int]]) -> dict[str, float]:
    """The median over the rounds of each round's quantiles, and those of everything together."""
    each = [quantiles(values) for values in rounds]
    together = quantiles([value for values in rounds for value in values])
    found = {name: round(statistics.median(row[name] for row in each), 2) for name in each[0]}
    return {**found, **{f"all_{name}": value for name, value in together.items()}, "samples": sum(map(len, rounds))}


async def measure(callers: int, each: int, rounds: int) -> dict[str, object]:
    taken: list[list[int]] = []
    given: list[list[int]] = []
    chosen: list[list[int]] = []
    handed: list[list[int]] = []
    with tempfile.TemporaryDirectory(prefix="podium-lease-") as name:
        one, first = await make(Path(name), "one", callers, 1)
        two, second = await make(Path(name), "two", callers, 2)
        narrow, third = await make(Path(name), "narrow", 1, 1)
        for number in range(rounds + 1):
            room = await with_room(one, first, callers, each)
            choice, _ = await with_room(two, second, callers, each)
            waits = await in_line(narrow, third, callers, max(1, each // 20))
            if number:  # the first round warms caches and the allocator
                taken.append(room[0])
                given.append(room[1])
                chosen.append(choice)
                handed.append(waits)
        for pool in (one, two, narrow):
            await pool.close()
    take = summary(taken)
    return {
        "callers": callers,
        "rounds": rounds,
        "take": take,
        "release": summary(given),
        "take_two_copies": summary(chosen),
        "handover": summary(handed),
        "target_p99_us": TARGET_US,
        "met": take["p99_us"] <= TARGET_US,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=1000)
    parser.add_argument("--each", type=int, default=40, help="leases each caller takes in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="exit status 1 when the target is not met")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(options.callers, options.each, options.rounds))
    print(json.dumps(found) if options.json else "\n".join(f"{key:16} {value}" for key, value in found.items()))
    return 1 if options.check and not found["met"] else 0


if __name__ == "__main__":
    sys.exit(main())
