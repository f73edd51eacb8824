"""The record of events: ids without gaps, bounded from the oldest end, queued for webhooks in the same transaction."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.domain.swap import Event, Swap, SwapState
from podium.errors import PodiumError
from podium.ports import Batch, Page
from podium.store import SqliteStore, open_store

pytestmark = pytest.mark.requirement("SWP-10")


def event(number: int, kind: str = "test.tick", subject: str = "s") -> Event:
    return Event(kind=kind, at=float(number), subject=subject, data=(("n", number),))


async def write(store: SqliteStore, *events: Event) -> None:
    await store.write_batch(Batch(events=events))


async def ids(store: SqliteStore, **given: bool) -> list[int]:
    return [found.id or 0 for found in await store.events_like(0, (), Page(limit=100_000), **given)]


async def test_only_the_oldest_go_and_ids_are_never_used_again(store: SqliteStore) -> None:
    assert await store.event_bounds() == (1, 0)
    await write(store, *map(event, range(5000)))
    assert await store.prune_events(6000) == 0
    assert await store.prune_events(100) == 4900
    assert await ids(store) == list(range(4901, 5001))
    assert await store.event_bounds() == (4901, 5000)
    assert await store.prune_events(0) == 100
    assert await store.event_bounds() == (5001, 5000)
    await write(store, event(1))
    assert await ids(store) == [5001]


async def test_kinds_and_the_newest_are_picked(store: SqliteStore) -> None:
    await write(store, *(event(n, kind) for n, kind in enumerate(["swap.a", "swapx.a", "rule.b", "swap.c"])))
    found = await store.events_like(0, ("swap.*", "*.b"), Page())
    assert [one.kind for one in found] == ["swap.a", "rule.b", "swap.c"]
    assert [one.id for one in await store.events_like(0, (), Page(limit=2), newest=True)] == [3, 4]
    assert [one.id for one in await store.events_like(2, ("swap.*",), Page())] == [4]


async def test_an_event_and_its_deliveries_are_written_together_or_not_at_all(store: SqliteStore) -> None:
    await store.subscribe_webhooks({"a": ("swap.*",), "b": ("*",)})
    told = 0

    def count() -> None:
        nonlocal told
        told += 1

    store.notify(count)
    bad = Event(kind="swap.x", at=2.0, subject="s", data=(("n", object()),))  # type: ignore[arg-type] # what no JSON holds
    await write(store, event(1, "swap.x"))
    with pytest.raises((PodiumError, TypeError)):
        await write(store, event(2, "swap.x"), bad)
    await write(store, event(3, "rule.x"), event(4, "swap.y", "t"))
    assert await ids(store) == [1, 2, 3], "an id is not used up by what failed"
    assert {name: count for name, (count, _) in (await store.waiting_deliveries()).items()} == {"a": 2, "b": 3}
    backlog = await store.backlog("a", now=10.0, horizon=1e6, limit=10)
    assert [
        (one.kind, one.subject, b'"id":%d' % n in one.content) for n, one in zip((1, 3), backlog.ready, strict=True)
    ] == [
        ("swap.x", "s", True),
        ("swap.y", "t", True),
    ]
    assert told == 2


async def test_only_the_head_of_each_subject_is_ready(store: SqliteStore) -> None:
    await store.subscribe_webhooks({"a": ()})
    await write(store, *(event(n, subject=f"s{n % 3}") for n in range(30)))
    found = await store.backlog("a", now=100.0, horizon=1e6, limit=10)
    assert [one.seq for one in found.ready] == [1, 2, 3]
    assert (found.waiting, found.next_at) == (30, None)
    following = await store.delivered(found.ready[0])
    assert following is not None
    assert (following.seq, following.subject) == (4, "s0")
    assert [one.seq for one in (await store.backlog("a", 0.5, 1e6, 10)).ready] == [], "their time has not come"
    assert (await store.backlog("a", 0.5, 1e6, 10)).next_at == 1.0
    assert [one.seq for one in (await store.backlog("a", 0.5, 0.1, 10)).ready] == [2, 3, 4], "or it was set by a jump"


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1e5), st.booleans(), st.booleans()), max_size=12))
@pytest.mark.no_cover
def test_statistics_count_everything_and_medians_are_exact(tmp_path_factory, rows) -> None:
    import asyncio

    async def check() -> None:
        store = open_store(tmp_path_factory.mktemp("stats") / "podium.db")
        try:
            for number, (task, took, moved, cold) in enumerate(rows):
                swap = Swap(
                    id=f"swap-{number}",
                    task=task,
                    kind="swap",
                    before=None,
                    after="m@1",
                    state=SwapState.PROMOTED if moved else SwapState.FAILED,
                    requested_at=float(number),
                    by="test",
                    swap_ms=took,
                    load_ms=took + 1 if cold else 0.0,
                )
                await store.save_swap(swap, None, event(number))
            found = {one.task: one for one in await store.task_history(None)}
            assert set(found) == {task for task, *_ in rows}
            for task, one in found.items():
                mine = [row for row in rows if row[0] == task]
                done = [row for row in mine if row[2]]
                expected = {"promoted": len(done), "failed": len(mine) - len(done)}
                assert one.swaps == {state: n for state, n in expected.items() if n}
                assert one.swap_ms == (pytest.approx(statistics.median(r[1] for r in done)) if done else None)
                loads = [row[1] + 1 for row in done if row[3]]
                assert one.load_ms == (pytest.approx(statistics.median(loads)) if loads else None)
                assert await store.task_history(task) == (one,)
        finally:
            await store.close()

    asyncio.run(check())
