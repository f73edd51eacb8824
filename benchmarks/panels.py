"""The table of judge panels on stored pairwise verdicts: plain vote, best member, weights by accuracy, Podium's panel.

    python benchmarks/panels.py FILE [--labels 20,50,100] [--draws 200] [--json]

FILE holds one pair a line: ``human`` 1 or 2, ``dataset``, ``n_words`` and ``verdicts`` {judge|strategy: [winner as given,
winner swapped and mapped back], or two ratings} (or ``PODIUM_VERDICTS``). Labels are drawn at random, everything is
learned from them alone and counted on the other pairs; mean over the draws with the standard error times 1.96. A judge
takes part when it has verdicts on half of the pairs. ``best member`` is the one that is best on the drawn labels;
``best member by hindsight`` the one that is best on all pairs, which nobody can know.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from podium.core import panels

Votes = Mapping[str, float]
LENGTH = "shorter"
METHODS = ("plain vote", "best member", "best member by hindsight", "log-odds of accuracy", "panel", "panel + length")
GROUPS = (("LLMBar", "LLMBar"), ("Processed", "others"))


@dataclass(frozen=True, slots=True)
class Pair:
    dataset: str
    label: float
    votes: Votes
    length: float
    """In [-1, 1]: 1 where the first answer is much the shorter one."""


def read(path: Path) -> list[Pair]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]
    return [pair(row) for row in rows]


def pair(row: Mapping[str, Any]) -> Pair:
    votes = {}
    for name, verdict in row["verdicts"].items():
        vote = rating(verdict) if "Rating" in name else panels.settle(*map(winner, verdict or (None, None)))
        if vote is not None:
            votes[name] = vote
    first, second = row["n_words"]
    shorter = math.tanh(math.log((second + 1) / (first + 1)))
    return Pair(row["dataset"], 1.0 if row["human"] == 1 else 0.0, votes, shorter)


def winner(told: object) -> float | None:
    return {"1": 1.0, "2": -1.0}.get(str(told))


def rating(scores: Sequence[object] | None) -> float | None:
    try:
        first, second = (float(str(score)) for score in scores or ())
    except ValueError:
        return None
    return float(np.sign(first - second))


def hit(score: float, label: float) -> float:
    """1 where the sign of ``score`` names the better answer, half for a tie."""
    return 0.5 if abs(score) < 1e-12 else float((score > 0) == (label == 1.0))


def scores_of(
    train: Sequence[Pair], test: Sequence[Pair], hindsight: str, seed: int
) -> dict[str, Callable[[Pair], float]]:
    labels = [one.label for one in train]
    panel = panels.fit_panel([one.votes for one in train], labels, seed=seed)
    longer = panels.fit_panel([{**one.votes, LENGTH: one.length} for one in train], labels, seed=seed)
    best = max(panel.accuracy, key=lambda name: panel.accuracy[name])
    odds = {name: (right * len(train) + 1) / (len(train) + 2) for name, right in panel.accuracy.items()}
    return {
        "plain vote": lambda one: panels.plain(one.votes),
        "best member": lambda one: one.votes.get(best, 0.0),
        "best member by hindsight": lambda one: one.votes.get(hindsight, 0.0),
        "log-odds of accuracy": lambda one: sum(
            math.log(odds[name] / (1 - odds[name])) * vote for name, vote in one.votes.items() if name in odds
        ),
        "panel": lambda one: panels.prefer(panel, one.votes) - 0.5,
        "panel + length": lambda one: panels.prefer(longer, {**one.votes, LENGTH: one.length}) - 0.5,
    }


def table(pairs: Sequence[Pair], counts: Sequence[int], draws: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for start, title in GROUPS:
        for without in (("GPT-4|",), ()):
            chosen = members([one for one in pairs if one.dataset.startswith(start)], without)
            if not chosen:
                continue
            names = sorted({name for one in chosen for name in one.votes})
            means = {
                name: statistics.fmean(hit(one.votes.get(name, 0.0), one.label) for one in chosen) for name in names
            }
            hindsight = max(means, key=lambda name: means[name])
            for count in counts:
                if count >= len(chosen) - 20:
                    continue
                found = repeated(chosen, count, draws, hindsight)
                head = {"pairs": title, "without": "GPT-4" if without else "", "judges": len(names)}
                rows.append({**head, "n": len(chosen), "labels": count, **found})
    return rows


def members(pairs: Sequence[Pair], without: tuple[str, ...]) -> list[Pair]:
    seen = Counter(name for one in pairs for name in one.votes)
    kept = {name for name, count in seen.items() if count * 2 > len(pairs) and not name.startswith(without or ("\0",))}
    return [
        Pair(one.dataset, one.label, {name: vote for name, vote in one.votes.items() if name in kept}, one.length)
        for one in pairs
    ]


def repeated(pairs: Sequence[Pair], count: int, draws: int, hindsight: str) -> dict[str, tuple[float, float]]:
    """Mean accuracy and half width of its interval, by method."""
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    for draw in range(draws):
        order = np.random.default_rng([draw, count]).permutation(len(pairs))
        train, test = [pairs[index] for index in order[:count]], [pairs[index] for index in order[count:]]
        for name, score in scores_of(train, test, hindsight, draw).items():
            found[name].append(statistics.fmean(hit(score(one), one.label) for one in test))
    return {
        name: (statistics.fmean(values), 1.96 * statistics.stdev(values) / math.sqrt(draws))
        for name, values in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default=os.environ.get("PODIUM_VERDICTS"))
    parser.add_argument("--labels", default="20,50,100")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.file is None:
        parser.error("give the FILE of verdicts, or set PODIUM_VERDICTS")
    rows = table(read(Path(given.file)), [int(text) for text in given.labels.split(",")], given.draws)
    if given.json:
        json.dump(rows, sys.stdout, indent=2)
        return 0
    heads = ("pairs", "without", "judges", "n", "labels", *METHODS)
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        cells = [f"{cell[0]:.3f} ± {cell[1]:.3f}" if isinstance(cell, tuple) else str(cell) for cell in row.values()]
        print("| " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
