"""What watching for regressions costs per outcome: processor time, in microseconds.

    python benchmarks/regression.py [--outcomes 20000] [--rounds 5] [--json]

``detector``: one outcome into the statistics of one task and version, with a look whenever they ask for one.
``fold``: one outcome folded into the evidence of the same pair, for comparison in the same run. Medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

from podium.core.history import fold_all
from podium.core.regression import Limits, Watched
from podium.domain.cost import Cost
from podium.domain.decision import Outcome
from podium.domain.evidence import Evidence

Made = list[tuple[bool, float]]


def detector(made: Made) -> None:
    watched = Watched(Limits())
    for success, latency in made:
        if watched.outcome(success, latency):
            watched.look()


def fold(made: Made) -> None:
    evidence = Evidence()
    for success, latency in made:
        evidence = fold_all(evidence, [outcome(success, latency)])


def outcome(success: bool, latency_ms: float) -> Outcome:
    return Outcome(
        decision_id="d",
        request_id="r",
        task="jobs",
        ref="m@1",
        at=0.0,
        success=success,
        error=None if success else "timeout",
        streamed=False,
        latency_ms=latency_ms,
        ttft_ms=None,
        cost=Cost(wall_ms=latency_ms),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rng = random.Random(7)
    made = [(rng.random() >= 0.02, rng.lognormvariate(5, 0.3)) for _ in range(args.outcomes)]
    steps: dict[str, Callable[[Made], None]] = {"detector": detector, "fold": fold}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            began = time.process_time()
            step(made)
            taken[name].append((time.process_time() - began) / len(made) * 1e6)
    found = {name: statistics.median(values) for name, values in taken.items()}
    if args.json:
        print(json.dumps({f"{name}_us": value for name, value in found.items()}))
        return
    for name, value in found.items():
        print(f"{name:9} {value:6.2f} us per outcome (best {min(taken[name]):.2f}, worst {max(taken[name]):.2f})")


if __name__ == "__main__":
    main()
