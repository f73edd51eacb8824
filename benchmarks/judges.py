"""The table of judges: what each is worth against people, alone, calibrated, and stacked with the graders.

    python benchmarks/judges.py DATA VERDICTS [--json]

DATA is the folder of label files (``faithfulness.jsonl.gz`` …), VERDICTS a file of stored verdicts of real models, as
``judge_verdicts.py`` writes it. Every figure is of rows that nothing was fitted on: ten folds, outputs of one prompt
never in two of them. ``graders`` and ``stack of graders`` use whole files. A model judged a part of the rows; its own figures
are of these. Its stack with the graders is fitted on the other folds of the whole file, a score that was not given counting
as absent, and counted on the rows judged; ``same rows`` is the stack of graders there, ``gain`` the difference of the two
AUCs with an interval by drawing prompts with replacement. ``all`` is every model stored, and the graders.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.core import agreement
from podium.core.agreement import Interval
from podium.core.calibration import calibrate
from podium.core.held_out import HeldOut, figures, joined
from podium.core.human_scale import pass_rule, passed
from podium.core.pair_calibration import compare_features, compare_scores
from podium.core.stacking import features_of, stack_up
from podium.datasets.labels import read_labels
from podium.domain.judgment import CRITERIA, Verdict
from podium.domain.labels import Labelled
from podium.errors import InvalidRequest
from podium.services.calibrating import RulesJudge, score

SEED = 0
DRAWS = 1_000
COLUMNS = ("criterion", "judge", "n", "auc", "kappa", "ece_before", "ece_after", "judgments_per_s", "invalid")
Rows = Sequence[int]


@dataclass(frozen=True, slots=True)
class File:
    """The labelled rows of one criterion and what the rules said of each of their outputs."""

    criterion: str
    rows: tuple[Labelled, ...]
    rules: Mapping[str, Verdict]
    """By the id of the output."""
    rules_per_s: float
    level: tuple[tuple[bool, ...], ...]
    """Which outputs of each row people passed."""
    groups: NDArray[np.int64]


async def opened(path: Path) -> File:
    rows = read_labels(path)
    scored = await score(rows, RulesJudge(), at_once=1)
    rule, names = pass_rule(rows), dict[str, int]()
    items = [item.id for row in rows for item in row.items]
    return File(
        rows[0].criterion,
        rows,
        dict(zip(items, scored.verdicts, strict=True)),
        len(items) / scored.seconds,
        tuple(passed(row, rule) for row in rows),
        np.array([names.setdefault(row.context or row.id, len(names)) for row in rows]),
    )


def verdicts_of(path: Path) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    """judge -> (criterion, item) -> what was stored."""
    found: dict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            one = json.loads(line)
            found[one["judge"]].setdefault((one["criterion"], one["item"]), one)
    return found


def split(file: File, chosen: Rows) -> tuple[list[int], list[int]]:
    """Rows of single outputs, and pairs."""
    return [at for at in chosen if len(file.level[at]) == 1], [at for at in chosen if len(file.level[at]) == 2]


def groups(file: File, some: Rows) -> list[int]:
    return [int(file.groups[at]) for at in some]


def labels(file: File, some: Rows) -> list[float]:
    return [float(file.level[at][0]) for at in some]


def alone(file: File, chosen: Rows, scores: Callable[[str], float | None]) -> HeldOut:
    """One judge, calibrated out of fold. Raises ``InvalidRequest`` with too few labels."""
    parts, reasons = [], []
    for pairs, some in enumerate(split(file, chosen)):
        raw = [[scores(item.id) for item in file.rows[at].items] for at in some]
        kept = [at for at, row in zip(some, raw, strict=True) if None not in row]
        known = [[float(one) for one in row if one is not None] for row in raw if None not in row]
        try:
            if pairs and kept:
                first, second = zip(*known, strict=True)
                parts.append(compare_scores(first, second, labels(file, kept), groups=groups(file, kept), seed=SEED))
            elif kept:
                singles = [row[0] for row in known]
                parts.append(calibrate(singles, labels(file, kept), groups=groups(file, kept), seed=SEED).held)
        except InvalidRequest as error:
            reasons.append(error.message)
    if not parts:
        raise InvalidRequest("; ".join(reasons) or "nobody scored any row")
    return joined(parts)


def stacked(file: File, models: Sequence[Mapping[tuple[str, str], dict[str, Any]]], names: Sequence[str]) -> Stacked:
    """Graders and models together, fitted on the whole file."""

    def features(item: str) -> dict[str, float]:
        said = [file.rules[item]]
        for name, stored in zip(names, models, strict=True):
            one = stored.get((file.criterion, item))
            if one is not None:
                said.append(Verdict(criterion=file.criterion, judge=name, score=one["score"]))
        return features_of(said)

    single, pairs = split(file, range(len(file.rows)))
    parts, order = [], []
    if single:
        rows = [features(file.rows[at].items[0].id) for at in single]
        parts.append(stack_up(rows, labels(file, single), groups=groups(file, single), seed=SEED).held)
        order += single
    if pairs:
        first, second = ([features(file.rows[at].items[side].id) for at in pairs] for side in (0, 1))
        parts.append(compare_features(first, second, labels(file, pairs), groups=groups(file, pairs), seed=SEED))
        order += pairs
    return Stacked(parts, [len(part.labels) for part in parts], order)


@dataclass(frozen=True, slots=True)
class Stacked:
    """Held-out predictions of every row, single outputs first."""

    parts: Sequence[HeldOut]
    sizes: Sequence[int]
    order: Sequence[int]

    def on(self, chosen: Rows) -> HeldOut:
        """Of these rows alone."""
        wanted, start, found = set(chosen), 0, []
        for part, size in zip(self.parts, self.sizes, strict=True):
            mask = np.array([at in wanted for at in self.order[start : start + size]])
            start += size
            if mask.any():
                found.append(
                    HeldOut(
                        part.order[mask], part.before[mask], part.after[mask], part.passes[mask], part.labels[mask],
                        part.groups[mask],
                    )
                )  # fmt: skip
        return joined(found)


def gain(with_it: HeldOut, without: HeldOut) -> Interval | None:
    """AUC with the model less AUC without it, on the same rows."""
    truth = with_it.passed

    def difference(weights: NDArray[np.float64]) -> float | None:
        one, other = (agreement.auc(held.order, truth, weights) for held in (with_it, without))
        return None if one is None or other is None else one - other

    return agreement.bootstrap(difference, with_it.groups, np.random.default_rng(SEED), draws=DRAWS)


def line(
    criterion: str, judge: str, held: HeldOut, per_s: float | None, invalid: int, **rest: object
) -> dict[str, Any]:
    told = figures(held, np.random.default_rng(SEED))
    found: dict[str, Any] = {"criterion": criterion, "judge": judge, "n": told.n, "positives": told.positives}
    intervals = {}
    for name in ("auc", "kappa", "ece_before", "ece_after"):
        one = getattr(told, name)
        found[name] = None if one is None else round(one.value, 4)
        intervals[name] = None if one is None else [round(one.low, 4), round(one.high, 4)]
    found |= {"intervals": intervals, "judgments_per_s": None if per_s is None else round(per_s, 3), "invalid": invalid}
    return found | rest


def table(file: File, stored: Mapping[str, Mapping[tuple[str, str], dict[str, Any]]]) -> list[dict[str, Any]]:
    name, everything = file.criterion, range(len(file.rows))
    graders = stacked(file, [], [])
    rules = alone(file, everything, lambda item: file.rules[item].score)
    found = [
        line(name, "graders", rules, file.rules_per_s, 0),
        line(name, "stack of graders", graders.on(everything), file.rules_per_s, 0),
    ]
    both: list[str] = []
    for judge, said in sorted(stored.items()):
        mine = {item: one for (criterion, item), one in said.items() if criterion == name}
        seen = [at for at in everything if all(one.id in mine for one in file.rows[at].items)]
        chosen = [at for at in seen if all(mine[one.id]["score"] is not None for one in file.rows[at].items)]
        invalid = sum(one["invalid"] is not None for one in mine.values())
        took = [one["latency_ms"] for one in mine.values() if one["latency_ms"]]
        per_s = 1000 * len(took) / sum(took) if took else None
        try:
            held = alone(file, chosen, lambda item, mine=mine: mine[item]["score"])  # type: ignore[misc] # the default binds
        except InvalidRequest as error:
            found.append({"criterion": name, "judge": judge, "n": len(chosen), "problem": error.message})
            continue
        both.append(judge)
        found.append(line(name, judge, held, per_s, invalid))
        found += together(file, stored, [judge], chosen, graders, (per_s, invalid))
    if len(both) > 1:
        shared = [
            at
            for at in everything
            if all((name, one.id) in stored[judge] for judge in both for one in file.rows[at].items)
        ]
        found += together(file, stored, both, shared, graders, (None, 0))
    return found


def together(
    file: File,
    stored: Mapping[str, Mapping[tuple[str, str], dict[str, Any]]],
    judges: Sequence[str],
    chosen: Rows,
    graders: Stacked,
    cost: tuple[float | None, int],
) -> list[dict[str, Any]]:
    """The stack of these judges and the graders beside the stack of graders alone, on the same rows."""
    with_it, without = stacked(file, [stored[judge] for judge in judges], judges).on(chosen), graders.on(chosen)
    more = gain(with_it, without)
    same = agreement.auc(without.order, without.passed)
    rest: dict[str, Any] = {
        "same_rows_auc": None if same is None else round(same, 4),
        "gain": None if more is None else [round(more.value, 4), round(more.low, 4), round(more.high, 4)],
    }
    title = f"{judges[0]} + graders" if len(judges) == 1 else "all + graders"
    return [line(file.criterion, title, with_it, *cost, **rest)]


def shown(rows: Sequence[Mapping[str, Any]]) -> None:
    print(
        "| criterion | judge | n | AUC (95 %) | kappa (95 %) | ECE before | after | per s | invalid | same rows, gain |"
    )
    print("|" + "---|" * 10)
    for row in rows:
        if "problem" in row:
            print(f"| {row['criterion']} | {row['judge']} | {row['n']} | {row['problem']} |  |  |  |  |  |  |")
            continue
        cells = [str(row[name]) for name in ("criterion", "judge", "n")]
        for name, wide in (("auc", True), ("kappa", True), ("ece_before", False), ("ece_after", False)):
            value, edges = row[name], row["intervals"][name]
            text = "-" if value is None else f"{value:.3f}"
            cells.append(f"{text} ({edges[0]:.2f} to {edges[1]:.2f})" if wide and edges else text)
        cells += ["-" if row["judgments_per_s"] is None else f"{row['judgments_per_s']:.3g}", str(row["invalid"])]
        more = row.get("gain")
        cells.append(
            "" if more is None else f"{row['same_rows_auc']:.3f}, {more[0]:+.3f} ({more[1]:+.2f} to {more[2]:+.2f})"
        )
        print("| " + " | ".join(cells) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("PODIUM_JUDGE_DATA"))
    parser.add_argument("verdicts", type=Path, nargs="?")
    parser.add_argument("--only", choices=CRITERIA)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the folder of the labelled sets, or set PODIUM_JUDGE_DATA")
    stored = verdicts_of(given.verdicts) if given.verdicts else {}
    found: list[dict[str, Any]] = []
    for criterion in CRITERIA:
        if given.only in (None, criterion):
            found += table(asyncio.run(opened(Path(given.data) / f"{criterion}.jsonl.gz")), stored)
    if given.json:
        json.dump(found, sys.stdout, indent=1)
    else:
        shown(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
