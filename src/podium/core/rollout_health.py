"""Finds rollouts whose candidate gets too little of the traffic to be judged (LRN-5). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podium.core.picture import passing
from podium.domain.finding import Code, Finding, Severity
from podium.domain.rollout import RolloutReport

ENOUGH = 20
"""Requests that stayed with their conversations before anything is said of them."""
HALF = 0.5


def diagnose_rollouts(open_ones: Iterable[RolloutReport], now: float) -> Iterator[Finding]:
    """One finding at most for each: nothing reaches its candidate, or conversations keep most of it away."""
    for report in open_ones:
        item = report.rollout
        code, says, severity = Code.ROLLOUT_STARVED, passing.starved(report, now), Severity.PROBLEM
        if not says and report.stayed >= ENOUGH and report.stayed > HALF * report.requests:
            code, says, severity = Code.ROLLOUT_PASSED_BY, passing.stayed(report), Severity.NOTE
        if says:
            yield Finding(
                code=code,
                severity=severity,
                says=f"rollout of {item.candidate}: {says}",
                do=passing.cure(report),
                task=item.task,
                count=report.stayed,
                since=item.step_since,
            )
