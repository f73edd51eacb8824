"""Waits grow, are bounded, honour what was asked for, and end; clocks that jump lose nothing and hold up nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.event_kinds import check_patterns, wanted
from podium.core.retrying import (
    FEWEST_ATTEMPTS,
    LONGEST_REQUESTED_S,
    Retries,
    due,
    horizon_s,
    read_retry_after,
    spent,
    wait_s,
)

pytestmark = pytest.mark.requirement("SWP-10")
YEAR = 365 * 86_400.0


def test_waits_double_up_to_the_most():
    retries = Retries(first_s=5, most_s=60, jitter=0)
    assert [wait_s(retries, n, 0.5) for n in range(1, 7)] == [5, 10, 20, 40, 60, 60]
    assert wait_s(retries, 10_000, 0.5) == 60


@given(
    st.floats(0.001, 1e4), st.floats(1, 1e3), st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.integers(1, 10_000)
)
def test_jitter_only_shortens_a_wait_and_never_by_more_than_its_share(first, factor, jitter, draw, attempts):
    retries = Retries(first_s=first, most_s=first * factor, jitter=jitter)
    whole = wait_s(retries, attempts, 0.0)
    assert whole * (1 - jitter) <= wait_s(retries, attempts, draw) <= whole <= horizon_s(retries)


def test_jitter_spreads_waits_that_would_be_alike():
    assert len({wait_s(Retries(), 3, n / 10) for n in range(10)}) == 10


@pytest.mark.parametrize(("asked", "waited"), [(0.0, 10.0), (9.0, 10.0), (30.0, 30.0), (YEAR, LONGEST_REQUESTED_S)])
def test_what_the_other_side_asked_for_is_a_lower_bound_of_at_most_a_day(asked, waited):
    assert wait_s(Retries(first_s=10, jitter=0), 1, 0.0, asked) == waited


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Sat, 01 Jan 2000 00:01:00 GMT", 60.0),
        ("Sat, 01 Jan 2000 00:01:00 -0000", 60.0),
        ("Fri, 31 Dec 1999 00:00:00 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    assert read_retry_after(text, now=946_684_800.0) == seconds


def test_it_ends_after_a_time_or_a_number_of_attempts():
    retries = Retries(give_up_s=100, most_attempts=5)
    assert spent(retries, 3, 0.0, 99.0) is None
    assert spent(retries, 3, 0.0, 7200.0) == "3 attempts within 2 h failed"
    assert spent(retries, 5, 0.0, 1.0) == "5 attempts failed"


def test_a_clock_set_forward_by_a_year_gives_nothing_up_untried():
    assert spent(Retries(), FEWEST_ATTEMPTS - 1, 0.0, YEAR) is None


def test_a_clock_set_back_by_a_year_holds_nothing_up():
    retries = Retries()
    assert due(YEAR + wait_s(retries, 4, 0.5), now=0.0, horizon=horizon_s(retries))
    assert spent(retries, retries.most_attempts, YEAR, 0.0) is not None, "attempts end it all the same"


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e9))
def test_an_ordered_wait_is_never_taken_for_a_jump(attempts, draw, asked):
    retries = Retries()
    pause = wait_s(retries, attempts, draw, asked)
    assert not due(1e9 + pause, now=1e9, horizon=horizon_s(retries))
    assert due(1e9, now=1e9, horizon=horizon_s(retries))
    assert math.isfinite(pause)


@pytest.mark.parametrize(
    ("kind", "patterns", "expected"),
    [
        ("swap.started", ("swap.*",), True),
        ("swap.started", ("rollout.*", "*.started"), True),
        ("swap.started", ("swap",), False),
        ("swapped.started", ("swap.*",), False),
        ("anything", (), True),
        ("anything", ("*",), True),
    ],
)
def test_patterns_pick_kinds(kind, patterns, expected):
    assert wanted(kind, patterns) is expected


@pytest.mark.parametrize("pattern", ["", "swap.[a]", "Swap.*", "swap..x", "swap.?", "a b", "swap.*\n"])
def test_what_no_kind_is_written_like_is_refused(pattern):
    with pytest.raises(ValueError, match="no kind of event"):
        check_patterns(("swap.*", pattern))
