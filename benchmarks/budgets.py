#!/usr/bin/env python3
"""What budgets cost a request: CPU of admission and settlement, by how many budgets there are and match; memory of accounts.

    budgets.py [--requests 20000] [--rounds 5] [--json]

On a real store in a temporary folder; the best round counts. Money is measured in wall time, for it waits for the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from types import MappingProxyType

from podium.domain.budget import EACH, Budget, Need, Period, Scope, Subjects, Unit, Used
from podium.domain.cost import Cost
from podium.domain.decision import Outcome
from podium.domain.model import Facts, Lifecycle, ModelVersion, Source
from podium.domain.request import Endpoint
from podium.runtime.clock import SystemClock
from podium.services import wire
from podium.services.budgeting import Budgeting
from podium.store import open_store

BODY = json.dumps(
    {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Tell me why the sky is blue. " * 8}]}
).encode()
HEAD = wire.parse(Endpoint.CHAT, BODY, request_id="r", caller="ann")
VERSION = ModelVersion(
    name="m",
    version="1",
    source=Source(provider="llamacpp", location="m.gguf", settings=MappingProxyType({})),
    facts=Facts(digest="d"),
    status=Lifecycle.ACTIVE,
    created_at=0.0,
)
OUTCOME = Outcome(
    decision_id="d",
    request_id="r",
    task="code",
    ref="m@1",
    at=0.0,
    success=True,
    error=None,
    streamed=False,
    latency_ms=50.0,
    ttft_ms=None,
    cost=Cost(wall_ms=50.0, cpu_ms=40.0, input_tokens=60, output_tokens=50),
)


def budget(name: str, scope: Scope, subject: str, unit: Unit = Unit.TOKENS) -> Budget:
    """One that never runs out."""
    return Budget(name=name, scope=scope, subject=subject, unit=unit, limit=10**15, period=Period.DAY)


SETS: dict[str, list[Budget]] = {
    "no budget": [],
    "100 budgets, none matches": [budget(f"b{number}", Scope.TASK, f"t{number}") for number in range(100)],
    "1 matches": [budget("b", Scope.TASK, "code")],
    "4 match (key, task, provider; tokens and compute)": [
        budget("a", Scope.KEY, EACH),
        budget("b", Scope.TASK, "code"),
        budget("c", Scope.TASK, "code", Unit.COMPUTE),
        budget("d", Scope.PROVIDER, EACH),
    ],
}


async def request(budgeting: Budgeting) -> None:
    """As the gateway does it."""
    if not budgeting.limited:
        return
    held = await budgeting.admit(HEAD, "code", VERSION, "d")
    held.ended(OUTCOME, used=True)


async def measure(requests: int, rounds: int) -> dict[str, float]:
    """Microseconds of CPU per request by set of budgets, and the cost of money and of accounts."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, budgets) in enumerate(SETS.items()):
            store = open_store(Path(folder) / f"{number}.db")
            budgeting = make(store)
            for one in budgets:
                await budgeting.set(one)
            best = float("inf")
            for _ in range(rounds):
                gc.collect()
                began = time.process_time_ns()
                for _ in range(requests):
                    await request(budgeting)
                best = min(best, (time.process_time_ns() - began) / requests / 1000)
            found[f"{name}, us"] = best
            await store.close()
        found["a reservation of money, on disk, ms"] = await money(Path(folder) / "money.db")
        found["an account of a budget for each, bytes"] = await memory(Path(folder) / "memory.db")
    return found


def make(store: object) -> Budgeting:
    """On a store that is open."""
    numbers = itertools.count()
    return Budgeting(
        store=store,  # type: ignore[arg-type]  # the store of the product
        clock=SystemClock(),
        emit=lambda event: None,
        new_id=lambda: f"res_{next(numbers)}",
    )


async def money(path: Path, calls: int = 300) -> float:
    """Median wall time."""
    store = open_store(path)
    budgeting = make(store)
    await budgeting.set(budget("usd", Scope.PROVIDER, "hosted", Unit.MONEY))
    took = []
    for number in range(calls):
        began = time.perf_counter()
        held = await budgeting.reserve(f"op{number}", Subjects("a", "t", "hosted"), {Unit.MONEY: Need(1000)})
        took.append(time.perf_counter() - began)
        held.settle(Used(microusd=900))
    await budgeting.close()
    await store.close()
    return sorted(took)[calls // 2] * 1000


async def memory(path: Path, accounts: int = 10_000) -> float:
    """Bytes of one."""
    store = open_store(path)
    budgeting = make(store)
    await budgeting.set(budget("each", Scope.KEY, EACH))
    gc.collect()
    tracemalloc.start()
    now = time.time()
    for number in range(accounts):
        budgeting.ledger.account("each", f"key-{number:08d}", now)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await store.close()
    return size / accounts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(measure(given.requests, given.rounds))
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name, value in found.items():
        sys.stdout.write(f"{name:60s} {value:8.2f}\n")


if __name__ == "__main__":
    main()
