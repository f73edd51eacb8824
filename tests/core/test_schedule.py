"""What schedules do next: at most once per opening whatever the clock does, and nothing missed in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core import low_traffic
from podium.core import schedule as rules
from podium.core.low_traffic import PIECE_S, Traffic
from podium.core.schedule import Due
from podium.domain.schedule import (
    LowTraffic,
    Moment,
    Opening,
    PlannedSwap,
    Schedule,
    ScheduleState,
    Window,
)
from podium.errors import Conflict, InvalidRequest

DAY = 86400.0
YEAR = 365 * DAY


def nightly(after: float) -> Iterator[Opening]:
    """One hour from 02:00 UTC, every day."""
    first = int((after - 7200) // DAY) + 1
    for day in count(first):
        yield Opening(opens_at=day * DAY + 7200, closes_at=day * DAY + 10800)


def once(at: float) -> rules.Openings:
    return lambda after: iter((Opening(opens_at=at, closes_at=at + 3600),) if at > after else ())


def waiting(now: float = 0.0, *, repeat: bool = False, openings: rules.Openings = nightly) -> Schedule:
    made = Schedule(
        id="sch_1",
        swaps=(PlannedSwap(task="jobs", to="m@2"),),
        state=ScheduleState.WAITING,
        created_at=now,
        by="test",
        window=Window(cron="0 2 * * *", duration_s=3600),
        repeat=repeat,
    )
    return rules.place(made, now, openings)


@pytest.mark.requirement("SWP-8")
def test_a_schedule_acts_while_its_window_is_open_and_then_is_done():
    made = waiting(now=0)
    assert made.opening == Opening(opens_at=7200, closes_at=10800)
    assert rules.due(made, 7199) is Due.NO
    assert rules.due(made, 7200) is Due.NOW
    assert rules.due(made, 10799) is Due.NOW
    assert rules.due(made, 10800) is Due.OVER
    running = rules.start(made, 7201, "bat_1")
    assert rules.due(running, 7300) is Due.NO
    done = rules.finish(running, 7205, ok=True, reason="moved", openings=nightly)
    assert (done.state, done.says, done.finished_at) == (ScheduleState.DONE, "moved", 7205)
    assert [(run.state, run.at, run.batch) for run in done.runs] == [(ScheduleState.DONE, 7201, "bat_1")]


def test_what_is_ordered_inside_an_open_window_uses_it():
    assert waiting(now=8000).opening == Opening(opens_at=7200, closes_at=10800)


@pytest.mark.requirement("SWP-8")
def test_a_missed_opening_is_noted_and_the_next_one_is_awaited():
    made = waiting(now=0)
    later = rules.miss(made, 3 * DAY, nightly, "the gateway was not running")
    assert later.state is ScheduleState.WAITING
    assert later.opening is not None
    assert later.opening.opens_at == 3 * DAY + 7200
    (run,) = later.runs
    assert (run.state, run.missed) == (ScheduleState.MISSED, 3)
    assert "the gateway was not running; 3 openings in a row" in later.says


def test_a_missed_point_in_time_ends_as_missed():
    made = replace(waiting(), window=None, moment=Moment(at=7200))
    over = rules.miss(rules.place(made, 0, once(7200)), 20000, once(7200), "too late")
    assert over.state is ScheduleState.MISSED
    assert over.finished_at == 20000


@pytest.mark.requirement("SWP-8")
def test_a_clock_that_jumps_by_a_year_fires_at_most_once():
    made = waiting(now=0, repeat=True)
    jumped = 7200 + YEAR + 60  # into the window of a year later
    assert rules.due(made, jumped) is Due.OVER
    made = rules.miss(made, jumped, nightly, "the clock or the gateway")
    assert made.runs[-1].missed == 365
    fired = 0
    for now in (jumped, jumped + 1, jumped + 2):
        if rules.due(made, now) is Due.NOW:
            fired += 1
            made = rules.finish(rules.start(made, now, "b"), now, ok=True, reason="", openings=nightly)
    assert fired == 1


def test_a_clock_set_back_waits_for_the_openings_that_come_again_but_uses_none_twice():
    made = waiting(now=0, repeat=True)
    made = rules.finish(rules.start(made, 7200, "b"), 7210, ok=True, reason="", openings=nightly)
    assert made.opening is not None
    assert made.opening.opens_at == DAY + 7200
    assert rules.due(made, 7100) is Due.LOST
    made = rules.place(made, 7100, nightly)
    assert made.opening is not None
    assert made.opening.opens_at == DAY + 7200, "the opening at 7200 has been used"
    year_later = rules.place(made, 7000 + YEAR, nightly)
    assert rules.due(year_later, 8000) is Due.LOST
    again = rules.place(year_later, 8000, nightly)
    assert again.opening is not None
    assert again.opening.opens_at == DAY + 7200


@pytest.mark.requirement("SWP-8")
@given(st.lists(st.floats(-2 * DAY, 400 * DAY), max_size=60), st.booleans())
def test_no_opening_is_used_twice_whatever_the_clock_does(steps, repeat):
    now = 10 * DAY
    made, used = waiting(now=now, repeat=repeat), []
    for step in steps:
        now = max(0.0, now + step)
        match rules.due(made, now):
            case Due.NOW:
                assert made.opening is not None
                assert made.opening.opens_at <= now < made.opening.closes_at
                used.append(made.opening.opens_at)
                made = rules.finish(rules.start(made, now, "b"), now, ok=True, reason="", openings=nightly)
            case Due.OVER:
                made = rules.miss(made, now, nightly, "missed")
            case Due.LOST:
                made = rules.place(made, now, nightly)
            case Due.NO:
                pass
        assert len(made.runs) <= rules.KEPT_RUNS
    assert len(used) == len(set(used))
    assert repeat or len(used) <= 1


def test_a_repeating_schedule_goes_on_after_a_failure_and_one_that_does_not_ends():
    for repeat, state in ((True, ScheduleState.WAITING), (False, ScheduleState.FAILED)):
        running = rules.start(waiting(repeat=repeat), 7200, "b")
        ended = rules.finish(running, 7300, ok=False, reason="m@2 does not load", openings=nightly)
        assert ended.state is state
        assert ended.runs[-1].state is ScheduleState.FAILED
        assert "m@2 does not load" in ended.says


def test_only_what_waits_can_be_cancelled():
    made = waiting()
    assert rules.cancel(made, 5, "ann").says == "cancelled by ann"
    with pytest.raises(Conflict, match="runs now"):
        rules.cancel(rules.start(made, 7200, "b"), 7201, "ann")
    with pytest.raises(Conflict, match="cancelled already"):
        rules.cancel(rules.cancel(made, 5, "ann"), 6, "ann")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"window": None}, "when"),
        ({"moment": Moment(at=5)}, "when"),
        ({"swaps": ()}, "swaps"),
        ({"swaps": (PlannedSwap(task="a", to="m@1"), PlannedSwap(task="a", to="m@2"))}, "swaps"),
        ({"swaps": tuple(PlannedSwap(task=f"t{n}", to="m@1") for n in range(1001))}, "swaps"),
        ({"window": Window(cron="0 2 * * *", duration_s=5)}, "duration"),
        ({"window": Window(cron="0 2 * * *", duration_s=float("nan"))}, "duration"),
        ({"window": None, "low_traffic": LowTraffic(duration_s=8 * DAY)}, "duration"),
        ({"window": None, "moment": Moment(at=5), "repeat": True}, "repeat"),
        ({"window": None, "moment": Moment(at=1e18)}, "at"),
        ({"window": None, "moment": Moment(at=float("nan"))}, "at"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_by_field(change, param):
    rules.check(waiting())
    with pytest.raises(InvalidRequest) as refused:
        rules.check(replace(waiting(), **change))
    assert refused.value.param == param


# ---------------------------------------------------------------- low traffic

MONDAY = datetime(2026, 11, 2, tzinfo=UTC).timestamp()


def history(weeks: float, rate, zone=UTC) -> Traffic:
    """``rate`` gives the requests per quarter of an hour by local time."""
    first, last = int(MONDAY // PIECE_S), int((MONDAY + weeks * 7 * DAY) // PIECE_S)
    pieces = {
        piece: requests
        for piece in range(first, last)
        if (requests := rate(datetime.fromtimestamp(piece * PIECE_S, UTC).astimezone(zone)))
    }
    return Traffic(until=float(last * PIECE_S), pieces=pieces)


def office(at: datetime) -> int:
    """Busy by day, calm at night, calmest on Sunday at 04:00."""
    if at.weekday() == 6 and at.hour in {4, 5}:
        return 0
    return 50 if 8 <= at.hour < 18 else 2


@pytest.mark.requirement("SWP-8")
@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"])
def test_the_quietest_stretch_is_found_in_local_time_with_what_to_expect(name):
    zone = ZoneInfo(name)
    traffic = history(4, office, zone)
    found = low_traffic.quietest(traffic, zone, traffic.until, 7200)
    assert found is not None
    opens = datetime.fromtimestamp(found.opens_at, zone)
    assert (opens.weekday(), opens.hour, opens.minute) == (6, 4, 0)
    assert found.opens_at > traffic.until
    assert 0 < found.expected < 4, "nothing was seen there, but little was seen at all"
    assert found.usual > 80
    assert found.by == "hour of the week"
    assert "requests in 28 days" in found.says


def test_over_a_change_of_clocks_the_local_hour_counts():
    berlin = ZoneInfo("Europe/Berlin")
    traffic = history(4, office, berlin)
    late = datetime(2027, 3, 26, 12, tzinfo=berlin).timestamp()
    found = low_traffic.quietest(traffic, berlin, late, 7200)
    assert found is not None
    assert datetime.fromtimestamp(found.opens_at, berlin).isoformat() == "2027-03-28T04:00:00+02:00"


def test_a_single_quiet_hour_does_not_outweigh_the_habit_of_all_nights():
    def rate(at: datetime) -> int:
        lunch = at.weekday() == 1 and at.hour == 12  # Tuesdays at noon the office is empty, two weeks in a row
        return 0 if lunch or at.hour == 3 else 40

    traffic = history(2, rate)
    found = low_traffic.quietest(traffic, UTC, traffic.until, 3600)
    assert found is not None
    assert datetime.fromtimestamp(found.opens_at, UTC).hour == 3


@pytest.mark.requirement("SWP-8")
def test_with_less_history_it_learns_hours_of_the_day_and_with_too_little_nothing():
    week = history(0.9, office)
    found = low_traffic.quietest(week, UTC, week.until, 3600)
    assert found is not None
    assert found.by == "hour of the day"
    assert low_traffic.quietest(history(0.3, office), UTC, week.until, 3600) is None
    assert low_traffic.quietest(Traffic(until=MONDAY), UTC, MONDAY, 3600) is None


def test_what_has_not_been_watched_yet_does_not_count_as_quiet():
    traffic = history(3, lambda at: 10)
    found = low_traffic.quietest(traffic, UTC, traffic.until, 3600)
    assert found is not None
    assert found.expected == pytest.approx(40, rel=0.02)
    assert found.opens_at == traffic.until + 3600, "equals: the first one"


@pytest.mark.requirement("SWP-8")
def test_a_lull_is_a_quarter_of_the_mean_and_is_not_claimed_without_an_hour_of_history():
    day = history(1 / 7, lambda at: 40)
    assert low_traffic.lull(replace(day, recent=10)).calm
    assert not low_traffic.lull(replace(day, recent=11)).calm
    fresh = Traffic(until=MONDAY + 1800, pieces={int(MONDAY // PIECE_S): 1})
    assert not low_traffic.lull(fresh).calm
    assert "an hour is needed" in low_traffic.lull(fresh).says
    assert low_traffic.lull(Traffic(until=MONDAY)).calm
    assert low_traffic.unusually_busy(replace(day, recent=40)) is None
    assert low_traffic.unusually_busy(replace(day, recent=41)) is not None
    rare = Traffic(until=MONDAY + 10 * DAY, pieces={int(MONDAY // PIECE_S): 3}, recent=1)
    assert low_traffic.unusually_busy(rare) is None, "one request is not busy"
