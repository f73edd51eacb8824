"""Several swaps as one unit, at once: all of them, or every task stays where it is.

Everything is checked, everything is warmed, then all tasks move in one transaction. Knows nothing of schedules; several
rollouts as one unit are ``services.batch_rollouts``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from podium.domain.instance import InstanceState
from podium.domain.model import Lifecycle
from podium.domain.rollout import Rollout
from podium.domain.schedule import PlannedSwap
from podium.domain.swap import Event, Swap, SwapState
from podium.domain.task import Binding
from podium.errors import Conflict, PodiumError
from podium.ports import Clock
from podium.services.onboarding import Onboarding
from podium.services.pool import Pool
from podium.services.registry import Registry
from podium.services.swap import Swapper

T = TypeVar("T")


class Records(Protocol):
    """The part of the store that swaps need."""

    async def move_together(self, swaps: Sequence[Swap], bindings: Sequence[Binding], events: Sequence[Event]) -> None:
        """Record swaps, and move the tasks of ``bindings``, in one transaction."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of a batch. Not ``ok``: every task is served by what served it before."""

    ok: bool
    says: str
    swaps: tuple[Swap, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    late: bool = False
    """Nothing was wrong but the time: its window closed before everything was warm."""


class Batches:
    """Carries batches out. Batches that share no task run side by side."""

    def __init__(
        self,
        *,
        swapper: Swapper,
        registry: Registry,
        pool: Pool,
        onboarding: Onboarding,
        store: Records,
        clock: Clock,
        publish: Callable[[Event], None],
        load_timeout_s: float,
    ) -> None:
        self._swapper = swapper
        self._registry = registry
        self._pool = pool
        self._onboarding = onboarding
        self._store = store
        self._clock = clock
        self._publish = publish
        self._timeout = load_timeout_s

    def resolved(self, swaps: Sequence[PlannedSwap]) -> tuple[PlannedSwap, ...]:
        """With full references. Raises ``NotFound``, and ``Conflict`` for retired versions."""
        found = []
        for swap in swaps:
            version = self._registry.resolve(swap.to)
            if version.status is Lifecycle.RETIRED:
                raise Conflict(f"{version.ref} is retired; register it again under a new version")
            found.append(replace(swap, to=version.ref))
        return tuple(found)

    def moved(self, swaps: Sequence[PlannedSwap]) -> bool:
        """Every task is served by what it was to be served by."""
        return not to_move(self._swapper, swaps)

    # ------------------------------------------------------------ at once

    async def immediate(
        self,
        batch: str,
        swaps: Sequence[PlannedSwap],
        *,
        strict: bool = False,
        by: str,
        reason: str = "",
        until: float | None = None,
    ) -> BatchResult:
        """Move them together now. After Unix time ``until`` nothing moves any more. Never raises ``PodiumError``."""
        async with self._swapper.holding(swap.task for swap in swaps):
            moving = to_move(self._swapper, swaps)
            if not moving:
                return BatchResult(ok=True, says="every task is served by its version already")
            why = f"{reason} [{batch}]".strip()
            begin, problems = await drafts(self._swapper, moving, strict=strict, by=by, reason=why)
            if problems:
                return BatchResult(ok=False, says=f"nothing moved: {'; '.join(problems)}")
            begun: list[Swap] = []
            try:
                begun = [replace(draft, state=SwapState.WARMING) for draft in begin]
                events = [self._event("swap.started", swap, batch) for swap in begun]
                await self._store.move_together(begun, (), events)
                for event in events:
                    self._publish(event)
                await self._warm(begun, by)
                if until is not None and self._clock.now() >= until:
                    says = "nothing moved: the window closed before every version was warm"
                    return BatchResult(ok=False, late=True, says=says, swaps=await self._fail(begun, batch, says))
                for ref in sorted({swap.after for swap in begun}):
                    await self._onboarding.activate(ref, by, f"batch {batch}")
                done = await _to_its_end(self._swapper.move_together(begun, self._store.move_together))
            except PodiumError as error:
                says = f"nothing moved: {error.message}"
                return BatchResult(ok=False, says=says, swaps=await self._fail(begun, batch, says))
            except asyncio.CancelledError:
                if not self.moved(swaps):
                    await asyncio.shield(self._fail(begun, batch, "cancelled before the traffic moved"))
                raise
        names = ", ".join(f"{swap.task} → {swap.after}" for swap in done)
        return BatchResult(ok=True, says=f"moved together: {names}", swaps=done)

    async def _warm(self, swaps: Sequence[Swap], by: str) -> None:
        refs = sorted({swap.after for swap in swaps})
        for ref in refs:
            version = await self._onboarding.validate(ref, by)
            await self._pool.warm(version, self._timeout)
        warm = {view.ref for view in self._pool.views() if view.state is InstanceState.READY}
        gone = [ref for ref in refs if ref not in warm and self._pool.directive(ref).keep_alive_s != 0]
        if gone:
            raise Conflict(
                f"{', '.join(gone)} had to make room while the others loaded: they do not fit into memory together; "
                "swap them one by one, or free memory"
            )

    async def _fail(self, swaps: Sequence[Swap], batch: str, why: str) -> tuple[Swap, ...]:
        """Record that none of them moved."""
        now = self._clock.now()
        failed = tuple(replace(swap, state=SwapState.FAILED, error=why, finished_at=now) for swap in swaps)
        events = [self._event("swap.failed", swap, batch) for swap in failed]
        try:
            await self._store.move_together(failed, (), events)
        except PodiumError as error:
            failed = tuple(replace(swap, error=f"{why}; and that could not be recorded: {error}") for swap in failed)
        for event in events:
            self._publish(event)
        return failed

    def _event(self, kind: str, swap: Swap, batch: str) -> Event:
        data = (("swap", swap.id), ("kind", swap.kind), ("before", swap.before), ("after", swap.after))
        return Event(
            kind=kind, at=self._clock.now(), subject=swap.task, data=(*data, ("error", swap.error), ("batch", batch))
        )


def to_move(swapper: Swapper, swaps: Sequence[PlannedSwap]) -> tuple[PlannedSwap, ...]:
    """Those whose task is not served by its version already."""
    bound = [(swap, swapper.binding(swap.task)) for swap in swaps]
    return tuple(swap for swap, at in bound if at is None or at.ref != swap.to)


async def drafts(
    swapper: Swapper, swaps: Sequence[PlannedSwap], *, strict: bool, by: str, reason: str
) -> tuple[list[Swap], list[str]]:
    """All that can begin, and what is wrong with the others."""
    begin, problems = [], []
    for swap in swaps:
        await asyncio.sleep(0)  # a thousand comparisons must not hold requests up
        try:
            begin.append(swapper.draft(swap.task, swap.to, strict=strict, by=by, reason=reason))
        except PodiumError as error:
            problems.append(f"{swap.task}: {error.message}")
    return begin, problems


async def _to_its_end(move: Coroutine[Any, Any, T]) -> T:
    """A commit under way is not given up halfway: who cancels waits for it."""
    moving = asyncio.ensure_future(move)
    try:
        return await asyncio.shield(moving)
    except asyncio.CancelledError:
        await asyncio.wait((moving,))
        raise
