"""Does an export teach? A policy trained on the first half of a real export against static selection on the second.

    python benchmarks/export_learns.py DATA [--sets llmrouter14,mmlupro14] [--seeds 5] [--exploration 0.1] [--json]

DATA is the folder of the Parquet files (or ``PODIUM_DATA``). For each seed the prompts come once, in random order,
through the services that decide and learn in a gateway (registry, tasks, policy, explorer, recorder, learner, store),
with the product's default strategy and ``--exploration``; the score of the version that was chosen is given as
feedback through the recorder, beliefs are published every 20 requests. The store is exported by ``podium export``, as
JSON lines, checked with ``--verify``, and read back the way ``podium evaluate`` reads it. Then, with the first half:

    trained   the product's own default policy (core/bandit), shown the rows, then frozen
    per task  the version with the best mean reward of each task, shrunk towards the version's mean, then frozen
    single    static: the one version with the best SNIPS on the first half
    hindsight static: the one version with the best true mean on the second half (nobody can know it)
    balanced  static: the preset with no history, which is what its selector picks among equals
    balanced, learned   the preset after the first half, frozen

On the second half each is estimated from the log alone (IPS, SNIPS, doubly robust) and replayed on the true scores of
its prompts. Differences are paired by row; intervals are 95 %, normal over the rows pooled from all seeds for single
runs, and Student's t over the seeds for the table.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from podium.core.bandit import Bandit
from podium.core.baselines import BASELINES
from podium.core.evaluation import Logged, Target, student
from podium.datasets.decision_log import DecisionLog
from podium.domain.cost import Cost
from podium.domain.decision import Decision, Outcome
from podium.domain.model import Category, Facts, Lifecycle, ModelVersion, Source
from podium.domain.request import Endpoint
from podium.domain.task import TaskSpec
from podium.runtime.clock import SystemClock
from podium.services import wire
from podium.services.evaluating import Always, Learning
from podium.services.exploring import Explorer
from podium.services.learner import Learner
from podium.services.policy import Policy
from podium.services.recorder import Recorder
from podium.services.registry import Registry
from podium.services.tasks import Tasks
from podium.store import SqliteStore, open_store
from policies import streams

NEEDS = frozenset({"chat"})
PUBLISH_EVERY = 20
SHRINK = 5.0
"""Observations of the version's mean over all tasks in its mean on one task."""
OURS = ("trained", "per task")
STATIC = ("single", "hindsight", "balanced", "balanced, learned")


class PerTask:
    """The best mean of each task, shrunk. Frozen after ``fit``."""

    def __init__(self, rows: Sequence[Logged]) -> None:
        arms: defaultdict[str, list[float]] = defaultdict(list)
        self._cells: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for row in rows:
            name = row.candidates[row.chosen]
            arms[name].append(row.reward)
            self._cells[row.task, name].append(row.reward)
        self._means = {name: statistics.fmean(rewards) for name, rewards in arms.items()}

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        def value(arm: str) -> float:
            seen = self._cells.get((task, arm), [])
            return (sum(seen) + SHRINK * self._means.get(arm, 0.0)) / (len(seen) + SHRINK)

        best = max(arms, key=value)
        return [1.0 if arm == best else 0.0 for arm in arms]

    def observe(self, task: str, arm: str, score: float, *, weight: float = 1.0) -> None:
        pass


# ---------------------------------------------------------------- a real log


def version(name: str, index: int, declared: Mapping[str, float]) -> ModelVersion:
    return ModelVersion(
        name=name,
        version="1",
        source=Source(provider="openai", location="http://127.0.0.1:9", settings=MappingProxyType({})),
        facts=Facts(digest=f"sha256:{index:064x}", parameters=int(1e9 * declared[name]) or None, capabilities=NEEDS),
        category=Category.FAST,
        created_at=float(index),
    )


class Plane:
    """What decides and learns in a gateway, on a store of its own. Every version is loaded."""

    def __init__(self, store: SqliteStore, recorded: object, tasks: Sequence[TaskSpec], draw: random.Random) -> None:
        clock = SystemClock()
        self.registry = Registry(store, recorded, clock)  # type: ignore[arg-type] # as the gateway does
        self.policy = Policy(
            registry=self.registry,
            tasks=Tasks(store, tasks, "default"),
            recorded=recorded,  # type: ignore[arg-type] # the same
            weights={},
            footprint=lambda version: 2**28,
            context_length=lambda version: 8_192,
            unavailable=lambda version: None,
            hardware=lambda: frozenset({"cpu"}),
            memory_bytes=lambda: 2**40,
            clock=clock,
        )
        self.learner = Learner(self.policy.believe, self.registry.active_refs)
        self.recorder = Recorder(
            store,
            clock,
            on_evidence=self.policy.learn,
            on_outcomes=self.learner.outcomes,
            on_feedback=self.learner.feedback,
            on_revision=self.learner.revised,
        )
        self._explorer = Explorer(draw.random, lambda ref: 1)
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "x"}]}).encode()
        self._head = wire.parse(Endpoint.CHAT, body, request_id="r", task=tasks[0].name)

    async def register(self, versions: Sequence[ModelVersion]) -> None:
        for one in versions:
            await self.registry.register(one, "benchmark")
            for status in (Lifecycle.READY, Lifecycle.ACTIVE):
                await self.registry.transition(one.ref, status, "benchmark", "")
        self.policy.refresh()
        self.learner.meet(versions)
        self.learner.publish()

    async def request(self, number: int, task: str, scores: Mapping[str, float]) -> None:
        choice = self.policy.choose(task, needs=NEEDS, size=500, explicit=None, criteria=None)
        choice = self._explorer.settle(choice, self._head)
        request_id = f"req_{number}"
        decision = Decision(
            id=f"dec_{number}",
            request_id=request_id,
            at=time.time(),
            choice=choice,
            served=choice.chosen,
            propensity=choice.propensity,
        )
        self.recorder.begin(decision)
        outcome = Outcome(
            decision_id=decision.id,
            request_id=request_id,
            task=task,
            ref=choice.chosen,
            at=time.time(),
            success=True,
            error=None,
            streamed=False,
            latency_ms=500.0,
            ttft_ms=50.0,
            cost=Cost(wall_ms=500.0),
        )
        self.recorder.record(decision, outcome)
        assert await self.recorder.feedback(request_id, scores[choice.chosen]) is not None
        if number % PUBLISH_EVERY == 0:
            self.recorder.catch_up()
            self.learner.publish()
            await self.recorder.flush()


async def serve(home: Path, stream: streams.Stream, declared: Mapping[str, float], explore: float, seed: int) -> None:
    """Put the whole stream through; the store holds what was decided and scored."""
    data, store = stream.data, open_store(home / "podium.db")
    tasks = [TaskSpec(name=name, strategy="default", exploration=explore) for name in data.tasks]
    plane = Plane(store, await store.load(), tasks, random.Random(seed))
    await plane.register([version(name, index, declared) for index, name in enumerate(data.models)])
    refs = [f"{name}@1" for name in data.models]
    for number, (task, scores) in enumerate(zip(stream.task.tolist(), stream.quality.tolist(), strict=True), start=1):
        await plane.request(number, data.tasks[task], dict(zip(refs, scores, strict=True)))
    await plane.recorder.close()
    await store.close()


def podium(home: Path, *arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "podium", *arguments, "--json"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PODIUM_HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def exported(home: Path) -> list[Logged]:
    out = home / "export.jsonl"
    made = podium(home, "export", "--out", str(out))
    assert podium(home, "export", "--verify", str(out), "--last", str(made["last"]))["intact"]
    return list(DecisionLog(out).rows())


# ---------------------------------------------------------------- one half against the other


@dataclass(frozen=True)
class Terms:
    """Of one policy, row by row of the second half: shape (n,)."""

    weight: NDArray[np.float64]
    robust: NDArray[np.float64]
    true: NDArray[np.float64]
    reward: NDArray[np.float64]

    def values(self) -> dict[str, float]:
        total = self.weight.sum()
        return {
            "ips": float((self.weight * self.reward).mean()),
            "snips": float((self.weight * self.reward).sum() / total) if total else math.nan,
            "dr": float(self.robust.mean()),
            "replay": float(self.true.mean()),
            "effective": float(total**2 / (self.weight**2).sum()) if total else 0.0,
        }


def gain(ours: Terms, static: Terms) -> dict[str, tuple[float, float]]:
    """(difference, standard error), paired by row, of every estimator."""
    n, found = len(ours.reward), {}
    a, b = ours.values(), static.values()
    parts = {
        "ips": (ours.weight - static.weight) * ours.reward,
        "snips": _linear(ours, a["snips"]) - _linear(static, b["snips"]),
        "dr": ours.robust - static.robust,
        "replay": ours.true - static.true,
    }
    for name, terms in parts.items():
        found[name] = (a[name] - b[name], float(terms.std(ddof=1) / math.sqrt(n)))
    return found


def _linear(terms: Terms, value: float) -> NDArray[np.float64]:
    """The influence of each row on SNIPS."""
    mean = terms.weight.mean()
    return terms.weight * (terms.reward - value) / mean if mean else np.full(len(terms.reward), np.nan)


def judge(target: Target, rows: Sequence[Logged], truth: Sequence[Mapping[str, float]], guess: PerCell) -> Terms:
    """``guess`` predicts rewards from the first half, so that the doubly robust terms are independent of the second."""
    made = []
    for row, scores in zip(rows, truth, strict=True):
        shares = target.distribution(row.task, row.candidates)
        assert shares is not None
        predicted = [guess.predict(row.task, name) for name in row.candidates]
        weight = shares[row.chosen] / row.propensity
        direct = sum(share * value for share, value in zip(shares, predicted, strict=True))
        true = sum(share * scores[name] for share, name in zip(shares, row.candidates, strict=True))
        made.append((weight, direct + weight * (row.reward - predicted[row.chosen]), true, row.reward))
    return Terms(*np.array(made).T)


class PerCell:
    """The reward model: means per task and version of the first half, shrunk towards the task's."""

    def __init__(self, rows: Sequence[Logged]) -> None:
        self._tasks: defaultdict[str, list[float]] = defaultdict(lambda: [0.5, 1.0])
        self._cells: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for row in rows:
            for place in (self._tasks[row.task], self._cells[row.task, row.candidates[row.chosen]]):
                place[0] += row.reward
                place[1] += 1.0

    def predict(self, task: str, arm: str) -> float:
        total, count = self._tasks[task]
        seen, number = self._cells[task, arm]
        return (seen + 2.0 * total / count) / (number + 2.0)


def compare(stream: streams.Stream, rows: list[Logged]) -> dict[str, object]:
    refs = [f"{name}@1" for name in stream.data.models]
    assert len(rows) == len(stream.task), "every request is in the export, once"
    truth = [dict(zip(refs, scores, strict=True)) for scores in stream.quality.tolist()]
    for row, scores in zip(rows, truth, strict=True):
        assert row.reward == scores[row.candidates[row.chosen]], "the export is in the order of the stream"
    half = len(rows) // 2
    first, second, after = rows[:half], rows[half:], truth[half:]
    guess = PerCell(first)

    trained, learned, untaught = Bandit(), BASELINES["balanced"](), BASELINES["balanced"]()
    for row in first:
        for policy in (trained, learned):
            policy.observe(row.task, row.candidates[row.chosen], row.reward)
    snips = {ref: judge(Always(ref), first, truth[:half], guess).values()["snips"] for ref in refs}
    single = max(refs, key=lambda ref: -1.0 if math.isnan(snips[ref]) else snips[ref])
    hindsight = max(refs, key=lambda ref: statistics.fmean(scores[ref] for scores in after))
    targets: dict[str, Target] = {
        "trained": Learning(trained),
        "per task": PerTask(first),
        "single": Always(single),
        "hindsight": Always(hindsight),
        "balanced": Learning(untaught),
        "balanced, learned": Learning(learned),
    }
    terms = {name: judge(target, second, after, guess) for name, target in targets.items()}
    oracle = stream.data.means.max(axis=1)[stream.task[half:]].mean()
    return {
        "logged": statistics.fmean(row.reward for row in second),
        "task_best": float(oracle),
        "values": {name: one.values() for name, one in terms.items()},
        "gains": {ours: {static: gain(terms[ours], terms[static]) for static in STATIC} for ours in OURS},
    }


# ---------------------------------------------------------------- the table


def pooled(runs: Sequence[dict[str, object]], ours: str, static: str, name: str) -> tuple[float, float]:
    """(mean difference over the seeds, half of its 95 % interval)."""
    values, errors = zip(*(run["gains"][ours][static][name] for run in runs), strict=True)
    if len(values) < 3:  # the rows' own error, the runs being independent given the prompts
        error = math.sqrt(sum(error**2 for error in errors)) / len(errors)
        return statistics.fmean(values), 1.96 * error
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), student(len(values) - 1, 0.95) * spread


def show(name: str, runs: Sequence[dict[str, object]], explore: float) -> None:
    print(f"\n{name}: {len(runs)} seed(s), exploration {explore:g}; means over the second halves")
    print("| policy | IPS | SNIPS | DR | replay | effective samples |\n|---|---|---|---|---|---|")
    for policy in (*OURS, *STATIC):
        cells = [
            statistics.fmean(run["values"][policy][what] for run in runs)
            for what in ("ips", "snips", "dr", "replay", "effective")
        ]
        print(f"| {policy} | {' | '.join(f'{cell:.4f}' for cell in cells[:4])} | {cells[4]:.0f} |")
    print(f"logged {statistics.fmean(run['logged'] for run in runs):.4f},", end=" ")
    print(f"best of each task {statistics.fmean(run['task_best'] for run in runs):.4f}")
    print(
        "\n| gain | IPS | SNIPS | DR | replay | seeds in which DR, replay are surely above 0 |\n|---|---|---|---|---|---|"
    )
    for ours in OURS:
        for static in STATIC:
            cells = []
            for what in ("ips", "snips", "dr", "replay"):
                value, half = pooled(runs, ours, static, what)
                cells.append(f"{value:+.4f} ± {half:.4f}")
            sure = [
                sum(value - 1.96 * error > 0 for value, error in (run["gains"][ours][static][what] for run in runs))
                for what in ("dr", "replay")
            ]
            print(f"| {ours} - {static} | {' | '.join(cells)} | {sure[0]}, {sure[1]} of {len(runs)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("PODIUM_DATA"))
    parser.add_argument("--sets", default="llmrouter14,mmlupro14")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--exploration", type=float, default=0.1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.data is None:
        parser.error("give the folder of the data, or PODIUM_DATA")
    results = {}
    for name in asked.sets.split(","):
        source = streams.load(Path(asked.data) / f"{name}.parquet")
        with (Path(asked.data) / f"{name}_models.csv").open() as file:
            declared = {row["model"]: float(row["params_b"] or 0) for row in csv.DictReader(file)}
        runs = []
        for seed in range(asked.seeds):
            stream = streams.plain(source, seed, None)
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(serve(Path(folder), stream, declared, asked.exploration, seed))
                runs.append(compare(stream, exported(Path(folder))))
            print(f"{name} seed {seed} done", file=sys.stderr)
        results[name] = runs
        if not asked.json:
            show(name, runs, asked.exploration)
    if asked.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
