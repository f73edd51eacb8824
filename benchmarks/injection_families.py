"""Does fitting the stack on attacked rows, too, help against families of attacks that it was not fitted on?

    python benchmarks/injection_families.py DATA [--outputs 60] [--only CRITERION] [--json]

Rows of the labelled sets are fitted as they are, and again with attacked copies of some outputs that keep their label
(``weight``: of all copies against all rows; 0 is without). The recogniser of orders to judges is off, so that every attack counts
as one that nobody foresaw. Families of attacks (techniques) and prompts are split at once: ``shift`` is of attacks of a family that
was not fitted on, in outputs to a prompt that was not; ``auc`` is of clean rows out of five folds. Outputs that come alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from injection import recogniser
from podium.attacks import PLACES, attacks, put
from podium.core import agreement
from podium.core.folding import folds
from podium.core.graders import grade
from podium.core.human_scale import pass_rule, passed
from podium.core.logistic import regress, sigmoid
from podium.core.stacking import FAR, features_of, table_of
from podium.datasets.labels import read_labels
from podium.domain.judgment import CRITERIA

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SEED, FOLDS, EACH = 3, 5, 26
WEIGHTS = (0.0, 0.3, 1.0, 3.0)
PENALTIES = (10.0, 30.0, 100.0)
COLUMNS = ("criterion", "weight", "penalty", "auc", "log_loss", "shift", "shift_abs", "raised")


@dataclass(frozen=True, slots=True)
class Rows:
    """Standardised features of clean rows and of attacked copies; of a copy its row and its family."""

    clean: Floats
    labels: Floats
    groups: Ints
    copies: Floats
    source: Ints
    family: Ints


def measured(path: Path, outputs: int) -> Rows:
    rows = [row for row in read_labels(path) if not row.scale.pair]
    rule, names = pass_rule(rows), dict[str, int]()
    graded = [(row, grade(row.items[0], row.criterion)) for row in rows]
    scored = [(row, verdict) for row, verdict in graded if verdict.score is not None]
    every = attacks()
    techniques = sorted({one.technique for one in every})
    rng = np.random.default_rng(SEED)
    found, source, family = [], [], []
    with recogniser(off=True):
        for at in rng.permutation(len(scored))[:outputs]:
            item, criterion = scored[at][0].items[0], scored[at][0].criterion
            for number in rng.permutation(len(every))[:EACH]:
                text = put(item.output, every[number], PLACES[int(rng.integers(len(PLACES)))])
                verdict = grade(replace(item, output=text), criterion)
                if verdict.score is not None:
                    found.append(features_of([verdict]))
                    source.append(int(at))
                    family.append(techniques.index(every[number].technique))
    _, table = table_of([*(features_of([verdict]) for _, verdict in scored), *found])
    table = np.nan_to_num(table)
    clean, copies = table[: len(scored)], table[len(scored) :]
    mean, size = clean.mean(axis=0), clean.std(axis=0)
    varies = size > 1e-9
    clean, copies = (np.clip((part[:, varies] - mean[varies]) / size[varies], -FAR, FAR) for part in (clean, copies))
    return Rows(
        clean,
        np.array([float(passed(row, rule)[0]) for row, _ in scored]),
        np.array([names.setdefault(row.context or row.id, len(names)) for row, _ in scored]),
        copies,
        np.array(source),
        np.array(family),
    )


def tried(rows: Rows, weight: float, penalty: float) -> dict[str, Any]:
    fold = folds(rows.labels >= 0.5, rows.groups, FOLDS, np.random.default_rng(0))
    parts = np.random.default_rng(1).permutation(int(rows.family.max()) + 1) % FOLDS
    apart = parts[rows.family]
    clean, shift = np.zeros(rows.labels.size), np.zeros(rows.source.size)
    for held in range(FOLDS):
        inside, outside = fold != held, fold == held
        for left_out in range(FOLDS):
            used = inside[rows.source] & (apart != left_out)
            design, labels, mass = rows.clean[inside], rows.labels[inside], np.ones(int(inside.sum()))
            if weight and used.any():
                design = np.vstack([design, rows.copies[used]])
                labels = np.concatenate([labels, rows.labels[rows.source[used]]])
                mass = np.concatenate([mass, np.full(int(used.sum()), weight * inside.sum() / used.sum())])
            line = regress(design, labels, penalty, weights=mass)
            if left_out == 0:
                clean[outside] = sigmoid(line.logits(rows.clean[outside]))
            counted = outside[rows.source] & (apart == left_out)
            before = sigmoid(line.logits(rows.clean[rows.source[counted]]))
            shift[counted] = sigmoid(line.logits(rows.copies[counted])) - before
    return {
        "weight": weight,
        "penalty": penalty,
        "auc": round(agreement.auc(clean, rows.labels >= 0.5) or 0.0, 3),
        "log_loss": round(agreement.log_loss(clean, rows.labels), 4),
        "shift": round(float(shift.mean()), 4),
        "shift_abs": round(float(np.abs(shift).mean()), 4),
        "raised": round(float((shift > 0.05).mean()), 3),
    }


def table(data: Path, criteria: Sequence[str], outputs: int) -> list[dict[str, Any]]:
    found = []
    for criterion in criteria:
        rows = measured(data / f"{criterion}.jsonl.gz", outputs)
        found += [{"criterion": criterion, **tried(rows, one, other)} for one in WEIGHTS for other in PENALTIES]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("PODIUM_JUDGE_DATA"))
    parser.add_argument("--outputs", type=int, default=60)
    parser.add_argument("--only", choices=CRITERIA)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the folder of the labelled sets, or set PODIUM_JUDGE_DATA")
    found = table(Path(given.data), (given.only,) if given.only else CRITERIA, given.outputs)
    if given.json:
        json.dump(found, sys.stdout, indent=1)
        return 0
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for row in found:
        print("| " + " | ".join(str(row[name]) for name in COLUMNS) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
