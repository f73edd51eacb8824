"""Tracking executions: latency of the calls and what is on record afterwards (aim: at most 1 ms at p99, nothing lost).

Three ways in, each with ``--tasks`` tasks at once: the service itself, the Python client of an embedded gateway, and one
plain HTTP connection that waits for every answer (``--http`` calls, one after the other).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from podium import Podium
from podium.domain.execution import ExecutionFilter, ExecutionState
from podium.ports import Page
from podium.services.recorder import Recorder
from podium.services.tracker import Tracker
from podium.services.tracking_bridge import Bridge
from podium.store import open_store

Call = Callable[[], Awaitable[object]]


class Clock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


def summary(name: str, seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=1000)
    return {
        f"{name}_us_median": statistics.median(seconds) * 1e6,
        f"{name}_us_p99": cuts[989] * 1e6,
        f"{name}_us_max": max(seconds) * 1e6,
    }


async def timed(call: Call, seconds: list[float]) -> object:
    before = time.perf_counter()
    result = await call()
    seconds.append(time.perf_counter() - before)
    return result


async def service(tasks: int) -> dict[str, float | bool]:
    starts: list[float] = []
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "podium.db")
        recorder = Recorder(store, Clock())
        count = iter(range(10**9))
        tracker = Tracker(store, Bridge(recorder), Clock(), lambda: f"exe_{next(count):08x}", lambda event: None)
        running = asyncio.create_task(tracker.run())

        async def work(number: int) -> None:
            before = time.perf_counter()
            execution = tracker.start("jobs", f"agent-{number % 50}")
            starts.append(time.perf_counter() - before)
            await asyncio.sleep(random.random())
            await timed(lambda: tracker.complete(execution.id, success=number % 7 > 0, quality=0.5), ends)

        await asyncio.gather(*(work(number) for number in range(tasks)))
        began = time.perf_counter()
        await tracker.flush()
        flushed = time.perf_counter() - began
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        kept = len(await store.executions(ExecutionFilter(state=ExecutionState.COMPLETED), Page(limit=2 * tasks)))
        await store.close()
    figures = {**summary("start", starts), **summary("complete", ends), "last_flush_s": flushed, "kept": kept}
    return {**figures, "lossless": kept == tasks}


async def client(tasks: int) -> dict[str, float | bool]:
    starts: list[float] = []
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        async with Podium.open(home=folder) as podium:

            async def work(number: int) -> None:
                execution = await timed(lambda: podium.tracker.start_task("jobs", f"agent-{number % 50}"), starts)
                await asyncio.sleep(random.random())
                await timed(lambda: podium.tracker.complete_task(str(execution), number % 7 > 0, 0.5), ends)

            await asyncio.gather(*(work(number) for number in range(tasks)))
            began = time.perf_counter()
            await podium.tracker.flush()
            flushed = time.perf_counter() - began
            kept = len([one async for one in podium.tracker.completed()])
    figures = {**summary("start", starts), **summary("complete", ends), "last_flush_s": flushed, "kept": kept}
    return {**figures, "lossless": kept == tasks}


async def plain(calls: int) -> dict[str, float]:
    from podium.config import load  # noqa: PLC0415 - only this way in needs a gateway of its own
    from podium.runtime import Gateway  # noqa: PLC0415 - as above

    def ask(port: int) -> tuple[list[float], list[float]]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        starts, ends = [], []
        for _ in range(calls):
            before = time.perf_counter()
            connection.request("POST", "/api/v1/executions", '{"type": "jobs"}')
            made = json.loads(connection.getresponse().read())
            starts.append(time.perf_counter() - before)
            before = time.perf_counter()
            connection.request("POST", f"/api/v1/executions/{made['id']}/complete", '{"success": true}')
            connection.getresponse().read()
            ends.append(time.perf_counter() - before)
        connection.close()
        return starts, ends

    with tempfile.TemporaryDirectory() as folder:
        async with Gateway.open(load(home=folder)) as gateway:
            url = await gateway.serve(port=0)
            starts, ends = await asyncio.to_thread(ask, int(url.rsplit(":", 1)[1]))
    return {**summary("start", starts), **summary("complete", ends)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--http", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {
        "service": asyncio.run(service(options.tasks)),
        "client": asyncio.run(client(options.tasks)),
        "http": asyncio.run(plain(options.http)),
    }
    if options.json:
        print(json.dumps(results))
    else:
        for way, figures in results.items():
            for name, value in figures.items():
                print(f"{way:8} {name:22} {value}")
    raise SystemExit(0 if results["service"]["lossless"] and results["client"]["lossless"] else 1)
