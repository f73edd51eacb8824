"""Counting a day of traffic for the curves of the dashboard: 24 hours at 50 requests/s, 4.3 million outcomes.

Prints CPU per counted outcome (off the request path), CPU of one curve of the whole day, CPU of reading what was kept at a
start, and how much is kept. ``dashboard.py`` draws such a day in a browser.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from podium.domain.cost import Cost
from podium.domain.decision import Outcome
from podium.services.spending import Spending
from podium.services.traffic import Traffic
from podium.store import open_store

DAY_S = 86_400
DONE = Outcome(
    decision_id="d", request_id="r", task="t", ref="m@1", at=0.0, success=True, error=None, streamed=False,
    latency_ms=1.0, ttft_ms=None, cost=Cost(wall_ms=1.0, output_tokens=40),
)  # fmt: skip
FAILED = replace(DONE, success=False, error="provider_timeout")


class Clock:
    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    monotonic = now


def count_a_day(traffic: Traffic, clock: Clock, rate: float) -> float:
    """CPU seconds that counting the day took, without making the outcomes."""
    draw, spent, begin = random.Random(1), 0.0, clock.at
    minute = [
        replace(FAILED if number % 200 == 199 else DONE, latency_ms=draw.lognormvariate(6, 0.6))
        for number in range(int(rate * 60))
    ]
    for second in range(0, DAY_S, 60):
        for number, outcome in enumerate(minute):
            object.__setattr__(outcome, "at", begin + second + number / rate)  # far quicker than new ones
        clock.at = begin + second + 60
        began = time.thread_time()
        traffic.outcomes(minute)
        spent += time.thread_time() - began
    return spent


async def keep(home: Path, rate: float) -> dict[str, float]:
    """Counts the day into the database of ``home``."""
    store = open_store(home / "podium.db")
    clock = Clock(float(int(time.time()) - DAY_S))
    traffic = Traffic(store, clock, Spending(), {})  # a clock of its own
    spent = count_a_day(traffic, clock, rate)
    took = []
    for _ in range(20):
        clock.at += 300  # nothing is kept from the time before
        began = time.thread_time()
        traffic.curve(DAY_S, 288)
        took.append((time.thread_time() - began) * 1000)
    curve_ms = statistics.median(took)
    await traffic.keep(at_once=True)
    rows = (await store.load()).learned
    began = time.thread_time()
    Traffic(store, clock, Spending(), rows)
    reading_ms = (time.thread_time() - began) * 1000
    await store.close()
    size = sum(len(content) for name, content in rows.items() if name.startswith("traffic."))
    return {
        "counting_us": spent / (rate * DAY_S) * 1e6,
        "curve_ms": curve_ms,
        "reading_ms": reading_ms,
        "kept_kb": size / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(keep(Path(folder), options.rate))
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:18} {value:8.2f}")


if __name__ == "__main__":
    main()
