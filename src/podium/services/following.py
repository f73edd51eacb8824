"""Lets a task follow a model (SWP-13): a new version of it goes live by being registered, and by nothing else.

As soon as a version of the followed model that is newer than the one that serves is ready, a gradual rollout to it is
ordered. Each version is offered to a task once, over restarts too: one that was rolled back, or that a person swapped
away from, is not forced on it again. A task that is bound to no version yet is bound to the newest one at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from podium.domain.model import Lifecycle
from podium.errors import PodiumError
from podium.ports import Clock, Page, Store
from podium.services.registry import Registry
from podium.services.steering import FOLLOW, Rolling, Steering

USABLE = frozenset({Lifecycle.READY, Lifecycle.ACTIVE})
HISTORY = 200
"""Rollouts and swaps of a task that are looked through for an earlier offer."""
RETRY_S = 60.0
"""Until a refused offer is made again."""
_log = structlog.get_logger("podium.following")


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What a task that follows a model would do now. ``to``: the version to offer, ``None`` when there is none."""

    task: str
    model: str
    to: str | None
    why: str


class Following:
    """One per gateway. ``followed`` maps tasks to names of models and may be replaced at any time."""

    def __init__(
        self,
        *,
        steering: Steering,
        registry: Registry,
        store: Store,
        rollouts: Rolling,
        clock: Clock,
        followed: Mapping[str, str],
    ) -> None:
        self._steering = steering
        self._registry = registry
        self._store = store
        self._rollouts = rollouts
        self._clock = clock
        self.followed = followed
        self._offered: set[tuple[str, str]] = set()
        self._refused: dict[str, float] = {}
        """When an offer was refused, by task; of a clock that never goes back."""
        self._acting: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> tuple[Next, ...]:
        """What every following task would do now. Changes nothing."""
        return tuple([await self._next(task, model) for task, model in self.followed.items()])

    async def tick(self) -> None:
        """Offer what is new. Raises nothing of a single task."""
        for task, model in tuple(self.followed.items()):
            now = self._clock.monotonic()
            if task in self._acting or 0 <= now - self._refused.get(task, now - RETRY_S) < RETRY_S:
                continue
            try:
                found = await self._next(task, model)
                if found.to is not None:
                    self._begin(found, found.to)
            except Exception:  # noqa: BLE001 - one task must not keep the others from following
                _log.exception("a task could not follow its model", task=task)

    async def _next(self, task: str, model: str) -> Next:
        def nothing(why: str) -> Next:
            return Next(task=task, model=model, to=None, why=why)

        usable = [version for version in self._registry.versions_of(model) if version.status in USABLE]
        if not usable:
            return nothing(f"no version of {model} is ready yet")
        newest, binding = usable[0], self._steering.serving(task)
        if binding is not None and binding.ref == newest.ref:
            return nothing(f"{newest.ref} is the newest and serves")
        serving = None if binding is None else self._registry.find(binding.ref)
        if serving is not None and serving.name == model and serving.created_at >= newest.created_at:
            return nothing(f"{serving.ref} is newer than every other that is ready")
        if (open_one := self._steering.open(task)) is not None:
            return nothing(f"rollout {open_one.id} to {open_one.candidate} is under way")
        if await self._was_offered(task, newest.ref):
            return nothing(f"{newest.ref} was offered before; `podium swap {task} {newest.ref}` orders it again")
        return Next(task=task, model=model, to=newest.ref, why=f"{newest.ref} is ready and newer than what serves")

    async def _was_offered(self, task: str, ref: str) -> bool:
        if (task, ref) in self._offered:
            return True
        page = Page(limit=HISTORY)
        swapped = {swap.after for swap in await self._store.swaps(task, page) if swap.ok}
        rolled = {rollout.candidate for rollout in await self._rollouts.listed(task, page)}
        if ref in swapped | rolled:
            self._offered.add((task, ref))
            return True
        return False

    def _begin(self, found: Next, to: str) -> None:
        acting = asyncio.create_task(self._offer(found, to), name=f"podium-follow-{found.task}")
        self._acting[found.task] = acting
        acting.add_done_callback(lambda _: self._acting.pop(found.task, None))

    async def _offer(self, found: Next, to: str) -> None:
        task, reason = found.task, f"{found.task} follows {found.model}: {found.why}"
        self._offered.add((task, to))
        first = self._steering.serving(task) is None
        try:
            mode = "immediate" if first else "gradual"
            self._steering.say("follow.ordered", task, model=found.model, to=to, mode=mode, reason=reason)
            moved = await self._steering.move(task, to, immediate=first, by=FOLLOW, reason=reason)
            error = None if moved.ok else moved.error
            if error is not None and moved.id is None:  # it was not even begun: something else goes on
                self._offered.discard((task, to))
                self._refused[task] = self._clock.monotonic()
        except Exception as failure:  # noqa: BLE001 - nobody waits for this work, so that nobody else would say it
            _log.exception("a task could not follow its model", task=task)
            error = failure.message if isinstance(failure, PodiumError) else f"{type(failure).__name__}: {failure}"
        if error is not None:
            self._steering.say("follow.failed", task, model=found.model, to=to, error=error, reason=reason)

    async def settled(self) -> None:
        """Return when nothing is being ordered."""
        while self._acting:
            await asyncio.wait(tuple(self._acting.values()))

    async def close(self) -> None:
        """Stop ordering; idempotent."""
        acting = tuple(self._acting.values())
        for task in acting:
            task.cancel()
        await asyncio.gather(*acting, return_exceptions=True)
