"""The table of canary tests on recorded scores: false roll backs, losses found, and the answers it took.

    python benchmarks/canary_table.py DATA [--set llmrouter14] [--runs 10000] [--few 2000] [--seed 1] [--json]

DATA is the folder of the Parquet files (or ``PODIUM_DATA``). The old version is the best single model of the set; an
equal candidate is the same model on other prompts; a candidate at x.80 is the same with each answer spoilt (score 0)
with probability .20. Prompts are drawn with replacement, answers come in turns, up to 400 per arm, with a look after
every answer. ``found`` is the share of rollouts in which the candidate is found worse, the median is over all rollouts,
in answers per arm. Rules that cost much to simulate, and the checks of the level with other shares of traffic, are run
``--few`` times; the table says which.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from canary import ours, rollouts, rules

Array = NDArray[np.float64]
LEVELS = (0.02, 0.05)
KEEPS = (1.0, 0.95, 0.90, 0.80, 0.70, 0.50)
BLOCK = 1000
STEPS = 9


def halves(source: rollouts.Source, runs: rollouts.Rollouts, kinds: str | None) -> Array:
    """Our test with the traffic split in halves; answers per arm."""
    count, each = runs.baseline.shape
    of = {"task": source.task, "hardness": source.hardness}
    cells = None if kinds is None else (of[kinds][runs.prompts[0]], of[kinds][runs.prompts[1]])
    turns = ours.order(count, 0.5, 2 * each, None)
    return np.ceil(ours.separate(runs, LEVELS, turns, cells) / 2)


def rows(source: rollouts.Source, keep: float, runs: int, few: int, seed: int) -> Iterator[tuple[str, int, Array]]:
    """(rule, rollouts, (levels, rollouts) answers per arm) for one candidate, a block of rollouts at a time."""
    for block in range(math.ceil(runs / BLOCK)):
        drawn = rollouts.draw(source, keep, min(BLOCK, runs - block * BLOCK), [seed, block, round(100 * keep)])
        x, y = drawn.baseline, drawn.candidate
        yield "ours", runs, halves(source, drawn, None)
        paired = rollouts.draw(source, keep, x.shape[0], [seed, block, round(100 * keep)], paired=True)
        yield "ours, paired shadow prompts", runs, ours.together(paired, LEVELS)
        yield "mSPRT, normal mixture", runs, np.stack([rules.mixture(x, y, level) for level in LEVELS])
        yield "betting e-process", runs, np.stack([rules.betting(x, y, level) for level in LEVELS])
        yield "naive: ratio below .95 after 10", runs, np.stack([rules.naive(x, y)] * 2)
        if block * BLOCK >= few:
            continue
        yield "ours, adjusted for task", few, halves(source, drawn, "task")
        yield "ours, adjusted for hardness", few, halves(source, drawn, "hardness")
        ranked = rules.rank_tests(x, y, LEVELS, seed)
        yield "Mann-Whitney once at 400", few, np.stack(ranked["once"])
        yield "Mann-Whitney at every look", few, np.stack(ranked["every"])
        yield "Kayenta's rule at every look", few, np.stack(ranked["kayenta"])


def shares(source: rollouts.Source, few: int, seed: int) -> dict[str, list[float]]:
    """False roll backs of an equal candidate with a share of one in ten, and in a ramp from there."""
    found: dict[str, list[list[float]]] = {}
    for block in range(math.ceil(few / BLOCK)):
        count = min(BLOCK, few - block * BLOCK)
        for name, length, share in (("share of 10 %", 1600, np.array(0.1)), ("ramp 10 to 90 %", 900, _ramp(900))):
            turns = ours.order(count, share, length, [seed, block, length])
            sizes = (int((~turns).sum(axis=1).max()), int(turns.sum(axis=1).max()))
            drawn = rollouts.draw(source, 1.0, count, [seed, block, length, 1], sizes)
            phase = np.repeat(np.arange(STEPS), length // STEPS) if share.ndim else None
            at = ours.separate(drawn, LEVELS, turns, None, phase)
            found.setdefault(name, []).append(np.isfinite(at).mean(axis=1).tolist())
    return {name: np.mean(values, axis=0).tolist() for name, values in found.items()}


def _ramp(length: int) -> Array:
    return np.repeat(np.arange(1, STEPS + 1) / 10, length // STEPS)


def summary(parts: list[Array]) -> list[dict[str, float | None]]:
    """By level."""
    whole = np.concatenate(parts, axis=1)
    return [
        {"found": float(np.isfinite(at).mean()), "median": None if np.isinf(np.median(at)) else float(np.median(at))}
        for at in whole
    ]


def show(table: dict[str, dict[float, list[dict[str, float | None]]]], runs: dict[str, int]) -> None:
    losses = [keep for keep in KEEPS if keep < 1]
    heads = ["rollouts", "false at 2 %", "at 5 %", *(f"x{keep:.2f}: found (median)" for keep in losses)]
    print("| test | " + " | ".join(heads) + " |\n|---" + "|---" * len(heads) + "|")
    for name, by in table.items():
        cells = [f"{runs[name]:,}", *(f"{100 * (one['found'] or 0):.1f} %" for one in by[1.0])]
        for keep in losses:
            one = by[keep][0]
            middle = "" if one["median"] is None else f" ({one['median']:.0f})"
            cells.append(f"{100 * (one['found'] or 0):.0f} %{middle}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("PODIUM_DATA"), help="folder of the Parquet files")
    parser.add_argument("--set", default="llmrouter14")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        print("where is the data? Name its folder as argument or in PODIUM_DATA", file=sys.stderr)
        return 2
    source = rollouts.load(Path(options.data) / f"{options.set}.parquet")
    few, started = min(options.few, options.runs), time.monotonic()
    table: dict[str, dict[float, list[dict[str, float | None]]]] = {}
    runs: dict[str, int] = {}
    for keep in KEEPS:
        parts: dict[str, list[Array]] = {}
        for name, count, at in rows(source, keep, options.runs, few, options.seed):
            parts.setdefault(name, []).append(at)
            runs[name] = count
        for name, found in parts.items():
            table.setdefault(name, {})[keep] = summary(found)
        print(f"x{keep:.2f}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    level = shares(source, few, options.seed)
    if options.json:
        print(json.dumps({"model": source.model, "seed": options.seed, "runs": runs, "table": table, "shares": level}))
        return 0
    print(f"old version: {source.model}, mean score {source.quality.mean():.3f}; seed {options.seed}; losses at 2 %\n")
    show(table, runs)
    for name, found in level.items():
        print(f"\nours, {name}, {few:,} rollouts: {found[0]:.1%} false at 2 %, {found[1]:.1%} at 5 %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
