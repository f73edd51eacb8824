"""The training export at size: rows per second, peak memory and bytes of each format, from a store made for it.

    python benchmarks/export.py [--rows 1000000] [--formats jsonl,parquet,vw] [--candidates 6] [--home DIR] [--only-export] [--json]

The store is written by the product's own store: ``--candidates`` versions with five terms each, a new choice every 50
requests, feedback on six of ten attempts, a judgment of four criteria on one of five, one of fifty a fallback. Export,
check and evaluation run as ``podium`` in processes of their own; the peak is the kernel's (VmHWM). Needs Linux, and
room for the largest file, about 3 kB a row as JSON lines. ``--home`` keeps the store and uses it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import insert

from podium.domain.cost import Cost, Method
from podium.domain.decision import Candidate, Choice, Decision, Expected, Feedback, Outcome
from podium.domain.judgment import CRITERIA
from podium.ports import Batch
from podium.store import engine, open_store, schema

TASKS = ("extraction", "summarisation", "code-generation", "question-answering")
TERMS = ("quality", "latency", "memory", "reliability", "recency")
BATCH = 2_000
RUN = """
import pathlib, sys, time
from podium.cli.main import main
sys.argv = ["podium", *sys.argv[1:]]
began, code = time.monotonic(), 0
try:
    main()
except SystemExit as done:
    code = done.code or 0
peak = int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
print(f"{code} {time.monotonic() - began} {peak}", file=sys.stderr)
"""


def choice(draw: random.Random, number: int, candidates: int) -> Choice:
    refs = [f"model-{place}@{1 + number % 3}" for place in range(candidates)]
    scored = tuple(
        Candidate(
            ref=ref,
            score=draw.random(),
            terms=tuple((term, draw.random()) for term in TERMS),
            samples=number + place,
            dropped="context 2048 is below the 4096 needed" if place == candidates - 1 else None,
        )
        for place, ref in enumerate(refs)
    )
    return Choice(
        task=TASKS[number % len(TASKS)],
        strategy="default",
        chosen=refs[0],
        propensity=1.0 - 0.02 * (candidates - 2),
        fallbacks=tuple(refs[1:3]),
        reason="the best that is known for this task",
        confidence=draw.random(),
        candidates=scored,
        expected=Expected(quality=draw.random(), latency_ms=500.0, samples=number),
        alternatives=tuple(refs[1:-1]),
        exploration=0.02,
    )


def batches(rows: int, candidates: int) -> Iterator[Batch]:
    draw, made = random.Random(6), None
    for first in range(0, rows, BATCH):
        pairs, said = [], []
        for number in range(first, min(first + BATCH, rows)):
            if made is None or number % 50 == 0:
                made = choice(draw, number // 50, candidates)
            pair = attempt(draw, number, made)
            pairs.append(pair)
            if number % 10 < 6:
                said.append(feedback(pair[0], draw.random()))
        yield Batch(decisions=pairs, feedback=said)


def attempt(draw: random.Random, number: int, made: Choice) -> tuple[Decision, Outcome]:
    fallback = number % 50 == 49
    ids = (f"dec_{draw.getrandbits(96):024x}", f"req_{draw.getrandbits(96):024x}")
    served = made.fallbacks[0] if fallback else made.chosen
    at = 1.7e9 + number / 10
    decision = Decision(
        id=ids[0],
        request_id=ids[1],
        at=at,
        choice=made,
        served=served,
        propensity=made.propensity,
        parent="dec_before" if fallback else None,
        classified_by="signals",
        task_confidence=draw.random(),
    )
    wall = 400 * draw.random() + 20
    cost = Cost(
        wall_ms=wall,
        cpu_ms=wall * 0.8,
        peak_memory_mb=900.0,
        energy_mwh=wall / 70,
        energy_method=Method.ESTIMATED,
        input_tokens=draw.randrange(2_000),
        output_tokens=draw.randrange(400),
        tokens_per_s=draw.random() * 90,
    )
    outcome = Outcome(
        decision_id=ids[0],
        request_id=ids[1],
        task=made.task,
        ref=served,
        at=at + wall / 1000,
        success=True,
        error=None,
        streamed=bool(number % 2),
        latency_ms=wall,
        ttft_ms=wall / 5,
        cost=cost,
    )
    return decision, outcome


def feedback(decision: Decision, score: float) -> Feedback:
    return Feedback(
        request_id=decision.request_id,
        decision_id=decision.id,
        task=decision.choice.task,
        ref=decision.served,
        score=score,
        at=decision.at + 60,
    )


def judgments(batch: Batch, first: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"jdg_{first + place}_{criterion}",
            "request_id": decision.request_id,
            "decision_id": decision.id,
            "task": decision.choice.task,
            "ref": decision.served,
            "criterion": criterion,
            "judge": "judge@1",
            "raw": 0.7,
            "score": 0.6,
            "sd": 0.2,
            "calibrated": True,
            "method": "token probabilities",
            "reason": "expectation over the scale",
            "features": "{}",
            "at": decision.at + 5,
            "probability": 0.2,
            "used": True,
        }
        for place, (decision, _) in enumerate(batch.decisions)
        if place % 5 == 0
        for criterion in CRITERIA
    ]


async def fill(home: Path, rows: int, candidates: int) -> None:
    store, judged, done = open_store(home / "podium.db"), engine.writing(home / "podium.db"), 0
    for batch in batches(rows, candidates):
        await store.write_batch(batch)
        with judged.begin() as connection:
            connection.execute(insert(schema.judgments), judgments(batch, done))
        done += len(batch.decisions)
    judged.dispose()
    await store.close()


def podium(home: Path, *arguments: str) -> dict[str, float]:
    """Run ``podium`` in a process of its own. Raises when it fails."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PODIUM_HOME": str(home)},
    )
    code, seconds, peak = done.stderr.splitlines()[-1].split()
    if code != "0":
        raise SystemExit(f"podium {' '.join(arguments)}: {done.stderr}")
    return {"seconds": float(seconds), "peak_mb": int(peak) / 1e6, "out": json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", default="jsonl,parquet,vw")
    parser.add_argument("--candidates", type=int, default=6)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--only-export", action="store_true", help="leave checking and evaluating out")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = asked.home or Path(folder)
        home.mkdir(exist_ok=True)
        if not (home / "podium.db").exists():
            began = time.monotonic()
            asyncio.run(fill(home, asked.rows, asked.candidates))
            print(f"store written in {time.monotonic() - began:.0f} s", file=sys.stderr)
        results = [
            measure(home, Path(folder), kind, only_export=asked.only_export) for kind in asked.formats.split(",")
        ]
    size = (home / "podium.db").stat().st_size if home.exists() else 0
    if asked.json:
        print(json.dumps({"store_bytes": size, "formats": results}))
        return
    print("| format | rows | rows/s | peak MB | bytes a row | check: rows/s | peak MB | evaluate: rows/s | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for one in results:
        cells = [
            one["rows"],
            *(one["export"][name] for name in ("rows_per_s", "peak_mb")),
            one["bytes_per_row"],
            *(one[what].get(name) for what in ("verify", "evaluate") for name in ("rows_per_s", "peak_mb")),
        ]
        shown = ("-" if cell is None else f"{cell:,.0f}" for cell in cells)
        print(f"| {one['format']} | {' | '.join(shown)} |")


def measure(home: Path, folder: Path, kind: str, *, only_export: bool) -> dict[str, object]:
    out = folder / f"export.{kind}"
    made = podium(home, "export", "--format", kind, "--out", str(out), "--json")
    summary, rows = made["out"], made["out"]["rows"] + made["out"]["left_out"]
    checked = judged = {}
    if not only_export:
        checked = podium(home, "export", "--verify", str(out), "--last", summary["last"], "--json")
        assert checked["out"]["rows"] == summary["rows"], checked
    if not only_export and kind != "vw":
        judged = podium(home, "evaluate", str(out), "--policy", "uniform", "--json")
    size = out.stat().st_size
    out.unlink()
    return {
        "format": kind,
        "rows": summary["rows"],
        "bytes_per_row": size / summary["rows"],
        **{
            name: {"rows_per_s": rows / run["seconds"], "peak_mb": run["peak_mb"]} if run else {}
            for name, run in (("export", made), ("verify", checked), ("evaluate", judged))
        },
    }


if __name__ == "__main__":
    main()
