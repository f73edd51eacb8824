"""Whether selection that learns from judged quality alone reaches what learning from true grades reaches, on real answers.

    python benchmarks/judged_selection.py collect ANSWERS --small MODEL.gguf [--gguf NAME=PATH] [--items 52]
    python benchmarks/judged_selection.py replay ANSWERS [--public DATA] [--seeds 30] [--json]

``collect`` asks real models every item of the shipped suites through a gateway and keeps answers and grades; it goes on where
it stopped. ``replay`` splits the items in two, by seed: answers to one part may serve as labels, requests are drawn from the
other. Podium's learner and default policy choose, and hear of an answer only what a teacher says:

- ``truth``: the grade of the suite, as a check would give it;
- ``rules``: the graders without a model as they come, no label anywhere;
- ``public``: rules and stack calibrated on public label sets (``--public``), none of one's own;
- ``stack N``: rules and stack calibrated on N labelled answers of the other part.

``ratio`` is the true quality of what judged learning chose, by that of what true grades chose, on the same stream; its 95 %
interval is over seeds, each with its own split, labels and stream. ``gain`` is the share of what truth gains over choosing
blindly. ``sample`` is the share of answers that are judged; truth has the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from judged.answers import Answer, collect, read, whole
from judged.replay import Played, fixed, play
from judged.scores import Given, Verdicts, calibrated, public, ruled, settled
from podium.domain.judgment import Calibration

LENGTH = 2_000
LABELS = (50, 200)
CRITERIA = ("faithfulness", "relevance")
"""Which the labels are taken for: a right answer is true to the prompt and does what it asks."""
EVERY = ("faithfulness", "relevance", "minimality", "safety")
Rows = list[list[Answer]]
Known = dict[tuple[str, str], Calibration]


def parts(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """(may be labelled, is replayed): half of the items of each suite."""
    rng = np.random.default_rng([seed, 3])
    order = rng.permutation(len(rows))
    labelled: Rows = []
    replayed: Rows = []
    seen: dict[str, int] = {}
    for at in order:
        row = rows[int(at)]
        number = seen[row[0].suite] = seen.get(row[0].suite, 0) + 1
        (labelled if number % 2 else replayed).append(row)
    return labelled, replayed


class Teachers:
    """By name: what is said of an answer."""

    def __init__(self, rows: Rows, verdicts: dict[str, Verdicts], common: Known | None) -> None:
        self.verdicts = verdicts
        self.common = common
        self.rows = rows

    def named(self, name: str, labelled: Rows, seed: int) -> Any:
        """A function of an answer."""
        if name == "truth":
            return lambda answer: Given(answer.truth)
        if name == "rules":
            return self._by({}, EVERY)
        if name == "public":
            assert self.common is not None
            return self._by(self.common, EVERY)
        count = int(name.split()[1])
        answers = [answer for row in labelled for answer in row]
        chosen = np.random.default_rng([seed, 9]).permutation(len(answers))[:count]
        some = [answers[int(at)] for at in chosen]
        return self._by(calibrated(some, [self.verdicts[key(one)] for one in some], CRITERIA, seed), CRITERIA)

    def _by(self, known: Known, criteria: Sequence[str]) -> Any:
        found: dict[str, Given] = {}

        def teacher(answer: Answer) -> Given:
            name = key(answer)
            if name not in found:
                found[name] = settled(self.verdicts[name], lambda judge, one: known.get((judge, one)), criteria)
            return found[name]

        return teacher


def key(answer: Answer) -> str:
    return f"{answer.suite}/{answer.item}/{answer.model}"


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval."""
    mean = statistics.fmean(values)
    half = 1.96 * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return round(mean, 4), round(mean - half, 4), round(mean + half, 4)


def compare(rows: Rows, teachers: Teachers, names: Sequence[str], sample: float, seeds: int) -> dict[str, Any]:
    """Every teacher on the same streams."""
    played: dict[str, list[Played]] = {name: [] for name in names}
    yardsticks: list[dict[str, float]] = []
    for seed in range(seeds):
        labelled, replayed = parts(rows, seed)
        yardsticks.append(fixed(replayed, seed, LENGTH))
        for name in names:
            source = "check" if name == "truth" else "judge"
            teacher = teachers.named(name, labelled, seed)
            played[name].append(play(replayed, teacher, source=source, sample=sample, length=LENGTH, seed=seed))
    found: dict[str, Any] = {
        name: round(statistics.fmean(one[name] for one in yardsticks), 4) for name in yardsticks[0]
    }
    for name, runs in played.items():
        pairs = list(zip(runs, played["truth"], yardsticks, strict=True))
        found[name] = {
            "quality": round(statistics.fmean(run.mean for run in runs), 4),
            "late": round(statistics.fmean(run.late for run in runs), 4),
            "ratio": interval([run.mean / truth.mean for run, truth, _ in pairs]),
            "late_ratio": interval([run.late / truth.late for run, truth, _ in pairs]),
            "worst_ratio": round(min(run.mean / truth.mean for run, truth, _ in pairs), 4),
            "gain": interval(
                [(run.mean - one["uniform"]) / (truth.mean - one["uniform"]) for run, truth, one in pairs]
            ),
        }
    return found


def replay(options: argparse.Namespace) -> dict[str, Any]:
    every = whole(read(options.answers))
    if not every:
        sys.exit(f"{options.answers} has no item that every model answered; collect first")
    verdicts = {key(answer): ruled(answer) for row in every for answer in row}
    common = None if options.public is None else public(options.public, options.public_rows)
    fleets = {"all": [answer.model for answer in every[0]]}
    for given in options.fleet:
        name, models = given.split("=", 1)
        fleets[name] = models.split(",")
    names = ["truth", "rules", *(["public"] if common else []), *(f"stack {count}" for count in LABELS)]
    report: dict[str, Any] = {"items": len(every), "seeds": options.seeds, "requests": LENGTH, "fleets": {}}
    for fleet, models in fleets.items():
        rows = [[answer for answer in row if answer.model in models] for row in every]
        teachers = Teachers(rows, verdicts, common)
        truth = {
            model: {
                task: round(
                    statistics.fmean(a.truth for row in rows for a in row if (a.model, a.task) == (model, task)), 3
                )
                for task in sorted({row[0].task for row in rows})
            }
            for model in models
        }
        report["fleets"][fleet] = {"truth": truth}
        for sample in options.sample:
            report["fleets"][fleet][f"sample {sample:g}"] = compare(rows, teachers, names, sample, options.seeds)
    return report


def show(report: dict[str, Any]) -> None:
    print(f"{report['items']} items, {report['seeds']} seeds, {report['requests']} requests each")
    for fleet, found in report["fleets"].items():
        print(f"\n{fleet}")
        for model, by in found["truth"].items():
            print(f"  {model:14} " + "  ".join(f"{task} {value:.2f}" for task, value in by.items()))
        for sample, one in found.items():
            if sample == "truth":
                continue
            print(f"\n  {sample}: " + ", ".join(f"{k} {v:.3f}" for k, v in one.items() if isinstance(v, float)))
            print(f"  {'teacher':12} {'quality':>8} {'late':>7}  {'ratio (95 %)':24} {'late ratio':24} {'gain':>6}")
            for name, row in one.items():
                if isinstance(row, dict):
                    ratio, late = ("{:.3f} ({:.3f} to {:.3f})".format(*row[part]) for part in ("ratio", "late_ratio"))
                    numbers = f"{row['quality']:8.3f} {row['late']:7.3f}"
                    print(f"  {name:12} {numbers}  {ratio:24} {late:24} {row['gain'][0]:6.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    first = kinds.add_parser("collect")
    first.add_argument("answers", type=Path)
    first.add_argument("--small", type=Path, required=True, help="the GGUF file that four versions are made of")
    first.add_argument("--gguf", action="append", default=[], metavar="NAME=PATH")
    first.add_argument("--items", type=int, default=52, help="of each suite at most")
    second = kinds.add_parser("replay")
    second.add_argument("answers", type=Path)
    second.add_argument("--public", type=Path, help="folder of the public label sets")
    second.add_argument("--public-rows", type=int, default=400, help="of each set")
    second.add_argument(
        "--fleet", action="append", default=[], metavar="NAME=MODEL,MODEL", help="only some of the models"
    )
    second.add_argument("--sample", type=float, action="append", help="share of answers that are judged; 1 without it")
    second.add_argument("--seeds", type=int, default=30)
    second.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.kind == "collect":
        others = {name: Path(path) for name, path in (given.split("=", 1) for given in options.gguf)}
        asyncio.run(collect(options.answers, options.small, others, options.items))
        return 0
    options.sample = options.sample or [1.0]
    report = replay(options)
    if options.json:
        print(json.dumps(report))
    else:
        show(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
