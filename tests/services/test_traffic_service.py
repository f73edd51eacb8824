"""The day's curve survives a restart, and a store that fails loses nothing of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes import FakeClock
from podium.domain.cost import Cause, Cost
from podium.domain.decision import Outcome
from podium.errors import StoreError
from podium.services.spending import Spending
from podium.services.traffic import Traffic

pytestmark = pytest.mark.requirement("OPS-8")
HOUR = 3600.0
DONE = Outcome(
    decision_id="d", request_id="r", task="t", ref="m@1", at=0.0, success=True, error=None, streamed=False,
    latency_ms=100.0, ttft_ms=None, cost=Cost(wall_ms=100.0),
)  # fmt: skip


class Kept:
    """What a store keeps of learners, and whether it works."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.broken = False

    async def save_learned(self, name: str, content: bytes, at: float) -> None:
        if self.broken:
            raise StoreError("disk full")
        self.rows[name] = content


def traffic(store: Kept, clock: FakeClock) -> Traffic:
    return Traffic(store, clock, Spending(), store.rows)  # type: ignore[arg-type] # all it needs of a store


def requests(made: Traffic, seconds: float = 86_400) -> int:
    curve = made.curve(seconds, 1440)
    return round(sum(level.requests_per_s * curve.step_s for level in curve.levels))


async def test_a_day_is_kept_in_a_row_for_each_hour_and_read_again() -> None:
    store, clock = Kept(), FakeClock()
    clock.time = 100 * HOUR
    made = traffic(store, clock)
    for hour in range(30):
        clock.time = (100 + hour) * HOUR + 1800
        made.outcomes([replace(DONE, at=clock.time)] * 10)
        await made.keep(at_once=True)
    assert len(store.rows) == 24
    clock.time += 120
    again = traffic(store, clock)
    assert requests(again) == requests(made) == 240
    assert again.curve(86_400, 288).levels[-1].p50_ms == made.curve(86_400, 288).levels[-1].p50_ms


async def test_it_is_written_a_minute_after_it_changed_and_not_without_a_change() -> None:
    store, clock = Kept(), FakeClock()
    made = traffic(store, clock)
    await made.keep(at_once=True)
    assert store.rows == {}
    made.outcomes([replace(DONE, at=clock.time)])
    await made.keep()
    assert store.rows == {}
    clock.time += 61
    await made.keep()
    (written,) = store.rows.values()
    clock.time += 61
    await made.keep()
    assert list(store.rows.values()) == [written]


async def test_a_store_that_fails_gets_it_all_later() -> None:
    store, clock = Kept(), FakeClock()
    made = traffic(store, clock)
    store.broken = True
    made.outcomes([replace(DONE, at=clock.time)])
    clock.time += HOUR  # the hour it fell into is over before the disk has room again
    with pytest.raises(StoreError):
        await made.keep()
    store.broken = False
    made.outcomes([replace(DONE, at=clock.time)])
    await made.keep(at_once=True)
    clock.time += 120
    assert requests(traffic(store, clock)) == 2


async def test_a_row_that_cannot_be_read_is_a_gap_and_no_obstacle() -> None:
    store, clock = Kept(), FakeClock()
    store.rows = {"traffic.01": b"nonsense", "traffic.02": b"\x92\x63\x90", "quality": b"not ours"}
    assert requests(traffic(store, clock)) == 0


def test_shares_are_of_what_clients_asked_in_the_last_hours() -> None:
    clock, spending = FakeClock(), Spending()
    clock.time = 100 * HOUR
    spending.outcomes([replace(DONE, ref="old@1")] * 5, 70 * HOUR)
    spending.outcomes([replace(DONE, ref="m@1")] * 3, 99 * HOUR)
    judged = replace(DONE, cost=Cost(wall_ms=1.0, cause=Cause.JUDGE))
    spending.outcomes([replace(DONE, ref="m@2"), judged], clock.time)
    made = Traffic(Kept(), clock, spending, {})  # type: ignore[arg-type] # nothing is stored
    assert made.shares() == {"t": {"m@1": 3, "m@2": 1}}
