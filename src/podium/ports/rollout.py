"""The record of rollouts and schedules. Protocols and small values; no implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from podium.domain.rollout import Bar, Rollout, RolloutStep
from podium.domain.schedule import Schedule
from podium.domain.swap import Event, Swap
from podium.domain.task import Binding
from podium.ports.store import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutChange:
    """A rollout after one transition, with all that is recorded in the same transaction."""

    rollout: Rollout
    step: RolloutStep
    events: Sequence[Event] = ()
    arms: bytes | None = None
    """The evidence; ``None`` leaves what is kept."""
    binding: Binding | None = None
    """The task moves, and a bar of that version on it goes."""
    swap: Swap | None = None
    bar: Bar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRollout:
    """A rollout as kept, with its evidence."""

    rollout: Rollout
    arms: bytes | None = None


class RolloutStore(Protocol):
    """Rollouts: one open per task, each driven by one owner at a time."""

    async def add_rollout(self, change: RolloutChange, owner: str, until: float) -> None:
        """``owner`` drives it until the Unix time ``until``. Raises ``Conflict`` when one is open on the task."""
        ...

    async def save_rollout(self, change: RolloutChange, owner: str) -> None:
        """Raises ``Conflict`` when the rollout has ended or ``owner`` does not drive it."""
        ...

    async def save_arms(self, rollout_id: str, owner: str, arms: bytes) -> bool:
        """False when the rollout has ended or ``owner`` does not drive it."""
        ...

    async def claim_rollouts(
        self, owner: str, now: float, until: float, *, only: str | None = None, alone: bool = False
    ) -> tuple[KeptRollout, ...]:
        """Take the open rollouts (``only``: this one) whose owner's time is over; the ones taken, oldest first.

        ``alone``: no other gateway can be running, whatever the rows say.
        """
        ...

    async def renew_rollouts(self, owner: str, until: float) -> frozenset[str]:
        """Ids of the open rollouts that ``owner`` still drives, now until ``until``."""
        ...

    async def find_rollout(self, rollout_id: str) -> KeptRollout | None: ...

    async def rollouts(self, task: str | None, page: Page) -> tuple[Rollout, ...]:
        """Newest first."""
        ...

    async def rollout_steps(self, rollout_id: str) -> tuple[RolloutStep, ...]:
        """Oldest first."""
        ...

    async def add_rollout_step(self, step: RolloutStep) -> None: ...

    async def unreleased_rollouts(self) -> tuple[Rollout, ...]:
        """Promoted ones without a step that says what becomes of the old version."""
        ...

    async def bars(self) -> tuple[Bar, ...]: ...


class ScheduleStore(Protocol):
    """Schedules with their history, and swaps that move as one."""

    async def save_schedule(self, schedule: Schedule, events: Sequence[Event] = ()) -> None:
        """Insert or replace by id, with its events in the same transaction."""
        ...

    async def unfinished_schedules(self) -> tuple[Schedule, ...]:
        """Those that have not ended, oldest first."""
        ...

    async def schedules(self, page: Page) -> tuple[Schedule, ...]:
        """Newest first."""
        ...

    async def find_schedule(self, schedule_id: str) -> Schedule | None: ...

    async def requests_by_time(
        self, tasks: Sequence[str], since: float, until: float, piece_s: int
    ) -> Mapping[int, int]:
        """Requests of the tasks in [since, until), by Unix time over ``piece_s``, rounded down."""
        ...

    async def move_together(self, swaps: Sequence[Swap], bindings: Sequence[Binding], events: Sequence[Event]) -> None:
        """Record swaps and move all their tasks in one transaction."""
        ...
