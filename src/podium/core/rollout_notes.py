"""What somebody who orders a rollout should know before it starts. Words only; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from podium.core.rollout_reasons import span
from podium.domain.rollout import Bar, Metric, RolloutPlan

FEW = 10
"""Answers per step below which somebody is told that they say little."""


def notes(
    plan: RolloutPlan,
    *,
    task: str,
    baseline_mb: float | None,
    candidate_mb: float | None,
    bar: Bar | None,
    near: Sequence[str] | None,
    now: float,
) -> tuple[str, ...]:
    """Sentences, most important first. ``near``: tasks with a name like this one's, when the task is new."""
    said = []
    if near is not None:
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        said.append(f"task {task} is new: without requests it is rolled back after {span(plan.silence_s)}{hint}")
    limit = plan.limits.get(Metric.MEMORY)
    if limit is not None and baseline_mb and candidate_mb and baseline_mb / candidate_mb < limit:
        said.append(
            f"it takes {candidate_mb:,.0f} MB and the old one {baseline_mb:,.0f} MB, {baseline_mb / candidate_mb:.2f} of it "
            f"where {limit:g} is the limit: that alone rolls it back; `--limit memory=off` lets it take more"
        )
    if bar is not None:
        said.append(f"it was sent back {span(max(0.0, now - bar.at))} ago: {bar.reason}")
    if plan.min_samples < FEW:
        said.append(
            f"steps of {plan.min_samples} answers show only large losses; more samples or longer steps show smaller ones"
        )
    return tuple(said)
