"""Does looking at the prompt beat the best model of its task? Train on one half of each set, test on the other.

    python benchmarks/prompt_context.py DATA [--sets llmrouter14,mmlupro14] [--seeds 10] [--json]

DATA is the folder of the Parquet files (or ``PODIUM_DATA``). ``core/prompt_routing`` is compared with always using the
model that was best on the task's training half, with the 20 nearest prompts of the task, with plain logistic regression of
every model's score on words and task, and with itself without its proof, on the counts of difficulty alone, and on
partial scores: each training prompt shows what one model scored, drawn at random, as live traffic at best would.

Points are percent of a full score, with Student intervals over seeds; ``abstains`` is the share of tasks.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from podium.core import prompt_routing
from podium.core.difficulty import counts
from podium.core.ngrams import BUCKETS, EMPTY, features
from podium.core.prompt_routing import Prompt
from podium.datasets.table import open_table

NEIGHBOURS, NEIGHBOUR_PRIOR = 20, 20.0
FOLDED = 1_024
"""Buckets that logistic regression gets; more make it slower, not better."""
STEPS, DECAY = 80, 1.0
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Half:
    """Prompts of one half: features, task numbers, scores ``(prompts, models)``."""

    prompts: list[Prompt]
    task: NDArray[np.int64]
    scores: Array

    def of(self, task: int) -> Half:
        at = np.flatnonzero(self.task == task)
        return Half(prompts=[self.prompts[i] for i in at], task=self.task[at], scores=self.scores[at])


Answer: TypeAlias = tuple[NDArray[np.int64], float]
"""The column for every test prompt, and the share of tasks it abstains on."""


def load(path: Path) -> Half:
    table = open_table(path)
    columns = [name for name in table.names if name.startswith("q__")]
    names: list[str] = []
    texts: list[str] = []
    parts = []
    for chunk in table.chunks(["task", "prompt"], columns):
        names += chunk.texts[0]
        texts += chunk.texts[1]
        parts.append(chunk.numbers)
    scores = np.concatenate(parts)
    whole = np.flatnonzero(~np.isnan(scores).any(axis=1))
    tasks = sorted(set(names))
    prompts = [Prompt(features(texts[at]), counts(texts[at])) for at in whole]
    return Half(prompts=prompts, task=np.array([tasks.index(names[at]) for at in whole]), scores=scores[whole])


def halves(data: Half, seed: int) -> tuple[Half, Half]:
    order = np.random.default_rng(seed).permutation(len(data.prompts))
    middle = len(order) // 2
    one, other = (
        Half(prompts=[data.prompts[at] for at in part], task=data.task[part], scores=data.scores[part])
        for part in (order[:middle], order[middle:])
    )
    return one, other


def per_task(known: Half, asked: Half, route: Callable[[Half, Half], tuple[NDArray[np.int64], bool]]) -> Answer:
    chosen, abstained = np.zeros(len(asked.prompts), np.int64), []
    for task in np.unique(asked.task):
        found, silent = route(known.of(task), asked.of(task))
        chosen[asked.task == task] = found
        abstained.append(silent)
    return chosen, statistics.fmean(abstained)


def best_of_task(known: Half, asked: Half) -> Answer:
    """The yardstick."""

    def route(mine: Half, test: Half) -> tuple[NDArray[np.int64], bool]:
        return np.full(len(test.prompts), int(mine.scores.mean(axis=0).argmax())), True

    return per_task(known, asked, route)


def routed(known: Half, asked: Half) -> Answer:
    def route(mine: Half, test: Half) -> tuple[NDArray[np.int64], bool]:
        router = prompt_routing.train(mine.prompts, mine.scores)
        return np.array([router.route(prompt) for prompt in test.prompts]), router.weights is None

    return per_task(known, asked, route)


def unproven(known: Half, asked: Half) -> Answer:
    """The same without the proof: it never abstains."""
    kept = prompt_routing.CERTAINTY, prompt_routing.LEAST
    prompt_routing.CERTAINTY, prompt_routing.LEAST = -1e9, 0
    try:
        return routed(known, asked)
    finally:
        prompt_routing.CERTAINTY, prompt_routing.LEAST = kept


def difficulty_only(known: Half, asked: Half) -> Answer:
    def bare(half: Half) -> Half:
        return replace(half, prompts=[replace(prompt, words=EMPTY) for prompt in half.prompts])

    return routed(bare(known), bare(asked))


def partial(known: Half, asked: Half) -> Answer:
    """One model's score for each training prompt."""
    count = known.scores.shape[1]
    draw = np.random.default_rng(len(known.prompts)).integers(count, size=len(known.prompts))
    shown = np.where(np.arange(count) == draw[:, None], known.scores, math.nan)

    def route(mine: Half, test: Half) -> tuple[NDArray[np.int64], bool]:
        router = prompt_routing.train(mine.prompts, mine.scores, np.full(mine.scores.shape, 1.0 / count))
        return np.array([router.route(prompt) for prompt in test.prompts]), router.weights is None

    return per_task(replace(known, scores=shown), asked, route)


def partial_best(known: Half, asked: Half) -> Answer:
    """The best model of the task by the same partial scores."""
    count = known.scores.shape[1]
    draw = np.random.default_rng(len(known.prompts)).integers(count, size=len(known.prompts))
    shown = np.where(np.arange(count) == draw[:, None], known.scores, math.nan)

    def route(mine: Half, test: Half) -> tuple[NDArray[np.int64], bool]:
        seen = ~np.isnan(mine.scores)
        level = float(mine.scores[seen].mean())
        means = (np.where(seen, mine.scores, 0.0).sum(axis=0) + 2.0 * level) / (seen.sum(axis=0) + 2.0)
        return np.full(len(test.prompts), int(means.argmax())), True

    return per_task(replace(known, scores=shown), asked, route)


def dense(half: Half, width: int) -> Array:
    found = np.zeros((len(half.prompts), width))
    for at, prompt in enumerate(half.prompts):
        np.add.at(found[at], prompt.words.indices.astype(np.int64) % width, prompt.words.values)
    return found


def neighbours(known: Half, asked: Half) -> Answer:
    """Mean over the nearest prompts, shrunk to the task's."""

    def route(mine: Half, test: Half) -> tuple[NDArray[np.int64], bool]:
        near = np.argsort(-(dense(test, BUCKETS) @ dense(mine, BUCKETS).T), axis=1)[:, :NEIGHBOURS]
        means = mine.scores.mean(axis=0)
        found = mine.scores[near].sum(axis=1) + NEIGHBOUR_PRIOR * means
        return found.argmax(axis=1), False

    return per_task(known, asked, route)


def logistic(known: Half, asked: Half) -> Answer:
    """One regression for each model on folded words and the task, by accelerated gradient descent."""
    tasks = int(max(known.task.max(), asked.task.max())) + 1
    x, z = (np.hstack([dense(half, FOLDED), np.eye(tasks)[half.task]]) for half in (known, asked))
    weights = np.zeros((x.shape[1], known.scores.shape[1]))
    ahead, momentum = weights.copy(), 1.0
    rate = 1.0 / (0.25 * np.linalg.norm(x, 2) ** 2 + DECAY)
    for _ in range(STEPS):
        share = 1.0 / (1.0 + np.exp(-(x @ ahead)))
        fresh = ahead - rate * (x.T @ (share - known.scores) + DECAY * ahead)
        following = (1.0 + math.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        ahead = fresh + (momentum - 1.0) / following * (fresh - weights)
        weights, momentum = fresh, following
    return (z @ weights).argmax(axis=1), 0.0


WAYS: dict[str, Callable[[Half, Half], Answer]] = {
    "prompt routing": routed,
    "without its proof": unproven,
    "difficulty alone": difficulty_only,
    "nearest prompts": neighbours,
    "logistic regression": logistic,
    "one score per prompt": partial,
}


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half of its 95 % interval (Student's t)."""
    t = {2: 12.71, 3: 4.30, 5: 2.776, 10: 2.262, 20: 2.093}.get(len(values), 2.26)
    wide = t * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), wide


def measure(data: Half, seeds: int) -> dict[str, dict[str, float]]:
    points: dict[str, list[float]] = {name: [] for name in WAYS}
    ratios: dict[str, list[float]] = {name: [] for name in WAYS}
    abstains: dict[str, list[float]] = {name: [] for name in WAYS}
    for seed in range(seeds):
        known, asked = halves(data, seed)
        rows = np.arange(len(asked.prompts))
        base = float(asked.scores[rows, best_of_task(known, asked)[0]].mean())
        thin = float(asked.scores[rows, partial_best(known, asked)[0]].mean())
        for name, way in WAYS.items():
            chosen, silent = way(known, asked)
            bar = thin if way is partial else base
            value = float(asked.scores[rows, chosen].mean())
            points[name].append(100.0 * (value - bar))
            ratios[name].append(value / bar)
            abstains[name].append(silent)
        print(f"{seed + 1}/{seeds}", end="\r", file=sys.stderr)
    result = {}
    for name, values in points.items():
        mean, wide = interval(values)
        result[name] = {
            "ratio": round(statistics.fmean(ratios[name]), 4),
            "points": round(mean, 2),
            "points_ci": round(wide, 2),
            "worst_seed": round(min(values), 2),
            "abstains": round(statistics.fmean(abstains[name]), 2),
        }
    return result


def speed(data: Half, path: Path) -> dict[str, float]:
    """Microseconds of processor time for one prompt: reading it (which recognising its task does anyway), and routing."""
    known = data.of(int(np.bincount(data.task).argmax()))
    begin = time.process_time()
    router = prompt_routing.train(known.prompts, known.scores)
    trained = time.process_time() - begin
    weights = np.zeros((BUCKETS + len(router.centre), len(router.contenders)), np.float32)
    router = replace(router, weights=weights)
    texts = [text for chunk in open_table(path).chunks(["prompt"], []) for text in chunk.texts[0]][:2_000]
    read, taken = [], []
    for text in texts:
        start = time.thread_time_ns()
        prompt = Prompt(features(text), counts(text))
        between = time.thread_time_ns()
        router.route(prompt)
        taken.append((time.thread_time_ns() - between) / 1_000)
        read.append((between - start) / 1_000)
    return {
        "reading_p50_us": round(float(np.median(read)), 1),
        "reading_p99_us": round(float(np.quantile(read, 0.99)), 1),
        "routing_p50_us": round(float(np.median(taken)), 1),
        "routing_p99_us": round(float(np.quantile(taken, 0.99)), 1),
        "training_s": round(trained, 2),
        "training_prompts": len(known.prompts),
        "bytes_per_task": weights.nbytes,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("PODIUM_DATA"), help="folder of the Parquet files")
    parser.add_argument("--sets", default="llmrouter14,mmlupro14")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        print("where is the data? Name its folder as argument or in PODIUM_DATA", file=sys.stderr)
        return 2
    results = {}
    for name in options.sets.split(","):
        path = Path(options.data) / f"{name}.parquet"
        data = load(path)
        results[name] = {"ways": measure(data, options.seeds), "speed": speed(data, path)}
        if options.json:
            continue
        print(
            f"{name}\n| against the best model of the task | ratio | points | worst seed | abstains |\n|---|---|---|---|---|"
        )
        for way, row in results[name]["ways"].items():
            print(
                f"| {way} | {row['ratio']:.4f} | {row['points']:+.2f} ± {row['points_ci']:.2f} | "
                f"{row['worst_seed']:+.2f} | {row['abstains']:.0%} |"
            )
        print("routing one prompt:", json.dumps(results[name]["speed"]), flush=True)
    if options.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
