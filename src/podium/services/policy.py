"""Keeps the selector's snapshot true: registry, tasks, bindings, evidence and this machine, made into one value.

Every change builds a new snapshot and puts it in force at once; requests under way keep the choice they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from podium.core import learned
from podium.core.constraints import Option
from podium.core.lessons import Lessons
from podium.core.scoring import weights_for
from podium.core.selection import PolicySnapshot, Query, choose
from podium.domain.belief import Belief
from podium.domain.decision import Choice
from podium.domain.evidence import Evidence
from podium.domain.model import ModelVersion
from podium.domain.rollout import Split
from podium.domain.task import Binding, Criteria, TaskSpec, Weights
from podium.ports import Clock, Recorded
from podium.services.registry import Registry
from podium.services.selector import Selector
from podium.services.tasks import Tasks

_NONE: Mapping[str, Evidence] = MappingProxyType({})


class Policy:
    """The policy in force, for the gateway to ask and for everybody else to keep current.

    Call ``refresh`` once everything it reads from is there.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        tasks: Tasks,
        recorded: Recorded,
        weights: Mapping[str, Weights],
        footprint: Callable[[ModelVersion], int | None],
        context_length: Callable[[ModelVersion], int | None],
        unavailable: Callable[[ModelVersion], str | None],
        hardware: Callable[[], frozenset[str]],
        memory_bytes: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._footprint = footprint
        self._context_length = context_length
        self._unavailable = unavailable
        self._memory_bytes = memory_bytes
        self._clock = clock
        rows: dict[str, dict[str, Evidence]] = {}
        for (task, ref), item in recorded.evidence.items():
            rows.setdefault(task, {})[ref] = item
        self._selector = Selector(
            PolicySnapshot(
                bindings={binding.task: binding for binding in recorded.bindings},
                evidence=rows,
                weights=weights,
                hardware=hardware(),
            )
        )

    def choose(
        self, task: str, *, needs: frozenset[str], size: int, explicit: str | None, criteria: Criteria | None
    ) -> Choice:
        """The choice for a request of ``size`` bytes. Raises ``NoCandidate``."""
        return self._selector.choose(task, needs=needs, size=size, explicit=explicit, criteria=criteria)

    def best(self, task: str, *, needs: frozenset[str], without: frozenset[str]) -> Choice:
        """The choice if the task were bound to no version and ``without`` were not there. Raises ``NoCandidate``."""
        snapshot = self._selector.snapshot.with_binding(task, None).with_split(task, None)
        options = tuple(option for option in snapshot.options if option.ref not in without)
        return choose(replace(snapshot, options=options), Query(task=task, needs=needs))

    def meet(self, spec: TaskSpec) -> None:
        """Take in one task that a caller named for the first time."""
        snapshot = self._selector.snapshot
        self._selector.replace(replace(snapshot, tasks={**snapshot.tasks, spec.name: spec}))

    def refresh(self) -> None:
        """Read registry, tasks and machine again."""
        options = tuple(self._option(version) for version in self._registry.versions())
        self._selector.replace(
            replace(
                self._selector.snapshot,
                options=options,
                tasks={spec.name: spec for spec in self._tasks.specs()},
                memory_budget_bytes=self._memory_bytes(),
                now=self._clock.now(),
            )
        )

    def learn(self, changed: Mapping[tuple[str, str], Evidence]) -> None:
        """Take over rows of history."""
        snapshot = self._selector.snapshot
        evidence = dict(snapshot.evidence)
        for (task, ref), item in changed.items():
            evidence[task] = {**evidence.get(task, _NONE), ref: item}
        self._selector.replace(replace(snapshot, evidence=evidence, now=self._clock.now()))

    def believe(self, changed: Mapping[str, Mapping[str, Belief]]) -> None:
        """Take over what the learner believes, by task; tasks that are not in it stay as they are."""
        snapshot = self._selector.snapshot
        self._selector.replace(replace(snapshot, beliefs={**snapshot.beliefs, **changed}, now=self._clock.now()))

    def teach(self, lessons: Mapping[str, Lessons]) -> None:
        """Sharpen the criteria of these tasks, and of no others, by what was learned of them."""
        self._selector.replace(replace(self._selector.snapshot, lessons=lessons, now=self._clock.now()))

    def beliefs_on(self, task: str) -> Mapping[str, Belief]:
        """What the learner believes on a task, by version."""
        return self._selector.snapshot.beliefs_on(task)

    def bindings(self) -> Mapping[str, Binding]:
        """Which version serves each task that is bound."""
        return self._selector.snapshot.bindings

    def footprint(self, version: ModelVersion) -> int | None:
        """Bytes that a copy of a version takes here, measured or estimated; ``None`` when nobody knows."""
        return self._footprint(version)

    def rebind(self, *bindings: Binding) -> None:
        """Move the traffic of one task or of several, in one assignment."""
        self._selector.rebind(*bindings)

    def unbind(self, task: str) -> None:
        """Choose for a task again."""
        self._selector.unbind(task)

    def divided(self, task: str) -> Split | None:
        """How the task's traffic is divided by a rollout now."""
        return self._selector.snapshot.splits.get(task)

    def split(self, task: str, split: Split | None) -> None:
        """Divide a task's traffic between the arms of a rollout, or no longer, in one assignment."""
        self._selector.replace(self._selector.snapshot.with_split(task, split))

    def evidence(self, task: str, ref: str) -> Evidence | None:
        """History of one version on one task; ``None`` without any."""
        return self._selector.evidence(task, ref)

    def evidence_of(self, task: str) -> Mapping[str, Evidence]:
        """History of a task, by version."""
        return self._selector.snapshot.evidence.get(task, _NONE)

    def check_strategy(self, name: str, weights: Mapping[str, Weights] | None = None) -> None:
        """Raise ``InvalidRequest`` for a strategy nobody knows; ``weights``: own presets instead of those in force."""
        if name != learned.STRATEGY:
            weights_for(name, None, self._selector.snapshot.weights if weights is None else weights)

    def weigh(self, weights: Mapping[str, Weights]) -> None:
        """Put other presets of the installation in force."""
        self._selector.replace(replace(self._selector.snapshot, weights=weights))

    def _option(self, version: ModelVersion) -> Option:
        return Option(
            ref=version.ref,
            status=version.status,
            capabilities=version.facts.capabilities,
            context_length=self._context_length(version),
            footprint_bytes=self._footprint(version),
            hardware=version.provenance.hardware,
            unavailable=self._unavailable(version),
            created_at=version.created_at,
        )
