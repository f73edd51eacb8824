"""The table of learning policies on recorded scores: regret, drift, arrival, claims, predecessors.

    python benchmarks/policy_table.py DATA [--sets llmrouter14,mmlupro14] [--seeds 10] [--jobs 2] [--only NAME] [--json]

DATA is the folder of the Parquet files (or ``PODIUM_DATA``). One pass over a shuffled stream, only the chosen model's
score is seen; regret = sum of (mean of the task's best - mean of the chosen); final = last fifth / per-task best.
Degrade: 10,000 bootstrapped requests, at half-stream the best model of six tasks drawn at random loses half its
quality; recovery = requests of that task until a window of 20 is back at 95 % of the new optimum. Arrival: the
globally best model is registered at half of 6,000; regret after it. Both on the first set.

Claims: ``believable`` is each model's score on 200 prompts of the file drawn at random, over all tasks; ``reversed``
turns the order of these numbers around. Successors: at half of 6,000 every model is replaced by its next version.
The default policy has one set of parameters for everything, printed with the table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from podium.core import bandit, change, heritage, quality
from podium.core.bandit import Bandit
from podium.core.baselines import BASELINES
from podium.core.policies import Policy
from policies import peers, streams

LENGTH = {"mmlupro14": 6_000}
OURS = "default"
CLAIM_PROMPTS = 200


@cache
def data(folder: str, name: str) -> streams.Data:
    return streams.load(Path(folder) / f"{name}.parquet")


def claims(source: streams.Data, seed: int, *, turned: bool) -> dict[str, float]:
    """What a benchmark of 200 prompts shows for each model, or that with the order turned around."""
    sample = np.random.default_rng([seed, 77]).choice(source.task.size, CLAIM_PROMPTS, replace=False)
    shown = source.quality[sample].mean(axis=0)
    if turned:
        order = shown.argsort()
        shown = shown.copy()
        shown[order] = shown[order[::-1]]
    return dict(zip(source.models, shown.tolist(), strict=True))


def default(source: streams.Data, seed: int, variant: str) -> Bandit:
    policy = Bandit(drift=variant != "no drift detection")
    if variant in {"believable", "reversed"}:
        for arm, value in claims(source, seed, turned=variant == "reversed").items():
            policy.expect(arm, benchmark=value)
    if variant == "inherits":
        for name in source.models:
            policy.succeed(f"{name}@2", name)
    return policy


def policy_of(name: str, source: streams.Data, seed: int) -> Policy:
    if name.startswith(OURS):
        return default(source, seed, name.removeprefix(OURS).strip(" ,"))
    return peers.PEERS[name][1](source) if name in peers.PEERS else BASELINES[name]()


def stream_of(kind: str, source: streams.Data, seed: int) -> streams.Stream:
    match kind:
        case "degrade":
            return streams.degrade(source, seed)
        case "arrival":
            return streams.arrival(source, seed)
        case "informative" | "misleading":
            return streams.successor(source, seed, misleading=kind == "misleading")
        case _:
            return streams.plain(source, seed, LENGTH.get(source.name))


Job = tuple[str, str, str, str, int]


def run(job: Job) -> tuple[Job, streams.Outcome]:
    """One policy on one stream: (folder, set, experiment, policy, seed)."""
    folder, name, kind, policy, seed = job
    source = data(folder, name)
    return job, streams.play(stream_of(kind, source, seed), policy_of(policy, source, seed))


def plan(folder: str, sets: list[str], seeds: int, only: str | None) -> list[Job]:
    found = [name for name, (package, _) in peers.PEERS.items() if peers.installed(package)]
    everyone = [*BASELINES, *found, OURS]
    variants = [f"{OURS}, {one}" for one in ("believable", "reversed", "no drift detection")]
    wanted = [(name, "plain", policy) for name in sets for policy in [*everyone, *variants]]
    wanted += [(sets[0], "degrade", policy) for policy in everyone]
    cannot = {"best single, hindsight", "uniform", "paretobandit", "MABWiser UCB1"}
    wanted += [(sets[0], "arrival", policy) for policy in everyone if policy not in cannot]
    for kind in ("informative", "misleading"):
        wanted += [(sets[0], kind, policy) for policy in (OURS, f"{OURS}, inherits")]
    return [
        (folder, name, kind, policy, seed)
        for name, kind, policy in wanted
        if only is None or only in policy
        for seed in range(seeds)
    ]


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half of its 95 % interval (Student's t; 2.262 for ten seeds)."""
    t = {2: 12.71, 3: 4.30, 5: 2.776, 10: 2.262, 20: 2.093}.get(len(values), 2.0)
    wide = t * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), wide


def summary(outcomes: list[streams.Outcome]) -> dict[str, float | None]:
    regret, wide = interval([one.regret for one in outcomes])
    late, late_wide = interval([one.late_regret for one in outcomes])
    recovery = [value for one in outcomes for value in one.recovery]
    middle = statistics.median(recovery) if recovery else None
    return {
        "seeds": len(outcomes),
        "regret": round(regret, 1),
        "regret_ci": round(wide, 1),
        "final": round(statistics.fmean(one.final for one in outcomes), 3),
        "late_regret": round(late, 1),
        "late_regret_ci": round(late_wide, 1),
        "first_1000_late": round(statistics.fmean(one.first_late for one in outcomes), 1),
        "recovery": None if middle is None or math.isinf(middle) else middle,
        "never": round(sum(map(math.isinf, recovery)) / len(recovery), 3) if recovery else None,
    }


def parameters() -> dict[str, object]:
    start = quality.START
    return {
        "alpha": bandit.ALPHA, "horizon": bandit.HORIZON, "epsilon": bandit.EPSILON, "tail": quality.TAIL,
        "start variances (arm, task, cell)": (start.arm, start.task, start.cell), "pull": quality.PULL,
        "shrink (shared, cell)": (quality.SHRINK_SHARED, quality.SHRINK_CELL),
        "claims (mean, variance)": (quality.CLAIM_MEAN, quality.CLAIM_VAR),
        "change (slack, down, up, apart)": (change.SLACK, change.DOWN_LEVEL, change.UP_LEVEL, change.APART),
        "heritage (trust, variance, worth)": (heritage.TRUST, heritage.LIKE_VAR, heritage.WORTH),
    }  # fmt: skip


def show(results: dict[str, dict[str, dict[str, dict[str, float | None]]]], sets: list[str]) -> None:
    names = list(dict.fromkeys(policy for by in results.values() for rows in by.values() for policy in rows))
    head = [f"{name} regret / final" for name in sets] + ["degrade: regret / recovery / never", "arrival", "successors"]
    print("| policy | " + " | ".join(head) + " |\n|---" * 1 + "|---" * len(head) + "|")
    for policy in names:
        cells = []
        for name in sets:
            one = results[name].get("plain", {}).get(policy)
            cells.append("" if one is None else f"{one['regret']:.0f} ± {one['regret_ci']:.0f} / {one['final']:.3f}")
        first = results[sets[0]]
        one = first.get("degrade", {}).get(policy)
        cells.append(
            ""
            if one is None
            else f"{one['regret']:.0f} ± {one['regret_ci']:.0f} / {one['recovery'] or '∞'} / {one['never']:.0%}"
        )
        one = first.get("arrival", {}).get(policy)
        cells.append("" if one is None else f"{one['late_regret']:.0f} ± {one['late_regret_ci']:.0f}")
        pair = [first.get(kind, {}).get(policy) for kind in ("informative", "misleading")]
        cells.append(" / ".join(f"{one['late_regret']:.0f} ± {one['late_regret_ci']:.0f}" for one in pair if one))
        print(f"| {policy} | " + " | ".join(cells) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("PODIUM_DATA"), help="folder of the Parquet files")
    parser.add_argument("--sets", default="llmrouter14,mmlupro14")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--only", help="policies whose name contains this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        print("where is the data? Name its folder as argument or in PODIUM_DATA", file=sys.stderr)
        return 2
    sets = options.sets.split(",")
    for package in peers.PACKAGES:
        if not peers.installed(package):
            print(f"{package}: not installed, left out", file=sys.stderr)
    jobs = plan(options.data, sets, options.seeds, options.only)
    started, gathered = time.monotonic(), {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, (job, outcome) in enumerate(pool.map(run, jobs), 1):
            gathered.setdefault(job[1:4], []).append(outcome)
            if sys.stderr.isatty():
                print(f"\r{done}/{len(jobs)}", end="", file=sys.stderr)
    results: dict[str, dict[str, dict[str, dict[str, float | None]]]] = {name: {} for name in sets}
    for (name, kind, policy), outcomes in gathered.items():
        results[name].setdefault(kind, {})[policy] = summary(outcomes)
    if options.json:
        print(json.dumps({"parameters": parameters(), "seconds": time.monotonic() - started, "results": results}))
    else:
        show(results, sets)
        print("\nparameters of the default, for every column:", json.dumps(parameters()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
