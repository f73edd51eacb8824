"""Cost profiles at size: what adding up a record costs, how fast profiles are read, and how exact percentiles are.

    python benchmarks/costs.py [--rows 1000000] [--home DIR] [--json]

The store is written by the product's own store (``benchmarks/export.py`` says what is in it); ``--home`` keeps it and uses
it again. Added up is in pieces, as in a gateway. Then every question is asked five times: the median is told. Percentiles
are compared with the exact ones of all rows, read one by one. The peak is the kernel's (VmHWM), before the exact ones are
computed. Needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

from export import fill
from podium.core.cost_profile import QUANTILES, rank
from podium.ports import CellKey, HostFacts
from podium.runtime.clock import SystemClock
from podium.services.cost_profiles import STEP, CostProfiles, Look, Surroundings
from podium.store import SqliteStore, open_store
from podium.store.cost_packing import unpack_cost

PARTS = ("p50", "p95", "p99")


def host() -> HostFacts:
    return HostFacts(
        cpu_model=None, cores_physical=None, cores_logical=os.cpu_count() or 1, memory_bytes=2**34,
        memory_available_bytes=2**33, accelerators=(), unavailable=(),
    )  # fmt: skip


class Then(SystemClock):
    """A minute after the newest row: what is tidied up goes by age."""

    def __init__(self, path: Path) -> None:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            self._now = float(database.execute("SELECT max(finished_at) FROM decisions").fetchone()[0]) + 60

    def now(self) -> float:
        return self._now


def peak_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


async def asked(question: Callable[[], Awaitable[object]]) -> float:
    """Median milliseconds of five."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await question()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def measure(store: SqliteStore) -> dict[str, float]:
    around = Surroundings(
        host=host, instances=tuple, free_mb=lambda ref: None, footprint=lambda version: None, versions=tuple,
        beliefs=lambda task: {}, bound=dict,
    )  # fmt: skip
    made = CostProfiles(store, Then(store.path), around)
    steps, rows, began = [], 0, time.perf_counter()
    while True:
        started = time.perf_counter()
        taken = await store.fold_costs(STEP)
        steps.append((time.perf_counter() - started) * 1000)
        rows += taken
        if not taken:
            break
    took = time.perf_counter() - began
    cells: list[int] = []

    def count(key: CellKey, content: bytes) -> None:
        cells.append(len(content))

    await store.read_cost_cells(count, since=0, until=9e9, task=None, ref=None)
    result = {
        "rows_added_up": rows,
        "rows_per_s": rows / took if rows else 0.0,
        "step_ms_p99": sorted(steps)[-1 - len(steps) // 100],
    }
    result |= {"cells_by_hour": len(cells), "cell_bytes": sum(cells) / max(1, len(cells))}
    profiles = (await made.profiles(Look())).profiles
    refs = [one.ref for one in profiles if one.task is None and one.ref is not None]
    for name, tidy in (("hours", False), ("days", True)):
        if tidy:
            await store.tidy_cost_cells(9e9, 0.0, 10**9)
        result[f"profiles_ms_{name}"] = await asked(lambda: made.profiles(Look()))
        result[f"compare_ms_{name}"] = await asked(lambda: made.compare(refs[0] or "", refs[1] or "", Look()))
        result[f"trends_ms_{name}"] = await asked(lambda: made.trends(Look()))
        result[f"advice_ms_{name}"] = await asked(lambda: made.advice(Look()))
    result["peak_mb"] = peak_mb()
    found = {
        one.ref: one.figures["wall_ms"]
        for one in (await made.profiles(Look())).profiles
        if one.task is None and one.ref
    }
    worst = 0.0
    for ref, values in exact(store.path).items():
        values.sort()
        for part, share in zip(PARTS, QUANTILES, strict=True):
            true = values[rank(share, len(values)) - 1]
            worst = max(worst, abs(getattr(found[ref], part) / true - 1))
        assert found[ref].n == len(values)
        assert abs((found[ref].mean or 0) / statistics.fmean(values) - 1) < 1e-9
    return {**result, "worst_percentile_error": worst}


def exact(path: Path) -> dict[str, list[float]]:
    values: defaultdict[str, list[float]] = defaultdict(list)
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        for ref, packed in database.execute("SELECT ref, cost FROM decisions WHERE success"):
            values[ref].append(unpack_cost(packed).wall_ms)
    return values


async def run(home: Path, rows: int) -> dict[str, float]:
    if not (home / "podium.db").exists():
        began = time.monotonic()
        await fill(home, rows, 6)
        print(f"store written in {time.monotonic() - began:.0f} s", file=sys.stderr)
    store = open_store(home / "podium.db")
    try:
        return await measure(store)
    finally:
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = given.home or Path(folder)
        home.mkdir(exist_ok=True)
        found = asyncio.run(run(home, given.rows))
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value:,.3f}")


if __name__ == "__main__":
    main()
