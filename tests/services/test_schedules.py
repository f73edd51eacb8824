"""Schedules as a service: on disk before they act, once per opening, and every miss is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from batch_rig import SLOW_RAMP, add, bound, eventually, to
from ledger_samples import attempt, choice
from podium.config import Config
from podium.domain.rollout import RolloutState
from podium.domain.schedule import LowTraffic, Moment, Schedule, ScheduleState, Window
from podium.domain.swap import Event
from podium.errors import Conflict, InvalidRequest, NotFound, StoreError
from podium.ports import Batch, Page
from podium.runtime import Gateway
from podium.services import openings
from podium.services.batch_rollouts import BatchRollouts
from podium.services.batches import Batches
from podium.services.schedules import LOOK_S, Schedules

HOUR, DAY = 3600.0, 86400.0
START = datetime(2027, 3, 1, 12, tzinfo=UTC).timestamp()
"""A Monday at noon."""
NIGHT = Window(cron="0 2 * * *", timezone="UTC", duration_s=HOUR)


@dataclass
class Bench:
    """Schedules with a clock of their own beside a real gateway; ``restart`` begins again from the store."""

    gateway: Gateway
    clock: Any
    schedules: Schedules
    events: list[Event] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    async def add(self, **order: Any) -> Schedule:
        values: dict[str, Any] = {"swaps": to("m@2", "t1", "t2"), "by": "ann", **order}
        if not {"moment", "low_traffic", "window"} & set(order):
            values["window"] = NIGHT
        return await self.schedules.add(Schedule(id="", state=ScheduleState.WAITING, created_at=0.0, **values))

    async def at(self, when: float, *, ends: bool = True) -> None:
        """The clock shows ``when``; one look, and what begins ends."""
        self.clock.time = when
        await self.schedules.tick()
        if ends:
            for schedule_id in tuple(self.schedules._runs):
                await self.schedules.ended(schedule_id)

    async def restart(self, when: float) -> None:
        await self.schedules.close()
        self.clock.time = when
        self.schedules = build(self.gateway, self.clock, self.events)
        await self.schedules.resume()
        for schedule_id in tuple(self.schedules._runs):
            if (await self.schedules.find(schedule_id)).gradual is None:
                await self.schedules.ended(schedule_id)


class HandClock:
    def __init__(self, at: float) -> None:
        self.time = at

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def build(gateway: Gateway, clock: Any, events: list[Event]) -> Schedules:
    services = gateway.services
    return Schedules(
        store=services.store,
        at_once=Batches(
            swapper=services.swapper,
            registry=services.registry,
            pool=services.pool,
            onboarding=services.onboarding,
            store=services.store,
            clock=clock,
            publish=events.append,
            load_timeout_s=10,
        ),
        gradually=BatchRollouts(services.swapper, services.rollouts),
        clock=clock,
        new_id=services.gateway.new_id,
        publish=events.append,
        windows={"nightly": replace(NIGHT, name="nightly")},
        known=services.tasks.ensure,
    )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """``t1`` and ``t2`` are bound to ``m@1``; it is Monday noon."""
    async with Gateway.open(Config(home=tmp_path / "home")) as gateway:
        for ref in ("m@1", "m@2"):
            await add(gateway, tmp_path, ref)
        clock, events = HandClock(START), []
        made = Bench(gateway, clock, build(gateway, clock, events), events)
        assert (await made.schedules.at_once(to("m@1", "t1", "t2"), by="test")).state is ScheduleState.DONE
        events.clear()
        yield made
        await made.schedules.close()


TONIGHT = START + 14 * HOUR


@pytest.mark.requirement("SWP-8")
async def test_a_schedule_swaps_its_batch_when_the_window_opens_and_is_done(bench: Bench):
    made = await bench.add(reason="new weights")
    assert made.state is ScheduleState.WAITING
    shown = [openings.shown(one.opens_at, "UTC") for one in bench.schedules.coming(made)]
    assert shown == ["2027-03-02 02:00+00:00", "2027-03-03 02:00+00:00", "2027-03-04 02:00+00:00"]
    await bench.at(TONIGHT - 1)
    assert bound(bench.gateway, "t1", "t2") == {"t1": "m@1", "t2": "m@1"}
    await bench.at(TONIGHT + 1)
    assert bound(bench.gateway, "t1", "t2") == {"t1": "m@2", "t2": "m@2"}
    done = await bench.schedules.find(made.id)
    assert done.state is ScheduleState.DONE
    (run,) = done.runs
    assert (run.state, run.opens_at, run.at) == (ScheduleState.DONE, TONIGHT, TONIGHT + 1)
    assert [kind for kind in bench.kinds if kind.startswith("schedule.")] == [
        "schedule.added",
        "schedule.started",
        "schedule.done",
    ]
    batch = {dict(event.data).get("batch") for event in bench.events if event.kind == "swap.started"}
    assert batch == {run.batch}
    assert (await bench.schedules.listed(Page()))[0] == done
    await bench.at(TONIGHT + DAY)
    assert (await bench.schedules.find(made.id)).runs == done.runs


async def test_a_schedule_whose_batch_fails_says_why_and_moves_nothing(bench: Bench, tmp_path: Path):
    await add(bench.gateway, tmp_path, "bad@1", ready=False, load_error="the weights are damaged")
    made = await bench.add(swaps=(*to("m@2", "t1"), *to("bad@1", "t2")))
    await bench.at(TONIGHT)
    failed = await bench.schedules.find(made.id)
    assert failed.state is ScheduleState.FAILED
    assert "the weights are damaged" in failed.says
    assert bound(bench.gateway, "t1", "t2") == {"t1": "m@1", "t2": "m@1"}


@pytest.mark.requirement("SWP-8")
async def test_due_while_the_gateway_was_down_it_fires_at_the_start_if_the_window_is_still_open(bench: Bench):
    made = await bench.add()
    await bench.restart(TONIGHT + HOUR - 1)
    assert (await bench.schedules.find(made.id)).state is ScheduleState.DONE
    assert bound(bench.gateway, "t1") == {"t1": "m@2"}


@pytest.mark.requirement("SWP-8")
async def test_due_while_the_gateway_was_down_it_waits_for_the_next_window_and_says_so(bench: Bench):
    made = await bench.add()
    await bench.restart(TONIGHT + HOUR + 1)
    waiting = await bench.schedules.find(made.id)
    assert waiting.state is ScheduleState.WAITING
    assert waiting.opening is not None
    assert waiting.opening.opens_at == TONIGHT + DAY
    assert "the gateway was not running while its window was open" in waiting.says
    assert bench.kinds[-1] == "schedule.missed"
    assert bench.events[-1].subject == made.id
    assert bound(bench.gateway, "t1") == {"t1": "m@1"}
    once = await bench.add(moment=Moment(at=TONIGHT + DAY, duration_s=HOUR))
    await bench.restart(TONIGHT + 3 * DAY)
    over = await bench.schedules.find(once.id)
    assert (over.state, over.runs[-1].state) == (ScheduleState.MISSED, ScheduleState.MISSED)


@pytest.mark.requirement("SWP-8")
async def test_a_clock_that_jumps_by_a_year_fires_at_most_once(bench: Bench):
    made = await bench.add(repeat=True)
    for now in (TONIGHT + 365 * DAY, TONIGHT + 365 * DAY + 1, TONIGHT, TONIGHT + 1, TONIGHT + 365 * DAY + 2):
        await bench.at(now)
    runs = (await bench.schedules.find(made.id)).runs
    fired = [run.opens_at for run in runs if run.state is ScheduleState.DONE]
    assert len(fired) == len(set(fired))
    assert set(fired) <= {TONIGHT, TONIGHT + 365 * DAY}
    assert runs[0].state is ScheduleState.MISSED
    assert runs[0].missed == 365
    assert "365 openings in a row" in runs[0].reason


async def test_a_repeating_schedule_runs_at_every_opening(bench: Bench):
    back = await bench.add(swaps=to("m@1", "t1"), window=Window(cron="0 8 * * *", duration_s=HOUR), repeat=True)
    over = await bench.add(swaps=to("m@2", "t1"), repeat=True)
    seen = []
    for day in range(3):
        for hours in (14, 20):
            await bench.at(START + day * DAY + hours * HOUR + 5)
            seen.append(bound(bench.gateway, "t1")["t1"])
    assert seen == ["m@2", "m@1"] * 3
    for schedule in (back, over):
        assert [run.state for run in (await bench.schedules.find(schedule.id)).runs] == [ScheduleState.DONE] * 3


# ---------------------------------------------------------------- the gateway ends in the middle


@pytest.mark.requirement("SWP-8", "SWP-11")
@pytest.mark.parametrize(
    ("moved", "later", "state", "says"),
    [
        (False, 60, ScheduleState.DONE, "moved together"),
        (False, 2 * HOUR, ScheduleState.WAITING, "its window closed meanwhile"),
        (True, 60, ScheduleState.DONE, "just before the gateway ended"),
        (True, 2 * HOUR, ScheduleState.DONE, "just before the gateway ended"),
    ],
)
async def test_a_gateway_killed_while_it_ran_goes_on_from_what_is_on_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: bool, later: float, state: ScheduleState, says: str
):
    made = await bench.add()
    batches = bench.schedules._at_once
    immediate, reached = batches.immediate, asyncio.Event()

    async def stuck(*order: Any, **words: Any) -> Any:
        if moved:
            await immediate(*order, **words)
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(batches, "immediate", stuck)
    await bench.at(TONIGHT + 1, ends=False)
    await reached.wait()
    assert (await bench.gateway.services.store.find_schedule(made.id)).state is ScheduleState.RUNNING
    await bench.restart(TONIGHT + later)
    await bench.at(TONIGHT + later + 1)
    after = await bench.schedules.find(made.id)
    assert after.state is state
    assert says in after.says
    runs = [run for run in after.runs if run.state is ScheduleState.DONE]
    assert len(runs) == (state is ScheduleState.DONE)
    assert bound(bench.gateway, "t1") == {"t1": "m@2" if state is ScheduleState.DONE else "m@1"}


@pytest.mark.requirement("SWP-8", "SWP-11")
async def test_rollouts_of_a_schedule_go_on_after_a_restart_and_end_it(bench: Bench):
    made = await bench.add(gradual=SLOW_RAMP)
    await bench.at(TONIGHT, ends=False)
    rollouts = bench.gateway.services.rollouts
    await eventually(
        lambda: [one.state for one in rollouts.running()] == [RolloutState.CANARY] * 2, "both rollouts have traffic"
    )
    await bench.restart(TONIGHT + 5 * HOUR)  # only the start of a rollout is bound to the window
    running = await bench.schedules.find(made.id)
    assert running.state is ScheduleState.RUNNING
    first, second = rollouts.running()
    assert first.batch == second.batch == running.batch
    await rollouts.command(first.id, "promote", by="ann")
    await rollouts.command(second.id, "rollback", by="ann")
    async with asyncio.timeout(10):
        ended = await bench.schedules.ended(made.id)
    assert ended.state is ScheduleState.FAILED
    assert "all went back" in ended.says
    assert bound(bench.gateway, "t1", "t2") == {"t1": "m@1", "t2": "m@1"}


@pytest.mark.requirement("SWP-8")
async def test_nothing_moves_after_the_window_has_closed(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    made = await bench.add()
    pool = bench.gateway.services.pool
    warm = pool.warm

    async def slowly(*what: Any) -> float:
        bench.clock.time = TONIGHT + HOUR + 1
        return await warm(*what)

    monkeypatch.setattr(pool, "warm", slowly)
    await bench.at(TONIGHT + 3000)
    late = await bench.schedules.find(made.id)
    assert late.state is ScheduleState.WAITING
    assert "the window closed before every version was warm" in late.says
    assert late.opening is not None
    assert late.opening.opens_at == TONIGHT + DAY
    assert bound(bench.gateway, "t1") == {"t1": "m@1"}


@pytest.mark.requirement("OPS-4")
async def test_a_schedule_that_cannot_be_recorded_does_not_run_and_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    made = await bench.add()
    store = bench.gateway.services.store

    async def full(*what: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "save_schedule", full)
    await bench.at(TONIGHT)
    assert bound(bench.gateway, "t1") == {"t1": "m@1"}
    monkeypatch.undo()
    await bench.at(TONIGHT + 1)
    assert (await bench.schedules.find(made.id)).state is ScheduleState.DONE


# ---------------------------------------------------------------- low traffic


async def asked(bench: Bench, days: float, per_hour: Any, *, until: float = START) -> None:
    """Requests of ``t1`` in the past, evenly over each hour."""
    picked, rows, at = choice(task="t1"), [], until - days * DAY
    while at < until:
        count = per_hour(datetime.fromtimestamp(at, UTC))
        times = [at + number * HOUR / count for number in range(count)]
        rows += [attempt(int(when * 10), picked, at=when, task="t1", request=f"r{when}") for when in times]
        at += HOUR
    await bench.gateway.services.store.write_batch(Batch(decisions=rows))


def office(at: datetime) -> int:
    return 1 if at.hour in {3, 4} else 20


@pytest.mark.requirement("SWP-8")
async def test_low_traffic_is_learned_from_the_requests_of_the_task(bench: Bench):
    await asked(bench, 15, office)
    made = await bench.add(low_traffic=LowTraffic(duration_s=2 * HOUR))
    assert made.opening is not None
    assert openings.shown(made.opening.opens_at, "UTC") == "2027-03-02 03:00+00:00"
    assert made.expected_requests == pytest.approx(2, abs=0.2)
    assert "learned by hour of the week from" in made.says
    assert "15 days" in made.says
    await bench.at(made.opening.opens_at + 1)
    assert (await bench.schedules.find(made.id)).state is ScheduleState.DONE


@pytest.mark.requirement("SWP-8")
async def test_a_quiet_hour_that_is_busy_this_time_is_not_used(bench: Bench):
    await asked(bench, 15, office)
    made = await bench.add(low_traffic=LowTraffic(duration_s=HOUR))
    assert made.opening is not None
    opens = made.opening.opens_at
    await asked(bench, 1 / 24, lambda at: 80, until=opens + 600)
    await bench.at(opens + 600)
    busy = await bench.schedules.find(made.id)
    assert busy.state is ScheduleState.WAITING
    assert "are more than the mean" in busy.says
    await bench.at(opens + HOUR)
    missed = await bench.schedules.find(made.id)
    assert missed.state is ScheduleState.WAITING
    assert "are more than the mean" in missed.runs[-1].reason
    assert missed.opening is not None
    assert missed.opening.opens_at > opens


@pytest.mark.requirement("SWP-8")
async def test_with_too_little_history_it_says_so_and_waits_for_a_lull(bench: Bench):
    await asked(bench, 0.5, lambda at: 60)
    made = await bench.add(low_traffic=LowTraffic(duration_s=HOUR))
    assert made.opening is None
    assert "requests of 3 days are needed" in made.says
    await bench.at(START + 60)
    assert (await bench.schedules.find(made.id)).state is ScheduleState.WAITING
    await bench.at(START + 61 + LOOK_S)
    assert (await bench.schedules.find(made.id)).state is ScheduleState.WAITING
    await bench.at(START + 1800)
    done = await bench.schedules.find(made.id)
    assert done.state is ScheduleState.DONE
    assert done.opening is not None
    assert "a lull: 0 requests in the last 15 minutes" in (done.opening.note or "")


async def test_while_it_waits_for_a_lull_it_learns(bench: Bench):
    await asked(bench, 2.9, office)
    made = await bench.add(low_traffic=LowTraffic(duration_s=HOUR))
    assert made.opening is None
    await asked(bench, 0.3, office, until=START + 0.3 * DAY)
    await bench.at(START + 0.3 * DAY)
    learned = await bench.schedules.find(made.id)
    assert learned.opening is not None
    assert "learned by hour of the day" in learned.says


# ---------------------------------------------------------------- bad input


@pytest.mark.requirement("SWP-8")
@pytest.mark.parametrize(
    ("order", "refusal", "words"),
    [
        ({"window": Window(cron="0 0 31 2 *")}, InvalidRequest, "never opens"),
        ({"moment": Moment(at=START - 2 * HOUR)}, InvalidRequest, "has passed"),
        ({"swaps": to("m@9", "t1")}, NotFound, "m@9"),
        ({"swaps": to("m@2", "No Such Name!")}, InvalidRequest, "No Such Name!"),
        ({"swaps": to("m@2", "t1", "t1")}, InvalidRequest, "named twice"),
        ({"window": Window(cron="0 2 * * *", timezone="Mars/Olympus")}, InvalidRequest, "no time zone"),
        ({"gradual": replace(SLOW_RAMP, start_share=3.0)}, InvalidRequest, "start_share|share"),
    ],
)
async def test_what_could_never_be_carried_out_is_refused_and_not_kept(
    bench: Bench, order: dict[str, Any], refusal: type[Exception], words: str
):
    before = len(await bench.schedules.listed(Page()))
    with pytest.raises(refusal, match=words):
        await bench.add(**order)
    assert len(await bench.schedules.listed(Page())) == before


async def test_schedules_are_cancelled_once_and_then_do_nothing(bench: Bench):
    made = await bench.add()
    assert (await bench.schedules.cancel(made.id, "bob")).says == "cancelled by bob"
    with pytest.raises(Conflict, match="cancelled already"):
        await bench.schedules.cancel(made.id, "bob")
    with pytest.raises(NotFound, match="no schedule"):
        await bench.schedules.cancel("sched_nobody", "bob")
    await bench.at(TONIGHT)
    assert bound(bench.gateway, "t1") == {"t1": "m@1"}


async def test_windows_of_the_configuration_are_known_by_name(bench: Bench):
    assert bench.schedules.named("nightly", 120.0) == replace(NIGHT, name="nightly", duration_s=120.0)
    with pytest.raises(InvalidRequest, match="known are nightly"):
        bench.schedules.named("weekly")


async def test_ended_schedules_are_kept_within_bounds(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("podium.store.schedules.KEPT_ENDED", 3)
    open_one = await bench.add()
    for _ in range(6):
        await bench.schedules.at_once(to("m@2", "t1"), by="ann")
    kept = await bench.schedules.listed(Page())
    assert [one.state for one in kept] == [ScheduleState.DONE] * 3 + [ScheduleState.WAITING]
    assert kept[-1].id == open_one.id
