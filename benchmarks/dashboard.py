"""The dashboard with a day of traffic behind it: what counting costs, and how long a page takes.

Counts 24 hours at 50 requests/s (4.3 million outcomes) as the gateway does, keeps them as it does, starts a server on what
was kept and draws the day: the page from the server, and with Chromium (``--chromium``) the first paint and the curves.
Aims: first paint within 1 s, 300 KB over the wire, the day drawn within 500 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
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
    await store.close()
    size = sum(len(content) for name, content in rows.items() if name.startswith("traffic."))
    return {"counting_us": spent / (rate * DAY_S) * 1e6, "curve_ms": curve_ms, "kept_kb": size / 1024}


def get(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"accept": "text/html", "accept-encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def wire(base: str) -> tuple[float, float]:
    """(milliseconds of the page with the day, median of 15; KB of it and all it loads)."""
    took = []
    for _ in range(15):
        began = time.perf_counter()
        page = get(f"{base}/?range=24h")
        took.append((time.perf_counter() - began) * 1000)
    body = gzip.decompress(page).decode()
    names = set(re.findall(r'"(/static/[^"]+)"', body))
    folder = next(name.rpartition("/")[0] for name in names if name.endswith("/app.js"))
    names |= {f"{folder}/{name}" for name in ("live.js", "actions.js", "charts.js")}
    return statistics.median(took), (len(page) + sum(len(get(base + name)) for name in names)) / 1024


def paint(base: str, chromium: str) -> dict[str, float]:
    """Median of seven loads without a cache: first paint, and from the data to the curves on the canvas."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where a browser is measured

    first, drawn, drawing = [], [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(7):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.goto(f"{base}/?range=24h", wait_until="load")
            page.wait_for_function("document.querySelectorAll('.plot canvas').length === 2")
            times = page.evaluate(
                """() => new Promise((done) => {
                const fcp = performance.getEntriesByName('first-contentful-paint')[0].startTime;
                const drawn = performance.getEntriesByName('podium-drawn').at(-1)?.startTime;
                const draws = performance.getEntriesByName('podium-draws').at(-1).startTime;
                done([fcp, drawn, drawn - draws]);
            })"""
            )
            first.append(times[0])
            drawn.append(times[1])
            drawing.append(times[2])
            context.close()
        browser.close()
    return {
        "first_paint_ms": statistics.median(first),
        "day_on_screen_ms": statistics.median(drawn),
        "drawing_ms": statistics.median(drawing),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--chromium", nargs="?", const=shutil.which("chromium"), help="measure in this browser, too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        found = asyncio.run(keep(home, options.rate))
        env = {**os.environ, "PODIUM_HOME": folder}
        command = [sys.executable, "-m", "podium", "serve", "--port", "0"]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as server:
            try:
                record = home / "run" / "server.json"
                until = time.monotonic() + 60
                while not record.exists():
                    assert time.monotonic() < until, "the server did not start"
                    time.sleep(0.02)  # between looks: the file appears when the server listens
                base = json.loads(record.read_text())["url"]
                found["page_ms"], found["wire_kb"] = wire(base)
                if options.chromium:
                    found |= paint(base, options.chromium)
            finally:
                server.terminate()
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:18} {value:8.2f}")


if __name__ == "__main__":
    main()
