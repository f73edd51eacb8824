"""Rollouts on disk: one open per task, one driver at a time, and everything of a transition together or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from ledger_samples import version
from podium.domain.rollout import Bar, Metric, Rollout, RolloutMode, RolloutPlan, RolloutState, RolloutStep, Validation
from podium.domain.swap import Compatibility, Event, Swap, SwapState
from podium.domain.task import Binding
from podium.errors import Conflict
from podium.ports import Page, RolloutChange
from podium.store import SqliteStore, open_store

S = RolloutState
pytestmark = pytest.mark.requirement("SWP-11")


def rollout(number: int = 1, task: str = "jobs", **other: object) -> Rollout:
    values: dict[str, object] = {
        "id": f"rollout_{number}",
        "task": task,
        "baseline": "m@1",
        "candidate": "m@2",
        "plan": RolloutPlan(mode=RolloutMode.GRADUAL, limits=MappingProxyType({Metric.QUALITY: 0.9})),
        "state": S.REQUESTED,
        "requested_at": 5.0,
        "by": "test",
        "compatibility": Compatibility(compatible=True, warnings=("slower",)),
        "validation": Validation(suite="words", items=3, baseline_score=0.5, missing=None),
    }
    return Rollout(**{**values, **other})  # type: ignore[arg-type] # test data


def change(of: Rollout, **other: object) -> RolloutChange:
    step = RolloutStep(rollout=of.id, at=6.0, before=S.REQUESTED, after=of.state, share=of.share, reason="so")
    event = Event(kind=f"rollout.{of.state}", at=6.0, subject=of.task, data=(("rollout", of.id),))
    return RolloutChange(rollout=of, step=step, events=(event,), **other)  # type: ignore[arg-type] # test data


async def test_what_is_kept_of_a_rollout_comes_back_whole(store: SqliteStore):
    made = rollout()
    await store.add_rollout(change(made), "one", 100.0)
    found = await store.find_rollout(made.id)
    assert found is not None
    assert (found.rollout, found.arms) == (made, None)
    ended = replace(made, state=S.FAILED, finished_at=9.0, ending="broken", share=0.0)
    await store.save_rollout(change(ended, arms=b"evidence"), "one")
    found = await store.find_rollout(made.id)
    assert found is not None
    assert (found.rollout, found.arms) == (ended, b"evidence")
    assert [step.after for step in await store.rollout_steps(made.id)] == [S.REQUESTED, S.FAILED]
    assert [event.kind for event in await store.events(0, Page())] == ["rollout.requested", "rollout.failed"]
    assert await store.rollouts("jobs", Page()) == (ended,)
    assert await store.rollouts("other", Page()) == ()
    assert await store.find_rollout("rollout_9") is None


async def test_a_second_one_on_a_task_is_refused_by_name_until_the_first_has_ended(store: SqliteStore):
    first = rollout(1)
    await store.add_rollout(change(first), "one", 100.0)
    with pytest.raises(Conflict, match="rollout_1 is open on jobs"):
        await store.add_rollout(change(rollout(2)), "two", 100.0)
    await store.add_rollout(change(rollout(3, task="other")), "two", 100.0)
    await store.save_rollout(change(replace(first, state=S.ABORTED, finished_at=7.0)), "one")
    await store.add_rollout(change(rollout(2)), "two", 100.0)


async def test_only_the_owner_writes_and_nothing_is_written_after_the_end(store: SqliteStore):
    made = rollout()
    await store.add_rollout(change(made), "one", 100.0)
    moved = replace(made, state=S.VALIDATING)
    binding = Binding(task="jobs", ref="m@2")
    with pytest.raises(Conflict, match="another gateway"):
        await store.save_rollout(change(moved, binding=binding), "two")
    assert not await store.save_arms(made.id, "two", b"x")
    assert (await store.load()).bindings == ()
    assert len(await store.rollout_steps(made.id)) == 1
    assert await store.save_arms(made.id, "one", b"x")
    await store.save_rollout(change(replace(made, state=S.ABORTED, finished_at=7.0)), "one")
    with pytest.raises(Conflict, match="has ended"):
        await store.save_rollout(change(moved), "one")
    assert not await store.save_arms(made.id, "one", b"y")


async def test_an_owner_keeps_what_it_renews_and_loses_what_it_does_not(store: SqliteStore):
    await store.add_rollout(change(rollout(1)), "one", 100.0)
    await store.add_rollout(change(rollout(2, task="other")), "one", 100.0)
    assert await store.claim_rollouts("two", 99.0, 120.0) == ()
    assert await store.renew_rollouts("one", 110.0) == {"rollout_1", "rollout_2"}
    assert await store.claim_rollouts("two", 105.0, 120.0) == ()
    taken = await store.claim_rollouts("two", 111.0, 130.0, only="rollout_2")
    assert [kept.rollout.id for kept in taken] == ["rollout_2"]
    assert await store.renew_rollouts("one", 140.0) == {"rollout_1"}
    assert [kept.rollout.id for kept in await store.claim_rollouts("two", 112.0, 130.0, alone=True)] == ["rollout_1"]
    assert await store.claim_rollouts("two", 113.0, 130.0, alone=True) == ()


async def test_two_stores_on_one_file_never_both_get_a_rollout(store: SqliteStore, tmp_path: Path):
    other = open_store(tmp_path / "podium.db")
    try:
        for number in range(20):
            await store.add_rollout(change(rollout(number, task=f"t{number}")), "dead", 10.0)
        for number in range(20):
            name = f"rollout_{number}"
            mine = await store.claim_rollouts("one", 11.0, 50.0, only=name)
            theirs = await other.claim_rollouts("two", 11.0, 50.0, only=name)
            assert len(mine) + len(theirs) == 1
    finally:
        await other.close()


async def test_a_promotion_moves_the_task_lifts_its_bar_and_ends_the_rollout_in_one_commit(store: SqliteStore):
    for number in ("1", "2"):
        await store.add_version(version("m", number), "test")
    made = rollout(share=1.0, state=S.CANARY)
    await store.add_rollout(change(made), "one", 100.0)
    bar = Bar(task="jobs", ref="m@2", at=1.0, reason="once", samples=3)
    await store.save_rollout(change(made, bar=bar), "one")
    assert await store.bars() == (bar,)
    done = replace(made, state=S.PROMOTED, finished_at=8.0)
    binding = Binding(task="jobs", ref="m@2", previous=("m@1",), since=8.0, by="test", reason="rollout")
    swap = Swap(
        id="swap_1",
        task="jobs",
        kind="rollout",
        before="m@1",
        after="m@2",
        state=SwapState.PROMOTED,
        requested_at=8.0,
        by="test",
        finished_at=8.0,
    )
    commits = store.commits
    await store.save_rollout(change(done, binding=binding, swap=swap), "one")
    assert store.commits == commits + 1
    assert (await store.load()).bindings == (binding,)
    assert await store.swaps("jobs", Page()) == (swap,)
    assert await store.bars() == ()
    assert await store.unreleased_rollouts() == (done,)
    await store.add_rollout_step(
        RolloutStep(rollout=made.id, at=9.0, before=S.PROMOTED, after=S.PROMOTED, share=1.0, reason="deprecated")
    )
    assert await store.unreleased_rollouts() == ()


async def test_a_bar_is_replaced_by_the_next_one_of_the_same_version_and_task(store: SqliteStore):
    made = rollout(state=S.CANARY)
    await store.add_rollout(change(made), "one", 100.0)
    for samples in (3, 8):
        bar = Bar(task="jobs", ref="m@2", at=float(samples), reason="worse", samples=samples)
        await store.save_rollout(change(made, bar=bar), "one")
    assert [bar.samples for bar in await store.bars()] == [8]
