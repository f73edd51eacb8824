"""Finds what keeps tasks from learning (LRN-5): from counts and settings to findings with a cure. Pure.

Owns the thresholds and the words. A task with fewer than ``ENOUGH`` requests is too young to be ill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from podium.core import learned
from podium.domain.belief import Belief
from podium.domain.finding import Code, Finding, Severity
from podium.domain.knowledge import TaskKnowledge

ENOUGH = 20
"""Requests (or scores) before anything is said of them."""
STOPPED_S = 7 * 86_400.0
"""Requests that go on this long after the last score."""
OLD_S = 30 * 86_400.0
SATURATED = 5_000.0
"""Observations behind a belief from which on a hundred new scores move it by less than 2 %."""
FLOODED = 0.8
"""Share of the task names in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What is to be known of one task, for a diagnosis."""

    task: str
    requests: int
    answered: int
    scores: int
    known: TaskKnowledge
    strategy: str
    exploration: float
    able: tuple[str, ...]
    """Versions that may serve it now."""
    unable: str | None
    """Why none can, when ``able`` is empty."""
    bound_to: str | None
    bound_since: float | None
    beliefs: Mapping[str, Belief]
    trying: str | None = None
    """The candidate of the rollout that is open on it."""
    request_id: str = "REQUEST_ID"
    """The newest request of it, where one is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemFacts:
    """What is to be known of the installation."""

    unjoined: int
    last_unjoined: tuple[tuple[str, float], ...]
    """(request id, Unix time), newest first."""
    refused: int
    dropped: int
    recording_error: str | None
    tasks: int
    most_tasks: int
    zoneless: tuple[str, ...] = ()
    """What is on record with a time zone that this machine does not know any more, and what that means, in words."""


def diagnose_task(facts: TaskFacts, now: float) -> tuple[Finding, ...]:
    """Everything that keeps the task from learning, worst first; empty for one that learns, or is too young."""
    if facts.requests < ENOUGH:
        return ()
    found = [*_answers(facts), *_signal(facts, now), *_freedom(facts), *_belief(facts)]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.PROBLEM))


def diagnose_system(facts: SystemFacts) -> tuple[Finding, ...]:
    """What keeps every task from learning."""
    return tuple(_system(facts))


def _answers(facts: TaskFacts) -> Iterator[Finding]:
    if facts.answered == 0:
        yield _problem(
            facts,
            Code.NEVER_ANSWERED,
            f"none of its {facts.requests} requests was answered",
            "podium ps; podium stats",
            facts.requests,
            facts.known.since,
        )
    if not facts.able:
        yield _problem(
            facts, Code.NO_VERSION, f"no version can serve it: {facts.unable or 'none is active'}", "podium models ls"
        )


def _signal(facts: TaskFacts, now: float) -> Iterator[Finding]:
    known, give = facts.known, f"podium feedback {facts.request_id} --score S"
    if facts.scores == 0:
        yield _problem(
            facts,
            Code.NO_QUALITY_SIGNAL,
            f"no quality signal: {facts.requests} requests{_since(known.since)}, 0 scores",
            give,
            facts.requests,
            known.since,
        )
        return
    filled = [place for place, count in enumerate(known.scores) if count > 0.0]
    if known.score.n >= ENOUGH and len(filled) == 1 and _spread(known) < 1e-9:
        value = known.score.total / known.score.n
        yield _problem(
            facts,
            Code.IDENTICAL_SCORES,
            f"all {facts.scores} scores are {value:g}: they do not tell versions apart",
            "score good and bad answers differently, from 0 to 1",
            facts.scores,
        )
    last, newest = known.last_score_at, known.last_at
    if last is not None and newest is not None and newest - last > STOPPED_S:
        yield _problem(
            facts,
            Code.SCORES_STOPPED,
            f"requests go on, but the last score came {(newest - last) / 86_400:.0f} days before the newest one",
            give,
            facts.scores,
            last,
        )
    if newest is not None and now - newest > OLD_S:
        days = (now - newest) / 86_400
        yield _note(
            facts,
            Code.EVIDENCE_OLD,
            f"its newest request is {days:.0f} days old: models may have changed since",
            f'podium run "PROMPT" --task {facts.task}',
            facts.requests,
            newest,
        )


def _freedom(facts: TaskFacts) -> Iterator[Finding]:
    if facts.bound_to is not None:
        yield _note(
            facts,
            Code.BOUND,
            f"bound to {facts.bound_to}{_since(facts.bound_since)}: "
            + (f"but for {facts.trying} in its rollout, " if facts.trying else "")
            + "other versions get no requests to learn from",
            f"podium rollouts show {facts.task} says how the rollout stands"
            if facts.trying
            else f"podium swap {facts.task} NAME@VERSION moves it, podium tasks unbind {facts.task} leaves it to the selection",
            since=facts.bound_since,
        )
    if len(facts.able) == 1:
        yield _note(
            facts,
            Code.ONE_VERSION,
            f"only {facts.able[0]} can serve it: there is nothing to choose",
            "podium models activate NAME@VERSION",
            1,
        )
    if facts.strategy != learned.STRATEGY:
        yield _note(
            facts,
            Code.FIXED_STRATEGY,
            f"its strategy {facts.strategy} is a fixed formula: it tries nothing out",
            f"podium tasks set {facts.task} --strategy {learned.STRATEGY}",
        )
    elif facts.exploration <= 0.0:
        yield _note(
            facts,
            Code.EXPLORATION_OFF,
            "exploration is 0: a version that looked bad once is never tried again",
            f"podium tasks set {facts.task} --exploration 0.01",
        )


def _belief(facts: TaskFacts) -> Iterator[Finding]:
    weights = {ref: belief.weight for ref, belief in facts.beliefs.items()}
    heaviest = max(weights.values(), default=0.0)
    if facts.scores >= ENOUGH and heaviest <= 0.0:
        yield _problem(
            facts,
            Code.SCORES_NOT_LEARNED,
            f"{facts.scores} scores are on record, but beliefs rest on none: they are still the prior's",
            "podium models ls shows whether the versions that earned them are there",
            facts.scores,
        )
    if heaviest >= SATURATED:
        ref = max(weights, key=lambda one: weights[one])
        yield _note(
            facts,
            Code.POSTERIOR_SATURATED,
            f"the belief in {ref} rests on {heaviest:,.0f} observations: new scores hardly move it",
            "nothing, unless it is wrong: a change of the scores is detected and forgets them",
            int(heaviest),
        )


def _system(facts: SystemFacts) -> Iterator[Finding]:
    if facts.unjoined:
        ids = ", ".join(request_id[:64] for request_id, _ in facts.last_unjoined[:3])
        oldest = facts.last_unjoined[-1][1] if facts.last_unjoined else None
        yield Finding(
            code=Code.FEEDBACK_UNJOINED,
            severity=Severity.PROBLEM,
            says=f"feedback that joins nothing: {facts.unjoined} since the start, last for {ids}",
            do="send the x-request-id of the reply; `podium explain REQUEST_ID` shows whether it is on record",
            count=facts.unjoined,
            since=oldest,
        )
    if facts.refused:
        yield Finding(
            code=Code.SCORES_REFUSED,
            severity=Severity.PROBLEM,
            says=f"the learner refused {facts.refused} scores that were no numbers from 0 to 1",
            do="correct what gives them; scores are numbers from 0 to 1",
            count=facts.refused,
        )
    if facts.dropped:
        why = facts.recording_error or "the buffer was full"
        yield Finding(
            code=Code.ROWS_DROPPED,
            severity=Severity.PROBLEM,
            says=f"{facts.dropped} outcomes were dropped: {why}",
            do="free disk space, or raise recording.buffer in podium.toml",
            count=facts.dropped,
        )
    elif facts.recording_error:
        yield Finding(
            code=Code.RECORDING_BEHIND,
            severity=Severity.PROBLEM,
            says=f"recording is behind: {facts.recording_error}",
            do="free disk space; what waits is written as soon as that is possible",
        )
    for says in facts.zoneless:
        yield Finding(
            code=Code.TIMEZONE_UNKNOWN,
            severity=Severity.PROBLEM,
            says=says,
            do="install the zone (the system's tzdata, or `pip install -U tzdata`) and restart, or make it anew in another zone",
        )
    if facts.tasks >= FLOODED * facts.most_tasks:
        yield Finding(
            code=Code.TASKS_FLOODED,
            severity=Severity.PROBLEM,
            says=f"{facts.tasks} of {facts.most_tasks} task names are in use; beyond them new names are refused",
            do="find the client that makes up names: `podium tasks ls`, and send fewer kinds of x-podium-task",
            count=facts.tasks,
        )


def _spread(known: TaskKnowledge) -> float:
    tally = known.score
    return tally.squares / tally.n - (tally.total / tally.n) ** 2


def _since(at: float | None) -> str:
    return "" if at is None else f" since {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _problem(facts: TaskFacts, code: Code, says: str, do: str, count: int = 0, since: float | None = None) -> Finding:
    return Finding(code=code, severity=Severity.PROBLEM, says=says, do=do, task=facts.task, count=count, since=since)


def _note(facts: TaskFacts, code: Code, says: str, do: str, count: int = 0, since: float | None = None) -> Finding:
    return Finding(code=code, severity=Severity.NOTE, says=says, do=do, task=facts.task, count=count, since=since)
