"""Finds what keeps judging from being a quality signal (LRN-5): findings with a cure. Pure; owns thresholds and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from podium.domain.finding import Code, Finding, Severity
from podium.domain.judgment import Calibration

ENOUGH = 20
"""Answers, or verdicts, before anything is said of them."""
INVALID = 0.2
"""Share of a judge's replies that are no verdict."""
LINE = 0.5
"""Share of what was picked that has no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFacts:
    """What one judge did on one criterion since the start."""

    judge: str
    criterion: str
    verdicts: int
    invalid: int
    last: str
    """Why its newest invalid reply was none."""
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingFacts:
    """What is to be known of judging."""

    enabled: bool
    unscored: Mapping[str, int]
    """Answers judged since the start by task, of tasks where none of them got a score that teaches."""
    judges: tuple[JudgeFacts, ...]
    short_of: str | None
    deferred: int
    waiting: int
    thinned_to: float
    thinned: int
    problems: Mapping[str, str]
    """Why nobody is asked, by criterion."""
    unreadable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Why a criterion has no rubric."""


def diagnose_judging(facts: JudgingFacts) -> tuple[Finding, ...]:
    """Everything that is wrong with judging; empty while it is off."""
    return tuple(_found(facts)) if facts.enabled else ()


def _found(facts: JudgingFacts) -> Iterator[Finding]:
    for task, count in facts.unscored.items():
        if count >= ENOUGH:
            yield Finding(
                code=Code.JUDGING_SILENT,
                severity=Severity.PROBLEM,
                says=f"{count} answers were judged, and not one judgment may be learned from",
                do=f"podium judgments --task {task}; podium judge calibrate FILE --save makes a judge evidence",
                task=task,
                count=count,
            )
    for judge in facts.judges:
        yield from _judge(judge)
    for criterion, why in facts.problems.items():
        yield Finding(
            code=Code.JUDGE_MISSING,
            severity=Severity.PROBLEM,
            says=f"no model is asked about {criterion}: {why}",
            do="register and activate a model that can judge, or set judging.judge in podium.toml",
        )
    for criterion, why in facts.unreadable.items():
        yield Finding(
            code=Code.JUDGE_MISSING,
            severity=Severity.PROBLEM,
            says=f"{criterion} is not judged ({why})",
            do=f"correct judging.criteria and reload, or write rubrics/{criterion}.toml in Podium's home",
        )
    if facts.short_of is not None and facts.waiting:
        yield Finding(
            code=Code.JUDGING_BUDGET,
            severity=Severity.NOTE,
            says=f"judging waits: its budget of {facts.short_of} is used up; {facts.deferred} answers had to wait",
            do="raise the limits in [judging], or lower judging.sample",
            count=facts.deferred,
        )
    if facts.thinned_to < LINE:
        yield Finding(
            code=Code.JUDGING_BEHIND,
            severity=Severity.NOTE,
            says=f"judging is behind: only {facts.thinned_to:.1%} of what it would pick has room, {facts.thinned} were given up",
            do="lower judging.sample, or give judges more of the machine: judging.compute_share, judging.at_once",
            count=facts.thinned,
        )


def _judge(facts: JudgeFacts) -> Iterator[Finding]:
    if facts.verdicts >= ENOUGH and facts.invalid > INVALID * facts.verdicts:
        yield Finding(
            code=Code.JUDGE_INVALID,
            severity=Severity.PROBLEM,
            says=f"{facts.judge} on {facts.criterion}: {facts.invalid} of {facts.verdicts} replies are no verdict,"
            f" the last because: {facts.last}",
            do="podium judgments --invalid shows what it says; choose a model that keeps to a JSON schema",
            count=facts.invalid,
        )
    calibration = facts.calibration
    if calibration is not None and not calibration.informative and facts.verdicts:
        forced = calibration.forced
        yield Finding(
            code=Code.JUDGE_UNINFORMATIVE,
            severity=Severity.PROBLEM if forced else Severity.NOTE,
            says=f"{facts.judge} on {facts.criterion} is no better than chance on {calibration.n} labels"
            + ("; it is learned from by order" if forced else " and is not learned from"),
            do="choose another judge, or a larger one: podium judge calibrate FILE --judge NAME@VERSION",
            count=calibration.n,
        )
