"""Takes an order for a rollout: checks that it makes sense, says what it will be able to see, records it.

Nothing is loaded and no traffic moves here. Orders for one task come one after the other, also with swaps: each is
answered, and at most one rollout is open on a task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from podium.core.arms import Arms
from podium.core.rollout import check_plan
from podium.core.rollout_notes import notes
from podium.domain.model import Lifecycle, ModelVersion
from podium.domain.rollout import Rollout, RolloutPlan, RolloutState, RolloutStep
from podium.domain.swap import Event
from podium.errors import Conflict
from podium.ports import Clock, RolloutChange, RolloutStore
from podium.services.registry import Registry
from podium.services.rollouts.driven import Driven
from podium.services.rollouts.owning import OWNED_S
from podium.services.rollouts.preparing import cannot_serve
from podium.services.rollouts.transitions import Transitions
from podium.services.swap import Swapper
from podium.services.tasks import Tasks


class Ordering:
    """``detects`` says what loss a plan can see, from (task, baseline, plan)."""

    def __init__(
        self,
        *,
        transitions: Transitions,
        store: RolloutStore,
        registry: Registry,
        tasks: Tasks,
        swapper: Swapper,
        clock: Clock,
        new_id: Callable[[str], str],
        publish: Callable[[Event], None],
        detects: Callable[[str, str, RolloutPlan], str | None],
        owner: str,
    ) -> None:
        self._transitions = transitions
        self._store = store
        self._registry = registry
        self._tasks = tasks
        self._swapper = swapper
        self._clock = clock
        self._new_id = new_id
        self._publish = publish
        self._detects = detects
        self._owner = owner

    async def begin(self, task: str, to: str, plan: RolloutPlan, *, by: str, reason: str, batch: str | None) -> Driven:
        """The recorded rollout. Raises ``NotFound``, ``InvalidRequest``, ``Conflict``, ``StoreError``."""
        check_plan(plan)
        version = self._registry.resolve(to)
        near = None if self._tasks.known(task) else self._tasks.like(task)
        self._tasks.ensure(task)
        if version.status is Lifecycle.RETIRED:
            raise Conflict(f"{version.ref} is retired; register it again under a new version")
        if version.status is Lifecycle.DEPRECATED:
            raise Conflict(f"{version.ref} is deprecated; activate it again first, or swap to it with mode immediate")
        async with self._swapper.turn(task):
            rollout = self._draft(task, self._baseline(task, version), version, plan, by, reason, batch)
            rollout = replace(rollout, notes=self._notes(rollout, near))
            event = self._transitions.event(None, rollout, reason, by)
            assert event is not None
            now, state = rollout.requested_at, rollout.state
            step = RolloutStep(rollout=rollout.id, at=now, before=state, after=state, share=0.0, reason=reason)
            change = RolloutChange(rollout=rollout, step=step, events=(event,))
            await self._store.add_rollout(change, self._owner, now + OWNED_S)
            driven = Driven(rollout, Arms(plan))
            self._transitions.take_in(driven)
            self._publish(event)
            return driven

    def _notes(self, rollout: Rollout, near: list[str] | None) -> tuple[str, ...]:
        return notes(
            rollout.plan,
            task=rollout.task,
            baseline_mb=self._swapper.memory_mb(rollout.baseline),
            candidate_mb=self._swapper.memory_mb(rollout.candidate),
            bar=self._transitions.bars.get((rollout.task, rollout.candidate)),
            near=near,
            now=rollout.requested_at,
        )

    def _baseline(self, task: str, version: ModelVersion) -> str:
        """What serves the task now. Raises ``Conflict`` when there is nothing to replace."""
        busy = self._transitions.rollouts.get(task)
        if busy is not None:
            raise Conflict(
                f"rollout {busy.id} is open on {task} ({busy.baseline} to {busy.candidate}, {busy.state}); "
                f"promote or abort it first"
            )
        bound = self._swapper.binding(task)
        if bound is not None and bound.ref == version.ref:
            raise Conflict(f"{task} is served by {version.ref} already")
        baseline = self._swapper.serving(task, version)
        if baseline is None:
            raise Conflict(
                f"there is nothing to compare {version.ref} with: {task} is bound to no version and no other would "
                f"serve it; `podium swap {task} {version.ref}` binds it at once"
            )
        return baseline

    def _draft(
        self,
        task: str,
        baseline: str,
        version: ModelVersion,
        plan: RolloutPlan,
        by: str,
        reason: str,
        batch: str | None,
    ) -> Rollout:
        """The rollout as it begins. Raises ``Conflict`` when the candidate cannot serve the task."""
        now = self._clock.now()
        verdict = self._swapper.compare(task, baseline, version, strict=plan.strict)
        rollout = Rollout(
            id=self._new_id("rollout"),
            task=task,
            baseline=baseline,
            candidate=version.ref,
            plan=plan,
            state=RolloutState.REQUESTED,
            requested_at=now,
            step_since=now,
            by=by,
            reason=reason,
            batch=batch,
            compatibility=verdict,
            detects=self._detects(task, baseline, plan),
        )
        if not verdict.compatible:
            raise Conflict(cannot_serve(rollout, verdict))
        return rollout
