"""How many judgments a second go through the pipeline, what each costs beside its judge, and what users notice of it.

    python benchmarks/judging_pipeline.py --json

One gateway in this process with the scripted provider, which answers at once, so what is measured is Podium. ``throughput``:
answers wait to be judged by four criteria with rules and a model each, the time from the first to the last is taken;
``overhead_ms_per_model_judgment`` is processor time of the whole process, less that of the rules and of asking the model
without the pipeline. ``users``: closed loops of users ask for answers of some milliseconds while a share of them is judged,
again with judging off, and again while the judges' budget is used up and the queue is full, in turns; latencies of each, and
ratios to those with judging off of the 99th percentiles: of all rounds together, and the median over rounds. Nothing is
measured before the start-up work is done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvloop

from podium import Podium
from podium.config import load
from podium.core.graders import grade
from podium.core.judge_orders import JudgeOrders
from podium.core.sampling import place
from podium.domain.cost import Cost
from podium.domain.decision import Choice, Decision, Outcome
from podium.domain.judging import Queued
from podium.domain.judgment import CRITERIA, Judged
from podium.domain.model import Source
from podium.rubrics import RubricLibrary
from podium.runtime import Gateway
from podium.runtime.judging import judge_orders
from podium.services.background import Background
from podium.services.judge.asking import ModelJudge
from podium.services.meter import Meter
from podium.services.onboarding import Registration

SETTINGS = """
[judging]
enabled = true
sample = 0.2
judge = "judge@1"
compute_share = 1.0
at_once = 4
"""
TEXT = "the river runs past a town where people mend nets and talk about weather prices boats and the old bridge"
WORDS = TEXT.split()
TARGET_PER_S, TARGET_MS, TARGET_RATIO = 100.0, 2.0, 1.1
FULL = 200
"""Answers that wait in the round without a budget."""


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize() + "."


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Gateway, Podium]]:
    home = folder / "home"
    home.mkdir()
    (home / "podium.toml").write_text(SETTINGS)
    async with Gateway.open(load(home=home, environ={})) as gateway:
        await gateway.serve_unix(folder / "s")
        async with Podium.connect(f"unix:{folder / 's'}") as podium:
            yield gateway, podium


async def add(gateway: Gateway, folder: Path, name: str, **script: object) -> None:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(script))
    source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
    order = Registration(name=name, version="1", source=source, activate=True)
    _, _, problem = await gateway.services.onboarding.add(order, "benchmark")
    assert problem is None, problem


def queued(number: int, rng: random.Random) -> Queued:
    key = f"dec_bench_{number}"
    item = Judged(id=f"req_bench_{number}", task="bench", prompt=text(rng, 40), output=text(rng, 120) + f" {number}")
    return Queued(
        decision_id=key, request_id=item.id, task="bench", ref="m@1", item=item, place=place(key), odds=1.0, sample=1.0
    )


def record(gateway: Gateway, one: Queued) -> None:
    """The request was answered, as far as the record knows, so that its score can be learned from."""
    choice = Choice(
        task=one.task,
        strategy="x",
        chosen=one.ref,
        propensity=1.0,
        fallbacks=(),
        reason="",
        confidence=1.0,
        candidates=(),
    )
    at = time.time()
    decision = Decision(
        id=one.decision_id, request_id=one.request_id, at=at, choice=choice, served=one.ref, propensity=1.0
    )
    outcome = Outcome(
        decision_id=one.decision_id,
        request_id=one.request_id,
        task=one.task,
        ref=one.ref,
        at=at,
        success=True,
        error=None,
        streamed=False,
        latency_ms=1.0,
        ttft_ms=None,
        cost=Cost(wall_ms=1.0),
    )
    gateway.services.recorder.begin(decision)
    gateway.services.recorder.record(decision, outcome)


async def throughput(gateway: Gateway, answers: int, number: int) -> dict[str, float]:
    """Judgments a second, and processor milliseconds for each."""
    judging, rng = gateway.services.judging, random.Random(number)
    items = [queued(number * 1_000_000 + one, rng) for one in range(answers)]
    for one in items:
        record(gateway, one)
    await gateway.services.recorder.flush()
    before = judging.figures.done.answers
    cpu, began = time.process_time(), time.perf_counter()
    await judging.queue.add(items)
    while judging.figures.done.answers < before + answers:  # noqa: ASYNC110 - a count, and 5 ms are exact enough
        await asyncio.sleep(0.005)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    by_models, verdicts = answers * len(CRITERIA), 2 * answers * len(CRITERIA)
    return {
        "answers_per_s": answers / took,
        "model_judgments_per_s": by_models / took,
        "judgments_per_s": verdicts / took,
        "cpu_ms_per_model_judgment": used * 1000 / by_models,
        "cpu_ms_per_judgment": used * 1000 / verdicts,
    }


async def settled() -> None:
    """Return when this process does nothing: what is fitted at a start is no cost of judging."""
    while True:
        cpu = time.process_time()
        await asyncio.sleep(0.5)
        if time.process_time() - cpu < 0.02:
            return


async def asking(gateway: Gateway, judge: ModelJudge, count: int, number: int) -> float:
    """Processor milliseconds for each time a judge is asked, and nothing else."""
    rng, rubrics = random.Random(-number), RubricLibrary()
    version = gateway.services.registry.get("judge@1")
    rubric, places = rubrics.get("relevance"), asyncio.Semaphore(16)

    async def one(place_: int) -> None:
        item = replace(queued(place_, rng).item, output=text(rng, 120) + f" {number} {place_}")
        async with places:
            verdict = await judge.judge(item, rubric, version, deadline_s=30)
        assert verdict.score is not None, verdict

    cpu = time.process_time()
    await asyncio.gather(*(one(place_) for place_ in range(count)))
    return (time.process_time() - cpu) * 1000 / count


def grading(answers: int, number: int) -> float:
    """Processor milliseconds of the rules for each judgment, and nothing else."""
    rng = random.Random(number)
    items = [queued(one, rng).item for one in range(answers)]
    cpu = time.process_time()
    for item in items:
        for criterion in CRITERIA:
            grade(item, criterion)
    return (time.process_time() - cpu) * 1000 / (answers * len(CRITERIA))


async def users(podium: Podium, seconds: float, callers: int, pause_ms: float, number: int) -> list[float]:
    """Milliseconds of each answer."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def caller(place_: int) -> None:
        rng = random.Random(f"{number} {place_}")
        while time.perf_counter() < until:
            began = time.perf_counter()
            await podium.call(
                "POST",
                "/v1/chat/completions",
                {
                    "model": "m@1",
                    "messages": [{"role": "user", "content": text(rng, 40)}],
                    "metadata": {"task": "bench"},
                },
            )
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(rng.random() * 2 * pause_ms / 1000)

    await asyncio.gather(*(caller(place_) for place_ in range(callers)))
    return took


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="podium-judging-") as name:
        folder = Path(name)
        async with opened(folder) as (gateway, podium):
            await add(gateway, folder, "m", text=text(random.Random(1), 120), latency_ms=options.answer_ms)
            await add(gateway, folder, "judge", text='{"score": 4}')
            services = gateway.services
            background = Background(
                services.pool, Meter(services.clock), services.gateway.idleness, services.clock, lambda version: True
            )
            alone = ModelJudge(background, lambda version: None)
            await throughput(gateway, 20, 0)
            await settled()
            through = [await throughput(gateway, options.answers, number + 1) for number in range(options.rounds)]
            asked = [await asking(gateway, alone, options.answers, number) for number in range(options.rounds)]
            ruled = [grading(options.answers, number) for number in range(options.rounds)]
            on = judge_orders(gateway.config)
            off = JudgeOrders()
            broke = replace(on, limits=replace(on.limits, compute_share=0.0), waiting=FULL)
            kinds = {"off": off, "on": on, "on, budget used up": broke}
            rounds: dict[str, list[list[float]]] = {name: [] for name in kinds}
            for number in range(options.rounds + 1):
                for kind, orders in kinds.items():
                    gateway.services.judging.configure(orders)
                    took = await users(podium, options.seconds, options.callers, options.pause_ms, number)
                    if number:  # the first of each warms up
                        rounds[kind].append(took)
            live = gateway.services.judging
    pooled = {name: [one for took in some for one in took] for name, some in rounds.items()}
    middle = {name: statistics.median(one[name] for one in through) for name in through[0]}
    overhead = middle["cpu_ms_per_model_judgment"] - statistics.median(asked) - statistics.median(ruled)
    ratios = {
        name: {
            "p50": quantile(pooled[name], 0.5) / quantile(pooled["off"], 0.5),
            "p99": quantile(pooled[name], 0.99) / quantile(pooled["off"], 0.99),
            "p99_median_of_rounds": statistics.median(
                quantile(one, 0.99) / quantile(other, 0.99)
                for one, other in zip(rounds[name], rounds["off"], strict=True)
            ),
        }
        for name in pooled
        if name != "off"
    }
    per_s = middle["model_judgments_per_s"]
    met = per_s >= TARGET_PER_S and overhead <= TARGET_MS
    return {
        "throughput": {key: round(value, 3) for key, value in middle.items()},
        "cpu_ms_of_asking_alone": round(statistics.median(asked), 3),
        "cpu_ms_of_rules_alone": round(statistics.median(ruled), 3),
        "overhead_ms_per_model_judgment": round(overhead, 3),
        "users": {
            name: {
                "requests": len(took),
                "p50_ms": round(quantile(took, 0.5), 3),
                "p99_ms": round(quantile(took, 0.99), 3),
            }
            for name, took in pooled.items()
        },
        "ratios": {name: {key: round(value, 3) for key, value in some.items()} for name, some in ratios.items()},
        "judged_while_users_were_served": live.figures.done.answers - options.answers * options.rounds - 20,
        "looked_at": live.intake.seen.looked,
        "thinned": live.queue.thinned,
        "met": met and all(one["p99_median_of_rounds"] <= TARGET_RATIO for one in ratios.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=40, help="judged in a round of throughput")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round of users")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--answer-ms", type=float, default=20.0, help="what the model takes for an answer")
    parser.add_argument("--pause-ms", type=float, default=20.0, help="mean pause of a user")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is not met")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(options))
    print(json.dumps(found) if options.json else "\n".join(f"{key:32} {value}" for key, value in found.items()))
    return 1 if options.check and not found["met"] else 0


if __name__ == "__main__":
    sys.exit(main())
