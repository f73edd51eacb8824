"""Accounts of budgets: nothing is used beyond the limit that was not reserved, and no clock refills them."""

from __future__ import annotations

import math
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from podium.core.budget import Account, Refusal, amount, check, shown, word
from podium.domain.budget import Budget, Need, Period, Scope, Unit
from podium.errors import InvalidRequest

DAY = 86_400.0


def budget(limit: int = 100, period: Period = Period.DAY, unit: Unit = Unit.TOKENS, name: str = "b") -> Budget:
    return Budget(name=name, scope=Scope.TASK, subject="t", unit=unit, limit=limit, period=period)


def account(limit: int = 100, now: float = 10 * DAY, period: Period = Period.DAY, unit: Unit = Unit.TOKENS) -> Account:
    return Account(budget(limit, period, unit), "t", UTC, now)


class Spending(RuleBasedStateMachine):
    """Operations come, go, and use something else than was reserved; the clock jumps. Beyond the limit is only what
    operations used beyond their reservations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 100 * DAY
        self.account = account(100, self.now)
        self.under_way: list[int] = []
        self.beyond: dict[float, int] = {}
        self.spent: dict[float, int] = {}
        """By start of the window: what really was settled in it."""

    @rule(need=st.integers(0, 60), known=st.booleans(), low=st.booleans())
    def begins(self, need: int, known: bool, low: bool) -> None:
        self.account.roll(self.now)
        taken = self.account.used + self.account.reserved
        found = self.account.room(Need(need, known), low=low)
        if isinstance(found, Refusal):
            if found is Refusal.EXHAUSTED:
                assert self.account.used >= 100
            elif found is Refusal.DEFERRED:
                assert low
                assert taken >= 90
            elif found is Refusal.BUSY:
                assert self.under_way
            return
        assert taken + found <= 100
        assert found == need or not known
        self.account.reserved += found
        self.under_way.append(found)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 10**6), used=st.one_of(st.none(), st.integers(0, 90)))
    def ends(self, which: int, used: int | None) -> None:
        reserved = self.under_way.pop(which % len(self.under_way))
        self.account.roll(self.now)
        self.account.settle(reserved, used)
        really = reserved if used is None else used
        start = self.account.window.start
        self.spent[start] = self.spent.get(start, 0) + really
        self.beyond[start] = self.beyond.get(start, 0) + max(0, really - reserved)

    @precondition(lambda self: self.under_way)
    @rule()
    def is_released(self) -> None:
        self.account.reserved -= self.under_way.pop()

    @rule(by=st.sampled_from([1.0, 3600.0, DAY, 3 * DAY, -3600.0, -DAY, -2 * DAY]))
    def clock_moves(self, by: float) -> None:
        self.now = max(50 * DAY, self.now + by)

    @rule()
    def restarts(self) -> None:
        """What was reserved is gone with the process; what was used is kept."""
        row = self.account.row()
        self.account = Account(self.account.budget, "t", UTC, self.now, row)
        self.under_way.clear()

    @invariant()
    def what_is_reserved_adds_up(self) -> None:
        assert self.account.reserved == sum(self.under_way)

    @invariant()
    def no_window_forgets_what_was_spent_in_it(self) -> None:
        self.account.roll(self.now)
        start = self.account.window.start
        recent = list(self.spent)[-3:]
        if start in recent:
            assert self.account.used >= min(self.spent[start], 100)


Spending.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSpending = pytest.mark.no_cover(pytest.mark.requirement("COST-3")(Spending.TestCase))


@settings(max_examples=200, deadline=None)
@given(needs=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=60))
@pytest.mark.no_cover
def test_what_is_used_passes_the_limit_by_no_more_than_was_used_beyond_reservations(needs: list[tuple[int, int]]):
    one = account(100)
    beyond = 0
    for need, used in needs:
        room = one.room(Need(need), low=False)
        if not isinstance(room, Refusal):
            one.reserved += room
            beyond += max(0, used - room)
            one.settle(room, used)
    assert one.used <= 100 + beyond


@pytest.mark.requirement("COST-3")
def test_a_clock_set_back_over_the_edge_refills_nothing():
    one = account(100, now=10.5 * DAY)
    one.settle(0, 30)
    one.roll(11.1 * DAY)
    assert one.used == 0
    one.settle(0, 90)
    one.roll(10.9 * DAY)  # back into the window before, where 30 were used
    assert one.used == 90
    assert one.room(Need(11), low=False) is Refusal.TOO_LARGE
    one.roll(11.0 * DAY)
    assert one.used == 90
    one.roll(12.0 * DAY)
    assert one.used == 0


def test_a_clock_that_was_a_year_ahead_for_a_moment_locks_nothing_for_a_year():
    one = account(100, now=10.5 * DAY)
    one.roll(400 * DAY)
    one.settle(0, 100)
    one.roll(10.6 * DAY)
    assert one.used == 100
    one.roll(11.5 * DAY)
    assert one.used == 0


def test_the_same_holds_when_it_was_set_back_while_nothing_ran():
    one = account(100, now=11.5 * DAY)
    one.settle(0, 100)
    again = Account(one.budget, "t", UTC, 10.5 * DAY, one.row())
    assert again.used == 100
    assert again.room(Need(1), low=False) is Refusal.EXHAUSTED


def test_a_guess_takes_what_is_left_and_others_wait_for_it():
    one = account(100)
    first = one.room(Need(1024, known=False), low=False)
    assert first == 100
    one.reserved += 100
    assert one.room(Need(1024, known=False), low=False) is Refusal.BUSY
    assert one.room(Need(5), low=False) is Refusal.BUSY
    one.settle(100, 10)
    assert one.room(Need(90), low=False) == 90


def test_low_priority_waits_from_ninety_percent_on():
    one = account(100)
    one.settle(0, 89)
    assert one.room(Need(1), low=True) == 1
    one.settle(0, 1)
    assert one.room(Need(1), low=True) is Refusal.DEFERRED
    assert one.room(Need(1), low=False) == 1


def test_it_is_said_once_at_eighty_percent_and_once_at_the_end():
    one = account(100)
    assert [one.settle(0, 10) for _ in range(11)] == [False] * 7 + [True, False, True, False]
    again = Account(one.budget, "t", UTC, 10 * DAY, one.row())
    assert not again.settle(0, 1)


def test_energy_nobody_measured_is_not_made_up_but_counted_as_unknown():
    energy, tokens = account(1000, unit=Unit.ENERGY), account(1000)
    for one in (energy, tokens):
        one.reserved += 10
        one.settle(10, None)
        assert one.unmeasured == 1
    assert energy.used == 0
    assert tokens.used == 10


def test_a_lower_limit_refuses_at_once_and_a_higher_one_makes_room():
    one = account(100)
    one.settle(0, 60)
    one.limit(budget(50))
    assert one.standing().state == "exhausted"
    assert one.standing().left == 0
    one.limit(budget(200))
    assert one.room(Need(140), low=False) == 140


def test_a_budget_of_nothing_refuses_everything():
    assert account(0).room(Need(0), low=False) is Refusal.EXHAUSTED


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (-1, Unit.TOKENS),
        (-1e-9, Unit.MONEY),
        (math.nan, Unit.MONEY),
        (math.inf, Unit.ENERGY),
        (-math.inf, Unit.TOKENS),
        (1.5, Unit.TOKENS),
        (1e-9, Unit.MONEY),
        (1e30, Unit.TOKENS),
        (True, Unit.TOKENS),
        ("ten", Unit.TOKENS),
        (None, Unit.TOKENS),
    ],
)
@pytest.mark.requirement("COST-3")
def test_a_limit_that_is_none_is_refused_in_words(value: object, unit: Unit):
    with pytest.raises(InvalidRequest) as error:
        amount(value, unit)
    assert error.value.param == "limit"
    assert len(error.value.message) > 20


@pytest.mark.parametrize(
    "wrong",
    [budget(name=""), budget(name="a b"), budget(name="x" * 65), budget(name="../x")],
)
def test_a_budget_needs_a_name_that_can_be_written(wrong: Budget):
    with pytest.raises(InvalidRequest, match="no name for a budget"):
        check(wrong)


@given(value=st.one_of(st.integers(0, 10**9), st.floats(0, 1e6)), unit=st.sampled_from(Unit))
def test_amounts_come_back_as_they_were_written(value: float, unit: Unit):
    try:
        inside = amount(value, unit)
    except InvalidRequest:
        return
    assert shown(inside, unit) == pytest.approx(value, abs=1.0 / {"tokens": 1e9}.get(unit, 1000))
    assert word(inside, unit)


def test_a_month_in_another_zone_is_another_window():
    auckland = ZoneInfo("Pacific/Auckland")
    one = Account(budget(period=Period.MONTH), "t", auckland, 1_795_219_200.0)
    assert one.window.start % DAY != 0
