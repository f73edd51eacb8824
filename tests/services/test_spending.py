"""Sums of what was spent: by hour and cause, whole, whatever clock and disk do."""

from __future__ import annotations

import pytest

from ledger_samples import attempt
from podium.domain.cost import Cause, Cost, Operation, SpentRow
from podium.domain.decision import Outcome
from podium.services.spending import HOURS, Spending

HOUR = 3600.0


def ended(**cost: object) -> Outcome:
    return attempt(1, cost=Cost(wall_ms=10.0, **cost))[1]


def done(name: str = "op", **cost: object) -> Operation:
    return Operation(id=name, at=0.0, task="t", ref="m@1", success=True, cost=Cost(wall_ms=1.0, **cost))


@pytest.mark.requirement("COST-1")
def test_figures_that_are_missing_do_not_count_as_nothing_spent() -> None:
    sums = Spending()
    sums.outcomes([ended(cpu_ms=4.0, mean_memory_mb=100.0), ended()], now=0.0)
    (row,) = sums.recent().values()
    assert (row.operations, row.cpu_ms, row.cpu_samples, row.energy_samples) == (2, 4.0, 1, 0)
    assert (row.memory_mb_ms, row.memory_wall_ms) == (1000.0, 10.0)


def test_causes_are_apart() -> None:
    sums = Spending()
    sums.outcomes([ended(), ended(cause=Cause.CANARY, charged_to="rol")], now=0.0)
    sums.operation(done(cause=Cause.JUDGE, charged_to="req"), now=0.0)
    assert {key.cause for key in sums.recent()} == {Cause.REQUEST, Cause.CANARY, Cause.JUDGE}


def test_what_could_not_be_stored_is_stored_next_time_with_what_came_since() -> None:
    sums = Spending()
    sums.operation(done("first"), now=0.0)
    operations, rows = sums.take()
    assert not sums.unsaved
    sums.operation(done("second"), now=0.0)
    sums.put_back(operations, rows)
    operations, rows = sums.take()
    assert [one.id for one in operations] == ["first", "second"]
    assert [row.operations for row in rows.values()] == [2]


def test_a_clock_that_goes_back_does_not_overwrite_the_sums_of_an_hour_that_is_forgotten() -> None:
    sums = Spending()
    for hour in range(100, 100 + 2 * HOURS):
        sums.operation(done(), now=hour * HOUR)
        sums.take()
    oldest = min(key.hour for key in sums.recent())
    assert oldest > 100
    sums.operation(done(), now=100 * HOUR)
    _, rows = sums.take()
    assert {key.hour: row.operations for key, row in rows.items()} == {oldest: 2}


def test_an_hour_that_is_not_durable_is_not_forgotten() -> None:
    sums = Spending()
    for hour in range(3 * HOURS):
        sums.operation(done(), now=hour * HOUR)
    assert len(sums.recent()) == 3 * HOURS


def test_a_restart_goes_on_adding_to_the_hour_on_record() -> None:
    first = Spending()
    first.operation(done(), now=0.0)
    second = Spending(first.recent())
    second.operation(done(), now=10.0)
    assert [row.operations for row in second.take()[1].values()] == [2]


def test_operations_beyond_the_capacity_go_and_are_counted_and_the_sums_have_them() -> None:
    sums = Spending(capacity=2)
    for number in range(5):
        sums.operation(done(str(number)), now=0.0)
    operations, rows = sums.take()
    assert (sums.dropped, [one.id for one in operations]) == (3, ["3", "4"])
    assert next(iter(rows.values())) == SpentRow(operations=5, wall_ms=5.0)
