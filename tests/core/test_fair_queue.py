"""The waiting line is fair to callers and tasks, starves nobody, and loses nothing."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podium.core.fair_queue import HIGH, LOW, NORMAL, FairQueue


class Item:
    """Told apart by identity; equal to everything, to prove that equality is never asked."""

    def __init__(self, name: str, caller: str = "a", task: str = "t") -> None:
        self.name, self.caller, self.task = name, caller, task

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # items need not be hashable

    def __repr__(self) -> str:
        return self.name


def filled(*names: str, priority: int = NORMAL, queue: FairQueue[Item] | None = None) -> FairQueue[Item]:
    """Names are ``caller/task/anything``."""
    queue = FairQueue(patience_s=math.inf) if queue is None else queue
    for name in names:
        caller, task, _ = name.split("/")
        queue.push(Item(name, caller, task), caller=caller, task=task, priority=priority, now=0.0)
    return queue


def drain(queue: FairQueue[Item], now: float = 0.0) -> list[str]:
    names = []
    while (item := queue.pop(now)) is not None:
        names.append(item.name)
    return names


def test_one_caller_with_one_task_is_served_in_order_of_arrival() -> None:
    names = [f"a/t/{n}" for n in range(5)]
    assert drain(filled(*names)) == names


@pytest.mark.requirement("POOL-3")
def test_a_flood_from_one_caller_delays_another_by_one_request_at_most() -> None:
    queue = filled(*(f"flood/t/{n}" for n in range(1000)))
    for _ in range(10):
        queue.pop(0.0)
    filled("quiet/t/0", "quiet/t/1", queue=queue)
    assert drain(queue)[:4] == ["flood/t/10", "quiet/t/0", "flood/t/11", "quiet/t/1"]


def test_tasks_of_one_caller_take_turns_and_do_not_take_turns_from_another_caller() -> None:
    queue = filled("a/x/0", "a/x/1", "a/x/2", "a/y/0", "a/y/1", "b/x/0", "b/x/1", "b/x/2")
    assert drain(queue) == ["a/x/0", "b/x/0", "a/y/0", "b/x/1", "a/x/1", "b/x/2", "a/y/1", "a/x/2"]


def test_a_lower_band_waits_until_the_higher_ones_are_empty() -> None:
    queue = filled("a/t/low", priority=LOW)
    filled("a/t/normal", priority=NORMAL, queue=queue)
    filled("a/t/high", "b/t/high", priority=HIGH, queue=queue)
    assert queue.best_priority() == HIGH
    assert drain(queue) == ["a/t/high", "b/t/high", "a/t/normal", "a/t/low"]


def test_waiting_longer_than_the_patience_is_served_as_if_one_band_higher() -> None:
    queue: FairQueue[Item] = FairQueue(patience_s=10.0)
    queue.push(Item("low"), caller="a", task="t", priority=LOW, now=0.0)
    queue.push(Item("late"), caller="b", task="t", priority=LOW, now=5.0)
    queue.push(Item("normal"), caller="c", task="t", priority=NORMAL, now=9.0)
    assert [queue.pop(9.0).name] == ["normal"]  # 9 s: still low
    for at in (11.0, 12.0):
        queue.push(Item(f"normal {at}"), caller="c", task="t", priority=NORMAL, now=at)
    assert queue.best_priority() == NORMAL
    assert [queue.pop(12.0).name for _ in range(4)] == ["low", "normal 11.0", "normal 12.0", "late"]


def test_after_two_patience_periods_a_low_one_competes_with_the_high_ones() -> None:
    queue: FairQueue[Item] = FairQueue(patience_s=10.0)
    queue.push(Item("low"), caller="a", task="t", priority=LOW, now=0.0)
    for n in range(5):
        queue.push(Item(f"high {n}"), caller="b", task="t", priority=HIGH, now=15.0)
    assert queue.pop(19.9).name == "high 0"
    assert [queue.pop(20.0).name for _ in range(3)] == ["high 1", "low", "high 2"]


@pytest.mark.requirement("POOL-3")
def test_an_old_backlog_gets_no_advantage_over_another_caller() -> None:
    queue: FairQueue[Item] = FairQueue(patience_s=10.0)
    for n in range(100):
        queue.push(Item(f"old {n}"), caller="flood", task="t", priority=NORMAL, now=0.0)
    queue.push(Item("new"), caller="quiet", task="t", priority=HIGH, now=60.0)
    assert "new" in [queue.pop(60.0).name for _ in range(2)]


def test_leaving_takes_an_item_out_of_the_head_the_middle_and_the_end_without_cost_to_the_others() -> None:
    queue = filled(*(f"a/t/{n}" for n in range(5)), "b/t/0", "b/t/1")
    items = {item.name: item for item in queue}
    for name in ("a/t/0", "a/t/2", "a/t/4", "b/t/0"):
        assert queue.discard(items[name])
        assert not queue.discard(items[name])
    assert len(queue) == 3
    assert drain(queue) == ["a/t/1", "b/t/1", "a/t/3"]


def test_an_item_is_known_by_identity_and_waits_once() -> None:
    queue: FairQueue[Item] = FairQueue()
    item = Item("one")
    queue.push(item, caller="a", task="t", priority=NORMAL, now=0.0)
    assert not queue.discard(Item("one"))
    assert queue.position(Item("one")) is None
    with pytest.raises(ValueError, match="waits already"):
        queue.push(item, caller="b", task="t", priority=NORMAL, now=0.0)
    assert queue.pop(0.0) is item
    queue.push(item, caller="a", task="t", priority=NORMAL, now=0.0)
    assert len(queue) == 1


@pytest.mark.parametrize("priority", [-1, 3, 99])
def test_an_unknown_priority_is_refused(priority: int) -> None:
    with pytest.raises(ValueError, match=r"0 \(high\), 1 \(normal\) or 2 \(low\)"):
        FairQueue[Item]().push(Item("x"), caller="a", task="t", priority=priority, now=0.0)


@pytest.mark.parametrize("patience_s", [0.0, -1.0, math.nan])
def test_patience_must_be_positive(patience_s: float) -> None:
    with pytest.raises(ValueError, match="patience"):
        FairQueue[Item](patience_s=patience_s)


def test_an_empty_queue_has_nothing_to_say() -> None:
    queue: FairQueue[Item] = FairQueue()
    assert [queue.peek(0.0), queue.pop(0.0), queue.oldest_at(), queue.best_priority()] == [None] * 4
    assert len(queue) == len(list(queue)) == 0


def test_the_queue_may_change_while_one_walks_over_it() -> None:
    queue = filled(*(f"a/t/{n}" for n in range(10)))
    for item in queue:
        assert queue.discard(item)
    assert len(queue) == 0


def test_callers_and_tasks_that_went_away_leave_nothing_behind() -> None:
    queue: FairQueue[Item] = FairQueue(patience_s=1.0)
    for n in range(5_000):
        item = Item("x")
        queue.push(item, caller=f"caller {n}", task=f"task {n}", priority=n % 3, now=n / 10)
        if n % 2:
            assert queue.discard(item)
        else:
            queue.pop(n / 10)
    while queue.pop(1e6) is not None:
        pass
    assert all(not callers for callers in queue._bands)
    assert all(not line for line in queue._ageing.values())
    assert not queue._entries


@pytest.mark.requirement("POOL-3")
@given(
    backlog=st.integers(0, 40),
    priority=st.sampled_from([HIGH, NORMAL, LOW]),
    patience_s=st.floats(0.5, 20.0),
    callers=st.integers(1, 7),
)
def test_nobody_starves_even_when_new_callers_with_high_priority_never_stop_coming(
    backlog: int, priority: int, patience_s: float, callers: int
) -> None:
    queue: FairQueue[Item] = FairQueue(patience_s=patience_s)
    for n in range(backlog):
        queue.push(Item("high"), caller=f"early {n}", task="t", priority=HIGH, now=0.0)
    mine = Item("mine")
    queue.push(mine, caller="me", task="t", priority=priority, now=0.0)
    step = 0
    while True:
        step += 1
        name = f"new {step}" if step % 2 else f"regular {step % callers}"
        queue.push(Item("high"), caller=name, task="t", priority=HIGH, now=float(step))
        if queue.pop(float(step)) is mine:
            break
        # One comes and one goes per second: the line stays as long as it was.
        assert step <= priority * patience_s + 1 + backlog + callers + 1


@given(st.data())
@pytest.mark.no_cover
def test_between_two_callers_that_both_wait_the_number_served_differs_by_at_most_one(data: st.DataObject) -> None:
    queue: FairQueue[Item] = FairQueue(patience_s=math.inf)
    rounds = data.draw(st.integers(1, 30))
    for caller, tasks in (("A", 1), ("B", 3)):
        for n in range(rounds + 1):
            queue.push(Item(caller, caller), caller=caller, task=str(n % tasks), priority=NORMAL, now=0.0)
    served: Counter[str] = Counter()
    others: list[Item] = []
    while served["A"] + served["B"] < rounds:
        match data.draw(st.integers(0, 3)):
            case 2:
                item = Item("other", data.draw(st.sampled_from("CDEF")))
                others.append(item)
                queue.push(item, caller=item.caller, task="t", priority=NORMAL, now=0.0)
            case 3 if others:
                queue.discard(others.pop(data.draw(st.integers(0, len(others) - 1))))
            case _:
                served[queue.pop(0.0).caller] += 1
        assert abs(served["A"] - served["B"]) <= 1


class Line(RuleBasedStateMachine):
    """Anything may happen in any order; the line is compared with a plain list of who waits since when."""

    @initialize(patience_s=st.sampled_from([1.0, 10.0, math.inf]))
    def begin(self, patience_s: float) -> None:
        self.queue: FairQueue[Item] = FairQueue(patience_s)
        self.patience_s = patience_s
        self.now = 100.0
        self.waiting: list[tuple[Item, int, float]] = []
        self.gone: list[Item] = []

    def band(self, priority: int, at: float) -> int:
        return max(HIGH, priority - int((self.now - at) // self.patience_s))

    @rule(caller=st.sampled_from("abc"), task=st.sampled_from("xy"), priority=st.integers(0, 2))
    def push(self, caller: str, task: str, priority: int) -> None:
        item = Item(f"{caller}/{task}", caller, task)
        self.queue.push(item, caller=caller, task=task, priority=priority, now=self.now)
        self.waiting.append((item, priority, self.now))

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def pop(self) -> None:
        next_one = self.queue.peek(self.now)
        assert self.queue.peek(self.now) is next_one
        item = self.queue.pop(self.now)
        assert item is next_one
        if item is None:
            assert not self.waiting
            return
        mine = next(entry for entry in self.waiting if entry[0] is item)  # fails for one lost or served twice
        bands = [self.band(priority, at) for _, priority, at in self.waiting]
        assert self.band(mine[1], mine[2]) == min(bands)
        same = [
            entry
            for entry, band in zip(self.waiting, bands, strict=True)
            if band == min(bands) and (entry[0].caller, entry[0].task, entry[1]) == (item.caller, item.task, mine[1])
        ]
        assert same[0][0] is item  # first come, first served
        self.forget(item)

    @precondition(lambda self: getattr(self, "waiting", None))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from([entry[0] for entry in self.waiting]))
        assert self.queue.discard(item)
        self.forget(item)

    @rule()
    def leave_again(self) -> None:
        assert not any(self.queue.discard(item) for item in self.gone)

    def forget(self, item: Item) -> None:
        self.waiting = [entry for entry in self.waiting if entry[0] is not item]
        self.gone.append(item)

    @invariant()
    def it_holds_exactly_those_who_wait(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert [id(item) for item in self.queue] == [id(entry[0]) for entry in self.waiting]
        assert len(self.queue) == len(self.waiting)
        assert self.queue.oldest_at() == (self.waiting[0][2] if self.waiting else None)
        positions = sorted(self.queue.position(item) for item in self.queue)
        assert positions == list(range(len(self.waiting)))

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        first = self.queue.pop(self.now)  # brings everybody's band up to date; the order is settled from here
        if first is None:
            return
        order = sorted(self.queue, key=self.queue.position)
        assert [id(item) for item in order] == [id(self.queue.pop(self.now)) for _ in order]


TestLine = Line.TestCase
TestLine.pytestmark = [pytest.mark.no_cover]
TestLine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
