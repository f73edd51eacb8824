"""What a schedule does next, as functions from a schedule and the time to a schedule. Pure.

Owns the rules: a schedule acts only while its window is open, at most once per opening whatever the clock does, and
nothing that was missed passes in silence. Must not read a clock, know cron, or move traffic: where openings come from
is an argument (``Openings``: those that begin after a Unix time, earliest first, possibly without end).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from itertools import islice

from podium.domain.schedule import ENDED, Opening, Schedule, ScheduleRun, ScheduleState
from podium.errors import Conflict, InvalidRequest

Openings = Callable[[float], Iterator[Opening]]

KEPT_RUNS = 50
MAX_SWAPS = 1000
SHORTEST_S = 60.0
LONGEST_S = 7 * 86400.0
LATEST = 32_503_680_000.0
"""The year 3000."""
CLOCK_SLACK_S = 1.0
"""A clock that goes back by less than this is not taken for one that was set."""
_COUNTED = 1000
"""Openings in a row that are counted one by one when they were missed."""


class Due(StrEnum):
    """Whether it is time."""

    NO = "no"
    NOW = "now"
    OVER = "over"
    """The window closed before anything happened."""
    LOST = "lost"
    """The clock was set back: the opening was found at a time that is yet to come."""


def check(schedule: Schedule) -> None:
    """Raise ``InvalidRequest`` for a schedule that makes no sense. ``param`` names the field."""
    whens = [when for when in (schedule.window, schedule.moment, schedule.low_traffic) if when is not None]
    if len(whens) != 1:
        raise InvalidRequest("say when, once: a cron expression, a named window, a time, or low traffic", param="when")
    if not schedule.swaps:
        raise InvalidRequest("name at least one swap: a task and the version that shall serve it", param="swaps")
    if len(schedule.swaps) > MAX_SWAPS:
        raise InvalidRequest(f"one batch has at most {MAX_SWAPS} swaps; make several schedules", param="swaps")
    tasks = [swap.task for swap in schedule.swaps]
    for task in tasks:
        if tasks.count(task) > 1:
            raise InvalidRequest(f"{task} is named twice; a task can move to one version only", param="swaps")
    if not SHORTEST_S <= schedule.duration_s <= LONGEST_S:
        raise InvalidRequest(
            f"a window is open for {SHORTEST_S:g} seconds to 7 days, not {schedule.duration_s:g} s", param="duration"
        )
    if schedule.moment is not None and not 0 <= schedule.moment.at < LATEST:
        raise InvalidRequest(f"{schedule.moment.at:g} is no time to plan for; give Unix seconds", param="at")
    if schedule.repeat and schedule.moment is not None:
        raise InvalidRequest("one point in time does not repeat; give a cron expression", param="repeat")


def place(schedule: Schedule, now: float, openings: Openings) -> Schedule:
    """Find the next opening that was not used yet: the one open now, else the first to come.

    Without any, the schedule keeps waiting with ``opening`` ``None``; the caller says what that means.
    """
    used = {run.opens_at for run in schedule.runs if run.state is not ScheduleState.MISSED}
    if schedule.moment is not None:
        found = next(iter(openings(now - schedule.duration_s)), None)
        if found is not None and found.opens_at in used:
            found = None
    else:
        # More openings than runs are remembered need not be looked at: at least one of them is unused.
        coming = islice(openings(now - schedule.duration_s), len(used) + 1)
        found = next((one for one in coming if one.opens_at not in used), None)
    return replace(schedule, opening=found, placed_at=now)


def due(schedule: Schedule, now: float) -> Due:
    """Whether a waiting schedule has to act."""
    if schedule.state is not ScheduleState.WAITING:
        return Due.NO
    if now < schedule.placed_at - CLOCK_SLACK_S:
        return Due.LOST
    if schedule.opening is None or now < schedule.opening.opens_at:
        return Due.NO
    return Due.NOW if now < schedule.opening.closes_at else Due.OVER


def start(schedule: Schedule, now: float, batch: str) -> Schedule:
    """The window is open: run. Raises ``Conflict`` when it is not waiting."""
    if schedule.state is not ScheduleState.WAITING or schedule.opening is None:
        raise Conflict(f"schedule {schedule.id} is {schedule.state}; only a waiting one can run")
    return replace(schedule, state=ScheduleState.RUNNING, batch=batch, started_at=now, says="its window is open")


def finish(schedule: Schedule, now: float, *, ok: bool, reason: str, openings: Openings) -> Schedule:
    """The run ended. A repeating schedule waits for its next opening, whatever came of this one."""
    opening = schedule.opening
    if schedule.state is not ScheduleState.RUNNING or opening is None:
        raise Conflict(f"schedule {schedule.id} is {schedule.state}; it has no run that could end")
    run = ScheduleRun(
        opens_at=opening.opens_at,
        closes_at=opening.closes_at,
        state=ScheduleState.DONE if ok else ScheduleState.FAILED,
        at=now if schedule.started_at is None else schedule.started_at,
        finished_at=now,
        reason=reason,
        batch=schedule.batch,
    )
    schedule = _keep(replace(schedule, batch=None, started_at=None), run)
    if not schedule.repeat:
        return replace(schedule, state=run.state, says=reason, finished_at=now)
    return _wait(schedule, now, openings, f"last run {run.state}: {reason}")


def miss(schedule: Schedule, now: float, openings: Openings, why: str) -> Schedule:
    """The opening passed unused: note it, with all that followed it, and wait for the next.

    ``why`` begins the sentence that is kept. A schedule for one point in time has no next one and ends as missed.
    """
    opening = schedule.opening
    assert opening is not None, "what was missed is known"
    passed = 1
    for one in islice(openings(opening.opens_at), _COUNTED):
        if one.closes_at > now:
            break
        passed += 1
    many = f"more than {_COUNTED}" if passed > _COUNTED else str(passed)
    says = why if passed == 1 else f"{why}; {many} openings in a row"
    run = ScheduleRun(
        opens_at=opening.opens_at,
        closes_at=opening.closes_at,
        state=ScheduleState.MISSED,
        at=now,
        finished_at=now,
        reason=says,
        batch=schedule.batch,
        missed=passed,
    )
    schedule = _keep(replace(schedule, batch=None, started_at=None), run)
    return _wait(schedule, now, openings, f"missed: {says}")


def cancel(schedule: Schedule, now: float, by: str) -> Schedule:
    """Take it back. Raises ``Conflict`` for one that runs or has ended."""
    if schedule.state in ENDED:
        raise Conflict(f"schedule {schedule.id} is {schedule.state} already")
    if schedule.state is ScheduleState.RUNNING:
        raise Conflict(f"schedule {schedule.id} runs now; stop its rollouts, or roll its tasks back when it is done")
    return replace(schedule, state=ScheduleState.CANCELLED, says=f"cancelled by {by}", finished_at=now)


def _wait(schedule: Schedule, now: float, openings: Openings, before: str) -> Schedule:
    schedule = place(replace(schedule, state=ScheduleState.WAITING, expected_requests=None), now, openings)
    if schedule.opening is None and schedule.low_traffic is None:
        last = schedule.runs[-1].state if schedule.runs else ScheduleState.MISSED
        return replace(schedule, state=last, says=f"{before}; its window does not open again", finished_at=now)
    return replace(schedule, says=f"{before}; waits for the next opening")


def _keep(schedule: Schedule, run: ScheduleRun) -> Schedule:
    return replace(schedule, runs=(*schedule.runs, run)[-KEPT_RUNS:])
