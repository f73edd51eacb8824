"""Start-up, idle memory, and memory over many requests of the whole gateway.

    python benchmarks/resources.py --requests 200000 --json

``help_s`` and ``ready_s`` are medians of five starts without models (``ready``: from exec to the port accepting).
Memory is resident set size in MB, idle and at tenths of the run; the last half should be flat.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data_plane import Bench, Test
from peers import podium
from processes import Process, free_port, rss_mb

STARTS = 5


def clean_environment() -> dict[str, str]:
    """Byte code caches on, as on a user's machine."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def help_s() -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "podium", "--help"], env=clean_environment(), stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - began


def ready(folder: Path, number: int) -> tuple[float, float]:
    """Seconds until the port accepts, and idle memory a second later."""
    port = free_port()
    home = {"PODIUM_HOME": str(folder / f"home{number}")}
    server = Process(f"start{number}", f"{sys.executable} -m podium serve --port {port}", 1, folder, home)
    try:
        took = server.wait_listening(port, 30)
        time.sleep(1)
        return took, rss_mb(server.pid)
    finally:
        server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="podium-resources-") as name:
        bench = Bench(Path(name))
        helps = [help_s() for _ in range(STARTS + 1)][1:]
        starts = [ready(bench.folder, number) for number in range(STARTS + 1)][1:]
        target = podium(free_port(), bench.upstream, bench.folder, Path())
        running = bench.start(target)
        memory, done = [], 0
        try:
            while done < options.requests:
                done += bench.load(target, Test("soak", "mock", 16, 2.0))["requests"]
                memory.append((done, rss_mb(running.process.pid)))
        finally:
            running.process.stop()
            bench.mock.stop()
    tenth = max(1, len(memory) // 10)
    found = {
        "help_s": round(statistics.median(helps), 3),
        "ready_s": round(statistics.median(took for took, _ in starts), 3),
        "idle_mb": round(statistics.median(mb for _, mb in starts), 1),
        "requests": done,
        "memory_mb": [(n, round(mb, 1)) for n, mb in memory[::tenth]],
        "growth_last_half_mb": round(memory[-1][1] - memory[len(memory) // 2][1], 1),
    }
    print(json.dumps(found) if options.json else "\n".join(f"{key:20} {value}" for key, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
