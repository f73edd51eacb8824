"""Windows of budgets: they follow each other without gap or overlap, whatever the clocks of a zone do."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.budget_windows import window_at
from podium.domain.budget import Period

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",  # 5:30
    "Asia/Kathmandu",  # 5:45
    "Australia/Lord_Howe",  # clocks change by half an hour
    "America/Havana",  # midnight comes twice, and is skipped
    "America/Sao_Paulo",  # midnight was skipped
    "Atlantic/Azores",
    "Pacific/Apia",  # skipped a whole day
    "Africa/Casablanca",
    "Asia/Beirut",
)
ENDING = [period for period in Period if period is not Period.TOTAL]


def at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@settings(max_examples=600, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    period=st.sampled_from(ENDING),
    now=st.one_of(
        st.floats(0.0, 4e9),
        st.integers(0, 4_000_000_000).map(float),
        st.floats(1_320_000_000, 1_330_000_000),  # around the day that Samoa skipped
    ),
)
@pytest.mark.requirement("COST-3")
@pytest.mark.no_cover
def test_every_moment_lies_in_exactly_one_window_and_windows_touch(zone: str, period: Period, now: float):
    where = ZoneInfo(zone)
    window = window_at(period, where, now)
    assert window.end is not None
    assert window.start <= now < window.end
    assert window_at(period, where, window.start) == window
    assert window_at(period, where, window.end).start == window.end
    last = max(window.start, window.end - 0.5)
    assert window_at(period, where, last) == window
    if window.start >= 1.0:
        assert window_at(period, where, window.start - 0.5).end == window.start


@given(zone=st.sampled_from(ZONES), now=st.floats(0.0, 4e9))
def test_days_begin_at_midnight_weeks_on_mondays_and_months_on_the_first(zone: str, now: float):
    where = ZoneInfo(zone)
    for period in (Period.DAY, Period.WEEK, Period.MONTH):
        begins = datetime.fromtimestamp(window_at(period, where, now).start, where)
        # a midnight that the clocks skip is the moment after
        assert (begins.hour, begins.minute, begins.second) in {(0, 0, 0), (1, 0, 0)}
        assert period is not Period.MONTH or begins.day == 1
        assert period is not Period.WEEK or begins.weekday() == 0


@pytest.mark.parametrize(
    ("zone", "inside", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", 25),
        ("Europe/Berlin", "2026-10-26T12:00", 24),
        ("Australia/Lord_Howe", "2026-04-05T12:00", 24.5),
        ("America/Havana", "2026-03-08T12:00", 23),
        ("America/Havana", "2026-11-01T12:00", 25),
    ],
)
def test_a_day_is_as_long_as_its_clocks_make_it(zone: str, inside: str, hours: float):
    window = window_at(Period.DAY, ZoneInfo(zone), at(inside, zone))
    assert window.end is not None
    assert (window.end - window.start) / 3600 == hours


def test_an_hour_that_comes_twice_is_two_windows():
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin).timestamp()
    one, other = window_at(Period.HOUR, berlin, first), window_at(Period.HOUR, berlin, first + 3600)
    assert one.end == other.start
    assert (one.end or 0) - one.start == 3600


def test_the_day_that_samoa_skipped_has_no_window():
    apia = ZoneInfo("Pacific/Apia")
    before = window_at(Period.DAY, apia, datetime(2011, 12, 29, 12, tzinfo=apia).timestamp())
    assert before.end is not None
    assert datetime.fromtimestamp(before.end, apia).isoformat() == "2011-12-31T00:00:00+14:00"


def test_a_total_has_no_end():
    window = window_at(Period.TOTAL, UTC, 1e9)
    assert (window.start, window.end) == (0.0, None)
