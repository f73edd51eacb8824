"""Several rollouts as one unit: all promoted, or all sent back.

One rollout per task under one batch id. When one ends in anything but promotion, the others go back too, promoted ones
included. What is under way is read from the rollouts themselves, so that a batch goes on after a restart by being
carried out again. Drives no rollout: see ``services.rollouts``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from podium.core.rollout import check_plan
from podium.domain.rollout import Rollout, RolloutMode, RolloutPlan, RolloutState
from podium.domain.schedule import PlannedSwap
from podium.errors import InvalidRequest, NotFound, PodiumError
from podium.ports import Page
from podium.services.batches import BatchResult, drafts, to_move
from podium.services.swap import Swapper

_LOOKED_AT = 50
"""Rollouts of one task that are searched for those of a batch, newest first."""
_TRIES = 5


class Orders(Protocol):
    """What carries rollouts out: see ``services.rollouts``."""

    async def order(
        self, task: str, to: str, plan: RolloutPlan, *, by: str, reason: str = "", batch: str | None = None
    ) -> Rollout: ...

    async def done(self, rollout_id: str, timeout_s: float | None = None) -> Rollout: ...

    async def command(self, rollout_id: str, order: str, *, by: str, reason: str = "") -> Rollout: ...

    async def find(self, rollout_id: str) -> Rollout: ...

    async def listed(self, task: str | None, page: Page) -> tuple[Rollout, ...]: ...


class BatchRollouts:
    """Carries batches of rollouts out."""

    def __init__(self, swapper: Swapper, rollouts: Orders) -> None:
        self._swapper = swapper
        self._rollouts = rollouts

    def check(self, plan: RolloutPlan) -> None:
        """Raise ``InvalidRequest`` when batches cannot go by this plan."""
        check_plan(plan)
        if plan.mode is not RolloutMode.GRADUAL:
            raise InvalidRequest(
                f"a comparison ({plan.mode}) moves nothing by itself, so that a batch of them has no end; "
                "order a gradual one, or compare task by task",
                param="gradual",
            )

    async def begun(self, batch: str, swaps: Sequence[PlannedSwap]) -> bool:
        """Whether any rollout of the batch was ordered."""
        return bool(await self._of(batch, swaps))

    async def carry_out(
        self, batch: str, swaps: Sequence[PlannedSwap], plan: RolloutPlan, *, by: str, reason: str = ""
    ) -> BatchResult:
        """Order what is not ordered yet, and wait for the end of all. Raises ``PodiumError`` when they could not be
        followed to their end (``StoreError``); carried out again it goes on.
        """
        try:
            self.check(plan)
        except PodiumError as error:
            return BatchResult(ok=False, says=f"nothing began: {error.message}")
        under_way = await self._of(batch, swaps)
        if not under_way:
            waiting = to_move(self._swapper, swaps)
            _, problems = await drafts(self._swapper, waiting, strict=plan.strict, by=by, reason=reason)
            if problems:
                return BatchResult(ok=False, says=f"nothing began: {'; '.join(problems)}")
        try:
            under_way = await self._order(batch, swaps, plan, under_way, by=by, reason=reason)
        except PodiumError as error:
            return await self._undo(batch, swaps, f"not all of them could be ordered: {error.message}")
        culprit = await self._first_bad(under_way)
        if culprit is not None:
            why = culprit.ending or "no reason is recorded"
            return await self._undo(batch, swaps, f"{culprit.task}: {culprit.state}, {why}")
        ended = tuple((await self._of(batch, swaps)).values())
        if not ended:
            return BatchResult(ok=True, says="every task is served by its version already")
        return BatchResult(ok=True, says=f"promoted: {', '.join(rollout.task for rollout in ended)}", rollouts=ended)

    async def _of(self, batch: str, swaps: Sequence[PlannedSwap]) -> dict[str, Rollout]:
        """The rollouts of the batch by task."""
        found = {}
        for swap in swaps:
            for rollout in await self._rollouts.listed(swap.task, Page(limit=_LOOKED_AT)):
                if rollout.batch == batch:
                    found[swap.task] = rollout
        return found

    async def _order(
        self,
        batch: str,
        swaps: Sequence[PlannedSwap],
        plan: RolloutPlan,
        known: dict[str, Rollout],
        *,
        by: str,
        reason: str,
    ) -> dict[str, Rollout]:
        known = dict(known)
        if any(_bad(rollout) for rollout in known.values()):
            return known  # it goes back; nothing more begins
        for swap in to_move(self._swapper, [swap for swap in swaps if swap.task not in known]):
            known[swap.task] = await self._rollouts.order(swap.task, swap.to, plan, by=by, reason=reason, batch=batch)
        return known

    async def _first_bad(self, rollouts: dict[str, Rollout]) -> Rollout | None:
        """Waits until one ends badly or all are promoted."""
        bad = next(filter(_bad, rollouts.values()), None)
        waiting = {asyncio.ensure_future(self._rollouts.done(one.id)) for one in rollouts.values() if one.open}
        try:
            while waiting and bad is None:
                ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                bad = next(filter(_bad, (future.result() for future in ended)), None)
        finally:
            for future in waiting:
                future.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return bad

    async def _undo(self, batch: str, swaps: Sequence[PlannedSwap], why: str) -> BatchResult:
        """Send all of them back. What somebody moved on since then is left alone."""
        left = []
        for rollout in (await self._of(batch, swaps)).values():
            problem = await self._send_back(rollout, f"the batch {batch} goes back: {why}")
            if problem is not None:
                left.append(f"{rollout.task}: {problem}")
        says = f"all went back: {why}" if not left else f"{why}; not everything went back: {'; '.join(left)}"
        return BatchResult(ok=False, says=says, rollouts=tuple((await self._of(batch, swaps)).values()))

    async def _send_back(self, rollout: Rollout, why: str) -> str | None:
        """One of them; returns what is wrong."""
        problem = None
        for _ in range(_TRIES):
            try:
                rollout = await self._rollouts.find(rollout.id)
                if not rollout.open:
                    break
                order = "rollback" if rollout.step or rollout.state is RolloutState.SHADOW else "abort"
                await self._rollouts.command(rollout.id, order, by="batch", reason=why)
            except NotFound:
                return None
            except PodiumError as error:  # it moved on between the look and the order
                problem = error.message
                await asyncio.sleep(0)
        else:
            return problem or f"it is {rollout.state}"
        bound = self._swapper.binding(rollout.task)
        if rollout.state is not RolloutState.PROMOTED or bound is None or bound.ref != rollout.candidate:
            return None
        try:
            return (await self._swapper.rollback(rollout.task, by="batch", reason=why)).error
        except PodiumError as error:
            return error.message


def _bad(rollout: Rollout) -> bool:
    return not rollout.open and rollout.state is not RolloutState.PROMOTED
