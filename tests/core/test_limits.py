"""Rates as they are written, and buckets that hold them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.limits import (
    Bucket,
    Meter,
    Which,
    read_concurrency,
    read_limits,
    read_rate,
    shown_concurrency,
    shown_rate,
)
from podium.domain.limit import WITHOUT, Limits, Rate
from podium.errors import InvalidRequest

pytestmark = pytest.mark.requirement("OPS-3")
MINUTE = Rate(60, 60)


@pytest.mark.parametrize(
    ("said", "amount", "period_s"),
    [
        ("60/min", 60, 60),
        ("100k/min", 100_000, 60),
        ("1.5M/day", 1_500_000, 86400),
        ("10/s", 10, 1),
        (" 7 / hour ", 7, 3600),
        ("none", WITHOUT, 1),
    ],
)
def test_a_rate_is_an_amount_in_a_time_and_is_shown_as_it_can_be_read_again(
    said: str, amount: int, period_s: int
) -> None:
    found = read_rate(said, "requests")
    assert found == Rate(amount, period_s)
    assert read_rate(shown_rate(found), "requests") == found


@pytest.mark.parametrize(
    "said",
    [
        "abc",
        "",
        "60",
        "-1/min",
        "0/min",
        "0.5/min",
        "1/fortnight",
        "1e3/min",
        "1/min/min",
        "9999999999999/s",
        "∞/s",
        60,
        True,
    ],
)
def test_what_is_no_rate_is_refused_with_an_example_or_a_way_out(said: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_rate(said, "tokens")
    assert refused.value.param == "tokens"
    assert any(word in refused.value.message for word in ("60/min", "none", "whole amount"))


@pytest.mark.parametrize("said", [0, -1, "0", "-1", "abc", 1.5, True, 10**9, "\uff11", []])
def test_a_concurrency_is_a_whole_number_of_one_or_more(said: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_concurrency(said)
    assert refused.value.param == "concurrency"


def test_what_a_key_says_comes_before_its_role_and_none_is_no_limit() -> None:
    role = read_limits("60/min", "1k/min", 4)
    own = read_limits("none", None, "2")
    assert own.over(role) == Limits(requests=None, tokens=Rate(1000, 60), concurrency=2)
    assert shown_concurrency(read_concurrency("none")) == "none"
    assert read_limits().over(Limits()).empty


def test_a_bucket_lets_a_burst_through_and_then_as_much_as_it_refills() -> None:
    bucket = Bucket(MINUTE, 1000.0)
    assert all(bucket.take(1.0, 1000.0) for _ in range(60))
    assert not bucket.take(1.0, 1000.0)
    assert bucket.wait_s(1.0) == pytest.approx(1.0)
    assert bucket.full_in_s() == pytest.approx(60.0)
    assert not bucket.take(1.0, 1000.9)
    assert bucket.take(1.0, 1001.0)


def test_whoever_comes_back_when_told_to_is_let_in_whatever_the_clock_says_behind_the_point() -> None:
    bucket = Bucket(Rate(7, 60), 0.1)
    now = 0.1
    for _ in range(500):
        while bucket.take(1.0, now):
            pass
        now += bucket.wait_s(1.0)
        assert bucket.take(1.0, now)


def test_a_clock_that_goes_back_neither_locks_out_nor_gives_more() -> None:
    bucket = Bucket(MINUTE, 1_000_000.0)
    for _ in range(60):
        assert bucket.take(1.0, 1_000_000.0)
    assert not bucket.take(1.0, 10.0), "nothing was refilled by going back"
    assert bucket.take(1.0, 11.0), "nor does anybody wait for the time that was"


def test_another_rate_keeps_what_was_used_and_nobody_owes_because_of_it() -> None:
    bucket = Bucket(MINUTE, 0.0)
    for _ in range(30):
        bucket.take(1.0, 0.0)
    bucket.change(Rate(600, 60), 0.0)
    assert bucket.level == 570
    bucket.change(Rate(10, 60), 0.0)
    assert bucket.level == 0.0
    bucket.put(-5, 0.0)
    bucket.change(Rate(20, 60), 0.0)
    assert bucket.level == 5


@settings(max_examples=200, deadline=None)
@given(
    amount=st.integers(1, 50),
    period=st.sampled_from([1, 60, 3600]),
    steps=st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 60)), min_size=1, max_size=60),
)
@pytest.mark.no_cover
def test_never_more_passes_than_the_burst_and_what_was_refilled(
    amount: int, period: int, steps: list[tuple[float, float]]
) -> None:
    bucket = Bucket(Rate(amount, period), 0.0)
    now = passed = 0.0
    for after, wanted in steps:
        now += after
        if bucket.take(wanted, now):
            passed += wanted
        assert passed <= amount + now * amount / period + 1e-3
        assert bucket.level <= amount


def meter(requests: str | None = None, tokens: str | None = None, concurrency: int | None = None) -> Meter:
    made = Meter()
    made.set(read_limits(requests, tokens, concurrency), 0.0)
    return made


def test_a_refused_request_costs_nothing_and_places_come_back() -> None:
    one = meter(requests="2/min", concurrency=1)
    assert one.enter(0.0) is None
    assert one.enter(0.0) is Which.CONCURRENCY
    one.leave()
    assert one.enter(0.0) is None, "the refused one did not count"
    one.leave()
    assert one.enter(0.0) is Which.REQUESTS
    assert one.under_way == 0


def test_tokens_are_reserved_by_estimate_and_what_was_used_beyond_is_owed() -> None:
    one = meter(tokens="1000/min")
    assert one.enter(0.0) is None
    assert one.reserve(100, 200, 0.0, known=True) == 300
    assert one.reserve(100, 900, 0.0, known=True) is None
    assert one.reserve(100, 5000, 0.0, known=False) == 700, "a guess takes what is left"
    assert one.enter(0.0) is Which.TOKENS
    assert one.tokens is not None
    one.tokens.put(-500.0, 0.0)
    assert one.tokens.wait_s(1.0) == pytest.approx(501 / (1000 / 60))
    assert one.enter(30.0) is Which.TOKENS
    assert one.enter(31.0) is None
