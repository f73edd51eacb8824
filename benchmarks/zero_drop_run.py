"""One run of the zero-drop benchmark: clients, swaps, unloads, and the count of what happened to every request.

Owns the load and the report; knows nothing of how the server was set up. ``zero_drop.py`` is the command.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from zero_drop_bound import Demand, minimum_loads
from zero_drop_fleet import Expected, Json, Server, wait_ready
from zero_drop_load import Client, Judged, Request, Verdict, judge

WARM_SAMPLES = 5


@dataclass(slots=True)
class Task:
    """A task and the requests that were sent to it and not answered yet."""

    name: str
    bound: str
    waiting: set[Request] = field(default_factory=set)
    moving_to: str | None = None


@dataclass(slots=True)
class Run:
    """One run: what is asked of the server, and what was seen."""

    server: Server
    models: list[str]
    options: argparse.Namespace
    expected: Expected | None
    prompts: tuple[str, ...]
    ours: bool
    tasks: list[Task] = field(default_factory=list)
    warm_ms: dict[str, float] = field(default_factory=dict)
    waits_ms: list[float] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    swaps: int = 0
    swaps_failed: int = 0
    unloads: int = 0
    last_event: int = 0
    in_memory: int = 0
    """The most models that were seen in memory together."""
    reached: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    # ---------------------------------------------------------------- before

    async def warm(self) -> None:
        """How long the first word of each model takes when nothing is in its way: one load, then a few requests."""
        client = Client(self.server.host, self.server.port)
        for model in self.models:
            took = []
            for number in range(1 + WARM_SAMPLES):
                request = Request(model, self.prompts[number], {model}, self.options.max_tokens)
                reply = await client.ask(request, self.server.path, self.options.timeout_s)
                judged = judge(request, reply, frozenset(self.models), self.expected)
                if judged.verdict is not Verdict.OK or reply.first_word_at is None:
                    raise RuntimeError(f"{model} does not answer properly before the run: {judged}")
                took.append((reply.first_word_at - reply.sent) * 1000)
            self.warm_ms[model] = statistics.median(took[1:])
        client.close()

    async def bind(self) -> None:
        """Bind the tasks, and forget what happened so far."""
        for number in range(self.options.tasks if self.ours else 0):
            task = Task(f"job{number}", self.models[number % len(self.models)])
            await self.server.order("POST", f"/api/v1/tasks/{task.name}/swap", {"to": task.bound})
            self.tasks.append(task)
        await self.read_events()
        self.events.clear()

    # ---------------------------------------------------------------- during

    async def client(self, number: int) -> None:
        rng = random.Random(f"{self.options.seed}:client:{number}")
        client = Client(self.server.host, self.server.port)
        known = frozenset(self.models)
        while not self.ended.is_set():
            task = rng.choice(self.tasks) if self.tasks and rng.random() < self.options.task_share else None
            if task is None:
                model = rng.choice(self.models)
                request = Request(model, rng.choice(self.prompts), {model}, self.options.max_tokens)
            else:
                allowed = {task.bound} | ({task.moving_to} if task.moving_to else set())
                request = Request(f"task:{task.name}", rng.choice(self.prompts), allowed, self.options.max_tokens)
                task.waiting.add(request)
            reply = await client.ask(request, self.server.path, self.options.timeout_s)
            if task is not None:
                task.waiting.discard(request)
            judged = judge(request, reply, known, self.expected)
            self.note(judged, reply.sent, reply.first_word_at)
            if judged.verdict is not Verdict.OK:
                pause = float(reply.headers.get("retry-after", "0")) if judged.verdict is Verdict.SHED else 0.2
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.ended.wait(), min(pause, 5.0))
        client.close()

    def note(self, judged: Judged, sent: float, first: float | None) -> None:
        self.verdicts[judged.verdict] += 1
        if judged.verdict is not Verdict.OK and len(self.examples) < 8:
            self.examples.append(f"{judged.verdict}: {judged.why}")
        if judged.served is not None and first is not None:
            self.served[judged.served] += 1
            self.waits_ms.append(max(0.0, (first - sent) * 1000 - self.warm_ms[judged.served]))
            self.demands.append((sent, max(first, sent + self.options.max_wait_s), judged.served))

    async def swapper(self, task: Task) -> None:
        """Move a task from model to model without pause; requests on their way may land on either side."""
        rng = random.Random(f"{self.options.seed}:swap:{task.name}")
        while not self.ended.is_set():
            to = rng.choice([model for model in self.models if model != task.bound])
            task.moving_to = to
            for request in task.waiting:
                request.allowed.add(to)
            sent = time.perf_counter()
            status, done = await self.server.call("POST", f"/api/v1/tasks/{task.name}/swap", {"to": to})
            if status == 200 and done.get("ok"):
                self.swaps += 1
                self.demands.append((sent, max(time.perf_counter(), sent + self.options.max_wait_s), to))
                task.bound = to
            else:
                self.swaps_failed += 1
                if len(self.examples) < 8:
                    self.examples.append(f"swap: {status} {done.get('error', done)}")
            task.moving_to = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), rng.expovariate(1 / self.options.swap_pause_s))

    async def unloader(self) -> None:
        """Order models out of memory while requests for them arrive."""
        rng = random.Random(f"{self.options.seed}:unload")
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), rng.expovariate(1 / self.options.unload_every_s))
            status, _ = await self.server.call("DELETE", f"/api/v1/instances/{rng.choice(self.models)}")
            self.unloads += status == 200

    async def read_events(self) -> None:
        while self.ours:
            found = (await self.server.order("GET", f"/api/v1/events?after={self.last_event}&limit=1000"))["events"]
            for event in found:
                self.last_event = event["id"]
                self.events[event["kind"]] += 1
            if len(found) < 1000:
                return

    @property
    def evictions(self) -> int:
        """Stopped by the pool on its own account."""
        return max(0, self.events["instance.stopped"] - self.unloads)

    async def watch(self, progress: bool) -> None:
        """End the run when enough happened, or when its time is up."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            await self.read_events()
            if self.ours:
                rows = (await self.server.order("GET", "/api/v1/instances"))["instances"]
                self.in_memory = max(self.in_memory, sum(row["state"] in ("ready", "draining") for row in rows))
            requests = sum(self.verdicts.values())
            moved = self.swaps + self.evictions
            if progress:
                line = f"\r{time.monotonic() - began:6.0f} s  {requests:,} requests  {moved:,} swaps "
                print(line, end="", file=sys.stderr, flush=True)
            self.reached = requests >= self.options.requests and (moved >= self.options.swaps or not self.ours)
            if self.reached or time.monotonic() - began > self.options.limit_s:
                self.ended.set()
                return

    # ---------------------------------------------------------------- the whole

    async def go(self) -> Json:
        await wait_ready(self.server)
        await self.warm()
        await self.bind()
        loads_before = count_loads(self.options.loads_log)
        began = time.monotonic()
        progress = sys.stderr.isatty()
        async with asyncio.TaskGroup() as group:
            for number in range(self.options.clients):
                group.create_task(self.client(number))
            for task in self.tasks:
                group.create_task(self.swapper(task))
            if self.ours and self.options.unload_every_s:
                group.create_task(self.unloader())
            group.create_task(self.watch(progress))
        took = time.monotonic() - began
        if progress:
            print(file=sys.stderr)
        left = await self.left_behind()
        loads: int | None = None
        if self.ours:
            await self.read_events()
            loads = self.events["instance.ready"]
        elif loads_before is not None:
            loads = (count_loads(self.options.loads_log) or 0) - loads_before
        return self.report(took, loads, left)

    async def left_behind(self) -> int | None:
        """Leases and queue entries that nobody holds any more; ``None`` for a server that cannot be asked."""
        if not self.ours:
            return None
        left = 0
        for _ in range(50):
            rows = (await self.server.order("GET", "/api/v1/instances"))["instances"]
            left = sum(int(row["active"] + row["waiting"]) for row in rows)
            if not left:
                break
            await asyncio.sleep(0.1)
        return left

    def report(self, took: float, loads: int | None, left: int | None) -> Json:
        options, counts = self.options, self.verdicts
        waits = sorted(self.waits_ms)
        least = minimum_loads(self.demands, max(options.fit, self.in_memory))
        forced = (loads or 0) - self.unloads
        return {
            "server": "podium" if self.ours else self.server.url,
            "requests": sum(counts.values()),
            "swaps": self.swaps + self.evictions if self.ours else loads,
            "failed": counts[Verdict.FAILED] + self.swaps_failed,
            "cut": counts[Verdict.CUT],
            "wrong_model": counts[Verdict.WRONG_MODEL],
            "shed": counts[Verdict.SHED],
            "left_behind": left,
            "added_wait_p50_ms": quantile(waits, 0.5),
            "added_wait_p99_ms": quantile(waits, 0.99),
            "added_wait_max_ms": quantile(waits, 1.0),
            "thrash": round(forced / least, 2) if loads is not None and least else None,
            "task_swaps": self.swaps,
            "evictions": self.evictions if self.ours else None,
            "ordered_unloads": self.unloads,
            "loads": loads,
            "loads_minimum": least,
            "models": len(self.models),
            "fit": options.fit,
            "in_memory": self.in_memory or None,
            "clients": options.clients,
            "max_wait_s": options.max_wait_s,
            "served": dict(sorted(self.served.items())),
            "warm_first_word_ms": {model: round(ms, 1) for model, ms in self.warm_ms.items()},
            "requests_per_s": round(sum(counts.values()) / took, 1),
            "duration_s": round(took, 1),
            "seed": options.seed,
            "reached": self.reached,
            "examples": self.examples,
        }


def quantile(ordered: list[float], q: float) -> float | None:
    """The q-quantile (nearest rank) in milliseconds; ``None`` without values."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 1)


def count_loads(log: Path | None) -> int | None:
    if log is None:
        return None
    return len(log.read_text().splitlines()) if log.exists() else 0
