"""How long pages of the dashboard take to be there: 24 hours of history at 50 requests a second, in Chromium.

    python benchmarks/pages.py [--rate 50] [--rounds 5] [--rows 20000] [--json]

A home is written by the product's own store: the curve of a day by the minute, what was spent by hour, version, task and
cause (6 versions, 4 tasks) and by key (20 keys) as a day at that rate leaves them, and the newest ``--rows`` decisions. Then
``podium serve`` starts on it, and each page is opened in a new browser context with an empty cache. Told are medians over
rounds, in milliseconds since the request: ``painted`` (first contentful paint), ``drawn`` (the charts are on their
canvases), ``whole`` (also what the page asks for once it is shown); the processor time of ``server`` and ``browser`` (all
of its processes) until then, which is what remains of these figures when the machine does other things too; and the
kilobytes that went over the wire. Needs Chromium (Debian: ``apt install chromium``).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from playwright.sync_api import Browser, sync_playwright

from export import fill
from podium.core.history import bucket
from podium.core.spending import hour_of
from podium.core.traffic import Step
from podium.domain.cost import Cause, SpentKey, SpentRow
from podium.ports import Batch
from podium.services.traffic import NAME, _written
from podium.store import open_store

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

from server import Server

PAGES = {
    "Now, 24 hours": "/?range=24h",
    "Leaderboard": "/leaderboard",
    "Rollouts": "/rollouts",
    "Decisions": "/decisions",
    "Costs, 24 hours": "/costs?period=24h",
    "Costs, 24 hours by key": "/costs?period=24h&by=key",
    "Quality": "/quality",
    "Health": "/health",
    "Playground": "/playground",
}
HOURS, KEYS = 24, 20
DRAWN = """() => new Promise((done) => {
  const ready = () => [...document.querySelectorAll("figure.chart .plot")].every((one) => one.querySelector("canvas"));
  const look = () => (document.readyState === "complete" && ready() ? done(performance.now()) : requestAnimationFrame(look));
  look();
})"""
WHOLE = """() => new Promise((done) => {
  const look = () => (document.querySelector("progress") ? requestAnimationFrame(look) : done(performance.now()));
  look();
})"""


def row(operations: int, draw: random.Random) -> SpentRow:
    """What so many operations leave in one hour."""
    wall = operations * draw.uniform(100, 900)
    return SpentRow(
        operations=operations, failed=operations // 100, wall_ms=wall, cpu_ms=wall * 0.8, cpu_samples=operations,
        energy_mwh=wall / 3000, energy_samples=operations, energy_estimated=operations, input_tokens=operations * 200,
        output_tokens=operations * 80, token_samples=operations, price_microusd=operations * 20, price_samples=operations,
        peak_memory_mb=900.0,
    )  # fmt: skip


async def write(home: Path, rate: float, rows: int) -> None:
    """The home of a gateway that answered ``rate`` requests a second for a day."""
    await fill(home, rows, 6)
    draw, now = random.Random(1), time.time()
    refs, tasks = [f"model-{number}@1" for number in range(6)], [f"task-{number}" for number in range(4)]
    hour, minute = hour_of(now), int(now // 60)
    per = int(rate * 3600 / len(refs) / len(tasks))
    sums = {
        SpentKey(hour - back, task, ref, cause): row(int(per * part), draw)
        for back in range(HOURS)
        for task in tasks
        for ref in refs
        for cause, part in ((Cause.REQUEST, 0.95), (Cause.RETRY, 0.01), (Cause.JUDGE, 0.1))
    }
    keys = {(hour - back, f"key{number:05d}"): row(per, draw) for back in range(HOURS) for number in range(KEYS)}
    steps: dict[int, list[Step]] = {}
    for back in range(HOURS * 60):
        at = minute - back
        latencies = Counter(bucket(draw.lognormvariate(5.5, 0.6)) for _ in range(400))
        count = int(rate * 60 * draw.uniform(0.6, 1.2))
        steps.setdefault(at // 60, []).append(Step(at, count, count // 100, count * 80, latencies))
    store = open_store(home / "podium.db")
    try:
        await store.write_batch(Batch(spending=sums))
        await store.save_key_costs(keys)
        for of, found in steps.items():
            await store.save_learned(f"{NAME}{of % 24:02d}", _written(sorted(found, key=lambda one: one.number)), now)
    finally:
        await store.close()


def spent(server: psutil.Process) -> tuple[float, float]:
    """Milliseconds of processor time of the server, and of what else this program started."""
    others = [one for one in psutil.Process().children(recursive=True) if one.pid != server.pid]
    total = 0.0
    for one in others:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:2])
    return sum(server.cpu_times()[:2]) * 1000, total * 1000


def opened(browser: Browser, url: str, server: psutil.Process) -> dict[str, float]:
    """One look at a page by somebody who was never here."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    sizes: list[float] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    before = spent(server)
    page.goto(url)
    drawn, whole = page.evaluate(DRAWN), page.evaluate(WHOLE)
    after = spent(server)
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    took = {"server": after[0] - before[0], "browser": after[1] - before[1]}
    return {"painted": painted, "drawn": drawn, "whole": whole, **took, "kB": sum(sizes) / 1000}


def measure(home: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Medians by page."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("Chromium is not installed (on Debian: apt install chromium)")
    server = Server(home).start(60)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            assert server.process is not None
            process = psutil.Process(server.process.pid)
            opened(browser, server.url, process)  # templates are compiled when they are first used
            found = {
                name: [opened(browser, server.url + path, process) for _ in range(rounds)]
                for name, path in PAGES.items()
            }
            browser.close()
    finally:
        server.stop()
    return {name: {key: statistics.median(one[key] for one in all_) for key in all_[0]} for name, all_ in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=20_000, help="decisions on record")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        asyncio.run(write(home, given.rate, given.rows))
        found = measure(home, given.rounds)
    if given.json:
        print(json.dumps(found))
        return
    columns = list(next(iter(found.values())))
    print(f"{'':26}" + "".join(f"{name:>9}" for name in columns))
    for name, one in found.items():
        print(f"{name:26}" + "".join(f"{one[column]:9.0f}" for column in columns))


if __name__ == "__main__":
    main()
