"""Carries out the moves of rollouts: record first, in one transaction, then put in force, then tell.

Owns the open rollouts that this gateway drives, and what of them is in force in the policy. Decides nothing. Only taking
a candidate out of the traffic does not wait for a disk that fails; the record follows when it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from podium.core.rollout import Move, apply
from podium.domain.rollout import Bar, Rollout, RolloutState, RolloutStep, Split
from podium.domain.swap import Event, Swap
from podium.domain.task import Binding
from podium.errors import Conflict, StoreError
from podium.ports import Clock, RolloutChange, RolloutStore
from podium.services.policy import Policy
from podium.services.rollouts.driven import Driven
from podium.services.swap import Swapper

S = RolloutState
_ENTERED = {
    S.WARMING: "rollout.validated",
    S.PAUSED: "rollout.paused",
    S.PROMOTED: "rollout.promoted",
    S.ROLLED_BACK: "rollout.rolled_back",
    S.FAILED: "rollout.failed",
    S.ABORTED: "rollout.aborted",
}


class Transitions:
    """One per ``Rollouts``. ``owner`` names this gateway in the rows of what it drives."""

    def __init__(
        self,
        *,
        store: RolloutStore,
        policy: Policy,
        swapper: Swapper,
        clock: Clock,
        publish: Callable[[Event], None],
        owner: str,
    ) -> None:
        self._store = store
        self._policy = policy
        self._swapper = swapper
        self._clock = clock
        self._publish = publish
        self._owner = owner
        self._by_task: dict[str, Driven] = {}
        self._by_id: dict[str, Driven] = {}
        self._rollouts: dict[str, Rollout] = {}
        self.bars: dict[tuple[str, str], Bar] = {}
        """By (task, ref)."""

    # ------------------------------------------------------------ what is open

    @property
    def rollouts(self) -> Mapping[str, Rollout]:
        """The open ones by task; a live view."""
        return MappingProxyType(self._rollouts)

    def on(self, task: str) -> Driven | None:
        """The open rollout of a task."""
        return self._by_task.get(task)

    def get(self, rollout_id: str) -> Driven | None:
        """An open rollout."""
        return self._by_id.get(rollout_id)

    def all(self) -> tuple[Driven, ...]:
        """The open ones, oldest first."""
        return tuple(self._by_id.values())

    def take_in(self, driven: Driven) -> None:
        """Drive it from now on."""
        rollout = driven.rollout
        self._by_task[rollout.task] = self._by_id[rollout.id] = driven
        self._rollouts[rollout.task] = rollout

    def let_go(self, driven: Driven) -> None:
        """Drive it no longer: it has ended, or another gateway drives it."""
        rollout = driven.rollout
        if self._by_id.pop(rollout.id, None) is None:
            return
        del self._by_task[rollout.task], self._rollouts[rollout.task]
        self._divide(driven, None)
        driven.stop()
        driven.ended.set()

    # ------------------------------------------------------------ moving

    async def carry_out(self, driven: Driven, move: Move, by: str, **facts: object) -> Rollout:
        """Record a move and put it in force; ``facts`` are fields of the rollout that became known with it.

        The caller holds ``driven.lock``. Raises ``StoreError``, ``Conflict`` when another gateway drives it, and for a
        promotion whatever keeps the candidate from taking over; then the rollout is where it was.
        """
        now = self._clock.now()
        before = driven.rollout
        after = replace(apply(before, move, now), **facts)  # type: ignore[arg-type] # fields by name, checked by tests
        bound = self._swapper.binding(after.task)
        try:
            if after.state is S.PROMOTED and (bound is None or bound.ref != after.candidate):
                await self._promote(driven, after, move, by)
            else:
                await self._record(driven, before, after, move.reason, by)
                self._settle(driven, after)
        except StoreError:
            driven.unsaved = driven.seen
            if before.routed and not after.routed and after.state is not S.PROMOTED:
                self._divide(driven, None)
                driven.wanted = (move, by)
            raise
        except BaseException:
            driven.unsaved = driven.seen
            raise
        driven.wanted = None
        return after

    def put_in_force(self, driven: Driven) -> None:
        """Divide the traffic as the rollout says; a candidate that is not known to be warm gets none yet."""
        rollout = driven.rollout
        split = None
        if rollout.routed and driven.warm:
            split = Split(
                rollout=rollout.id, baseline=rollout.baseline, candidate=rollout.candidate, share=rollout.share
            )
        self._divide(driven, split)

    def _divide(self, driven: Driven, split: Split | None) -> None:
        if split != driven.split:
            driven.split = split
            self._policy.split(driven.rollout.task, split)

    async def _record(self, driven: Driven, before: Rollout, after: Rollout, reason: str, by: str) -> None:
        event = self.event(before.state, after, reason, by)
        change = self._change(driven, before, after, reason, () if event is None else (event,))
        try:
            await self._store.save_rollout(change, self._owner)
        except Conflict:
            self.let_go(driven)
            raise
        if change.bar is not None:
            self.bars[change.bar.task, change.bar.ref] = change.bar
        if event is not None:
            self._publish(event)

    async def _promote(self, driven: Driven, after: Rollout, move: Move, by: str) -> None:
        before = driven.rollout
        event = self.event(before.state, after, move.reason, by)
        assert event is not None

        async def record(swap: Swap, binding: Binding, swapped: Event) -> None:
            change = self._change(driven, before, after, move.reason, (swapped, event))
            try:
                await self._store.save_rollout(replace(change, swap=swap, binding=binding), self._owner)
            except Conflict:
                self.let_go(driven)
                raise

        await self._swapper.take_over(
            after.task,
            after.baseline,
            after.candidate,
            by,
            f"rollout {after.id}: {move.reason}",
            record,
            lambda: self._settle(driven, after),
        )
        self.bars.pop((after.task, after.candidate), None)
        self._publish(event)

    def _settle(self, driven: Driven, after: Rollout) -> None:
        """What is recorded takes effect, all at once."""
        driven.rollout = after
        if after.state is S.PAUSED:
            driven.warm = False  # it may be unloaded while nobody asks it
        if after.open:
            self._rollouts[after.task] = after
            self.put_in_force(driven)
        else:
            self.let_go(driven)

    # ------------------------------------------------------------ the record

    def _change(
        self, driven: Driven, before: Rollout, after: Rollout, reason: str, events: tuple[Event, ...]
    ) -> RolloutChange:
        now = self._clock.now()
        arms = None
        if driven.seen:
            driven.arms.note(now, after.share)
            arms = driven.arms.dump()
            driven.unsaved = False
        step = RolloutStep(
            rollout=after.id, at=now, before=before.state, after=after.state, share=after.share, reason=reason
        )
        bar = None
        if after.state is S.ROLLED_BACK:
            history = self._policy.evidence(after.task, after.candidate)
            samples = 0 if history is None else history.samples
            bar = Bar(task=after.task, ref=after.candidate, at=now, reason=reason, samples=samples)
        return RolloutChange(rollout=after, step=step, events=events, arms=arms, bar=bar)

    def event(self, before: RolloutState | None, after: Rollout, reason: str, by: str) -> Event | None:
        """What listeners are told; ``None`` for a step nobody needs to hear of. ``before``: ``None`` for a new one."""
        kind = "rollout.started" if before is None else _ENTERED.get(after.state)
        if kind is None and after.state in (S.SHADOW, S.CANARY):
            kind = {S.WARMING: "rollout.warmed", S.PAUSED: "rollout.resumed"}.get(before or S.CANARY, "rollout.ramped")
        if kind is None:
            return None
        data = {
            "rollout": after.id,
            "baseline": after.baseline,
            "candidate": after.candidate,
            "state": after.state.value,
            "share": after.share,
            "reason": reason,
            "by": by,
        }
        return Event(kind=kind, at=self._clock.now(), subject=after.task, data=tuple(data.items()))
