"""Made-up rollouts with the numbers a real one would show, for tests of views and drawings."""

from __future__ import annotations

import math
import random

from podium.domain.rollout import (
    MORE_IS_BETTER,
    Metric,
    Reading,
    Rollout,
    RolloutPlan,
    RolloutReport,
    RolloutState,
    RolloutStep,
    TracePoint,
)

START = 1_790_000_000.0
LEVELS = {Metric.QUALITY: 0.71, Metric.SUCCESS: 0.98, Metric.LATENCY: 820.0, Metric.MEMORY: 5120.0}
SPREADS = {Metric.QUALITY: 0.6, Metric.SUCCESS: 0.3, Metric.LATENCY: 600.0, Metric.MEMORY: 400.0}


def story(
    factor: float = 0.8,
    *,
    state: RolloutState = RolloutState.ROLLED_BACK,
    hours: float = 3.6,
    per_hour: int = 120,
    plan: RolloutPlan | None = None,
    seed: int = 7,
    pause: bool = False,
) -> RolloutReport:
    """A rollout whose candidate has ``factor`` of the baseline's quality and as much more latency."""
    plan = plan or RolloutPlan()
    rng = random.Random(seed)
    steps = [
        _step(START, RolloutState.REQUESTED, RolloutState.REQUESTED, 0.0, "ordered"),
        _step(START, RolloutState.REQUESTED, RolloutState.VALIDATING, 0.0, "checking"),
        _step(START + 4, RolloutState.VALIDATING, RolloutState.WARMING, 0.0, "compatible"),
        _step(START + 9, RolloutState.WARMING, RolloutState.CANARY, plan.start_share, "ready"),
    ]
    share, since, canary = plan.start_share, START + 9, START + 9
    end = canary + hours * 3600
    trace: list[TracePoint] = []
    means = {metric: [0.0, 0.0] for metric in LEVELS}
    count = [0, 0]
    for index in range(int(hours * per_hour)):
        at = canary + (index + 1) * 3600 / per_hour
        while at - since >= plan.step_s and share < 1:
            since += plan.step_s
            share = min(1.0, share + plan.step_share)
            steps.append(_step(since, RolloutState.CANARY, RolloutState.CANARY, share, "no sign of harm"))
        arm = int(rng.random() < share)
        count[arm] += 1
        for metric, level in LEVELS.items():
            worse = factor if metric in MORE_IS_BETTER else 1 / factor
            value = level * (worse if arm and metric is not Metric.MEMORY else 1.0)
            value += rng.gauss(0, SPREADS[metric] / 2)
            if metric is Metric.SUCCESS:
                value = float(rng.random() < min(1.0, level * (1 if not arm else math.sqrt(factor))))
            means[metric][arm] += (value - means[metric][arm]) / count[arm]
        if index % 2 == 0 and min(count):
            trace += [_point(at, share, metric, means[metric], count) for metric in LEVELS]
    if pause:
        middle = canary + hours * 1800
        steps.append(_step(middle, RolloutState.CANARY, RolloutState.PAUSED, 0.0, "by cli: lunch"))
        back = max(step.share for step in steps if step.at <= middle + hours * 360)
        steps = [step for step in steps if not middle < step.at <= middle + hours * 360]
        steps.append(_step(middle + hours * 360, RolloutState.PAUSED, RolloutState.CANARY, back, "by cli"))
        steps.sort(key=lambda step: step.at)
    last = {point.metric: point for point in trace}
    readings = [
        _reading(last[metric], plan, final=state is RolloutState.ROLLED_BACK) for metric in LEVELS if metric in last
    ]
    missing = "no energy counter is readable on this machine"
    readings.append(Reading(metric=Metric.ENERGY, missing=missing))
    over = state not in (RolloutState.CANARY, RolloutState.PAUSED)
    ending = {
        RolloutState.ROLLED_BACK: "quality is worse than 0.95 of the baseline's: 0.583 against 0.710, certain at 2 %",
        RolloutState.PROMOTED: "reached 100 % and no metric fell below its limit",
    }.get(state)
    if over:
        steps.append(_step(end, RolloutState.CANARY, state, float(state is RolloutState.PROMOTED), ending or ""))
    rollout = Rollout(
        id="ro_5f2c", task="support", baseline="echo@1", candidate="echo@2", plan=plan, state=state,
        requested_at=START, by="cli", share=share, step=round(1 + (share - plan.start_share) / plan.step_share),
        step_since=since, step_samples=max(0, count[1] - 4), finished_at=end if over else None, ending=ending,
        detects="at this traffic a loss of 20 % is seen after about 85 answers of the candidate",
    )  # fmt: skip
    needed = {} if over else {Metric.QUALITY: 240}
    return RolloutReport(
        rollout=rollout, steps=tuple(steps), readings=tuple(readings), trace=tuple(trace), needed=needed
    )


def _step(at: float, before: RolloutState, after: RolloutState, share: float, reason: str) -> RolloutStep:
    return RolloutStep(rollout="ro_5f2c", at=at, before=before, after=after, share=share, reason=reason)


def _point(at: float, share: float, metric: Metric, means: list[float], count: list[int]) -> TracePoint:
    few = min(count)
    half = SPREADS[metric] * 1.0 * math.sqrt(math.log(3 + few) / few)
    gap = means[1] - means[0]
    return TracePoint(
        at=at, share=share, metric=metric, baseline_n=count[0], candidate_n=count[1], baseline=means[0],
        candidate=means[1], lower=gap - half, upper=gap + half,
    )  # fmt: skip


def _reading(point: TracePoint, plan: RolloutPlan, *, final: bool) -> Reading:
    assert point.upper is not None
    worse = final and point.metric is Metric.QUALITY
    return Reading(
        metric=point.metric, baseline_n=point.baseline_n, candidate_n=point.candidate_n, baseline=point.baseline,
        candidate=point.candidate, lower=point.lower, upper=point.upper, worse=worse, method="made up",
        fine=point.metric is Metric.MEMORY,
    )  # fmt: skip
