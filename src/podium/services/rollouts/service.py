"""Rollouts as a service: takes orders, looks at the evidence about once a second, goes on after a restart.

Owns the order of things; what is decided is in ``core/rollout``, how it is recorded and put in force in ``transitions``,
what an order needs in ``ordering``, the way to traffic in ``preparing``, the evidence in ``gathering``, who drives a
rollout in ``owning``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast, get_args

import structlog

from podium.core.arms import Arms, Sample
from podium.core.rollout import Order, command
from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.rollout import Arm, Bar, Rollout, RolloutPlan, RolloutReport, RolloutState
from podium.domain.swap import Event
from podium.errors import Conflict, InvalidRequest, NotFound, PodiumError, StoreError
from podium.ports import Clock, KeptRollout, Page, RolloutStore, Store
from podium.services.onboarding import Onboarding
from podium.services.policy import Policy
from podium.services.pool import Pool
from podium.services.registry import Registry
from podium.services.rollouts.driven import Driven
from podium.services.rollouts.gathering import Gathering
from podium.services.rollouts.ordering import Ordering
from podium.services.rollouts.owning import Owning, arms_of
from podium.services.rollouts.preparing import Preparing, Validating
from podium.services.rollouts.releasing import Releasing
from podium.services.rollouts.transitions import Transitions
from podium.services.rollouts.watching import Watching
from podium.services.swap import Swapper
from podium.services.tasks import Tasks

LOOK_S = 0.5
"""How often somebody who waits for the end of a rollout that another gateway drives looks at its row."""
NEW_EVIDENCE = 10
"""Further samples that make a barred version worth another try; more than requests that were under way add."""
_log = structlog.get_logger("podium.rollouts")


class Rollouts:
    """One per gateway, used from its event loop only."""

    def __init__(
        self,
        *,
        store: RolloutStore,
        ledger: Store,
        registry: Registry,
        tasks: Tasks,
        policy: Policy,
        swapper: Swapper,
        onboarding: Onboarding,
        pool: Pool,
        clock: Clock,
        new_id: Callable[[str], str],
        publish: Callable[[Event], None],
        load_timeout_s: float,
        validator: Validating | None = None,
        detects: Callable[[str, str, RolloutPlan], str | None] = lambda _task, _baseline, _plan: None,
        alone: bool = False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._alone = alone
        owner = new_id("gateway")
        self._transitions = Transitions(
            store=store, policy=policy, swapper=swapper, clock=clock, publish=publish, owner=owner
        )
        self._ordering = Ordering(
            transitions=self._transitions,
            store=store,
            registry=registry,
            tasks=tasks,
            swapper=swapper,
            clock=clock,
            new_id=new_id,
            publish=publish,
            detects=detects,
            owner=owner,
        )
        self._preparing = Preparing(
            transitions=self._transitions,
            registry=registry,
            swapper=swapper,
            onboarding=onboarding,
            pool=pool,
            validator=validator,
            clock=clock,
            load_timeout_s=load_timeout_s,
        )
        self._watching = Watching(self._transitions, self._preparing, store, clock, owner, self._after)
        self._releasing = Releasing(store, registry, tasks, swapper, policy, clock, self.running)
        self._gathering = Gathering(ledger, self._transitions.on)
        self._owning = Owning(self._transitions, self._preparing, store, swapper, clock, owner, self._after)

    # ------------------------------------------------------------ orders

    async def order(
        self, task: str, to: str, plan: RolloutPlan, *, by: str, reason: str = "", batch: str | None = None
    ) -> Rollout:
        """Begin to replace what serves ``task`` by ``to``; recorded when this returns, the rest goes on by itself.

        Raises ``NotFound``, ``InvalidRequest``, ``Conflict`` (retired, deprecated, serving already, cannot serve the
        task, a rollout is open on it) and ``StoreError``.
        """
        driven = await self._ordering.begin(task, to, plan, by=by, reason=reason, batch=batch)
        self._preparing.start(driven)
        return driven.rollout

    async def command(self, rollout_id: str, order: str, *, by: str, reason: str = "") -> Rollout:
        """Pause, resume, promote, abort or roll back; recorded and in force when this returns.

        Raises ``NotFound``, ``InvalidRequest`` for another word, ``Conflict`` where the order makes no sense or another
        gateway drives the rollout, and for a promotion whatever keeps the candidate from taking over.
        """
        if order not in get_args(Order):
            raise InvalidRequest(f"{order[:32]!r} is no order; use {', '.join(get_args(Order))}", param="order")
        driven = self._transitions.get(rollout_id)
        if driven is None:
            rollout = await self.find(rollout_id)
            if rollout.open:
                raise Conflict(f"rollout {rollout_id} is driven by another gateway; order it there")
            command(rollout, cast("Order", order), self._clock.now())  # says that it has ended
            return rollout
        async with driven.lock:
            move = command(driven.rollout, cast("Order", order), self._clock.now())
            if reason:
                move = replace(move, reason=f"{move.reason}: {reason}")
            after = await self._transitions.carry_out(driven, move, by)
        await self._after(driven)
        if after.open:
            self._preparing.start(driven)
        return after

    # ------------------------------------------------------------ reading

    def running(self) -> tuple[Rollout, ...]:
        """The open ones that this gateway drives, oldest first."""
        return tuple(driven.rollout for driven in self._transitions.all())

    @property
    def by_task(self) -> Mapping[str, Rollout]:
        """The open ones by task; a live view."""
        return self._transitions.rollouts

    def on(self, task: str) -> Rollout | None:
        """The open one of a task."""
        return self._transitions.rollouts.get(task)

    async def find(self, rollout_id: str) -> Rollout:
        """Raises ``NotFound``."""
        return (await self._kept(rollout_id)).rollout

    async def listed(self, task: str | None, page: Page) -> tuple[Rollout, ...]:
        """Of one task or of all, newest first."""
        return await self._store.rollouts(task, page)

    async def report(self, rollout_id: str) -> RolloutReport:
        """All there is to show. Raises ``NotFound``."""
        driven = self._transitions.get(rollout_id)
        if driven is not None:
            rollout, arms = driven.rollout, driven.arms
        else:
            kept = await self._kept(rollout_id)
            rollout, arms = kept.rollout, arms_of(kept)
        return replace(
            _standing(rollout, arms),
            steps=await self._store.rollout_steps(rollout_id),
            trace=arms.trace(),
            needed=arms.needed(),
        )

    def standing(self) -> tuple[RolloutReport, ...]:
        """How the open ones stand now, without history and curves."""
        return tuple(_standing(driven.rollout, driven.arms) for driven in self._transitions.all())

    async def done(self, rollout_id: str, timeout_s: float | None = None) -> Rollout:
        """Wait for its end, or until it was compared and moves nothing by itself, for at most ``timeout_s``; then it comes
        back as it is. Raises ``NotFound``.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while (found := await self.find(rollout_id)).open and not found.concluded:
                    driven = self._transitions.get(rollout_id)
                    if driven is not None:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(LOOK_S):
                                await driven.ended.wait()
                    else:
                        await asyncio.sleep(LOOK_S)
        return await self.find(rollout_id)

    def barred(self, task: str, ref: str, samples: int) -> Bar | None:
        """The bar that keeps auto-swap from trying ``ref`` on ``task``; ``samples`` are what it has there now."""
        bar = self._transitions.bars.get((task, ref))
        return bar if bar is not None and samples < bar.samples + NEW_EVIDENCE else None

    async def _kept(self, rollout_id: str) -> KeptRollout:
        driven = self._transitions.get(rollout_id)
        if driven is not None:
            return KeptRollout(rollout=driven.rollout)
        kept = await self._store.find_rollout(rollout_id)
        if kept is None:
            raise NotFound(f"there is no rollout {rollout_id[:64]!r}; `podium rollouts ls` lists them")
        return kept

    # ------------------------------------------------------------ evidence

    def observed(self, pairs: Sequence[tuple[Decision, Outcome]]) -> None:
        """Attempts that ended, after they were folded. Quick."""
        self._gathering.observed(pairs)

    def scored(self, given: Feedback, earlier: Feedback | None = None) -> None:
        """Somebody scored an answer, in the place of ``earlier`` if that is given. Quick."""
        self._gathering.scored(given, earlier)

    def shadowed(self, rollout_id: str, baseline: Sample, candidate: Sample) -> None:
        """Both versions answered, or failed at, the same request in the shadow."""
        driven = self._transitions.get(rollout_id)
        if driven is not None:
            driven.observe(Arm.BASELINE, baseline)
            driven.observe(Arm.CANDIDATE, candidate)

    def paired(self, rollout_id: str, baseline: float, candidate: float) -> None:
        """Both answers to the same request were scored, in [0, 1]."""
        driven = self._transitions.get(rollout_id)
        if driven is not None:
            driven.pair(baseline, candidate)

    # ------------------------------------------------------------ time

    async def tick(self) -> None:
        """About once a second: what the evidence allows happens, evidence is kept, ownership is renewed."""
        try:
            await self._owning.renew()
        except StoreError as error:
            _log.warning("rollouts could not be owned again", error=error.message)
        await self._gathering.look_up()
        await self._watching.look()
        await self._watching.keep()

    async def resume(self) -> None:
        """At start: take over what was open, and finish what a stop interrupted."""
        for bar in await self._store.bars():
            self._transitions.bars[bar.task, bar.ref] = bar
        await self._releasing.catch_up()
        await self._owning.take_over(alone=self._alone)

    async def close(self) -> None:
        """Stop driving: evidence is kept, every rollout stays in its state for the next start."""
        works = [driven.work for driven in self._transitions.all() if driven.work is not None]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        await self._watching.keep(everything=True)

    async def _after(self, driven: Driven) -> None:
        """What follows a promotion; done again at the next start if it fails."""
        if driven.rollout.state is RolloutState.PROMOTED:
            try:
                await self._releasing.release(driven.rollout)
            except PodiumError as error:
                _log.warning("the old version was not released", rollout=driven.rollout.id, error=error.message)


def _standing(rollout: Rollout, arms: Arms) -> RolloutReport:
    return RolloutReport(
        rollout=rollout,
        readings=tuple(arms.readings().values()),
        requests=sum(arms.samples(arm) for arm in Arm),
        stayed=arms.kept(Arm.BASELINE),
    )
