"""Write-behind: nothing is folded twice, nothing is lost while the store is away, the bound holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ledger_samples import attempt, choice
from podium.domain.evidence import Evidence
from podium.domain.swap import Event
from podium.errors import InvalidRequest, NotFound, StoreError
from podium.ports import Batch, Page
from podium.services.recorder import Recorder
from podium.store import SqliteStore, open_store

KEY = ("code", "qwen2.5-coder@0")


class RealClock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Flaky(SqliteStore):
    """A real store whose batches fail while ``broken``."""

    broken = False

    async def write_batch(self, batch: Batch) -> None:
        if self.broken:
            raise StoreError("the disk is full; free some space")
        await super().write_batch(batch)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Flaky]:
    path = tmp_path / "podium.db"
    await open_store(path).close()
    opened = Flaky(path)
    yield opened
    await opened.close()


async def until(condition: Callable[[], bool], deadline_s: float = 5.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - the recorder has no event to wait for, polling has a deadline
            await asyncio.sleep(0.005)


@pytest.mark.requirement("LRN-4")
async def test_recorded_rows_become_durable_within_a_second_without_being_asked(store: Flaky) -> None:
    seen: dict[tuple[str, str], Evidence] = {}
    recorder = Recorder(store, RealClock(), on_evidence=seen.update)
    recorder.start()
    started = time.monotonic()
    recorder.record(*attempt(1))
    recorder.event(Event(kind="pool.loaded", at=1.0, subject="x"))
    await until(lambda: recorder.stats().written == 2)
    assert time.monotonic() - started < 1.0
    assert seen[KEY].samples == 1
    assert (await store.load()).evidence == seen
    assert len(await store.events(0, Page())) == 1
    await recorder.close()


async def test_a_repeated_outcome_is_folded_once(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    for _ in range(3):
        recorder.record(*attempt(1))
    await recorder.flush()
    recorder.record(*attempt(1))
    await recorder.flush()
    assert recorder.evidence()[KEY].samples == 1


async def test_feedback_joins_the_answer_and_is_folded_once_also_after_a_restart(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    recorder.record(*attempt("a", request="r", success=False, error="provider_unreachable"))  # type: ignore[arg-type]
    recorder.record(*attempt("b", request="r"))  # type: ignore[arg-type]
    given = await recorder.feedback("r", 0.5)
    assert given is not None
    assert given.decision_id == "dec-b"
    assert await recorder.feedback("r", 0.5) == given
    await recorder.close()
    again = Recorder(store, RealClock(), evidence=(await store.load()).evidence)
    assert await again.feedback("r", 0.5) == given
    judged = await again.feedback("r", 0.9, source="judge")
    assert judged is not None
    assert judged.decision_id == "dec-b"
    assert again.evidence()[KEY].quality_samples == 2
    await again.close()
    assert (await store.load()).evidence[KEY].quality_sum == pytest.approx(1.4)


async def test_feedback_to_nothing_or_out_of_range_is_refused(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    with pytest.raises(NotFound, match="nothing-like-it"):
        await recorder.feedback("nothing-like-it", 1.0)
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidRequest):
            await recorder.feedback("nothing-like-it", score)


async def test_rows_wait_while_the_store_fails_and_are_written_when_it_is_back(store: Flaky) -> None:
    recorder = Recorder(store, RealClock(), flush_interval_s=0.005)
    recorder.start()
    store.broken = True
    recorder.record(*attempt(1))
    await until(lambda: recorder.stats().last_error is not None)
    recorder.record(*attempt(2))
    stats = recorder.stats()
    assert (stats.pending, stats.dropped, stats.written) == (2, 0, 0)
    assert stats.oldest_pending_age_s > 0
    with pytest.raises(StoreError):
        await recorder.flush()
    store.broken = False
    await until(lambda: recorder.stats().written == 2)
    assert recorder.stats().last_error is None
    assert (await store.counts())["decisions"] == 2
    await recorder.close()


async def test_a_full_buffer_drops_and_counts_the_oldest_rows_but_no_evidence(store: Flaky) -> None:
    recorder = Recorder(store, RealClock(), capacity=10)
    for n in range(25):
        recorder.record(*attempt(n))
    assert (recorder.stats().dropped, recorder.stats().pending) == (15, 10)
    await recorder.flush()
    assert (await store.load()).evidence[KEY].samples == 25
    recent = await store.recent_decisions(Page())
    assert [decision.id for decision, _ in recent] == [f"dec-{n}" for n in range(24, 14, -1)]


async def test_a_row_that_cannot_be_stored_does_not_hold_the_others_up(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    recorder.record(*attempt(1))
    recorder.record(*attempt(2, choice(task="\ud800"), request="bad"))
    recorder.record(*attempt(3))
    await recorder.flush()
    assert recorder.stats().dropped >= 1
    assert (await store.counts())["decisions"] == 2


async def test_closing_writes_what_is_left_and_gives_up_at_its_deadline(store: Flaky) -> None:
    recorder = Recorder(store, RealClock(), flush_interval_s=60)
    recorder.start()
    for n in range(5_000):
        recorder.record(*attempt(n, CHOICE))
    await recorder.close()
    assert (await store.counts())["decisions"] == 5_000
    store.broken = True
    other = Recorder(store, RealClock())
    other.record(*attempt(9_999))
    started = time.monotonic()
    await other.close(deadline_s=0.3)
    assert time.monotonic() - started < 2


CHOICE = choice()


async def test_a_flush_that_is_cancelled_writes_no_event_twice(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    for n in range(50):
        recorder.event(Event(kind="a.b", at=float(n), subject="x"))
        flushing = asyncio.create_task(recorder.flush())
        await asyncio.sleep(0)
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)
    await recorder.flush()
    assert [event.at for event in await store.events(0, Page())] == [float(n) for n in range(50)]
