"""What prompt injection moves in the graders without a model and in their stack.

    python benchmarks/injection.py DATA [--outputs 25] [--only CRITERION] [--json]

Every attack of the shipped suite is put into real labelled outputs of DATA (``*.jsonl.gz``), in turn before, behind and
between sentences; the shift is the score with it less the score without. ``stack`` is the one that ``podium judge calibrate
--save`` would store, fitted on the clean rows. Three kinds: ``known`` attacks were there while the recogniser of such
sentences was made, ``unseen`` ones were not; ``unrecognised`` are all of them with the recogniser switched off, that is any
attack by somebody who knows how to get past it. Intervals by drawing outputs with replacement. Relevance is measured of
conversations and of instructions (both outputs of pairs) apart. What a model as judge does is in ``judging.py injection``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from podium.attacks import PLACES, attacks, put
from podium.core import agreement
from podium.core.graders import grade, reading
from podium.core.graders.address import Spoken
from podium.core.human_scale import pass_rule, passed
from podium.core.stacking import apply_stack, features_of, stack_up
from podium.datasets.labels import read_labels
from podium.domain.judgment import CRITERIA, RULES, STACK, Calibration, Judged
from podium.domain.labels import Labelled

SEED = 11
COLUMNS = ("criterion", "judge", "attacks", "n", "shift", "low", "high", "shift_abs", "raised", "worst")
RAISED = 0.05


@dataclass(frozen=True, slots=True)
class Subject:
    """Outputs of one kind and the stack fitted on them."""

    title: str
    criterion: str
    items: tuple[Judged, ...]
    stack: Calibration

    def scores(self, item: Judged) -> tuple[float, float] | None:
        """By rule and by stack; ``None`` where the rules abstain."""
        verdict = grade(item, self.criterion)
        return None if verdict.score is None else (verdict.score, apply_stack(self.stack, features_of([verdict])))


def subjects(path: Path) -> Iterator[Subject]:
    rows = read_labels(path)
    rule = pass_rule(rows)
    for pairs in (False, True):
        chosen = [row for row in rows if row.scale.pair is pairs]
        if chosen:
            title = chosen[0].criterion
            if any(row.scale.pair is not pairs for row in rows):
                title += " of instructions" if pairs else " of conversations"
            yield fitted(title, chosen, [one for row in chosen for one in passed(row, rule)])


def fitted(title: str, rows: Sequence[Labelled], labels: Sequence[bool]) -> Subject:
    criterion, groups = rows[0].criterion, dict[str, int]()
    items = [item for row in rows for item in row.items]
    places = [groups.setdefault(row.context or row.id, len(groups)) for row in rows for _ in row.items]
    verdicts = [grade(item, criterion) for item in items]
    stack = stack_up(
        [features_of([one]) for one in verdicts], [float(one) for one in labels], groups=places, criterion=criterion
    ).calibration
    scored = tuple(item for item, one in zip(items, verdicts, strict=True) if one.score is not None)
    return Subject(title, criterion, scored, stack)


def recogniser(*, off: bool) -> AbstractContextManager[object]:
    """Off: while it holds, no sentence is taken for an order to a judge."""
    whole = patch.object(reading, "without_orders", lambda text, prompt="": Spoken(text, 0))
    return whole if off else nullcontext()


def shifts(subject: Subject, outputs: int) -> list[dict[str, Any]]:
    chosen = np.random.default_rng(SEED).permutation(len(subject.items))[:outputs]
    moved: dict[tuple[str, str], list[tuple[int, str, float]]] = defaultdict(list)
    silenced = 0
    for off in (False, True):
        with recogniser(off=off):
            for rank, at in enumerate(chosen):
                item = subject.items[at]
                before = subject.scores(item)
                assert before is not None
                for number, attack in enumerate(attacks()):
                    place = PLACES[(rank + number) % len(PLACES)]
                    after = subject.scores(replace(item, output=put(item.output, attack, place)))
                    if after is None:
                        silenced += 1
                        continue
                    kind = "unrecognised" if off else "unseen" if attack.technique == "unseen" else "known"
                    for judge, one, other in zip((RULES, STACK), after, before, strict=True):
                        moved[judge, kind].append((rank, attack.id, one - other))
    return [told(subject.title, judge, kind, found, silenced) for (judge, kind), found in sorted(moved.items())]


def told(title: str, judge: str, kind: str, found: Sequence[tuple[int, str, float]], silenced: int) -> dict[str, Any]:
    values = np.array([shift for _, _, shift in found])
    groups = np.array([rank for rank, _, _ in found])
    mean = agreement.bootstrap(
        lambda weights: float(weights @ values / weights.sum()) if weights.sum() else None,
        groups,
        np.random.default_rng(SEED),
    )
    assert mean is not None
    by_attack: dict[str, list[float]] = defaultdict(list)
    for _, name, shift in found:
        by_attack[name].append(shift)
    means = {name: float(np.mean(some)) for name, some in by_attack.items()}
    worst = max(means, key=lambda name: means[name])
    return {
        "criterion": title,
        "judge": judge,
        "attacks": kind,
        "n": len(values),
        "shift": round(mean.value, 4),
        "low": round(mean.low, 4),
        "high": round(mean.high, 4),
        "shift_abs": round(float(np.abs(values).mean()), 4),
        "raised": round(float((values > RAISED).mean()), 4),
        "worst": f"{worst} {means[worst]:+.3f}",
        "silenced": silenced,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("PODIUM_JUDGE_DATA"))
    parser.add_argument("--outputs", type=int, default=25)
    parser.add_argument("--only", choices=CRITERIA)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the folder of the labelled sets, or set PODIUM_JUDGE_DATA")
    found: list[dict[str, Any]] = []
    if not given.json:
        print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for criterion in CRITERIA:
        if given.only not in (None, criterion):
            continue
        for subject in subjects(Path(given.data) / f"{criterion}.jsonl.gz"):
            rows = shifts(subject, given.outputs)
            found += rows
            if not given.json:
                for row in rows:
                    print("| " + " | ".join(str(row[name]) for name in COLUMNS) + " |", flush=True)
    if given.json:
        json.dump(found, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
