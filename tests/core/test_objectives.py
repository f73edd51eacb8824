"""Error budgets and burn rates: on a clock the test moves, also backwards and far ahead."""

from __future__ import annotations

import math
import random
import tracemalloc

import pytest

from podium.core.burn_rings import Ring
from podium.core.objectives import (
    DAY,
    HOUR,
    MINUTE,
    Budget,
    Burn,
    Objectives,
    Standing,
    Turn,
    burn_limit,
    read_window,
)
from podium.domain.alert import Aspect

pytestmark = pytest.mark.requirement("TRK-5")
MONTH = Objectives(success=0.99)


class Task:
    """A task under traffic. ``run`` looks every fifteen seconds."""

    def __init__(self, objectives: Objectives, start: float = 1e6) -> None:
        self.now = start
        self.budget = Budget(objectives, start)

    def run(self, seconds: float, *, per_s: float = 0.5, bad: float = 0.0, seed: int = 1) -> list[tuple[float, Turn]]:
        rng, found, end = random.Random(seed), [], self.now + seconds
        while self.now < end:
            self.now += 15.0
            for _ in range(round(15.0 * per_s + rng.random() - 0.5)):
                self.budget.outcome(self.now, rng.random() >= bad, 100.0)
            found += [(self.now, turn) for turn in self.budget.look(self.now)]
        return found

    def standing(self, aspect: Aspect = Aspect.ERRORS) -> Standing:
        return next(one for one in self.budget.standings(self.now) if one.aspect is aspect)

    def burn(self, speed: str, aspect: Aspect = Aspect.ERRORS) -> Burn:
        return next(one for one in self.standing(aspect).burns if one.speed == speed)


# ------------------------------------------------------------ the numbers


def test_limits_of_the_burn_rate_are_those_of_the_workbook_for_thirty_days():
    assert burn_limit("fast", 0.01, 30 * DAY) == pytest.approx(14.4)
    assert burn_limit("slow", 0.01, 30 * DAY) == pytest.approx(6.0)
    assert burn_limit("fast", 0.01, 7 * DAY) == pytest.approx(3.36)


def test_a_limit_can_always_be_exceeded_and_is_never_what_is_allowed():
    for allowed in (0.5, 0.2, 0.05, 0.001):
        for window in (6 * HOUR, DAY, 30 * DAY, 90 * DAY):
            for speed in ("fast", "slow"):
                assert 1.0 <= burn_limit(speed, allowed, window) < 1.0 / allowed


def test_the_budget_left_and_the_burn_rate_are_what_was_counted():
    task = Task(Objectives(success=0.9, latency_ms=200.0, quality=0.8))
    for number in range(100):
        task.budget.outcome(task.now, number % 20 != 0, 300.0 if number % 10 == 1 else 100.0)
    for value in (1.0, 0.9, 0.5, 0.6):
        task.budget.score(task.now, value)
    errors, latency, quality = (task.standing(one) for one in (Aspect.ERRORS, Aspect.LATENCY, Aspect.QUALITY))
    assert (errors.events, errors.bad, errors.objective) == (100, 5, 0.9)
    assert errors.left == pytest.approx(0.5)
    assert errors.burns[0].long == pytest.approx(0.5)
    assert (latency.events, latency.bad, latency.objective) == (95, 10, 200.0)
    assert latency.left == pytest.approx(1 - 10 / (0.05 * 95))
    assert quality.events == 4
    assert quality.bad == pytest.approx(1.0)
    assert quality.left == pytest.approx(1 - 0.25 / 0.2)


def test_without_requests_there_is_nothing_to_say():
    standing = Task(MONTH).standing()
    assert (standing.left, standing.events) == (None, 0)
    assert [(one.long, one.short, one.burning) for one in standing.burns] == [(None, None, False)] * 2


def test_a_request_that_a_fallback_answered_is_no_failure():
    task = Task(MONTH)
    for _ in range(10):
        task.budget.outcome(task.now, False, 10.0)
        task.budget.outcome(task.now, True, 10.0, again=True)
    task.budget.outcome(task.now, False, 10.0)
    task.budget.outcome(task.now, False, 10.0, again=True)
    standing = task.standing()
    assert (standing.events, standing.bad) == (11, 1)


# ------------------------------------------------------------ alerts


def test_an_outage_is_told_within_minutes_and_its_end_within_the_hour():
    task = Task(MONTH)
    assert task.run(3 * HOUR, bad=0.002) == []
    began = task.now
    found = task.run(20 * MINUTE, bad=1.0)
    (at, fast) = next((at, turn) for at, turn in found if turn.burn.speed == "fast")
    assert at - began <= 12 * MINUTE, "14.4 % of an hour's requests must have failed"
    assert (fast.aspect, fast.burn.burning) == (Aspect.ERRORS, False)
    assert fast.burn.long > 14.4
    assert fast.burn.short > 14.4
    ended = task.now
    found = [(at, turn) for at, turn in task.run(6 * HOUR) if turn.burn.speed == "fast"]
    ((at, turn),) = found
    assert turn.burn.burning
    assert 15 * MINUTE <= at - ended <= 30 * MINUTE
    assert not task.budget.burning(Aspect.ERRORS, "fast")


@pytest.mark.no_cover
def test_a_slow_burn_is_seen_only_by_the_slow_windows():
    task = Task(MONTH)
    task.run(2 * HOUR)
    found = task.run(12 * HOUR, bad=0.09)
    assert [turn.burn.speed for _, turn in found] == ["slow"]
    assert task.burn("fast").long < 14.4
    assert task.budget.burning(Aspect.ERRORS, "slow")


@pytest.mark.no_cover
def test_within_the_budget_nothing_is_told():
    task = Task(MONTH)
    assert task.run(24 * HOUR, bad=0.008) == []
    assert 0.0 < task.standing().left < 0.5


def test_bursts_of_errors_are_one_alert():
    task = Task(MONTH)
    task.run(HOUR)
    found = []
    for seed in range(12):
        found += task.run(6 * MINUTE, bad=1.0, seed=seed) + task.run(9 * MINUTE, seed=seed)
    assert sorted(turn.burn.speed for _, turn in found) == ["fast", "slow"], (
        "opened once each, and never over in between"
    )


def test_a_handful_of_requests_is_no_outage():
    task = Task(MONTH)
    for _ in range(9):
        task.budget.outcome(task.now, False, 10.0)
    assert task.budget.look(task.now) == ()
    task = Task(MONTH)
    for number in range(20):
        task.budget.outcome(task.now, number > 1, 10.0)
    assert task.burn("fast").long == pytest.approx(10.0)
    assert task.budget.look(task.now) == (), "two failures"


def test_when_traffic_ends_the_alert_ends():
    task = Task(MONTH)
    task.run(HOUR)
    task.run(20 * MINUTE, bad=1.0)
    found = task.run(8 * HOUR, per_s=0.0)
    assert sorted(turn.burn.speed for _, turn in found) == ["fast", "slow"]
    assert task.burn("slow").long is None


# ------------------------------------------------------------ time


def test_a_clock_that_goes_back_loses_nothing_and_invents_nothing():
    task = Task(MONTH)
    task.run(HOUR, bad=0.05)
    before = task.standing()
    task.now -= 2 * HOUR
    assert task.standing() == before
    task.budget.outcome(task.now, False, 10.0)
    after = task.standing()
    assert (after.events, after.bad) == (before.events + 1, before.bad + 1)
    assert task.budget.look(task.now) == ()


def test_a_clock_that_jumps_ahead_empties_the_windows_and_goes_on():
    task = Task(MONTH)
    task.run(HOUR, bad=0.5)
    assert task.burn("slow").long > 6
    task.now += 7 * HOUR
    assert task.burn("slow").long is None
    assert task.standing().events > 1000, "the budget is for thirty days"
    task.now += 400 * DAY
    assert task.standing().events == 0
    task.run(10 * MINUTE)
    assert task.standing().left == 1.0


def test_events_leave_the_windows_as_they_grow_old():
    ring = Ring(MINUTE, 60, 1, 0.0)
    for minute in range(120):
        ring.add(minute * MINUTE, [1.0])
        assert ring.last(5 * MINUTE, minute * MINUTE) == [min(5, minute + 1)]
        assert ring.last(HOUR, minute * MINUTE) == [min(60, minute + 1)]
    ring.add(0.0, [100.0])
    assert ring.last(HOUR, 119 * MINUTE) == [60.0], "too old to be kept"
    ring.add(119 * MINUTE - 10 * MINUTE, [5.0])
    assert ring.last(HOUR, 119 * MINUTE) == [65.0]
    assert ring.last(5 * MINUTE, 119 * MINUTE) == [5.0]


def test_what_an_earlier_run_recorded_counts_at_its_age():
    task = Task(MONTH)
    task.budget.remember(task.now - 10 * DAY, (1000, 20, 980, 0, 0, 0), days=True)
    task.budget.remember(task.now - 2 * HOUR, (100, 30, 70, 0, 0, 0), days=False)
    standing = task.standing()
    assert (standing.events, standing.bad) == (1000, 20)
    assert standing.left == pytest.approx(-1.0)
    assert standing.measured_s == pytest.approx(10 * DAY)
    assert task.burn("fast").long is None
    assert task.burn("slow").long == pytest.approx(30.0)


def test_an_alert_of_an_earlier_run_ends_in_this_one():
    task = Task(MONTH)
    task.budget.resume(Aspect.ERRORS, "fast", task.now)
    found = task.run(HOUR)
    assert [(turn.burn.speed, turn.burn.burning) for _, turn in found] == [("fast", True)]


@pytest.mark.no_cover
def test_ten_thousand_tasks_with_objectives_take_less_than_a_hundred_megabytes():
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = []
    for _ in range(50):
        task = Task(Objectives(success=0.99, latency_ms=100, quality=0.8))
        for minute in range(200):
            task.budget.outcome(task.now + minute * MINUTE, True, 50.0)
        kept.append(task.budget)
    each = (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    tracemalloc.stop()
    assert each * 10_000 < 100e6, each


# ------------------------------------------------------------ what may be asked for


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30d", 30 * DAY), ("12h", 12 * HOUR), (" 7 D ", 7 * DAY), ("1.5d", 36 * HOUR), (86400, DAY)],
)
def test_windows_are_read(written, seconds):
    assert read_window(written) == seconds


@pytest.mark.parametrize("written", ["-3d", "soon", "", "5", "30m", "91d", -1, 0, 60.0, math.inf, math.nan])
def test_what_is_no_window_is_refused_with_what_to_write(written):
    with pytest.raises(ValueError, match=r"6h|12h"):
        read_window(written)
