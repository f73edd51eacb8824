"""When the tasks of a schedule get the fewest requests: the store's counts put to ``core.low_traffic``. Starts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from podium.core import low_traffic
from podium.core.low_traffic import LULL_S, PIECE_S, WATCHED_S, Lull, Quiet, Traffic
from podium.core.schedule import LONGEST_S
from podium.domain.schedule import Opening, Schedule
from podium.ports import Clock, ScheduleStore
from podium.services import openings


class QuietHours:
    """Asked about schedules whose ``low_traffic`` is set."""

    def __init__(self, store: ScheduleStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def traffic(self, tasks: Sequence[str]) -> Traffic:
        """What the tasks were asked lately, from the recorded decisions."""
        now = self._clock.now()
        pieces = await self._store.requests_by_time(tasks, now - WATCHED_S, now, PIECE_S)
        recent = await self._store.requests_by_time(tasks, now - LULL_S, now, PIECE_S)
        return Traffic(until=now, pieces=pieces, recent=sum(recent.values()))

    async def place(self, schedule: Schedule) -> Schedule:
        """With the quietest stretch of the coming week, or without an opening when too little is known. Says which."""
        now = self._clock.now()
        quiet = await self._quietest(schedule, now)
        if quiet is None:
            says = (
                f"requests of {low_traffic.span(low_traffic.DAYS_S)} are needed to know the quietest hour; "
                "until then it waits for a lull"
            )
            return replace(schedule, opening=None, expected_requests=None, placed_at=now, says=says)
        opening = Opening(opens_at=quiet.opens_at, closes_at=quiet.closes_at)
        says = f"waits for the quietest stretch: {quiet.says}"
        return replace(schedule, opening=opening, expected_requests=quiet.expected, placed_at=now, says=says)

    async def busy(self, schedule: Schedule) -> str | None:
        """Why a stretch that should be quiet is not, now."""
        return low_traffic.unusually_busy(await self.traffic(tasks_of(schedule)))

    async def lull(self, schedule: Schedule) -> Lull:
        """Whether there is little traffic now."""
        return low_traffic.lull(await self.traffic(tasks_of(schedule)))

    async def _quietest(self, schedule: Schedule, now: float) -> Quiet | None:
        after = now
        if schedule.runs and now <= schedule.runs[-1].closes_at <= now + LONGEST_S:
            after = schedule.runs[-1].closes_at  # not the same stretch again
        traffic = await self.traffic(tasks_of(schedule))
        zone = openings.zone(schedule.timezone)
        return await asyncio.to_thread(low_traffic.quietest, traffic, zone, after, schedule.duration_s)


def tasks_of(schedule: Schedule) -> tuple[str, ...]:
    """Names of the tasks it moves."""
    return tuple(swap.task for swap in schedule.swaps)
