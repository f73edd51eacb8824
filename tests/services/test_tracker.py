"""Executions: nothing is lost, nothing is learned twice, and what is wrong is refused in words."""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import FakeClock
from ledger_samples import attempt, choice
from podium.core import executions as rules
from podium.domain.cost import Cost
from podium.domain.execution import Execution, ExecutionFilter, ExecutionState
from podium.domain.swap import Event
from podium.errors import Conflict, InvalidRequest, NotFound, Overloaded, StoreError
from podium.ports import Page
from podium.services.recorder import Recorder
from podium.services.tracker import Tracker
from podium.services.tracking_bridge import Bridge
from podium.store import SqliteStore, open_store

ALL = ExecutionFilter()


class Flaky(SqliteStore):
    """A real store that refuses executions while ``broken``."""

    broken = False

    async def save_executions(self, changed: Any) -> None:
        if self.broken:
            raise StoreError("the disk is full; free some space")
        await super().save_executions(changed)


class Rig:
    """A tracker on a real store and recorder, with a clock of its own."""

    def __init__(self, store: Flaky, **options: Any) -> None:
        self.store = store
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.feedback: list[tuple[str, str, float]] = []
        self.recorder = Recorder(
            store,
            self.clock,
            on_feedback=lambda said: self.feedback.append((said.request_id, said.ref, said.score or 0)),
        )
        ids = itertools.count()
        self.tracker = Tracker(
            store, Bridge(self.recorder), self.clock, lambda: f"exe-{next(ids)}", self.events.append, **options
        )

    def request(self, execution_id: str, number: int, task: str = "code", **other: Any) -> None:
        """One attempt of an execution, from its decision to its end."""
        decision, outcome = attempt(number, choice(task=task), **other)
        self.recorder.begin(decision)
        self.tracker.began(execution_id, decision)
        self.recorder.record(decision, outcome)
        self.tracker.ended(execution_id, outcome)

    async def kept(self, which: ExecutionFilter = ALL, limit: int = 100_000) -> tuple[Execution, ...]:
        return await self.store.executions(which, Page(limit=limit))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Flaky]:
    path = tmp_path / "podium.db"
    await open_store(path).close()
    opened = Flaky(path)
    yield opened
    await opened.close()


@pytest.fixture
def rig(store: Flaky) -> Rig:
    return Rig(store)


async def until(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - the tracker has no event to wait for, polling has a deadline
            await asyncio.sleep(0.01)


@pytest.mark.requirement("TRK-1")
async def test_an_execution_keeps_its_agent_its_routing_decisions_and_what_they_cost(rig: Rig):
    begun = rig.tracker.start("code", "writer")
    rig.request(begun.id, 1)
    rig.request(begun.id, 2, success=False, error="provider_error", cost=Cost(wall_ms=7.0))
    await rig.tracker.complete(begun.id, success=True, quality=0.75, metadata={"files": [1, 2]})
    await rig.tracker.flush()
    (kept,) = await rig.kept()
    assert (kept.agent, kept.type, kept.state, kept.quality) == ("writer", "code", "completed", 0.75)
    assert kept.metadata == {"files": [1, 2]}
    assert [(step.decision_id, step.ref, step.success) for step in kept.routed] == [
        ("dec-1", "qwen2.5-coder@0", True),
        ("dec-2", "qwen2.5-coder@0", False),
    ]
    assert (kept.spent.attempts, kept.spent.failed, kept.spent.wall_ms, kept.spent.cpu_ms) == (2, 1, 107.0, 5.0)
    assert kept.spent.measured == {"cpu_ms": 1}
    assert kept.spent.energy_mwh is None


@pytest.mark.requirement("TRK-1")
@pytest.mark.no_cover
async def test_ten_thousand_tasks_at_once_are_all_captured_within_a_millisecond_a_call(store: Flaky):
    rig = Rig(store, flush_interval_s=0.01)
    running = asyncio.create_task(rig.tracker.run())
    starts: list[float] = []
    ends: list[float] = []

    async def work(number: int) -> None:
        before = time.thread_time()
        execution = rig.tracker.start("code", f"agent-{number % 20}")
        starts.append(time.thread_time() - before)
        await asyncio.sleep(0.001 * (number % 100))
        before = time.thread_time()
        await rig.tracker.complete(execution.id, success=number % 3 > 0, quality=(number % 11) / 10)
        ends.append(time.thread_time() - before)

    await asyncio.gather(*(work(number) for number in range(10_000)))
    await rig.tracker.flush()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    kept = await rig.kept(ExecutionFilter(state=ExecutionState.COMPLETED))
    assert len({one.id for one in kept}) == len(kept) == 10_000
    assert sum(one.success is True for one in kept) == sum(number % 3 > 0 for number in range(10_000))
    assert {one.agent for one in kept} == {f"agent-{number}" for number in range(20)}
    assert max(statistics.quantiles(calls, n=100)[98] for calls in (starts, ends)) < 0.001


@pytest.mark.requirement("TRK-2")
async def test_what_an_execution_says_reaches_every_version_once_whatever_it_asked(rig: Rig):
    begun = rig.tracker.start("code", "writer")
    for number in range(5):
        rig.request(begun.id, number)
    rig.request(begun.id, 7, task="math")
    rig.request(begun.id, 8, task="poetry", success=False, error="provider_error")
    await rig.tracker.complete(begun.id, success=True, quality=0.25)
    await rig.tracker.flush()
    assert rig.feedback == [("req-4", "qwen2.5-coder@0", 0.25), ("req-7", "qwen2.5-coder@0", 0.25)]
    (given,) = await rig.store.find_feedback("req-4")
    assert (given.source, given.score) == ("agent", 0.25)
    assert rig.recorder.evidence()["code", "qwen2.5-coder@0"].quality_samples == 1


@pytest.mark.requirement("TRK-2")
@pytest.mark.parametrize(("success", "score"), [(True, 1.0), (False, 0.0)])
async def test_without_a_quality_success_is_the_score(rig: Rig, success: bool, score: float):
    begun = rig.tracker.start("code")
    rig.request(begun.id, 1)
    await rig.tracker.complete(begun.id, success=success)
    await rig.tracker.flush()
    assert [said[2] for said in rig.feedback] == [score]


@pytest.mark.requirement("TRK-2")
async def test_a_completion_before_its_answer_ended_is_learned_when_it_ends_and_its_cost_counts(rig: Rig):
    begun = rig.tracker.start("code")
    decision, outcome = attempt(1)
    rig.recorder.begin(decision)
    rig.tracker.began(begun.id, decision)
    await rig.tracker.complete(begun.id, success=True)
    await rig.tracker.flush()
    assert rig.feedback == []
    first = (await rig.kept())[0]
    assert (first.state, first.spent.attempts) == ("completed", 0)
    rig.recorder.record(decision, outcome)
    rig.tracker.ended(begun.id, outcome)
    await rig.tracker.flush()
    rig.recorder.catch_up()
    assert rig.feedback == [("req-1", "qwen2.5-coder@0", 1.0)]
    (late,) = await rig.kept(ExecutionFilter(after=first.seq))
    assert (late.id, late.spent.attempts) == (begun.id, 1)


async def test_the_same_completion_twice_changes_nothing_and_another_one_is_refused(rig: Rig):
    begun = rig.tracker.start("code")
    rig.request(begun.id, 1)
    first = await rig.tracker.complete(begun.id, success=True, quality=1, metadata={"a": 1})
    await rig.tracker.flush()
    (kept,) = await rig.kept()
    assert await rig.tracker.complete(begun.id, success=True, quality=1.0, metadata={"a": 1}) == first
    with pytest.raises(Conflict, match=r"another success and metadata; what was said first stays"):
        await rig.tracker.complete(begun.id, success=False, quality=1.0)
    again = Rig(rig.store)  # as after a restart: only the store knows it
    assert (await again.tracker.complete(begun.id, success=True, quality=1.0, metadata={"a": 1})) == kept
    with pytest.raises(Conflict, match="another quality"):
        await again.tracker.complete(begun.id, success=True, quality=0.5, metadata={"a": 1})
    await again.tracker.flush()
    assert [one.seq for one in await rig.kept()] == [kept.seq]
    assert len(rig.feedback) == 1


@pytest.mark.parametrize(
    ("said", "param", "words"),
    [
        ({"quality": 7}, "quality", "from 0 to 1, not 7"),
        ({"quality": math.nan}, "quality", "from 0 to 1, not nan"),
        ({"quality": -math.inf}, "quality", "from 0 to 1"),
        ({"quality": True}, "quality", "not bool"),
        ({"quality": "good"}, "quality", "not str"),
        ({"success": 1}, "success", "true or false, not int"),
        ({"metadata": {"text": "x" * 1_000_000}}, "metadata", "may have 65536"),
        ({"metadata": {"number": math.nan}}, "metadata", "JSON values"),
        ({"metadata": {"text": "\ud800"}}, "metadata", "JSON values"),
        ({"metadata": {"what": object()}}, "metadata", "JSON values"),
    ],
)
async def test_what_is_wrong_is_refused_and_leaves_the_execution_open(
    rig: Rig, said: dict[str, Any], param: str, words: str
):
    begun = rig.tracker.start("code")
    with pytest.raises(InvalidRequest, match=words) as refused:
        await rig.tracker.complete(begun.id, **{"success": True, **said})
    assert refused.value.param == param
    assert (await rig.tracker.find(begun.id)).state is ExecutionState.OPEN


@pytest.mark.parametrize("said", [{"kind": ""}, {"kind": " x"}, {"kind": "x" * 129}, {"kind": 3}, {"agent": "a\nb"}])
def test_a_start_needs_a_name_that_can_be_shown(rig: Rig, said: dict[str, Any]):
    with pytest.raises(InvalidRequest):
        rig.tracker.start(**{"kind": "code", **said})
    for seconds in (0, -1, math.nan, math.inf, "1", True, 40 * 86_400):
        with pytest.raises(InvalidRequest, match="timeout_s"):
            rig.tracker.start("code", timeout_s=seconds)
    assert rig.tracker.stats().open == 0


async def test_an_unknown_id_is_said_to_be_unknown(rig: Rig):
    with pytest.raises(NotFound, match="no execution 'exe-none'"):
        await rig.tracker.complete("exe-none", success=True)
    rig.request("exe-none", 1)
    stats = rig.tracker.stats()
    assert (stats.requests, stats.unjoined, stats.last_unjoined) == (1, 1, (("exe-none", "req-1"),))


async def test_a_hundred_thousand_open_executions_are_the_most(store: Flaky):
    rig = Rig(store)
    ids = [rig.tracker.start("code").id for _ in range(100_000)]
    with pytest.raises(Overloaded, match="100000 executions are open") as refused:
        rig.tracker.start("code")
    assert refused.value.code == "too_many_executions"
    await rig.tracker.complete(ids[0], success=True)
    assert rig.tracker.start("code").state is ExecutionState.OPEN
    assert rig.tracker.stats().refused == 1


async def test_an_execution_nobody_completes_is_abandoned_visibly_and_may_still_be_completed(rig: Rig):
    short, usual = rig.tracker.start("code", timeout_s=60), rig.tracker.start("code")
    rig.request(short.id, 1)
    rig.clock.time += 59.9
    rig.tracker.sweep()
    assert (await rig.tracker.find(short.id)).state is ExecutionState.OPEN
    rig.clock.time += 0.2
    rig.tracker.sweep()
    await rig.tracker.flush()
    (gone,) = await rig.kept(ExecutionFilter(state=ExecutionState.ABANDONED))
    assert (gone.id, gone.success) == (short.id, None)
    assert [(event.kind, event.subject, dict(event.data)["count"]) for event in rig.events] == [
        ("execution.abandoned", short.id, 1)
    ]
    assert rig.feedback == []
    rig.clock.time += rules.TIMEOUT_S
    rig.tracker.sweep()
    assert (await rig.tracker.find(usual.id)).state is ExecutionState.ABANDONED
    await rig.tracker.complete(short.id, success=True)
    await rig.tracker.flush()
    assert (await rig.tracker.find(short.id)).state is ExecutionState.COMPLETED
    assert len(rig.feedback) == 1


async def test_open_executions_survive_a_restart_and_so_does_their_time(rig: Rig):
    begun = rig.tracker.start("code", "writer", 60)
    rig.request(begun.id, 1)
    await rig.tracker.flush()
    await rig.recorder.flush()
    again = Rig(rig.store)
    again.clock.time = rig.clock.time + 30
    await again.tracker.resume()
    assert again.tracker.stats().open == 1
    again.request(begun.id, 2)
    again.clock.time += 31
    again.tracker.sweep()
    await again.tracker.flush()
    (kept,) = await again.kept()
    assert (kept.state, kept.requests, [step.request_id for step in kept.routed]) == (
        "abandoned",
        2,
        ["req-1", "req-2"],
    )


async def test_while_the_store_fails_nothing_is_lost_and_nothing_is_learned_twice(store: Flaky):
    rig = Rig(store, flush_interval_s=0.005)
    running = asyncio.create_task(rig.tracker.run())
    store.broken = True
    begun = rig.tracker.start("code")
    rig.request(begun.id, 1)
    await rig.tracker.complete(begun.id, success=True)
    await until(lambda: rig.tracker.stats().last_error is not None)
    other = rig.tracker.start("code")
    assert rig.tracker.stats().pending == 2
    assert await rig.kept() == ()
    store.broken = False
    await until(lambda: rig.tracker.stats().pending == 0)
    await rig.tracker.flush()
    assert {one.id: one.state for one in await rig.kept()} == {begun.id: "completed", other.id: "open"}
    assert len(rig.feedback) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.requirement("TRK-2")
async def test_whoever_reads_on_behind_the_last_change_gets_every_completion_in_order(rig: Rig):
    ids = [rig.tracker.start("code", f"agent-{number % 2}").id for number in range(50)]
    seen: list[str] = []
    after = 0
    for turn, execution_id in enumerate(reversed(ids)):
        await rig.tracker.complete(execution_id, success=True)
        if turn % 7 == 0:
            which = ExecutionFilter(state=ExecutionState.COMPLETED, after=after)
            found = await rig.tracker.listed(which, Page(limit=1000))
            seen += [one.id for one in found]
            after = max((one.seq for one in found), default=after)
    which = ExecutionFilter(state=ExecutionState.COMPLETED, after=after)
    seen += [one.id for one in await rig.tracker.listed(which, Page(limit=1000))]
    assert seen == list(reversed(ids))
    assert len(await rig.tracker.listed(ExecutionFilter(agent="agent-1"), Page())) == 25


async def test_requests_that_come_before_their_start_join_it(rig: Rig):
    rig.request("mine-1", 1)
    assert rig.tracker.stats().unjoined == 1
    begun = await rig.tracker.start_as("mine-1", "code", "writer", None)
    assert (begun.requests, begun.spent.attempts, rig.tracker.stats().unjoined) == (1, 1, 0)
    assert await rig.tracker.start_as("mine-1", "code", "writer", None) == begun
    with pytest.raises(Conflict, match="started before as something else"):
        await rig.tracker.start_as("mine-1", "code", "another", None)
    rig.request("mine-2", 2)
    rig.clock.time += 61
    assert (await rig.tracker.start_as("mine-2", "code", None, None)).requests == 0
    assert rig.tracker.stats().unjoined == 1


async def test_standings_tell_how_agents_do_on_each_version(rig: Rig):
    for number in range(4):
        begun = rig.tracker.start("code", "writer")
        rig.request(begun.id, number)
        await rig.tracker.complete(begun.id, success=number > 0, quality=None if number == 1 else 0.5)
    rig.tracker.start("code", "reader")
    (reader, writer) = await rig.tracker.standings(None)
    assert (reader.agent, reader.ref, reader.open) == ("reader", None, 1)
    assert (writer.ref, writer.completed, writer.succeeded, writer.rated, writer.quality) == (
        "qwen2.5-coder@0", 4, 3, 3, 0.5,
    )  # fmt: skip
    assert await rig.tracker.standings("reader") == (reader,)


async def test_the_newest_answer_of_every_version_stays_known_however_many_follow(rig: Rig):
    begun = rig.tracker.start("code")
    rig.request(begun.id, 0, task="math")
    for number in range(1, 60):
        rig.request(begun.id, number)
    kept = await rig.tracker.complete(begun.id, success=True)
    assert len(kept.routed) == rules.ROUTED
    assert (kept.requests, kept.spent.attempts) == (60, 60)
    assert rules.votes(kept) == (("req-0", 1.0), ("req-59", 1.0))


async def test_old_executions_go_and_open_ones_stay(rig: Rig):
    stays = rig.tracker.start("code")
    for _ in range(30):
        begun = rig.tracker.start("code")
        rig.clock.time += 1
        await rig.tracker.complete(begun.id, success=True)
    await rig.tracker.flush()
    await rig.tracker.prune(10, 0.0)
    assert len(await rig.kept(ExecutionFilter(state=ExecutionState.COMPLETED))) == 10
    await rig.tracker.prune(100, rig.clock.time + 1)
    assert [one.id for one in await rig.kept()] == [stays.id]
