"""Recording at a steady rate: CPU on the request path (aim: at most 50 µs) and loss (aim: none at 2,000/s)."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from podium.domain.cost import Cost
from podium.domain.decision import Candidate, Choice, Decision, Outcome
from podium.services.recorder import Recorder
from podium.store import open_store

TERMS = ("quality", "latency", "memory", "reliability", "recency")


class Clock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


def choice(number: int) -> Choice:
    options = tuple(
        Candidate(ref=f"model-{n}@1", score=n / 7 + number, terms=tuple((t, n / 11) for t in TERMS), samples=n)
        for n in range(10)
    )
    return Choice(
        task=f"task-{number % 5}",
        strategy="balanced",
        chosen=f"model-{number % 4}@1",
        propensity=1.0,
        fallbacks=(),
        reason="highest score",
        confidence=0.5,
        candidates=options,
    )


def attempt(number: int, picked: Choice) -> tuple[Decision, Outcome]:
    now = time.time()
    key = f"bench-{number:08d}"
    decision = Decision(id=key, request_id=key, at=now, choice=picked, served=picked.chosen, propensity=1.0)
    cost = Cost(wall_ms=50.0, cpu_ms=3.0, peak_memory_mb=100.0, tokens_per_s=40.0)
    outcome = Outcome(
        decision_id=key,
        request_id=key,
        task=picked.task,
        ref=picked.chosen,
        at=now,
        success=True,
        error=None,
        streamed=False,
        latency_ms=10.0 + number % 90,
        ttft_ms=5.0,
        cost=cost,
    )
    return decision, outcome


async def measure(seconds: float, rate: int) -> dict[str, float | bool]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "podium.db"
        store = open_store(path)
        recorder = Recorder(store, Clock())
        recorder.start()
        sent, oldest, calls = 0, 0.0, []
        start, cpu = time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - start) < seconds:
            picked = choice(int(elapsed * 20))
            for number in range(sent, int(elapsed * rate)):
                pair = attempt(number, picked)
                before = time.thread_time_ns()
                recorder.record(*pair)
                calls.append((time.thread_time_ns() - before) / 1000)
                sent += 1
            oldest = max(oldest, recorder.stats().oldest_pending_age_s)
            await asyncio.sleep(0.01)
        cpu = time.process_time() - cpu
        await recorder.close()
        kept, stats = (await store.counts())["decisions"], recorder.stats()
        await store.close()
        return {
            "seconds": seconds,
            "sent": sent,
            "stored": kept,
            "dropped": stats.dropped,
            "lossless": kept == sent,
            "record_us_median": statistics.median(calls),
            "record_us_p99": statistics.quantiles(calls, n=100)[98],
            "process_cpu_us_per_outcome": cpu / sent * 1e6,
            "oldest_pending_s_max": oldest,
            "bytes_per_decision": path.stat().st_size / max(kept, 1),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.seconds, options.rate))
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:28} {value}")
    raise SystemExit(0 if result["lossless"] else 1)
