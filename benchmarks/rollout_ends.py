#!/usr/bin/env python3
"""What gradual rollouts end in, with and without holding the share of a candidate that looks worse.

    rollout_ends.py [--runs 25] [--rates 60,600] [--qualities 0.7,0.9] [--ratios 1,0.95,0.9,0.8] [--json]

Simulated: right-or-wrong scores of every answer, latencies of both versions from one lognormal distribution, the default
plan, a look every ten minutes of a fake clock, 60 hours at most. Both rules see the same random numbers. Prints how many
ended how, the mean hours to the end, and how many answers the candidate gave.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections import Counter
from unittest import mock

from podium.core import rollout as machine
from podium.core.arms import Arms, Sample
from podium.domain.rollout import Arm, Rollout, RolloutPlan, RolloutState

LOOK_S = 600.0
LONGEST_S = 60 * 3600.0


def run(rate: float, quality: float, ratio: float, seed: int) -> tuple[str, float, int]:
    """(state at the end, hours, answers of the candidate) of one rollout with ``rate`` requests an hour."""
    rng = random.Random(seed)
    plan = RolloutPlan()
    state = RolloutState.WARMING
    one = Rollout(id="r", task="t", baseline="a@1", candidate="b@1", plan=plan, state=state, requested_at=0.0, by="me")
    one = machine.apply(one, machine.enter(one, RolloutState.CANARY, 0.0, "it is warm"), 0.0)
    arms, now, answers = Arms(plan), 0.0, 0
    while one.open and now < LONGEST_S:
        now += LOOK_S
        due = rate * LOOK_S / 3600
        for _ in range(int(due) + (rng.random() < due % 1)):
            candidate = rng.random() < one.share
            arm = Arm.CANDIDATE if candidate else Arm.BASELINE
            share = one.share if candidate else 1 - one.share
            latency_ms = rng.lognormvariate(6.0, 0.5)
            arms.observe(
                arm, Sample(success=True, latency_ms=latency_ms, memory_mb=None, energy_mwh=None, propensity=share)
            )
            arms.score(arm, float(rng.random() < (quality * ratio if candidate else quality)))
            answers += candidate
        move = machine.advance(one, arms.readings(), {arm: arms.samples(arm) for arm in Arm}, now)
        if move is not None:
            one = machine.apply(one, move, now)
    return one.state.value, now / 3600, answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--rates", default="60,600")
    parser.add_argument("--qualities", default="0.7,0.9")
    parser.add_argument("--ratios", default="1,0.95,0.9,0.8")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    lists = ([float(value) for value in text.split(",")] for text in (given.rates, given.qualities, given.ratios))
    rates, qualities, ratios = lists
    found = []
    for rate in rates:
        for quality in qualities:
            for ratio in ratios:
                for held in (False, True):
                    patched = machine.doubtful if held else lambda *_: []
                    with mock.patch.object(machine, "doubtful", patched):
                        ends = [run(rate, quality, ratio, seed) for seed in range(given.runs)]
                    row = {
                        "requests_per_hour": rate,
                        "quality": quality,
                        "ratio": ratio,
                        "held": held,
                        "ends": dict(Counter(end for end, _, _ in ends)),
                        "hours": round(statistics.mean(hours for _, hours, _ in ends), 1),
                        "candidate_answers": round(statistics.mean(answers for _, _, answers in ends)),
                    }
                    found.append(row)
                    if not given.json:
                        print(*(f"{name} {value}" for name, value in row.items()), sep="; ", flush=True)
    if given.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
