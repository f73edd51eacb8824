"""Who drives a rollout: one gateway at a time owns its row for some seconds and says again and again that it still does.

Takes over what nobody drives, at the start and whenever another gateway has ended. Every change of a rollout is
conditional on its owner, so that one that slept too long changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from podium.core.arms import Arms
from podium.core.rollout import resume
from podium.errors import PodiumError
from podium.ports import Clock, KeptRollout, RolloutStore
from podium.services.rollouts.driven import Driven
from podium.services.rollouts.preparing import Preparing
from podium.services.rollouts.transitions import Transitions
from podium.services.swap import Swapper

OWNED_S = 15.0
"""How long a gateway owns what it drives without saying so again."""
_log = structlog.get_logger("podium.rollouts")


class Owning:
    """``after`` is called for what ended while it was taken over."""

    def __init__(
        self,
        transitions: Transitions,
        preparing: Preparing,
        store: RolloutStore,
        swapper: Swapper,
        clock: Clock,
        owner: str,
        after: Callable[[Driven], Awaitable[None]],
    ) -> None:
        self._transitions = transitions
        self._preparing = preparing
        self._store = store
        self._swapper = swapper
        self._clock = clock
        self._owner = owner
        self._after = after
        self._renewed_at = float("-inf")

    async def renew(self) -> None:
        """Three times per ``OWNED_S``: say that this gateway goes on, let go of what it lost, take what is free.

        Raises ``StoreError``; then the next round tries again.
        """
        began = self._clock.monotonic()
        if began - self._renewed_at < OWNED_S / 3:
            return
        held = self._transitions.all()
        mine = await self._store.renew_rollouts(self._owner, self._clock.now() + OWNED_S)
        for driven in held:
            if driven.rollout.id not in mine and driven.rollout.open and not driven.lock.locked():
                _log.warning("another gateway drives this rollout now", rollout=driven.rollout.id)
                self._transitions.let_go(driven)
        await self.take_over(alone=False)
        self._renewed_at = began

    async def take_over(self, *, alone: bool) -> None:
        """Drive the open rollouts that nobody drives; ``alone``: all of them, no other gateway can be running."""
        now = self._clock.now()
        for kept in await self._store.claim_rollouts(self._owner, now, now + OWNED_S, alone=alone):
            driven = Driven(kept.rollout, arms_of(kept))
            driven.seen = kept.arms is not None
            self._transitions.take_in(driven)
            bound = self._swapper.binding(kept.rollout.task)
            try:
                move = resume(kept.rollout, bound_to=bound.ref if bound else None, now=now)
                if move is not None:
                    async with driven.lock:
                        await self._transitions.carry_out(driven, move, kept.rollout.by)
                    await self._after(driven)
            except PodiumError as error:
                _log.warning("a rollout could not be taken over", rollout=kept.rollout.id, error=error.message)
            if driven.rollout.open:
                self._preparing.start(driven)


def arms_of(kept: KeptRollout) -> Arms:
    """The evidence as kept; anew when there is none or it cannot be read."""
    if kept.arms is None:
        return Arms(kept.rollout.plan)
    try:
        return Arms.load(kept.arms, kept.rollout.plan)
    except ValueError as error:
        _log.warning("evidence starts anew", rollout=kept.rollout.id, error=str(error))
        return Arms(kept.rollout.plan)
