"""Requests that went past the candidate of a rollout: how many, why, and what to do about it. Pure text."""

from __future__ import annotations

from podium.core.picture.facts import answered
from podium.core.picture.words import duration
from podium.domain.rollout import RolloutReport, RolloutState

QUIET_S = 600.0
"""A step on canary without an answer of the candidate for so long is worth a word."""
FEW_WAIT = 20
"""And one in which so many requests stayed with their conversations."""


def stayed(report: RolloutReport) -> str:
    """``120 of 140 requests stayed with echo@1, …``; empty when none did."""
    if not report.stayed:
        return ""
    item = report.rollout
    those = f"{report.stayed:,} of {max(report.requests, report.stayed):,} requests"
    return f"{those} stayed with {item.baseline} because their conversation had begun there: only new ones are divided"


def starved(report: RolloutReport, now: float) -> str:
    """That the candidate gets nothing and why, when that has lasted; empty otherwise."""
    item = report.rollout
    if item.state is not RolloutState.CANARY or answered(report.readings) > item.step_samples:
        return ""
    since = now - item.step_since
    if since < QUIET_S and report.stayed < FEW_WAIT:
        return ""
    none = f"{item.candidate} has answered nothing in this step, for {duration(since)}"
    if report.stayed:
        return f"{none}: {stayed(report)}"
    if report.requests:
        return f"{none}, at {item.share:.0%} of {report.requests:,} requests so far"
    return f"{none}: no request of {item.task} has come"


def cure(report: RolloutReport) -> str:
    """What somebody can do for a candidate that gets too little."""
    item = report.rollout
    then = f"`podium rollouts promote {item.id}` or `podium rollouts abort {item.id}` ends it now"
    if report.stayed:
        return f"begin new conversations (another x-podium-session, or none); {then}"
    return f"send requests with x-podium-task: {item.task}, and see `podium ps` for {item.candidate}; {then}"


def told(report: RolloutReport, now: float) -> str:
    """All of this in one line for a reader; empty when there is nothing to say."""
    if hungry := starved(report, now):
        return f"{hungry}; {cure(report)}"
    return stayed(report)
