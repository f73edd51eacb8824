"""Round trips, and the rules the database keeps whoever writes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import replace
from itertools import product

import pytest

from ledger_samples import attempt, choice, version
from podium.core import lifecycle
from podium.domain.decision import Feedback
from podium.domain.directive import Directive
from podium.domain.evidence import Evidence
from podium.domain.model import Lifecycle, Profile, Provenance, Transition
from podium.domain.swap import Compatibility, Event, Swap, SwapState
from podium.domain.task import Binding, Criteria, Preference, TaskSpec
from podium.errors import Conflict, PodiumError
from podium.ports import Batch, Page
from podium.store import SqliteStore
from podium.store.packing import pack_choice

L = Lifecycle


def step(before: Lifecycle, after: Lifecycle, ref: str = "smol@1", reason: str = "because") -> Transition:
    return Transition(ref=ref, before=before, after=after, at=50.0, by="me", reason=reason)


async def test_everything_written_is_read_back_equal(store: SqliteStore) -> None:
    first = version()
    task = TaskSpec(name="code", criteria=Criteria(hardware=frozenset({"cpu"}), preference=Preference.FAST))
    binding = Binding(task="code", ref="smol@1", previous=("old@1",), since=3.0, by="me", reason="r")
    swap = Swap(
        id="s1", task="code", kind="swap", before=None, after="smol@1", state=SwapState.WARMING, requested_at=1.0,
        by="me", compatibility=Compatibility(compatible=True, warnings=("w",)),
    )  # fmt: skip
    event = Event(kind="swap.requested", at=1.0, subject="code", data=(("n", 1), ("ok", True), ("why", None)))
    evidence = {("code", "smol@1"): Evidence(samples=2, successes=1, latency_buckets=((3, 1),), last_at=4.0)}
    given = Feedback(request_id="req-0", decision_id="dec-0", task="code", ref="r", score=0.5, at=9.0, comment="c")
    pair = attempt()
    await store.add_version(first, "me")
    await store.set_profile("smol@1", Profile(load_s=0.5, memory_bytes=7))
    await store.set_alias("best", "smol")
    await store.put_task(task)
    await store.save_swap(swap, binding, event)
    await store.write_batch(Batch(decisions=(pair,), feedback=(given,), evidence=evidence))
    read = await store.load()
    assert read.versions == (first,)
    assert read.profiles == {"smol@1": Profile(load_s=0.5, memory_bytes=7)}
    assert read.aliases == {"best": "smol"}
    assert (read.tasks, read.bindings, read.unfinished_swaps) == ((task,), (binding,), (swap,))
    assert read.evidence == evidence
    assert await store.find_decisions("req-0") == (pair,)
    assert await store.find_feedback("req-0") == (given,)
    (stored,) = await store.events(0, Page())
    assert (stored.kind, stored.data) == (event.kind, event.data)
    assert await store.events(stored.id or 0, Page()) == ()


@pytest.mark.requirement("REG-2")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET digest = 'sha256:other'",
        "UPDATE versions SET settings = '{}'",
        "UPDATE versions SET tags = '[]'",
        "UPDATE versions SET created_at = 0",
        "UPDATE versions SET activated_at = 5",
        "UPDATE versions SET status = 'ready'",
        "UPDATE versions SET status = 'retired'",
        "REPLACE INTO versions SELECT * FROM versions",
        "INSERT INTO transitions VALUES (NULL, 'smol@1', 'registered', 'active', 1, 'x', 'y')",
        "INSERT INTO transitions VALUES (NULL, 'smol@1', 'ready', 'active', 1, 'x', 'y')",
        "INSERT INTO aliases VALUES ('smol', 'other')",
    ],
)
async def test_the_database_refuses_to_break_the_rules_of_a_version(store: SqliteStore, statement: str) -> None:
    await store.add_version(version(), "me")
    connection = sqlite3.connect(store.path)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()


@pytest.mark.requirement("REG-2", "REG-3")
@pytest.mark.parametrize("course", [(L.READY,), (L.RETIRED,), (L.READY, L.ACTIVE)], ids=str)
async def test_a_version_that_ever_got_past_its_registration_is_never_deleted(
    store: SqliteStore, course: tuple[Lifecycle, ...]
) -> None:
    await store.add_version(version(), "me")
    now = L.REGISTERED
    for following in course:
        await store.set_status(step(now, following))
        now = following
    with pytest.raises(Conflict):
        await store.remove_version("smol@1")
    with contextlib.closing(sqlite3.connect(store.path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("DELETE FROM versions")  # a connection without foreign keys, too
    assert len((await store.load()).versions) == 1


@pytest.mark.requirement("REG-3")
async def test_a_version_that_never_worked_can_be_taken_away_with_what_was_ordered_for_it(store: SqliteStore) -> None:
    kept = version("kept", provenance=Provenance(training_data="books"))
    wrong = version(provenance=Provenance(training_data="tales"))
    await store.add_version(kept, "me")
    await store.add_version(wrong, "me")
    await store.set_directive("smol@1", Directive(pinned=True))
    await store.remove_version("smol@1")
    read = await store.load()
    assert [one.ref for one in read.versions] == ["kept@1"]
    assert read.versions[0].provenance.training_data == "books"
    await store.add_version(replace(wrong, provenance=Provenance()), "me")
    assert (await store.load()).versions[1].provenance == Provenance()
    await store.set_profile("smol@1", Profile(load_s=0.5))
    with pytest.raises(Conflict):
        await store.remove_version("smol@1")


async def test_transitions_are_append_only(store: SqliteStore) -> None:
    await store.add_version(version(), "me")
    await store.set_status(step(L.REGISTERED, L.READY))
    connection = sqlite3.connect(store.path)
    for statement in (
        "UPDATE transitions SET by = 'x'",
        "DELETE FROM transitions",
        "REPLACE INTO transitions VALUES (1, 'smol@1', 'ready', 'active', 1, 'x', 'y')",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)
    connection.close()
    assert await store.transitions("smol@1") == (step(L.REGISTERED, L.READY),)


PATHS = {
    L.REGISTERED: (),
    L.READY: (L.READY,),
    L.ACTIVE: (L.READY, L.ACTIVE),
    L.DEPRECATED: (L.READY, L.ACTIVE, L.DEPRECATED),
    L.RETIRED: (L.RETIRED,),
}


@pytest.mark.requirement("REG-3")
@pytest.mark.parametrize(("before", "after"), [*product(L, L)])
@pytest.mark.parametrize("reason", ["because", " "])
async def test_triggers_and_code_agree_on_every_transition(
    store: SqliteStore, before: Lifecycle, after: Lifecycle, reason: str
) -> None:
    await store.add_version(version(), "me")
    now = L.REGISTERED
    for following in PATHS[before]:
        await store.set_status(step(now, following))
        now = following
    try:
        lifecycle.check(before, after, rollback=True, reason=reason)
        legal = True
    except PodiumError:
        legal = False
    if legal:
        await store.set_status(step(before, after, reason=reason))
        (read,) = (await store.load()).versions
        assert read.status is after
    else:
        with pytest.raises(Conflict):
            await store.set_status(step(before, after, reason=reason))


async def test_a_refused_job_does_not_undo_its_neighbours_and_they_share_commits(store: SqliteStore) -> None:
    before = store.commits
    jobs = [store.add_version(version(number=str(n % 40)), "me") for n in range(80)]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert results[:40] == [None] * 40
    assert all(isinstance(result, Conflict) for result in results[40:])
    assert len((await store.load()).versions) == 40
    assert store.commits - before < 40


async def test_a_repeated_batch_changes_nothing(store: SqliteStore) -> None:
    batch = Batch(decisions=tuple(attempt(n) for n in range(5)))
    await store.write_batch(batch)
    await store.write_batch(batch)
    counts = await store.counts()
    assert (counts["decisions"], counts["choices"]) == (5, 1)


async def test_a_decision_takes_at_most_two_kilobytes_with_a_dozen_different_candidates(store: SqliteStore) -> None:
    _, content = pack_choice(choice(12))
    assert len(content) < 1_600
    await store.write_batch(
        Batch(decisions=tuple(attempt(n, choice(12, task=f"task-{n}")) for n in range(500)))
    )  # every choice is stored: the worst case
    path = store.path
    await store.close()
    assert path.stat().st_size / 500 <= 2_600, "row, choice and indexes on disk"


@pytest.mark.requirement("COST-4")
async def test_pruning_keeps_the_newest_and_forgets_unused_choices(store: SqliteStore) -> None:
    pairs = tuple(attempt(n, choice(task=f"t{n // 10}"), at=float(n)) for n in range(100))
    await store.write_batch(Batch(decisions=pairs))
    assert await store.prune(1_000, 30.0) == 30
    assert await store.prune(20, 0.0) == 50
    counts = await store.counts()
    assert (counts["decisions"], counts["choices"]) == (20, 2)
    recent = await store.recent_decisions(Page(limit=2))
    assert [decision.id for decision, _ in recent] == ["dec-99", "dec-98"]
