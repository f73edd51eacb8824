"""Registry look-ups and queries at 1,000 versions, in memory (aim: p95 at most 1 ms)."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from podium.domain.model import Facts, Lifecycle, ModelVersion, Source
from podium.ports import Page
from podium.services.registry import Registry
from podium.store import open_store


class Clock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


async def measure(count: int, rounds: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "podium.db")
        registry = Registry(store, await store.load(), Clock())
        for n in range(count):
            item = ModelVersion(
                name=f"model-{n // 10}",
                version=str(n % 10),
                source=Source(provider=f"p{n % 3}", location="/x"),
                facts=Facts(digest=f"sha256:{n:064x}", capabilities=frozenset({"chat", f"c{n % 5}"})),
                tags=frozenset({f"t{n % 7}"}),
                created_at=float(n + 1),
            )
            await registry.register(item, "bench")
        chat = frozenset({"chat", "c1"})
        cases = {
            "get": lambda n: registry.get(f"model-{n % (count // 10)}@{n % 10}"),
            "resolve_name": lambda n: registry.resolve(f"model-{n % (count // 10)}"),
            "all_newest_first": lambda n: registry.query(),
            "capabilities_and_tags": lambda n: registry.query(capabilities=chat, tags=frozenset({"t1", "t2"})),
            "latest_sorted_page": lambda n: registry.query(latest=True, sort="name", page=Page(limit=20, offset=20)),
            "status": lambda n: registry.query(status=Lifecycle.REGISTERED, sort="-created_at"),
        }
        found = {}
        for name, case in cases.items():
            times = []
            for n in range(rounds):
                start = time.perf_counter()
                case(n)
                times.append((time.perf_counter() - start) * 1e6)
            found[name] = {"median_us": statistics.median(times), "p95_us": statistics.quantiles(times, n=20)[18]}
        await store.close()
        return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.versions, options.rounds))
    if options.json:
        print(json.dumps(result))
    else:
        for label, row in result.items():
            print(f"{label:24} median {row['median_us']:8.1f} µs   p95 {row['p95_us']:8.1f} µs")
