"""What is known of tasks survives restarts with the evidence, apart from it, and is published when it changes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from ledger_samples import attempt, choice
from podium.core.lessons import Lessons
from podium.domain.cost import Cost
from podium.errors import StoreError
from podium.ports import Batch
from podium.services.recorder import Recorder
from podium.store import SqliteStore, open_store


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


async def traffic(recorder: Recorder, count: int, ref: str = "qwen2.5-coder@0", first: int = 0) -> None:
    for number in range(first, first + count):
        pair = attempt(number, choice(), ref=ref, cost=Cost(wall_ms=1.0, input_tokens=20, output_tokens=30))
        recorder.begin(pair[0], frozenset({"tools"}) if number % 2 else frozenset())
        recorder.record(*pair)
        await recorder.feedback(f"req-{number}", (number % 4) / 3, label="odd" if number % 2 else None)


@pytest.mark.requirement("LRN-1")
async def test_knowledge_survives_restarts_whole_and_goes_on(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    await traffic(recorder, 40)
    await recorder.close()
    known = recorder.knowledge.of("code")
    assert (known.requests, known.with_tools, known.score.n, known.labels) == (40, 20, 40, (("odd", 20.0),))
    read = await store.load()
    assert read.knowledge == {"code": known}
    again = Recorder(store, RealClock(), evidence=read.evidence, knowledge=read.knowledge)
    await traffic(again, 10, first=100)
    assert again.knowledge.of("code").score.n == 50
    await again.close()


@pytest.mark.requirement("LRN-1")
async def test_task_averages_are_never_written_into_a_version_and_a_new_one_is_not_blamed(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    await traffic(recorder, 40, ref="old@1")
    before = recorder.evidence()["code", "old@1"]
    known = recorder.knowledge.of("code")
    await traffic(recorder, 1, ref="new@1", first=100)
    assert recorder.evidence()["code", "old@1"] == before
    new = recorder.evidence()["code", "new@1"]
    assert (new.samples, new.quality_samples) == (1, 1)
    assert recorder.knowledge.of("code").requests == known.requests + 1
    await recorder.close()
    read = await store.load()
    assert set(read.evidence) == {("code", "old@1"), ("code", "new@1")}
    assert set(read.knowledge) == {"code"}
    assert "@" not in repr(read.knowledge)


async def test_knowledge_waits_while_the_store_fails(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    await traffic(recorder, 5)
    store.broken = True
    with pytest.raises(StoreError):
        await recorder.flush()
    store.broken = False
    await recorder.flush()
    assert (await store.load()).knowledge["code"].requests == 5


async def test_a_row_of_another_format_or_without_sense_is_learned_anew(store: Flaky) -> None:
    recorder = Recorder(store, RealClock())
    await traffic(recorder, 5)
    await recorder.close()
    connection = sqlite3.connect(store.path)
    for task, content in (("new", '{"format": 99}'), ("cut", '{"format": 1'), ("odd", '{"format":1,"hours":[1]}')):
        connection.execute("INSERT INTO knowledge VALUES (?, ?)", (task, content))
    connection.commit()
    connection.close()
    assert set((await store.load()).knowledge) == {"code"}


@pytest.mark.requirement("LRN-2")
async def test_lessons_are_published_when_they_change_and_taken_back_when_switched_off(store: Flaky) -> None:
    published: list[Mapping[str, Lessons]] = []
    recorder = Recorder(store, RealClock())
    base = recorder.knowledge
    base.publish(published.append)
    assert published == []
    base.enhance = True
    base.publish(published.append)
    await traffic(recorder, 29)
    base.publish(published.append)
    assert published == [{}]
    await traffic(recorder, 1, first=50)
    base.publish(published.append)
    assert published[-1]["code"]["usual_quality"].value == pytest.approx(0.5, abs=0.05)
    count = len(published)
    base.publish(published.append)
    assert len(published) == count
    base.enhance = False
    base.publish(published.append)
    assert published[-1] == {}
    base.enhance = True
    base.publish(published.append)
    assert "code" in published[-1]
    await recorder.close()
