"""Gathers what a diagnosis needs from the services of one gateway. Finds nothing itself: that is core/diagnosis.

Looks at the busiest tasks only, so that a hostile client with thousands of task names cannot make it slow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podium.core.diagnosis import ENOUGH, SystemFacts, TaskFacts, diagnose_system, diagnose_task
from podium.core.judging_health import diagnose_judging
from podium.core.rollout_health import diagnose_rollouts
from podium.core.selection import EXPLORATION
from podium.domain.evidence import Evidence
from podium.domain.finding import Finding
from podium.domain.task import TaskSpec
from podium.errors import PodiumError
from podium.services.openings import lost_zone
from podium.services.plane import Services
from podium.services.tasks import MAX_TASKS

LOOKED_AT = 200
"""Tasks that are diagnosed, those with most requests first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """``tasks`` were looked at; ``unseen`` had enough requests, but were too many to look at."""

    findings: tuple[Finding, ...]
    """Of the installation first, then by task, the busiest first."""
    tasks: tuple[str, ...]
    unseen: int


def diagnose(services: Services) -> Diagnosis:
    """What keeps tasks from learning, and what to do."""
    services.recorder.catch_up()
    busy = sorted(
        ((_requests(services.selector.evidence_of(spec.name)), spec.name, spec) for spec in services.tasks.specs()),
        key=lambda item: (-item[0], item[1]),
    )
    busy = [item for item in busy if item[0] >= ENOUGH]
    newest = services.recorder.newest_requests()
    findings = list(diagnose_system(_system(services)))
    findings += diagnose_judging(services.judging.facts())
    findings += diagnose_rollouts(services.rollouts.standing(), services.clock.now())
    for _, _, spec in busy[:LOOKED_AT]:
        findings += diagnose_one(services, spec, newest)
    return Diagnosis(
        findings=tuple(findings),
        tasks=tuple(name for _, name, _ in busy[:LOOKED_AT]),
        unseen=max(0, len(busy) - LOOKED_AT),
    )


def diagnose_one(services: Services, spec: TaskSpec, newest: Mapping[str, str] | None = None) -> tuple[Finding, ...]:
    """What keeps one task from learning. ``newest`` is the newest request by task."""
    found = services.recorder.newest_requests() if newest is None else newest
    row = services.selector.evidence_of(spec.name)
    able: tuple[str, ...] = ()
    unable: str | None = None
    try:
        choice = services.selector.choose(spec.name, needs=frozenset(), size=0, explicit=None, criteria=None)
        able = tuple(one.ref for one in choice.candidates if one.dropped is None)
    except PodiumError as error:
        unable = error.message
    binding = services.swapper.binding(spec.name)
    rollout = services.rollouts.on(spec.name)
    facts = TaskFacts(
        task=spec.name,
        requests=_requests(row),
        answered=sum(item.successes for item in row.values()),
        scores=sum(item.quality_samples for item in row.values()),
        known=services.recorder.knowledge.of(spec.name),
        strategy=spec.strategy,
        exploration=EXPLORATION if spec.exploration is None else spec.exploration,
        able=able,
        unable=unable,
        bound_to=None if binding is None else binding.ref,
        bound_since=None if binding is None else binding.since,
        beliefs=services.selector.beliefs_on(spec.name),
        trying=None if rollout is None else rollout.candidate,
        request_id=found.get(spec.name, "REQUEST_ID"),
    )
    return diagnose_task(facts, services.clock.now())


def _system(services: Services) -> SystemFacts:
    recording, feedback = services.recorder.stats(), services.recorder.feedback_stats()
    return SystemFacts(
        unjoined=feedback.unjoined,
        last_unjoined=feedback.last_unjoined,
        refused=services.learner.refused,
        dropped=recording.dropped,
        recording_error=recording.last_error,
        tasks=len(services.tasks.specs()),
        most_tasks=MAX_TASKS,
        zoneless=(*_lost_budgets(services), *_lost_schedules(services)),
    )


def _lost_budgets(services: Services) -> Iterator[str]:
    for name, budget in services.budgeting.ledger.budgets.items():
        if lost := lost_zone(budget.timezone):
            yield f"budget {name}: {lost}; its days, weeks and months begin in UTC meanwhile"


def _lost_schedules(services: Services) -> Iterator[str]:
    for schedule_id, trouble in services.schedules.troubles.items():
        if "time zone" in trouble:
            yield f"schedule {schedule_id}: {trouble}"


def _requests(row: Mapping[str, Evidence]) -> int:
    return sum(item.samples for item in row.values())
