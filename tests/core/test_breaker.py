"""A breaker opens on a storm, admits exactly one probe, and always finds its way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from podium.core.breaker import Breaker, BreakerRules, BreakerState

RULES = BreakerRules(failures=3, window_s=30.0, open_s=5.0, open_max_s=20.0, factor=2.0)


def opened(at: float = 0.0, rules: BreakerRules = RULES) -> Breaker:
    breaker = Breaker(rules)
    for _ in range(rules.failures):
        breaker.failed(at)
    assert breaker.state(at) is BreakerState.OPEN
    return breaker


def test_it_stays_closed_below_the_number_of_failures() -> None:
    breaker = Breaker(RULES)
    breaker.failed(0.0)
    breaker.failed(1.0)
    assert breaker.state(1.0) is BreakerState.CLOSED
    assert breaker.admit(1.0)
    assert breaker.retry_in_s(1.0) == 0.0
    breaker.failed(2.0)
    assert breaker.state(2.0) is BreakerState.OPEN
    assert not breaker.admit(2.0)


def test_failures_older_than_the_window_do_not_count() -> None:
    breaker = Breaker(RULES)
    for at in (0.0, 1.0, 30.5, 31.5):
        breaker.failed(at)
    assert breaker.state(31.5) is BreakerState.CLOSED
    breaker.failed(32.0)
    assert breaker.state(32.0) is BreakerState.OPEN


def test_the_window_slides_and_drops_only_what_is_too_old() -> None:
    breaker = Breaker(replace(RULES, failures=4))
    for at in (0.0, 10.0, 20.0, 31.0):
        breaker.failed(at)
        assert breaker.state(at) is BreakerState.CLOSED
    breaker.failed(36.0)  # with those at 10, 20 and 31
    assert breaker.state(36.0) is BreakerState.OPEN


def test_a_success_in_between_does_not_erase_a_storm() -> None:
    breaker = Breaker(RULES)
    for at in range(5):
        (breaker.succeeded if at % 2 else breaker.failed)(float(at))
    assert breaker.state(5.0) is BreakerState.OPEN


def test_a_few_failures_among_many_successes_do_not_open_it() -> None:
    breaker = Breaker(RULES)
    for n in range(1000):
        at = n / 40  # all within one window
        breaker.succeeded(at)
        if n % 5 == 0:
            breaker.failed(at)
    assert breaker.state(25.0) is BreakerState.CLOSED


def test_its_memory_does_not_grow_with_traffic() -> None:
    breaker = Breaker(RULES)
    for n in range(20_000):
        breaker.succeeded(n / 100)
    assert len(breaker._slices) <= 11


@pytest.mark.requirement("POOL-5")
def test_when_half_open_exactly_one_caller_is_admitted() -> None:
    breaker = opened()
    assert breaker.retry_in_s(1.0) == 4.0
    assert not breaker.admit(4.999)
    assert breaker.state(5.0) is BreakerState.HALF_OPEN
    assert [breaker.admit(5.0) for _ in range(10)] == [True] + [False] * 9
    breaker.succeeded(6.0)
    assert breaker.state(6.0) is BreakerState.CLOSED
    assert all(breaker.admit(6.0) for _ in range(10))


def test_asking_would_admit_does_not_take_the_place_of_the_probe() -> None:
    breaker = opened()
    assert [breaker.would_admit(4.0), *(breaker.would_admit(5.0) for _ in range(3))] == [False, True, True, True]
    assert breaker.admit(5.0)
    assert not breaker.would_admit(5.0)


def test_every_failed_probe_makes_the_open_time_longer_up_to_the_maximum() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(4):
        waits.append(breaker.retry_in_s(now))
        now += waits[-1]
        assert breaker.admit(now)
        breaker.failed(now)
    assert waits == [5.0, 10.0, 20.0, 20.0]


def test_a_maximum_below_the_first_open_time_wins() -> None:
    assert opened(rules=BreakerRules(failures=1, open_s=50.0, open_max_s=10.0)).retry_in_s(0.0) == 10.0


def test_closing_for_a_moment_does_not_start_the_back_off_anew_but_a_calm_window_does() -> None:
    breaker = opened()
    assert breaker.admit(5.0)
    breaker.succeeded(5.0)
    for _ in range(3):
        breaker.failed(6.0)
    assert breaker.retry_in_s(6.0) == 10.0
    assert breaker.admit(16.0)
    breaker.succeeded(16.0)
    for _ in range(3):
        breaker.failed(50.0)
    assert breaker.retry_in_s(50.0) == 5.0


def test_a_probe_whose_client_left_makes_room_for_the_next() -> None:
    breaker = opened()
    assert breaker.admit(5.0)
    breaker.abandoned(5.1)
    assert breaker.admit(5.1)
    assert not breaker.admit(5.1)


def test_a_probe_that_never_reports_blocks_no_longer_than_the_open_time() -> None:
    breaker = opened()
    assert breaker.admit(5.0)
    assert not breaker.admit(9.9)
    assert breaker.retry_in_s(9.0) == 1.0
    assert breaker.admit(10.0)
    assert not breaker.admit(10.0)


def test_news_of_requests_from_before_it_opened_changes_nothing() -> None:
    breaker = opened()
    breaker.succeeded(1.0)
    breaker.failed(2.0)
    breaker.abandoned(3.0)
    assert breaker.state(3.0) is BreakerState.OPEN
    assert breaker.retry_in_s(3.0) == 2.0


def test_with_tickets_neither_old_requests_nor_lost_probes_speak_for_the_probe_under_way() -> None:
    breaker = Breaker(RULES)
    assert breaker.admit(0.0)
    old = breaker.ticket
    for _ in range(3):
        breaker.failed(0.0, ticket=0)
    assert breaker.admit(5.0)
    lost = breaker.ticket
    assert breaker.admit(10.0)
    probe = breaker.ticket
    assert len({old, lost, probe}) == 3
    for stale in (old, lost):
        breaker.abandoned(11.0, ticket=stale)
        breaker.succeeded(11.0, ticket=stale)
        breaker.failed(11.0, ticket=stale)
        assert not breaker.would_admit(11.0)
    breaker.succeeded(12.0, ticket=probe)
    assert breaker.state(12.0) is BreakerState.CLOSED


def test_rules_may_change_while_it_works() -> None:
    breaker = Breaker(RULES)
    breaker.failed(0.0)
    breaker.failed(0.0)
    breaker.rules = BreakerRules(failures=10, window_s=1.0, open_s=1.0)
    breaker.failed(0.5)
    assert breaker.state(0.5) is BreakerState.CLOSED
    for _ in range(10):
        breaker.failed(3.0)
    assert breaker.retry_in_s(3.0) == 1.0


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), max_size=60))
def test_it_is_open_only_if_enough_failed_within_the_window_and_they_were_half(
    results: list[tuple[float, bool]],
) -> None:
    breaker, now, seen = Breaker(RULES), 0.0, []
    for pause, good in results:
        now += pause
        seen.append((now, good))
        (breaker.succeeded if good else breaker.failed)(now)
        recent = [ok for at, ok in seen if at > now - RULES.window_s]
        surely = [ok for at, ok in seen if at > now - RULES.window_s * 0.9]  # slices leave whole
        if breaker.state(now) is BreakerState.OPEN:
            assert recent.count(False) >= RULES.failures
            return
        if not good:
            assert surely.count(False) < RULES.failures or recent.count(True) > surely.count(False)


class Callers(RuleBasedStateMachine):
    """Callers come, report, leave or never report, in any order; never are two probes under way."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(RULES)
        self.now = 0.0
        self.under_way: list[tuple[int, float]] = []
        """(ticket, admitted at) of requests without a result; ticket 0 is no probe."""

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 4.9, 5.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        before = self.breaker.state(self.now)
        said = self.breaker.would_admit(self.now)
        admitted = self.breaker.admit(self.now)
        assert admitted == said
        if before is BreakerState.CLOSED:
            assert admitted
            assert self.breaker.ticket == 0
        if before is BreakerState.OPEN:
            assert not admitted
        if admitted:
            self.under_way.append((self.breaker.ticket, self.now))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), what=st.sampled_from(["succeeded", "failed", "failed", "abandoned"]))
    def report(self, data: st.DataObject, what: str) -> None:
        ticket, _ = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        getattr(self.breaker, what)(self.now, ticket=ticket)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def get_lost(self, data: st.DataObject) -> None:
        self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))

    @invariant()
    def never_two_probes_at_once(self) -> None:
        probes = [at for ticket, at in self.under_way if ticket and at > self.now - RULES.open_s]
        assert len(probes) <= 1

    @invariant()
    def it_never_blocks_for_ever_and_says_for_how_long(self) -> None:
        wait_s = self.breaker.retry_in_s(self.now)
        assert 0.0 <= wait_s <= RULES.open_max_s
        assert self.breaker.would_admit(self.now + wait_s + 1e-6)
        assert (wait_s == 0.0) == self.breaker.would_admit(self.now)


TestCallers = Callers.TestCase
TestCallers.pytestmark = [pytest.mark.no_cover]
TestCallers.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
