"""Looks at every open rollout about once a second and has done what its evidence allows; keeps the evidence.

A rollout that fails or takes long stands in nobody's way: each move is carried out by a task of its own. Bounded work per
round: with very many rollouts each is looked at less often, none is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from podium.core.rollout import Move, advance
from podium.core.rollout_moves import move_to
from podium.domain.rollout import RolloutState
from podium.errors import Conflict, PodiumError, StoreError
from podium.ports import Clock, RolloutStore
from podium.services.rollouts.driven import Driven
from podium.services.rollouts.preparing import Preparing
from podium.services.rollouts.transitions import Transitions

S = RolloutState
SETTLE_S = 1.0
"""A round waits so long for the moves it began; they go on afterwards."""
KEEP_S = 0.25
"""Seconds of a round spent on keeping evidence; what is left over comes first in the next one."""
TURN_S = 0.005
"""The event loop gets a turn after so many seconds of looking."""
RETRY_S = 5.0
_log = structlog.get_logger("podium.rollouts")


class Watching:
    """One per ``Rollouts``. ``after`` is called for what has ended."""

    def __init__(
        self,
        transitions: Transitions,
        preparing: Preparing,
        store: RolloutStore,
        clock: Clock,
        owner: str,
        after: Callable[[Driven], Awaitable[None]],
    ) -> None:
        self._transitions = transitions
        self._preparing = preparing
        self._store = store
        self._clock = clock
        self._owner = owner
        self._after = after

    async def look(self) -> None:
        """One round over all open rollouts."""
        began: list[asyncio.Task[None]] = []
        turn = self._clock.monotonic()
        for driven in self._transitions.all():
            if driven.busy() or driven.lock.locked() or not driven.rollout.open:
                continue
            try:
                self._one(driven, began)
            except Exception:  # noqa: BLE001 - one rollout must not stand in the way of the others; it is logged
                _log.exception("a rollout could not be looked at", rollout=driven.rollout.id)
            if self._clock.monotonic() - turn > TURN_S:
                await asyncio.sleep(0)
                turn = self._clock.monotonic()
        if began:
            await asyncio.wait(began, timeout=SETTLE_S)

    def _one(self, driven: Driven, began: list[asyncio.Task[None]]) -> None:
        rollout, now = driven.rollout, self._clock.now()
        if self._clock.monotonic() < driven.retry_at:
            return
        if rollout.state in (S.REQUESTED, S.VALIDATING, S.WARMING) or (
            rollout.state in (S.SHADOW, S.CANARY) and not driven.warm
        ):
            self._preparing.start(driven)  # it had to be given up for the moment
            return
        driven.note(now)
        move, by = driven.wanted or (advance(rollout, driven.readings(), driven.samples(), now), rollout.by)
        if move is not None:
            driven.work = asyncio.create_task(self._carry_out(driven, move, by), name=f"podium-{rollout.id}")
            began.append(driven.work)

    async def _carry_out(self, driven: Driven, move: Move, by: str) -> None:
        rollout = driven.rollout
        try:
            async with driven.lock:
                if driven.rollout is not rollout or not rollout.open:
                    return
                try:
                    await self._transitions.carry_out(driven, move, by)
                except (StoreError, Conflict):
                    raise
                except PodiumError as error:
                    if move.state is not S.PROMOTED:
                        raise
                    reason = f"{rollout.candidate} could not take over: {error.message}"
                    await self._transitions.carry_out(driven, move_to(rollout, S.ROLLED_BACK, reason), rollout.by)
            await self._after(driven)
        except PodiumError as error:
            _log.warning("a rollout could not move", rollout=rollout.id, to=move.state, error=error.message)
            driven.retry_at = self._clock.monotonic() + RETRY_S
        except Exception:  # noqa: BLE001 - one rollout must not stand in the way of the others; it is logged
            _log.exception("a rollout could not move", rollout=rollout.id)
            driven.retry_at = self._clock.monotonic() + RETRY_S

    async def keep(self, *, everything: bool = False) -> None:
        """Write down new evidence, whole, as far as the time of a round goes; ``everything``: all of it."""
        began = self._clock.monotonic()
        pending = [driven for driven in self._transitions.all() if driven.unsaved]
        for driven in sorted(pending, key=lambda one: one.saved_at):
            if not everything and self._clock.monotonic() - began > KEEP_S:
                return
            driven.unsaved = False
            driven.saved_at = began
            try:
                await self._store.save_arms(driven.rollout.id, self._owner, driven.arms.dump())
            except PodiumError as error:
                driven.unsaved = True
                _log.warning("evidence could not be kept", rollout=driven.rollout.id, error=error.message)
                return
