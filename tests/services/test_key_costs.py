"""What the requests of each key cost: by the hour, whole, whatever clock and disk do; and over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import FakeClock
from ledger_samples import attempt
from podium.domain.cost import Cost
from podium.domain.decision import Outcome
from podium.errors import StoreError
from podium.services.key_costs import KeyCosts
from podium.store import open_store

HOUR = 3600.0
NOW = 1_000_000 * HOUR


def ended(at: float, *, success: bool = True, **cost: object) -> Outcome:
    made = attempt(1, cost=Cost(wall_ms=10.0, **cost))[1]
    return replace(made, at=at, success=success)


@asynccontextmanager
async def kept(home: Path, clock: FakeClock) -> AsyncIterator[KeyCosts]:
    store = open_store(home / "podium.db")
    try:
        made = KeyCosts(store, clock)
        await made.resume()
        yield made
        await made.close()
    finally:
        await store.close()


@pytest.fixture
def clock() -> FakeClock:
    made = FakeClock()
    made.time = NOW
    return made


async def test_each_key_has_its_own_sums_and_what_came_without_one_has_them_too(home: Path, clock: FakeClock) -> None:
    async with kept(home, clock) as costs:
        costs.heard("ada", ended(NOW, energy_mwh=2.0, price_microusd=5))
        costs.heard("ada", ended(NOW, success=False))
        costs.heard("", ended(NOW, cpu_ms=3.0))
        found = await costs.spent()
    assert (found["ada"].operations, found["ada"].failed, found["ada"].price_microusd) == (2, 1, 5)
    assert (found["ada"].energy_mwh, found["ada"].energy_samples) == (2.0, 1)
    assert (found[""].operations, found[""].cpu_ms, found[""].energy_samples) == (1, 3.0, 0)


async def test_sums_of_an_hour_go_on_after_a_restart_and_peaks_do_not_add_up(home: Path, clock: FakeClock) -> None:
    async with kept(home, clock) as costs:
        costs.heard("ada", ended(NOW, peak_memory_mb=100.0))
    async with kept(home, clock) as costs:
        costs.heard("ada", ended(NOW + 60, peak_memory_mb=50.0))
        costs.heard("ada", ended(NOW + HOUR, peak_memory_mb=70.0))
        assert (await costs.spent())["ada"].operations == 3
        assert (await costs.spent())["ada"].peak_memory_mb == 100.0
        assert (await costs.spent(since=NOW + HOUR))["ada"].operations == 1
        assert (await costs.spent(until=NOW + 60))["ada"].operations == 2  # hours are whole
        assert "ada" not in await costs.spent(since=NOW + 2 * HOUR)


async def test_a_clock_that_goes_back_loses_nothing_that_is_on_record(home: Path, clock: FakeClock) -> None:
    async with kept(home, clock) as costs:
        costs.heard("ada", ended(NOW - 5 * HOUR))
        await costs.write()
    async with kept(home, clock) as costs:
        costs.heard("ada", ended(NOW))
        costs.heard("ada", ended(NOW - 5 * HOUR))
        await costs.write()
        assert (await costs.spent())["ada"].operations == 3


async def test_what_the_disk_refused_is_written_with_what_came_since(
    home: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(home, clock) as costs:
        costs.heard("ada", ended(NOW))

        async def refuse(rows: object) -> None:
            raise StoreError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(costs._store, "save_key_costs", refuse)
            with pytest.raises(StoreError):
                await costs.write()
            assert await costs.spent() == {}
        costs.heard("ada", ended(NOW))
        await costs.write()
        assert (await costs.spent())["ada"].operations == 2


async def test_hours_are_put_together_into_longer_ones_and_start_where_the_clock_does(
    home: Path, clock: FakeClock
) -> None:
    first = 24 * (int(NOW // HOUR) // 24 + 1)  # a day whose hours are not over
    async with kept(home, clock) as costs:
        for hour in (0, 1, 25):
            costs.heard("ada", ended((first + hour) * HOUR + 1, output_tokens=3))
        await costs.write()
        by_hour = await costs.over_time(first * HOUR, 1)
        by_day = await costs.over_time(first * HOUR, 24)
    assert {place: row.operations for place, row in by_hour.items()} == {
        (first, "ada"): 1,
        (first + 1, "ada"): 1,
        (first + 25, "ada"): 1,
    }
    assert {place: row.output_tokens for place, row in by_day.items()} == {(first, "ada"): 6, (first + 24, "ada"): 3}


async def test_old_hours_go_and_so_do_the_oldest_beyond_the_cap(home: Path, clock: FakeClock) -> None:
    async with kept(home, clock) as costs:
        for hour in range(5):
            for key in ("ada", "bob"):
                costs.heard(key, ended(NOW + hour * HOUR))
        await costs.write()
        await costs.tidy(NOW + HOUR, 100)
        assert (await costs.spent())["ada"].operations == 4
        await costs.tidy(0.0, 3)
        found = await costs.spent()
        assert sum(row.operations for row in found.values()) <= 3
        assert (await costs.spent(since=NOW + 4 * HOUR))["bob"].operations == 1
