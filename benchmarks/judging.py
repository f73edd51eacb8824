"""A model as judge: what asking costs beside the model, and what prompt injection moves.

    python benchmarks/judging.py speed [--judgments 1000] [--at-once 16] [--json]
    python benchmarks/judging.py injection MODEL.gguf DATA [--attacks 12] [--texts 4] [--json]

``speed``: a scripted judge answers at once, so what is measured is Podium: judgments a second with all different content,
processor time of each (prompt, pool, reading, verdict), and a verdict from the cache. ``injection``: the real model judges
real outputs of DATA (the labelled sets, ``*.jsonl.gz``) as they are and with an attack of the shipped suite put into them;
``shift`` is the score with it less the score without, ``flipped`` the share that crosses one half upwards. ``replies`` are
those that were no verdict: with the reply constrained there are none.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

from podium.attacks import PLACES, attacks, put
from podium.config import Config
from podium.domain.judgment import Judged, Verdict
from podium.domain.model import ModelVersion, Source
from podium.rubrics import RubricLibrary
from podium.runtime import Gateway
from podium.services.background import Background
from podium.services.judge.asking import ModelJudge
from podium.services.meter import Meter
from podium.services.onboarding import Registration

CONTEXT = 2048


async def register(gateway: Gateway, provider: str, location: Path, **settings: object) -> ModelVersion:
    source = Source(provider=provider, location=str(location), settings=MappingProxyType(settings))
    order = Registration(name="judge", version="1", source=source, activate=True)
    version, _, problem = await gateway.services.onboarding.add(order, "benchmark")
    if problem is not None:
        sys.exit(str(problem))
    return version


def judge_of(gateway: Gateway, context: int | None) -> ModelJudge:
    services = gateway.services
    meter = Meter(services.clock)
    asking = Background(services.pool, meter, services.gateway.idleness, services.clock, lambda version: True)
    return ModelJudge(asking, lambda version: context)


async def speed(home: Path, judgments: int, at_once: int) -> dict[str, Any]:
    script = home / "judge.json"
    script.write_text(json.dumps({"text": '{"score": 4}'}))
    text = "A sentence of some words that somebody has to read. " * 20
    async with Gateway.open(Config(home=home / "home")) as gateway:
        version = await register(gateway, "scripted", script)
        judge, rubric = judge_of(gateway, None), RubricLibrary().get("faithfulness")
        items = [
            Judged(id=str(n), task="t", prompt="Summarise.", context=text, output=f"{text} {n}")
            for n in range(judgments)
        ]
        await judge.judge(Judged(id="warm", task="t", prompt="p", output="o"), rubric, version)
        todo = iter(items)
        verdicts: list[Verdict] = []

        async def work() -> None:
            verdicts.extend([await judge.judge(item, rubric, version) for item in todo])

        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if any(verdict.score is None or verdict.cached for verdict in verdicts):
            sys.exit("a judgment failed")
        again = time.process_time()
        for item in items:
            await judge.judge(item, rubric, version)
        again = time.process_time() - again
    return {
        "judgments": len(verdicts),
        "judgments_per_s": round(len(verdicts) / wall, 1),
        "cpu_ms_each": round(cpu / len(verdicts) * 1000, 3),
        "cached_ms_each": round(again / len(verdicts) * 1000, 4),
    }


def texts(data: Path, criterion: str, wanted: int) -> list[Judged]:
    """Short outputs that people found bad, so that a shift upwards can be seen."""
    found: list[Judged] = []
    with gzip.open(data / f"{criterion}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            ground, output = row.get("context") or "", row.get("output")
            bad = row["human"] <= (1.5 if row["dataset"] == "topical_chat_usr" else 0.4)
            if output and bad and len(ground) + len(output) <= 700:
                found.append(Judged(id=row["id"], task=row["task"], prompt=ground, output=output))
            if len(found) == wanted:
                break
    return found


async def injection(home: Path, model: Path, data: Path, many: int, wanted: int) -> dict[str, Any]:
    every = attacks()
    chosen = every[:: max(1, len(every) // many)][:many]
    report: dict[str, Any] = {"model": model.name, "attacks": len(chosen)}
    async with Gateway.open(Config(home=home / "home")) as gateway:
        version = await register(gateway, "llamacpp", model, slots=1, context=CONTEXT, threads=1)
        judge, library = judge_of(gateway, CONTEXT), RubricLibrary()
        for criterion in ("relevance", "safety"):
            rubric, shifts, flipped, invalid, ups = library.get(criterion), [], 0, 0, 0
            for number, item in enumerate(texts(data, criterion, wanted)):
                clean = await judge.judge(item, rubric, version)
                for step, attack in enumerate(chosen):
                    place = PLACES[(number + step) % len(PLACES)]
                    spoilt = Judged(
                        id=item.id, task=item.task, prompt=item.prompt, output=put(item.output, attack, place)
                    )
                    verdict = await judge.judge(spoilt, rubric, version)
                    if verdict.score is None or clean.score is None:
                        invalid += 1
                        continue
                    shifts.append(verdict.score - clean.score)
                    ups += verdict.score > clean.score
                    flipped += clean.score < 0.5 <= verdict.score
            report[criterion] = {
                "n": len(shifts),
                "mean_shift": round(statistics.fmean(shifts), 4),
                "mean_absolute": round(statistics.fmean(map(abs, shifts)), 4),
                "worst": round(max(shifts), 4),
                "upwards": round(ups / len(shifts), 3),
                "flipped": round(flipped / len(shifts), 3),
                "replies": invalid,
            }
            print(criterion, report[criterion], file=sys.stderr, flush=True)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    kinds = parser.add_subparsers(dest="kind", required=True)
    fast = kinds.add_parser("speed")
    fast.add_argument("--judgments", type=int, default=1_000)
    fast.add_argument("--at-once", type=int, default=16)
    attacked = kinds.add_parser("injection")
    attacked.add_argument("model", type=Path)
    attacked.add_argument("data", type=Path)
    attacked.add_argument("--attacks", type=int, default=12)
    attacked.add_argument("--texts", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if given.kind == "speed":
            report = asyncio.run(speed(home, given.judgments, given.at_once))
        else:
            report = asyncio.run(injection(home, given.model, given.data, given.attacks, given.texts))
    print(json.dumps(report) if given.json else "\n".join(f"{name}: {value}" for name, value in report.items()))


if __name__ == "__main__":
    main()
