"""How much the graders without a model know: AUC against human labels.

    python benchmarks/graders.py DATA [--folds 5] [--only CRITERION] [--json]

DATA is the folder of the labelled sets (``*.jsonl.gz``, or ``PODIUM_JUDGE_DATA``). Per criterion and set: rows, share of
good ones, AUC of the plain rule, AUC of a logistic stack over the features of all sets of the criterion, out of fold
(folds by prompt: no prompt is in both halves). Pairs are judged by the difference of both outputs. Minimality has a
continuous label: AUC at the median and at 0.8, and Spearman's rank correlation. What prompt injection
moves is in ``injection.py``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from podium.core.graders import FEATURES, grade
from podium.domain.judgment import CRITERIA, Judged

Rows = NDArray[np.float64]
MARKS = {"faithfulness": 0.7, "relevance": 0.5, "safety": 0.8}


@dataclass(frozen=True, slots=True)
class Example:
    dataset: str
    group: str
    label: float
    items: tuple[Judged, ...]
    """One output, or two of a pair."""


def load(path: Path) -> Iterator[Example]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield example(row)


def example(row: Mapping[str, object]) -> Example:
    """A row of the shared layout as what a grader is shown."""
    dataset, context, task = str(row["dataset"]), str(row["context"] or ""), str(row["task"])
    human, low, high = float(row["human"]), 0.0, 1.0  # type: ignore[arg-type] # a number in the layout
    prompt, ground = context, None
    if task == "summarization":
        prompt, ground = "Summarize the text.", context
    elif dataset == "topical_chat_usr":
        low, high, ground = 1.0, 3.0, str(row.get("knowledge") or "") or None
    elif "output_1" in row:
        low, high, human = 0.0, 1.0, 1.0 if human == 1 else 0.0
    elif row["criterion"] == "minimality":
        prompt = ""
    outputs = [str(row[key]) for key in ("output", "output_1", "output_2") if key in row]
    items = tuple(
        Judged(id=f"{row['id']}", task=task, prompt=prompt, output=output, context=ground) for output in outputs
    )
    return Example(
        dataset.split("_", maxsplit=1)[0] if "llmbar" in dataset else dataset,
        context,
        (human - low) / (high - low),
        items,
    )


def auc(scores: Rows, good: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve with ties at one half; ``None`` for one class."""
    if good.all() or not good.any():
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positives = int(good.sum())
    return float((ranks[good].sum() - positives * (positives + 1) / 2) / (positives * (len(good) - positives)))


def spearman(one: Rows, other: Rows) -> float:
    def ranks(values: Rows) -> Rows:
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places], dtype=np.float64)

    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


@dataclass(frozen=True, slots=True)
class Stack:
    mean: Rows
    scale: Rows
    weights: Rows
    offset: float

    def __call__(self, rows: Rows) -> Rows:
        return np.asarray(1 / (1 + np.exp(-((rows - self.mean) / self.scale @ self.weights + self.offset))))


def train(rows: Rows, labels: Rows, penalty: float, *, centred: bool = True) -> Stack:
    """Logistic regression with an L2 penalty by Newton's method; labels may be anything in [0, 1]."""
    mean = rows.mean(axis=0) if centred else np.zeros(rows.shape[1])
    scale = rows.std(axis=0) + 1e-9
    scale[scale < 1e-6] = 1.0
    design = np.column_stack([(rows - mean) / scale, np.ones(len(rows)) if centred else np.zeros(len(rows))])
    ridge = np.full(design.shape[1], float(penalty))
    ridge[-1] = 1e-3
    beta = np.zeros(design.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        slope = design.T @ (chance - labels) + ridge * beta
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        beta -= step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-7:
            break
    return Stack(mean, scale, beta[:-1], float(beta[-1]))


def folds_of(groups: Sequence[str], folds: int) -> NDArray[np.int64]:
    known: dict[str, int] = {}
    for group in groups:
        known.setdefault(group, len(known))
    order = np.random.default_rng(7).permutation(len(known))
    return np.array([order[known[group]] % folds for group in groups])


@dataclass(frozen=True, slots=True)
class Measured:
    examples: list[Example]
    rows: Rows
    """Features; of a pair the difference of both."""
    rule: Rows
    pair: NDArray[np.bool_]

    @property
    def labels(self) -> Rows:
        return np.array([one.label for one in self.examples])


def measure(examples: Sequence[Example], criterion: str) -> Measured:
    names = FEATURES[criterion]
    kept, rows, rule, pair = [], [], [], []
    for one in examples:
        verdicts = [grade(item, criterion) for item in one.items]
        if any(verdict.score is None for verdict in verdicts):
            continue
        features = [np.array([verdict.features[name] for name in names]) for verdict in verdicts]
        scores = [float(verdict.score or 0.0) for verdict in verdicts]
        kept.append(one)
        pair.append(len(features) == 2)
        rows.append(features[0] - features[1] if len(features) == 2 else features[0])
        rule.append(0.5 + (scores[0] - scores[1]) / 2 if len(scores) == 2 else scores[0])
    return Measured(kept, np.array(rows), np.array(rule), np.array(pair))


PENALTY = {"faithfulness": 30.0, "relevance": 10.0, "minimality": 3.0, "safety": 5.0}


def fit(measured: Measured, criterion: str, chosen: NDArray[np.bool_]) -> tuple[Stack | None, Stack | None]:
    """(stack of single outputs, stack of pairs); pairs have no intercept: turning a pair around turns the verdict."""
    labels = measured.labels
    single, pairs = chosen & ~measured.pair, chosen & measured.pair
    one = train(measured.rows[single], labels[single], PENALTY[criterion]) if single.any() else None
    two = train(measured.rows[pairs], labels[pairs], 3 * PENALTY[criterion], centred=False) if pairs.any() else None
    return one, two


def out_of_fold(measured: Measured, criterion: str, folds: int) -> Rows:
    place = folds_of([one.group for one in measured.examples], folds)
    found = np.zeros(len(place))
    for fold in range(folds):
        held = place == fold
        one, two = fit(measured, criterion, ~held)
        if one is not None:
            found[held & ~measured.pair] = one(measured.rows[held & ~measured.pair])
        if two is not None:
            found[held & measured.pair] = two(measured.rows[held & measured.pair])
    return found


def table(measured: Measured, criterion: str, folds: int) -> list[dict[str, object]]:
    stacked, labels = out_of_fold(measured, criterion, folds), measured.labels
    datasets = np.array([one.dataset for one in measured.examples])
    found: list[dict[str, object]] = []
    for dataset in dict.fromkeys(datasets.tolist()):
        held = datasets == dataset
        marks = (MARKS[criterion],) if criterion in MARKS else (float(np.median(labels[held])), 0.8)
        for mark in marks:
            good = labels[held] >= mark
            found.append(
                {
                    "criterion": criterion,
                    "dataset": dataset,
                    "n": int(held.sum()),
                    "mark": round(mark, 3),
                    "good": round(float(good.mean()), 3),
                    "auc_rule": _round(auc(measured.rule[held], good)),
                    "auc_stack": _round(auc(stacked[held], good)),
                    "spearman_rule": _round(spearman(measured.rule[held], labels[held])),
                    "spearman_stack": _round(spearman(stacked[held], labels[held])),
                }
            )
    return found


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("PODIUM_JUDGE_DATA"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", choices=CRITERIA)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of the labelled sets, or set PODIUM_JUDGE_DATA")
    found: list[dict[str, object]] = []
    for criterion in CRITERIA:
        path = Path(options.data) / f"{criterion}.jsonl.gz"
        if options.only not in {None, criterion} or not path.exists():
            continue
        start = time.perf_counter()
        measured = measure(list(load(path)), criterion)
        each = (time.perf_counter() - start) * 1e3 / max(1, len(measured.examples))
        rows = table(measured, criterion, options.folds)
        for row in rows:
            row["ms_each"] = round(each, 2)
        found += rows
        if not options.json:
            for row in rows:
                print("  ".join(f"{name}={value}" for name, value in row.items()), flush=True)
    if options.json:
        json.dump(found, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
