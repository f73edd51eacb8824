"""Asks real models for verdicts on labelled answers and keeps them in a file, one line each; goes on where it stopped.

    python benchmarks/judge_verdicts.py DATA OUT --gguf NAME=PATH [--gguf NAME=PATH] [--rows 200]

DATA is the folder of label files (``faithfulness.jsonl.gz`` …), OUT the file of verdicts that ``judges.py`` makes its
table of. ``--rows`` are drawn per criterion, as many of each data set, with a stated seed; the judges take turns row by row,
so that an early stop leaves all of them the same rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from types import MappingProxyType

from podium.config import Config
from podium.datasets.labels import read_labels
from podium.domain.judgment import CRITERIA
from podium.domain.labels import Labelled
from podium.domain.model import ModelVersion, Source
from podium.rubrics import RubricLibrary
from podium.runtime import Gateway
from podium.services.background import Background
from podium.services.judge.asking import ModelJudge
from podium.services.meter import Meter
from podium.services.onboarding import Registration

SEED = 11


def drawn(path: Path, rows: int) -> list[Labelled]:
    """As many of each data set of a file, in random order."""
    rng = random.Random(SEED)
    sets: dict[str, list[Labelled]] = {}
    for row in read_labels(path):
        sets.setdefault(row.dataset.split("/")[0], []).append(row)
    each = max(1, rows // len(sets))
    picked = [row for name in sorted(sets) for row in rng.sample(sets[name], min(each, len(sets[name])))]
    rng.shuffle(picked)
    return picked


async def register(gateway: Gateway, name: str, path: str) -> ModelVersion:
    source = Source(provider="llamacpp", location=path, settings=MappingProxyType({"slots": 1, "context": 4096}))
    order = Registration(name=name, version="1", source=source, activate=True)
    version, _, problem = await gateway.services.onboarding.add(order, "benchmark")
    if problem is not None:
        sys.exit(f"{name}: {problem.message}")
    return version


async def collect(arguments: argparse.Namespace) -> None:
    known = set()
    if arguments.out.exists():
        lines = [json.loads(line) for line in arguments.out.read_text().splitlines()]
        known = {(line["judge"], line["item"]) for line in lines}
    rubrics = RubricLibrary()
    with tempfile.TemporaryDirectory() as home:
        async with Gateway.open(Config(home=Path(home))) as gateway:
            services = gateway.services
            versions = [await register(gateway, *given.split("=", 1)) for given in arguments.gguf]
            meter = Meter(services.clock)
            asking = Background(services.pool, meter, services.gateway.idleness, services.clock, lambda version: True)
            judge = ModelJudge(asking, lambda version: 4096, most_chars=arguments.chars)
            began, done = time.monotonic(), 0
            files = {name: drawn(arguments.data / f"{name}.jsonl.gz", arguments.rows) for name in CRITERIA}
            with arguments.out.open("a") as out:
                for at in range(arguments.rows):
                    for criterion, rows in files.items():
                        for item in rows[at].items if at < len(rows) else ():
                            for version in versions:
                                if (version.name, item.id) in known:
                                    continue
                                verdict = await judge.judge(item, rubrics.get(criterion), version)
                                kept = {
                                    "judge": version.name,
                                    "criterion": criterion,
                                    "item": item.id,
                                    "score": verdict.score,
                                    "sd": verdict.sd,
                                    "method": verdict.method,
                                    "invalid": verdict.invalid,
                                    "latency_ms": verdict.latency_ms,
                                    "input_tokens": verdict.input_tokens,
                                }
                                out.write(json.dumps(kept) + "\n")
                                out.flush()
                                done += 1
                    print(f"row {at + 1}: {done} verdicts, {done / (time.monotonic() - began):.2f} /s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--gguf", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument(
        "--chars", type=int, default=4_000, help="of data in one prompt; the middle of more is left out"
    )
    asyncio.run(collect(parser.parse_args()))


if __name__ == "__main__":
    main()
