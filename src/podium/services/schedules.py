"""Keeps schedules and carries them out when their window is open.

Owns which schedules there are, where their openings come from, and what became of each one. Every step is on disk
before it is acted upon, so that a restart goes on from there. The rules are in ``core.schedule``, cron is read by
``services.openings``, traffic is moved by ``services.batches`` and ``services.batch_rollouts``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

import structlog

from podium.core import schedule as rules
from podium.core.schedule import Due
from podium.domain.rollout import RolloutPlan
from podium.domain.schedule import Moment, Opening, PlannedSwap, Schedule, ScheduleRun, ScheduleState, Window
from podium.domain.swap import Event
from podium.errors import Conflict, InvalidRequest, NotFound, PodiumError
from podium.ports import Clock, Page, ScheduleStore
from podium.services import openings
from podium.services.batch_rollouts import BatchRollouts
from podium.services.batches import Batches, BatchResult
from podium.services.quiet_hours import QuietHours, tasks_of

TICK_S = 1.0
LOOK_S = 60.0
"""How often the present traffic is looked at while a schedule waits for it to fall."""
AGAIN_S = 5.0
MAX_OPEN = 1000
SHOWN = 3
_AT_ONCE_S = 3600.0
_WAITED = "its window is open, and it waits: "
_log = structlog.get_logger("podium.schedules")


class Schedules:
    """All schedules of a gateway. Call ``resume`` once, then ``run``; ``close`` leaves what runs to the next start."""

    def __init__(
        self,
        *,
        store: ScheduleStore,
        at_once: Batches,
        gradually: BatchRollouts | None,
        clock: Clock,
        new_id: Callable[[str], str],
        publish: Callable[[Event], None],
        windows: Mapping[str, Window],
        known: Callable[[str], object],
    ) -> None:
        self._store = store
        self._at_once = at_once
        self._gradually = gradually
        self._quiet = QuietHours(store, clock)
        self._clock = clock
        self._new_id = new_id
        self._publish = publish
        self.windows = windows
        """Maintenance windows of the configuration, by name."""
        self._known = known
        """Makes sure that a task exists; raises for a name that cannot be."""
        self._open: dict[str, Schedule] = {}
        self._runs: dict[str, asyncio.Task[BatchResult | None]] = {}
        self._looked: dict[str, float] = {}
        self._changing = asyncio.Lock()
        """Held while a schedule changes its state, so that nothing acts on what it was before."""
        self._closed = False
        self.troubles: dict[str, str] = {}
        """Why a schedule cannot be looked after at present, by its id."""

    # ------------------------------------------------------------ orders

    def named(self, name: str, duration_s: float | None = None) -> Window:
        """A maintenance window of the configuration. Raises ``InvalidRequest`` that lists them."""
        found = self.windows.get(name)
        if found is None:
            known = f"known are {', '.join(sorted(self.windows))}" if self.windows else "none is configured"
            raise InvalidRequest(f"there is no window {name[:64]!r}; {known}", param="window")
        return found if duration_s is None else replace(found, duration_s=duration_s)

    async def add(self, order: Schedule) -> Schedule:
        """Keep a new schedule, durable when this returns. Its id, state and opening are set here. Raises
        ``InvalidRequest``, ``NotFound`` or ``Conflict`` for one that could never be carried out.
        """
        async with self._changing:
            return await self._add(order)

    async def _add(self, order: Schedule) -> Schedule:
        rules.check(order)
        if len(self._open) >= MAX_OPEN:
            raise Conflict(f"{MAX_OPEN} schedules wait already; remove some with `podium schedules rm ID`")
        if order.gradual is not None:
            self._gradual().check(order.gradual)
        for swap in order.swaps:
            self._known(swap.task)
        now = self._clock.now()
        order = replace(
            order,
            id=self._new_id("sched"),
            swaps=self._at_once.resolved(order.swaps),
            state=ScheduleState.WAITING,
            created_at=now,
            says="waits for its window",
        )
        if order.moment is not None and order.moment.at + order.duration_s <= now:
            raise InvalidRequest("that time has passed; name one that is to come", param="at")
        made = await self._place(order)
        if made.opening is None and made.low_traffic is None:
            raise InvalidRequest("its window never opens; name another one", param="cron")
        await self._keep(made, "schedule.added")
        return made

    async def at_once(
        self,
        swaps: Sequence[PlannedSwap],
        *,
        gradual: RolloutPlan | None = None,
        strict: bool = False,
        by: str,
        reason: str = "",
    ) -> Schedule:
        """Carry a batch out now. At once: returns when it has ended; gradually: when it has begun."""
        order = Schedule(
            id="",
            swaps=tuple(swaps),
            state=ScheduleState.WAITING,
            created_at=0.0,
            by=by,
            moment=Moment(at=self._clock.now(), duration_s=_AT_ONCE_S),
            gradual=gradual,
            strict=strict,
            reason=reason,
        )
        async with self._changing:
            running = await self._start(await self._add(order))
        return running if gradual is not None else await self.ended(running.id)

    async def cancel(self, schedule_id: str, by: str) -> Schedule:
        """Take one back. Raises ``NotFound``, and ``Conflict`` when it runs or has ended."""
        async with self._changing:
            schedule = rules.cancel(await self.find(schedule_id), self._clock.now(), by)
            await self._keep(schedule, "schedule.cancelled")
        return schedule

    # ------------------------------------------------------------ looking

    async def find(self, schedule_id: str) -> Schedule:
        """One of them, ended ones too. Raises ``NotFound``."""
        found = self._open.get(schedule_id) or await self._store.find_schedule(schedule_id)
        if found is None:
            raise NotFound(f"there is no schedule {schedule_id[:64]!r}; `podium schedules ls` lists them")
        return found

    async def listed(self, page: Page) -> tuple[Schedule, ...]:
        """Newest first."""
        return await self._store.schedules(page)

    def coming(self, schedule: Schedule, count: int = SHOWN) -> tuple[Opening, ...]:
        """The next openings of one that waits, the one it waits for first."""
        if schedule.opening is None or not schedule.open:
            return ()
        if openings.lost_zone(schedule.timezone):
            return (schedule.opening,)
        later = openings.coming(self._openings(schedule), schedule.opening.opens_at, count - 1)
        return (schedule.opening, *(later if schedule.repeat or schedule.window is not None else ()))[:count]

    # ------------------------------------------------------------ the loop

    async def resume(self) -> None:
        """At start: take up what is kept. What ran goes on, is seen to have ended, or waits again."""
        self._open = {schedule.id: schedule for schedule in await self._store.unfinished_schedules()}
        await self._look_at_all("the gateway was not running while its window was open")

    async def run(self) -> None:
        """Until cancelled: look at every schedule once a second."""
        while True:
            await asyncio.sleep(TICK_S)
            await self.tick()

    async def tick(self) -> None:
        """One look. An error with one schedule is logged and does not keep the others waiting."""
        await self._look_at_all("its window passed unseen: the machine slept or the clock jumped")

    async def ended(self, schedule_id: str) -> Schedule:
        """Wait until it does not run (any more)."""
        running = self._runs.get(schedule_id)
        if running is not None:
            await asyncio.wait((running,))
        return await self.find(schedule_id)

    async def close(self) -> None:
        """Stop what runs; swaps that have not moved fail, rollouts and their schedules go on after the next start."""
        self._closed = True
        running = tuple(self._runs.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _look_at_all(self, unseen: str) -> None:
        for schedule_id in tuple(self._open):
            try:
                async with self._changing:
                    schedule = self._open.get(schedule_id)
                    if schedule is not None and not self._closed:
                        await self._look(schedule, unseen)
                self.troubles.pop(schedule_id, None)
            except PodiumError as error:
                if self.troubles.get(schedule_id) != error.message:
                    _log.warning("a schedule could not be looked after", schedule=schedule_id, error=error.message)
                self.troubles[schedule_id] = error.message

    async def _look(self, schedule: Schedule, unseen: str) -> None:
        now = self._clock.now()
        if schedule.state is ScheduleState.RUNNING and schedule.id not in self._runs:
            await self._take_up(schedule)
            return
        if schedule.moment is None and (lost := openings.lost_zone(schedule.timezone)):
            raise InvalidRequest(f"it does not run: {lost}")
        match rules.due(schedule, now):
            case Due.NOW:
                if not await self._disturbs(schedule, now):
                    await self._start(schedule)
            case Due.OVER:
                waited = schedule.says.startswith(_WAITED)
                await self._missed(schedule, schedule.says.removeprefix(_WAITED) if waited else unseen)
            case Due.LOST:
                placed = await self._place(replace(schedule, says="the clock was set back; waits for its window"))
                await self._keep(placed, "schedule.waiting")
            case Due.NO:
                if schedule.state is ScheduleState.WAITING and schedule.opening is None:
                    await self._wait_for_lull(schedule, now)
            case never:
                assert_never(never)

    async def _disturbs(self, schedule: Schedule, now: float) -> bool:
        """A learned window is open, but unlike other weeks there is much to do."""
        if schedule.expected_requests is None:
            return False
        if self._looked_lately(schedule, now):
            return True
        busy = await self._quiet.busy(schedule)
        if busy is not None and schedule.says != (says := f"{_WAITED}{busy}"):
            await self._keep(replace(schedule, says=says), "schedule.waiting")
        return busy is not None

    async def _wait_for_lull(self, schedule: Schedule, now: float) -> None:
        """Too little history to know the quietest hour: take the first lull, or learn meanwhile."""
        if self._looked_lately(schedule, now):
            return
        placed = await self._place(schedule)
        if placed.opening is not None:
            await self._keep(placed, "schedule.waiting")
            return
        present = await self._quiet.lull(schedule)
        if present.calm:
            lasts = Opening(opens_at=now, closes_at=now + schedule.duration_s, note=f"a lull: {present.says}")
            await self._start(replace(schedule, opening=lasts, placed_at=now))

    def _looked_lately(self, schedule: Schedule, now: float) -> bool:
        if 0 <= now - self._looked.get(schedule.id, -LOOK_S) < LOOK_S:
            return True
        self._looked[schedule.id] = now
        return False

    # ------------------------------------------------------------ steps

    def _openings(self, schedule: Schedule) -> rules.Openings:
        if schedule.window is not None:
            return openings.of_window(schedule.window)
        if schedule.moment is not None:
            return openings.of_moment(schedule.moment)
        return lambda after: iter(())  # learned, one by one

    async def _place(self, schedule: Schedule) -> Schedule:
        """With its next opening, if one is known."""
        now = self._clock.now()
        if schedule.low_traffic is None:
            return rules.place(schedule, now, self._openings(schedule))
        return await self._quiet.place(schedule)

    async def _start(self, schedule: Schedule) -> Schedule:
        running = rules.start(schedule, self._clock.now(), self._new_id("batch"))
        await self._keep(running, "schedule.started")
        self._spawn(running)
        return running

    def _spawn(self, schedule: Schedule) -> None:
        task = asyncio.create_task(self._carry_out(schedule))
        self._runs[schedule.id] = task
        task.add_done_callback(lambda _: self._runs.pop(schedule.id, None))

    async def _carry_out(self, schedule: Schedule) -> BatchResult | None:
        """The work, then its record; what cannot be followed or recorded now is tried again."""
        result: BatchResult | None = None
        while True:
            try:
                if result is None:
                    result = await self._work(schedule)
                async with self._changing:
                    await self._finish(schedule, result)
            except PodiumError as error:
                _log.warning("a scheduled batch goes on later", schedule=schedule.id, error=error.message)
                await asyncio.sleep(AGAIN_S)
            except Exception as error:  # noqa: BLE001 - a fault of ours ends this run, not all schedules
                _log.exception("a scheduled batch failed", schedule=schedule.id)
                result = BatchResult(ok=False, says=f"{type(error).__name__} in the gateway; please report it")
            else:
                return result

    async def _work(self, schedule: Schedule) -> BatchResult:
        assert schedule.batch is not None
        assert schedule.opening is not None
        reason = schedule.reason or f"schedule {schedule.id}"
        if schedule.gradual is not None:
            return await self._gradual().carry_out(
                schedule.batch, schedule.swaps, schedule.gradual, by=schedule.by, reason=reason
            )
        return await self._at_once.immediate(
            schedule.batch,
            schedule.swaps,
            strict=schedule.strict,
            by=schedule.by,
            reason=reason,
            until=schedule.opening.closes_at,
        )

    async def _finish(self, schedule: Schedule, result: BatchResult) -> None:
        now = self._clock.now()
        if result.late:
            await self._missed(schedule, result.says)
            return
        ended = rules.finish(schedule, now, ok=result.ok, reason=result.says, openings=self._openings(schedule))
        await self._wait_or_end(ended, "schedule.done" if result.ok else "schedule.failed")

    async def _missed(self, schedule: Schedule, why: str) -> None:
        missed = rules.miss(schedule, self._clock.now(), self._openings(schedule), why)
        await self._wait_or_end(missed, "schedule.missed")

    async def _wait_or_end(self, schedule: Schedule, kind: str) -> None:
        if schedule.open and schedule.low_traffic is not None:
            before = schedule.says
            schedule = await self._place(schedule)
            schedule = replace(schedule, says=f"{before.partition(';')[0]}; {schedule.says}")
        await self._keep(schedule, kind)

    async def _take_up(self, schedule: Schedule) -> None:
        """The gateway ended while this ran."""
        assert schedule.batch is not None
        assert schedule.opening is not None
        gradual = schedule.gradual is not None
        if gradual and await self._gradual().begun(schedule.batch, schedule.swaps):
            self._spawn(schedule)
        elif not gradual and self._at_once.moved(schedule.swaps):
            says = "moved together, just before the gateway ended"
            await self._finish(schedule, BatchResult(ok=True, says=says))
        elif self._clock.now() < schedule.opening.closes_at:
            says = "the gateway ended before anything moved; its window is still open"
            again = replace(schedule, state=ScheduleState.WAITING, batch=None, started_at=None, says=says)
            await self._keep(again, "schedule.waiting")
        else:
            await self._missed(schedule, "the gateway ended before anything moved, and its window closed meanwhile")

    async def _keep(self, schedule: Schedule, kind: str) -> None:
        event = self._event(schedule, kind)
        await self._store.save_schedule(schedule, (event,))
        if schedule.open:
            self._open[schedule.id] = schedule
        else:
            self._open.pop(schedule.id, None)
            self.troubles.pop(schedule.id, None)
            self._looked.pop(schedule.id, None)
        self._publish(event)

    def _event(self, schedule: Schedule, kind: str) -> Event:
        last: ScheduleRun | None = schedule.runs[-1] if schedule.runs else None
        return Event(
            kind=kind,
            at=self._clock.now(),
            subject=schedule.id,
            data=(
                ("state", schedule.state),
                ("tasks", ", ".join(tasks_of(schedule))),
                ("says", schedule.says),
                ("opens_at", schedule.opening.opens_at if schedule.opening is not None else None),
                ("batch", schedule.batch or (last.batch if last is not None else None)),
            ),
        )

    def _gradual(self) -> BatchRollouts:
        if self._gradually is None:
            raise InvalidRequest("gradual swaps are not available here; leave the plan out", param="gradual")
        return self._gradually
