"""Profiles from a real store: everything is counted once, pieces and restarts or not; days take the place of hours."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from ledger_samples import attempt, choice
from podium.domain.belief import Belief
from podium.domain.cost import Cause, Cost, Operation
from podium.domain.costing import AdviceKind, CostProfile
from podium.errors import InvalidRequest, NotFound
from podium.ports import Batch, HostFacts
from podium.services.cost_profiles import CostProfiles, Look, Surroundings
from podium.store import SqliteStore, open_store

pytestmark = pytest.mark.requirement("COST-2")
NOON = 1_700_049_600.0
"""12:00 UTC."""
HOUR, DAY = 3_600.0, 86_400.0


class Clock:
    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


def host() -> HostFacts:
    return HostFacts(
        cpu_model=None, cores_physical=4, cores_logical=8, memory_bytes=2**33, memory_available_bytes=2**32,
        accelerators=(), unavailable=(),
    )  # fmt: skip


def around(beliefs: Callable[[str], Mapping[str, Belief]] = lambda task: {}) -> Surroundings:
    return Surroundings(
        host=host, instances=tuple, free_mb=lambda ref: None, footprint=lambda version: None, versions=tuple,
        beliefs=beliefs, bound=dict,
    )  # fmt: skip


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "podium.db")
    yield opened
    await opened.close()


def costing(store: SqliteStore, now: float = NOON + 60) -> CostProfiles:
    return CostProfiles(store, Clock(now), around())


async def record(
    store: SqliteStore, n: int, *, at: float = NOON, ref: str = "a@1", task: str = "t", first: int = 0, wait_s: float = 0.0,
    step_s: float = 1.0, wall_ms: float = 500.0, **cost: float,
) -> None:  # fmt: skip
    pairs = []
    for number in range(first, first + n):
        begun = at + (number - first) * step_s
        decision, outcome = attempt(number, choice(task=task), at=begun)
        made = Cost(wall_ms=wall_ms, **cost)  # type: ignore[arg-type] # fields by name
        done = dataclasses.replace(
            outcome, at=begun + wait_s + wall_ms / 1000, latency_ms=wall_ms, ref=ref, task=task, cost=made
        )
        name = f"{task}-{ref}-{at}-{number}"
        pairs.append((dataclasses.replace(decision, id=name), dataclasses.replace(done, decision_id=name)))
    await store.write_batch(Batch(decisions=pairs))


def of(profiles: tuple[CostProfile, ...], task: str | None, ref: str | None) -> CostProfile:
    return next(one for one in profiles if (one.task, one.ref) == (task, ref))


async def test_profiles_are_by_version_by_task_and_by_both(store: SqliteStore):
    await record(store, 30, cpu_ms=1_000.0, output_tokens=10, wait_s=0.25)
    await record(store, 10, task="u", wall_ms=2_000.0, at=NOON + 100, step_s=3.0)
    await record(store, 20, ref="b@1", wall_ms=100.0, at=NOON + 200)
    found = await costing(store).profiles(Look())
    assert found.behind == 0
    assert {(one.task, one.ref) for one in found.profiles} == {
        (None, "a@1"), (None, "b@1"), ("t", None), ("u", None), ("t", "a@1"), ("u", "a@1"), ("t", "b@1")
    }  # fmt: skip
    both = of(found.profiles, "t", "a@1")
    assert (both.operations, both.figures["wall_ms"].mean) == (30, 500.0)
    assert both.figures["wait_ms"].mean == pytest.approx(250.0, abs=0.01)
    assert both.figures["cpu_ms_per_token"].mean == pytest.approx(100.0)
    assert of(found.profiles, "t", None).operations == 50
    version = of(found.profiles, None, "a@1")
    assert version.busy_s == pytest.approx(30 * 0.5 + 10 * 2.0)
    assert version.figures["wall_ms"].total == pytest.approx(35_000.0)
    assert of((await costing(store).profiles(Look(task="u"))).profiles, None, "a@1").operations == 10
    assert (await costing(store).profiles(Look(ref="b@1"))).profiles[0].ref == "b@1"


async def test_operations_at_the_same_time_are_busy_time_once(store: SqliteStore):
    await record(store, 40, wall_ms=2_000.0, step_s=0.5, cpu_ms=1_600.0)
    found = of((await costing(store).profiles(Look())).profiles, None, "a@1")
    assert found.busy_s == pytest.approx(39 * 0.5 + 2.0)
    assert found.parallel == pytest.approx(80 / 21.5)
    assert found.cpu_share == pytest.approx(64 / (21.5 * 8))


async def test_each_row_is_counted_once_in_pieces_and_over_restarts(tmp_path: Path):
    store = open_store(tmp_path / "podium.db")
    await record(store, 2_500)
    assert await store.unfolded_costs() == 2_500
    assert await store.fold_costs(700) == 700
    await store.close()
    store = open_store(tmp_path / "podium.db")
    await record(store, 100, first=2_500, at=NOON + 3_000)
    found = await costing(store).profiles(Look())
    again = await costing(store).profiles(Look())
    assert of(found.profiles, "t", "a@1").operations == 2_600
    assert again.profiles == found.profiles
    assert of(found.profiles, None, "a@1").busy_s == pytest.approx(2_600 * 0.5)
    await store.close()


async def test_rows_that_are_pruned_stay_in_the_profiles(store: SqliteStore):
    await record(store, 50)
    made = costing(store, NOON + 40 * DAY)
    await made.tidy()
    assert await store.prune(0, NOON + 30 * DAY) == 50
    await record(store, 5, at=NOON + 40 * DAY, first=50)
    assert of((await made.profiles(Look())).profiles, "t", "a@1").operations == 55
    assert of((await made.profiles(Look(since=NOON + 39 * DAY))).profiles, "t", "a@1").operations == 5


async def test_after_two_days_hours_become_days_and_say_the_same(store: SqliteStore):
    rng = random.Random(1)
    for hour in range(30):
        await record(store, 6, at=NOON + hour * HOUR, wall_ms=rng.lognormvariate(5, 1), first=hour * 10)
    made = costing(store, NOON + 31 * HOUR)
    before = await made.profiles(Look())
    sizes: list[int] = []
    later = costing(store, NOON + 5 * DAY)
    await later.tidy()
    await later.tidy()
    await store.read_cost_cells(lambda key, content: sizes.append(key.span), since=0, until=9e9, task=None, ref=None)
    assert set(sizes) == {86_400}
    after = await later.profiles(Look())
    wanted, found = (of(one.profiles, "t", "a@1").figures["wall_ms"] for one in (before, after))
    assert found.mean == pytest.approx(wanted.mean)
    assert dataclasses.replace(found, mean=0, sd=0, total=0) == dataclasses.replace(wanted, mean=0, sd=0, total=0)
    assert of(after.profiles, None, "a@1").busy_s == pytest.approx(of(before.profiles, None, "a@1").busy_s)


async def test_cells_are_bounded_and_the_oldest_go(store: SqliteStore):
    for day in range(6):
        await record(store, 3, at=NOON + day * DAY, first=day * 10)
    await costing(store, NOON + 6 * DAY).profiles(Look())
    await store.tidy_cost_cells(NOON + 6 * DAY, 0.0, 4)
    kept: list[int] = []
    await store.read_cost_cells(lambda key, content: kept.append(key.start), since=0, until=9e9, task=None, ref=None)
    assert len(kept) <= 4
    assert min(kept) >= NOON + 3 * DAY


async def test_what_no_client_got_counts_only_when_asked_for(store: SqliteStore):
    await record(store, 10)
    judged = Operation(
        id="op", at=NOON + 50, task="judgment", ref="a@1", success=True, cost=Cost(wall_ms=700.0, cause=Cause.JUDGE)
    )
    await store.write_batch(Batch(operations=[judged]))
    assert of((await costing(store).profiles(Look())).profiles, None, "a@1").operations == 10
    everything = (await costing(store).profiles(Look(everything=True))).profiles
    assert of(everything, "judgment", "a@1").figures["wall_ms"].mean == 700.0
    assert of(everything, "judgment", "a@1").figures["wait_ms"].why == "not known of operations without a decision"
    assert of(everything, None, "a@1").busy_s == pytest.approx(10 * 0.5 + 0.7)


async def test_two_versions_are_compared_and_strangers_refused(store: SqliteStore):
    await record(store, 50)
    await record(store, 50, ref="b@1", wall_ms=800.0, at=NOON + 100)
    found = await costing(store).compare("a@1", "b@1", Look(task="t"))
    mean = next(one for one in found.differences if (one.figure, one.statistic) == ("wall_ms", "mean"))
    assert (mean.difference, mean.verdict) == (300.0, "more")
    with pytest.raises(NotFound, match="nothing that c@1 did on t is on record"):
        await costing(store).compare("a@1", "c@1", Look(task="t"))
    with pytest.raises(InvalidRequest, match="the same version"):
        await costing(store).compare("a@1", "a@1", Look())


async def test_what_gets_slower_by_the_hour_is_a_trend_and_advice(store: SqliteStore):
    for hour in range(8):
        await record(store, 20, at=NOON + hour * HOUR, wall_ms=500.0 * 1.1**hour, first=hour * 30)
    made = costing(store, NOON + 9 * HOUR)
    found = next(one for one in await made.trends(Look()) if one.figure == "wall_ms")
    assert (found.window_s, found.direction, found.worse) == (HOUR, "rising", True)
    assert found.change == pytest.approx(1.1**7 - 1)
    advised = await made.advice(Look())
    assert [one.kind for one in advised.advice] == [AdviceKind.GETTING_WORSE]
    assert [one.kind for one in advised.unknown] == [AdviceKind.IDLE_COMPUTE]


async def test_an_empty_record_has_no_profiles_and_no_advice(store: SqliteStore):
    made = costing(store)
    assert (await made.profiles(Look())).profiles == ()
    assert await made.trends(Look()) == ()
    assert (await made.advice(Look())).advice == ()
