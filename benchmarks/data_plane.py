#!/usr/bin/env python3
"""Compare gateways on the same mock upstream, side by side: CPU per request, throughput, added latency.

    data_plane.py [--targets forwarder,nginx,envoy,…] [--target NAME=CMD:PORT]… [--rounds N] [--json]

Mock and load generator are pinned on CPU 0, the gateway on CPU 1. In every round each gateway gets one window
per test beside a direct window, so all see the same machine; medians over rounds are printed, for CPU also the
best round. Windows with much foreign work on CPU 1 are repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from peers import BUILTIN, Target
from processes import Process, core_busy_s, cpu_s, free_port, rss_mb

HERE = Path(__file__).resolve().parent
LOAD_CPU, GATEWAY_CPU = 0, 1
FOREIGN = 0.10
TRIES = 2


@dataclass(frozen=True, slots=True)
class Test:
    """One kind of window."""

    name: str
    model: str
    connections: int
    seconds: float


TESTS = (
    Test("alone", "mock", 1, 0.8),
    Test("busy", "mock", 16, 1.2),
    Test("stream", "mock-n100", 16, 1.2),
    Test("paced", "mock-n50-g10000", 64, 1.5),
)


@dataclass(slots=True)
class Running:
    """A started gateway and its windows."""

    target: Target
    process: Process | None
    start_s: float = 0.0
    idle_mb: float = 0.0
    windows: dict[str, list[dict]] = field(default_factory=dict)


def body(model: str) -> str:
    request: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You answer in one sentence."},
            {"role": "user", "content": "Describe how a fox and a dog walk home in the evening, please."},
        ],
        "max_tokens": 64,
        "temperature": 0.7,
    }
    if "-n" in model:
        request["stream"] = True
    return json.dumps(request, separators=(",", ":"))


class Bench:
    """Builds the tools, runs windows."""

    def __init__(self, folder: Path) -> None:
        for tool in ("mock", "load"):
            subprocess.run(["gcc", "-O2", "-o", str(folder / tool), str(HERE / f"{tool}.c")], check=True)
        self.folder = folder
        self.upstream = free_port()
        self.mock = Process("mock", f"{folder}/mock {self.upstream}", LOAD_CPU, folder)
        self.mock.wait_listening(self.upstream, 5)
        self.direct = Running(Target(name="direct", command="", port=self.upstream), None)

    def load(self, target: Target, test: Test, seconds: float | None = None) -> dict:
        command = ["taskset", "-c", str(LOAD_CPU), str(self.folder / "load"), str(target.port), target.path]
        command += [str(test.connections), str(seconds or test.seconds), body(target.model_prefix + test.model)]
        done = subprocess.run([*command, *target.headers], capture_output=True, text=True, check=False, timeout=60)
        if not done.stdout:
            raise RuntimeError(f"{target.name}: {done.stderr}")
        result: dict = json.loads(done.stdout)
        return result

    def window(self, running: Running, test: Test) -> None:
        """Run one window; keep the quietest of a few tries."""
        best: dict | None = None
        for _ in range(TRIES):
            pid = running.process.pid if running.process else None
            cpu, busy, began = cpu_s(pid) if pid else 0.0, core_busy_s(GATEWAY_CPU), time.monotonic()
            result = self.load(running.target, test)
            wall = time.monotonic() - began
            used = cpu_s(pid) - cpu if pid else 0.0
            result["foreign"] = max(0.0, core_busy_s(GATEWAY_CPU) - busy - used) / wall
            done = max(1, result["requests"])
            result["cpu_us_request"] = used / done * 1e6
            result["cpu_us_event"] = used / result["events"] * 1e6 if result["events"] else None
            if best is None or result["foreign"] < best["foreign"]:
                best = result
            if result["foreign"] < FOREIGN or not pid:
                break
        assert best is not None
        running.windows.setdefault(test.name, []).append(best)

    def start(self, target: Target) -> Running:
        process = Process(target.name, target.command, GATEWAY_CPU, self.folder, target.env)
        try:
            took = process.wait_listening(target.port, target.start_s)
            deadline = time.monotonic() + target.start_s
            probe = Test("probe", "mock", 1, 0.2)
            while (seen := self.load(target, probe))["bad_status"] or not seen["requests"]:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{target.name} never answered 200; see {process.log}")  # noqa: TRY301 - the process is stopped below
                time.sleep(0.1)
        except BaseException:
            process.stop()
            raise
        return Running(target, process, took, rss_mb(process.pid))


def summary(running: Running, direct: Running) -> dict:
    def values(test: str, *keys: str, of: Running = running) -> list[float]:
        found = []
        for window in of.windows.get(test, []):
            value = window
            for key in keys:
                value = value[key]
            if value is not None:
                found.append(value)
        return found

    def median(test: str, *keys: str, of: Running = running) -> float | None:
        found = values(test, *keys, of=of)
        return statistics.median(found) if found else None

    def added(test: str, what: str) -> float | None:
        ours, plain = median(test, what, "p50"), median(test, what, "p50", of=direct)
        return None if ours is None or plain is None else ours - plain

    every = [w for windows in running.windows.values() for w in windows]
    figures = {
        "cpu_us_request_best": min(values("busy", "cpu_us_request"), default=None),
        "cpu_us_request": median("busy", "cpu_us_request"),
        "requests_per_s": median("busy", "rps"),
        "added_p50_us": added("alone", "latency"),
        "cpu_us_chunk": median("stream", "cpu_us_event"),
        "cpu_us_chunk_paced": median("paced", "cpu_us_event"),
        "chunk_first_added_us": added("paced", "ttfb"),
    }
    rounded = {k: None if v is None else round(v, 2 if "chunk" in k else 1) for k, v in figures.items()}
    return {
        "name": running.target.name,
        "rounds": len(running.windows.get(TESTS[-1].name, [])),
        **rounded,
        "start_s": round(running.start_s, 2),
        "idle_mb": running.idle_mb,
        "failed": sum(w["errors"] + w["bad_status"] for w in every),
        "foreign_max": round(max((w["foreign"] for w in every), default=0.0), 3),
    }


def ratios(rows: list[dict]) -> None:
    """Add each row's CPU per request (best and median) relative to nginx and Envoy of the same run."""
    by_name = {row["name"]: row for row in rows}
    for reference in ("nginx", "envoy"):
        base = by_name.get(reference)
        for row in rows:
            for key in ("cpu_us_request_best", "cpu_us_request", "cpu_us_chunk"):
                if base and base[key] and row[key]:
                    row[f"{key}_vs_{reference}"] = round(row[key] / base[key], 2)


def table(rows: list[dict]) -> str:
    columns = {
        "name": "gateway",
        "cpu_us_request_best": "µs CPU best",
        "cpu_us_request": "median",
        "cpu_us_request_vs_nginx": "vs nginx",
        "cpu_us_request_vs_envoy": "vs Envoy",
        "requests_per_s": "requests/s at 16",
        "added_p50_us": "added p50, µs",
        "cpu_us_chunk": "µs CPU per chunk",
        "cpu_us_chunk_paced": "per paced chunk",
        "idle_mb": "idle MB",
        "failed": "failed",
    }
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join("" if row.get(k) is None else str(row[k]) for k in columns) + " |" for row in rows]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--targets", default="podium,forwarder,nginx,envoy,vllm-router", help=f"of {', '.join(BUILTIN)}"
    )
    parser.add_argument(
        "--target", action="append", default=[], metavar="NAME=CMD:PORT", help="{upstream} is filled in"
    )
    parser.add_argument("--header", action="append", default=[], help="sent to every --target")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "podium-bench", help="for peers")
    parser.add_argument("--json", action="store_true", help="all windows as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="podium-bench-") as name:
        bench = Bench(Path(name))
        running: list[Running] = []
        try:
            for each in [n for n in options.targets.split(",") if n]:
                try:
                    target = BUILTIN[each](free_port(), bench.upstream, bench.folder, options.cache)
                    running.append(bench.start(target))
                except (RuntimeError, OSError, subprocess.CalledProcessError) as err:
                    print(f"left out: {each}: {err}", file=sys.stderr, flush=True)
            for each in options.target:
                label, _, rest = each.partition("=")
                command, _, port = rest.replace("{upstream}", str(bench.upstream)).rpartition(":")
                target = Target(name=label, command=command, port=int(port), headers=tuple(options.header))
                running.append(bench.start(target))
            for number in range(options.rounds):
                for test in TESTS:
                    for each in [bench.direct, *running]:
                        bench.window(each, test)
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("interrupted: the rounds so far", file=sys.stderr, flush=True)
        finally:
            for each in running:
                if each.process:
                    each.process.stop()
            bench.mock.stop()
        rows = [summary(each, bench.direct) for each in running]
        ratios(rows)
        windows = {each.target.name: each.windows for each in [bench.direct, *running]}
        print(json.dumps({"rows": rows, "windows": windows}) if options.json else table(rows))
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
