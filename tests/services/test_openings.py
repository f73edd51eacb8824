"""Cron windows in time zones, over both changes of the clocks, and what is refused."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.domain.schedule import Moment, Window
from podium.errors import InvalidRequest
from podium.services import openings


def opened(cron: str, timezone: str, since: str, count: int = 3) -> list[str]:
    read = openings.of_window(Window(cron=cron, timezone=timezone))
    found = openings.coming(read, openings.point(since, timezone), count)
    return [datetime.fromtimestamp(one.opens_at, ZoneInfo(timezone)).isoformat(timespec="minutes") for one in found]


@pytest.mark.requirement("SWP-8")
@pytest.mark.parametrize(
    ("timezone", "since", "expected"),
    [
        (
            "Europe/Berlin",
            "2027-03-27T03:00",
            ["2027-03-28T03:00+02:00", "2027-03-29T02:30+02:00", "2027-03-30T02:30+02:00"],
        ),
        (
            "America/New_York",
            "2027-03-13T03:00",
            ["2027-03-14T03:00-04:00", "2027-03-15T02:30-04:00", "2027-03-16T02:30-04:00"],
        ),
    ],
)
@pytest.mark.parametrize("cron", ["30 2 * * *", "30-59/60 2 * * *"])
def test_a_window_in_the_hour_the_clocks_skip_opens_when_they_have_and_says_so(cron, timezone, since, expected):
    assert opened(cron, timezone, since) == expected
    read = openings.of_window(Window(cron=cron, timezone=timezone))
    notes = [one.note for one in openings.coming(read, openings.point(since, timezone))]
    assert notes[1:] == [None, None]
    assert notes[0] is not None
    assert f"go forward in {timezone}" in notes[0]


@pytest.mark.requirement("SWP-8")
@pytest.mark.parametrize(
    ("timezone", "cron", "since", "expected"),
    [
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2027-10-30T03:00",
            ["2027-10-31T02:30+02:00", "2027-11-01T02:30+01:00", "2027-11-02T02:30+01:00"],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2027-11-06T03:00",
            ["2027-11-07T01:30-04:00", "2027-11-08T01:30-05:00", "2027-11-09T01:30-05:00"],
        ),
        (
            "America/New_York",
            "30 2 * * *",
            "2027-11-06T03:00",
            ["2027-11-07T02:30-05:00", "2027-11-08T02:30-05:00", "2027-11-09T02:30-05:00"],
        ),
    ],
)
def test_a_window_in_the_hour_that_comes_twice_opens_once(timezone, cron, since, expected):
    assert opened(cron, timezone, since) == expected


@pytest.mark.requirement("SWP-8")
def test_asked_between_both_passes_of_the_hour_the_window_does_not_open_again():
    zone = ZoneInfo("Europe/Berlin")
    second_pass = datetime(2027, 10, 31, 2, 10, tzinfo=zone, fold=1).timestamp()
    read = openings.of_window(Window(cron="30 2 * * *", timezone="Europe/Berlin"))
    first, *_ = openings.coming(read, second_pass)
    assert datetime.fromtimestamp(first.opens_at, zone).isoformat() == "2027-11-01T02:30:00+01:00"


@pytest.mark.parametrize("cron", ["*/30 2 * * *", "0,30 2-3 * * *", "*/20 * * * *", "0 */2 * * *", "30 2 * * *"])
@pytest.mark.parametrize("timezone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
@pytest.mark.no_cover
def test_openings_over_a_year_are_in_order_one_by_one_and_miss_no_day(cron, timezone):
    read = openings.of_window(Window(cron=cron, timezone=timezone))
    since = openings.point("2027-01-01T00:00", timezone)
    times = _until(read, since, since + 365 * 86400)
    assert all(later > earlier for earlier, later in pairwise(times))
    days = {datetime.fromtimestamp(at, ZoneInfo(timezone)).date() for at in times}
    assert len(days) == 365


def _until(read, since: float, end: float) -> list[float]:
    times = []
    for one in read(since):
        if one.opens_at >= end:
            break
        times.append(one.opens_at)
    return times


@pytest.mark.requirement("SWP-8")
@pytest.mark.parametrize("cron", ["0 3 31 2 *", "0 3 30 FEB *", "0 0 31 4,6,9,11 *"])
def test_a_window_that_never_opens_is_refused_by_name(cron):
    began = time.perf_counter()
    with pytest.raises(InvalidRequest, match="never opens") as refused:
        openings.of_window(Window(cron=cron))
    assert refused.value.param == "cron"
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "cron",
    ["", "a", "* * * *", "* * * * * *", "@daily", "60 * * * *", "0 0 32 1 *", "9" * 150 + " * * * *", "L/2 * * * *"],
)
def test_what_is_no_cron_expression_is_refused_with_the_form_it_needs(cron):
    with pytest.raises(InvalidRequest, match="five fields") as refused:
        openings.of_window(Window(cron=cron))
    assert refused.value.param == "cron"


@given(st.text(alphabet="0123456789*/,-#LWMONJAN? ", max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        read = openings.of_window(Window(cron=text))
    except InvalidRequest:
        return
    assert openings.coming(read, 1.8e9, 1)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe", "x" * 300])
def test_a_time_zone_nobody_knows_is_refused(name):
    with pytest.raises(InvalidRequest, match="no time zone") as refused:
        openings.of_window(Window(cron="0 3 * * *", timezone=name))
    assert refused.value.param == "timezone"


def test_points_in_time_are_meant_in_the_zone_unless_they_say_otherwise():
    assert openings.point("2027-01-01T02:30", "Europe/Berlin") == openings.point("2027-01-01T01:30Z", "Asia/Tokyo")
    with pytest.raises(InvalidRequest, match="does not exist in Europe/Berlin"):
        openings.point("2027-03-28T02:30", "Europe/Berlin")
    with pytest.raises(InvalidRequest, match="no time"):
        openings.point("tomorrow", "UTC")
    assert openings.shown(openings.point("2027-01-01T02:30", "Asia/Tokyo"), "Asia/Tokyo") == "2027-01-01 02:30+09:00"
    (only,) = openings.coming(openings.of_moment(Moment(at=50, duration_s=60)), 10)
    assert (only.opens_at, only.closes_at) == (50, 110)
    assert openings.coming(openings.of_moment(Moment(at=50)), 50) == ()


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("1h30m", 5400), ("2d", 172800), (60, 60), ("45S", 45)])
def test_durations_are_read(text, seconds):
    assert openings.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1.5h", "-2h", "30", "2w", "9" * 40 + "h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidRequest, match="no duration"):
        openings.duration(text)
