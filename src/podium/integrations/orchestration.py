"""An orchestrator's steps, each with a model assigned, run in the order of what they need of each other.

An orchestrator of one's own needs only ``Assigner``: ask before a step, report after it. ``run_plan`` is a small one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, Protocol

from podium.client.api import Podium
from podium.client.results import Result
from podium.domain.task import Criteria
from podium.errors import InvalidRequest, PodiumError
from podium.integrations.agents import choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. ``{name}`` in its prompt is replaced by what the step of that name answered."""

    name: str
    task: str
    prompt: str
    after: tuple[str, ...] = ()
    """Steps it needs the answers of."""
    agent: str | None = None
    criteria: Criteria | None = None
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """For the request body, such as ``max_tokens``."""


Plan = Sequence[Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The model of a step. Requests of the step carry ``model`` and ``metadata={"execution": execution}``."""

    step: str
    task: str
    model: str
    """For the ``model`` field: the version itself when it is pinned, else ``task:NAME``."""
    ref: str
    """The version it goes to as things are."""
    execution: str
    why: str
    confidence: float
    fallbacks: tuple[str, ...] = ()
    latency_ms: float | None = None
    """What the version's own history promises; ``None`` without history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step gave. ``answer`` is ``None`` when it failed; ``error`` says why."""

    step: str
    assignment: Assignment | None
    answer: Result | None
    error: str | None = None


class Assigner(Protocol):
    """Assigns a model per step. Raises ``PodiumError``; ``NoCandidate`` when no model may do a step."""

    async def assign(self, step: Step) -> Assignment:
        """The model for a step that begins."""
        ...

    async def report(
        self,
        assignment: Assignment,
        *,
        success: bool,
        quality: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """What came of it; later assignments learn from that."""
        ...


class PodiumAssigner:
    """Assigns what the gateway's selector says, and tracks every step as an execution.

    ``pin`` sends a step to exactly the version that was chosen. Without it a step is still routed when it is sent, so that
    rollouts, exploration and fallbacks go on; the execution says where it went.
    """

    def __init__(self, podium: Podium, *, pin: bool = False) -> None:
        self._podium = podium
        self._pin = pin

    async def assign(self, step: Step) -> Assignment:
        """See ``Assigner``."""
        choice = await choose(self._podium, step.task, step.criteria)
        execution = await self._podium.tracker.start_task(step.task, step.agent or step.name)
        return Assignment(
            step=step.name,
            task=step.task,
            model=choice["chosen"] if self._pin else f"task:{step.task}",
            ref=choice["chosen"],
            execution=execution,
            why=choice["reason"],
            confidence=choice["confidence"],
            fallbacks=tuple(choice["fallbacks"]),
            latency_ms=choice["expected"]["latency_ms"],
        )

    async def report(
        self,
        assignment: Assignment,
        *,
        success: bool,
        quality: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """See ``Assigner``."""
        said = {**(metadata or {}), "step": assignment.step}
        await self._podium.tracker.complete_task(assignment.execution, success, quality, said)


async def run_plan(plan: Plan, podium: Podium, assigner: Assigner) -> dict[str, StepResult]:
    """Run every step as soon as those it needs are done; the results by name, in the order of the plan.

    A step whose needs failed is not run. Raises ``InvalidRequest`` for a plan that cannot be run.
    """
    steps = _checked(plan)
    results: dict[str, StepResult] = {}
    order = TopologicalSorter({step.name: step.after for step in plan})
    order.prepare()
    running: set[asyncio.Task[StepResult]] = set()
    try:
        while order.is_active():
            for name in order.get_ready():
                running.add(asyncio.create_task(_run(steps[name], results, podium, assigner)))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                result = finished.result()
                results[result.step] = result
                order.done(result.step)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return {step.name: results[step.name] for step in plan}


async def _run(step: Step, results: Mapping[str, StepResult], podium: Podium, assigner: Assigner) -> StepResult:
    answers = {name: results[name].answer for name in step.after}
    failed = sorted(name for name, answer in answers.items() if answer is None)
    if failed:
        return StepResult(step=step.name, assignment=None, answer=None, error=f"{', '.join(failed)} failed before")
    prompt = step.prompt
    for name, answer in answers.items():
        prompt = prompt.replace("{" + name + "}", answer.text if answer is not None else "")
    assignment: Assignment | None = None
    try:
        assignment = await assigner.assign(step)
        answer = await podium.execute(
            prompt,
            task=step.task,
            model=assignment.model,
            criteria=step.criteria,
            metadata={"execution": assignment.execution},
            **step.params,
        )
    except PodiumError as error:
        if assignment is not None:
            await assigner.report(assignment, success=False, metadata={"error": error.message[:500]})
        return StepResult(step=step.name, assignment=assignment, answer=None, error=error.message)
    await assigner.report(assignment, success=True)
    return StepResult(step=step.name, assignment=assignment, answer=answer)


def _checked(plan: Plan) -> dict[str, Step]:
    steps = {step.name: step for step in plan}
    if len(steps) != len(plan):
        raise InvalidRequest("two steps have the same name; give each its own", param="name")
    for step in plan:
        unknown = sorted(set(step.after) - steps.keys())
        if unknown:
            raise InvalidRequest(f"step {step.name} comes after {unknown[0]!r}, which is no step", param="after")
    try:
        TopologicalSorter({step.name: step.after for step in plan}).prepare()
    except CycleError as error:
        raise InvalidRequest(f"steps wait for each other: {' -> '.join(error.args[1])}", param="after") from None
    return steps
