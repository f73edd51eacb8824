"""What becomes of the old version after a promotion: it goes out of service unless something else needs it.

A deprecated version stays warm for a rollback as long as the pool keeps it (``pool.keep_warm_days``); then maintenance
retires it. What was decided is a step of the rollout, so that a restart finishes what a stop interrupted, once.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from podium.domain.model import Lifecycle
from podium.domain.rollout import Rollout, RolloutStep
from podium.errors import PodiumError
from podium.ports import Clock, RolloutStore
from podium.services.policy import Policy
from podium.services.registry import Registry
from podium.services.swap import Swapper
from podium.services.tasks import Tasks

_log = structlog.get_logger("podium.rollouts")


class Releasing:
    """``running`` are the open rollouts."""

    def __init__(
        self,
        store: RolloutStore,
        registry: Registry,
        tasks: Tasks,
        swapper: Swapper,
        policy: Policy,
        clock: Clock,
        running: Callable[[], tuple[Rollout, ...]],
    ) -> None:
        self._store = store
        self._registry = registry
        self._tasks = tasks
        self._swapper = swapper
        self._policy = policy
        self._clock = clock
        self._running = running

    async def catch_up(self) -> None:
        """Decide about the old versions of promotions that a stop interrupted."""
        try:
            for rollout in await self._store.unreleased_rollouts():
                await self.release(rollout)
        except PodiumError as error:
            _log.warning("old versions were not released", error=error.message)

    async def release(self, rollout: Rollout) -> None:
        """Deprecate the old version if nothing else uses it, and say so. Raises ``StoreError``."""
        ref = rollout.baseline
        kept = self._use(rollout)
        if kept is None:
            await self._registry.deprecate(ref, rollout.by, f"replaced on {rollout.task} by rollout {rollout.id}")
            self._policy.refresh()
            kept = "it is deprecated and kept warm for a rollback"
        step = RolloutStep(
            rollout=rollout.id,
            at=self._clock.now(),
            before=rollout.state,
            after=rollout.state,
            share=rollout.share,
            reason=f"{ref}: {kept}",
        )
        await self._store.add_rollout_step(step)

    def _use(self, rollout: Rollout) -> str | None:
        """Why the old version stays in service."""
        ref = rollout.baseline
        version = self._registry.find(ref)
        if version is None or version.status is not Lifecycle.ACTIVE:
            return f"it is {'gone' if version is None else version.status} already"
        serves = self._swapper.tasks_of(ref)
        if serves:
            return f"it serves {', '.join(serves)}"
        called = sorted(alias for alias, target in self._registry.aliases().items() if target == ref)
        if called:
            return f"the alias {called[0]} stands for it"
        busy = [one.task for one in self._running() if ref in (one.baseline, one.candidate)]
        if busy:
            return f"it takes part in a rollout on {', '.join(busy)}"
        others = (spec.name for spec in self._tasks.specs() if spec.name != rollout.task)
        known = [task for task in others if (seen := self._policy.evidence(task, ref)) is not None and seen.samples]
        if known:
            return f"it has answered requests of {', '.join(sorted(known)[:3])} too"
        return None
