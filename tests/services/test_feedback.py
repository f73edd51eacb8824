"""Feedback joins its answer whenever it comes, the latest word of a source counts, and what joins nothing is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import FakeClock
from ledger_samples import attempt
from podium.core.bandit import Bandit
from podium.domain.belief import Belief
from podium.domain.decision import Decision, Feedback
from podium.errors import InvalidRequest, NotFound, StoreError
from podium.ports import Batch
from podium.services import joining
from podium.services.learner import Learner
from podium.services.recorder import Recorder
from podium.store import SqliteStore, open_store

KEY = ("code", "qwen2.5-coder@0")


class RealClock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "podium.db")
    yield opened
    await opened.close()


@pytest.fixture
async def recorder(store: SqliteStore) -> Recorder:
    made = Recorder(store, RealClock())
    made.record(*attempt(1))
    return made


def quality(recorder: Recorder) -> tuple[int, float]:
    evidence = recorder.evidence()[KEY]
    return evidence.quality_samples, evidence.quality_sum


async def test_the_latest_word_of_a_source_counts_and_the_others_stay(recorder: Recorder, store: SqliteStore) -> None:
    await recorder.feedback("req-1", 0.9)
    await recorder.feedback("req-1", 0.4, source="judge")
    said = await recorder.feedback("req-1", 0.2)
    assert said is not None
    assert said.score == 0.2
    count, total = quality(recorder)
    assert (count, total) == (2, pytest.approx(0.6))
    await recorder.flush()
    assert {(f.source, f.score) for f in await store.find_feedback("req-1")} == {("user", 0.2), ("judge", 0.4)}
    assert (await store.load()).evidence[KEY].quality_sum == pytest.approx(0.6)
    assert recorder.feedback_stats().replaced == 1


async def test_a_later_word_keeps_what_it_leaves_out(recorder: Recorder) -> None:
    await recorder.feedback("req-1", thumbs="down", comment="no")
    said = await recorder.feedback("req-1", label="  Wrong   Language ")
    assert said is not None
    assert (said.score, said.label, said.comment) == (0.0, "wrong language", "no")
    assert quality(recorder) == (1, 0.0)
    said = await recorder.feedback("req-1", thumbs="up")
    assert said is not None
    assert (said.score, said.label) == (1.0, "wrong language")
    assert quality(recorder) == (1, 1.0)


async def test_a_correction_is_a_score_of_zero_unless_a_score_comes_with_it_and_its_text_is_not_kept(
    recorder: Recorder, store: SqliteStore
) -> None:
    said = await recorder.feedback("req-1", correction="the secret answer")
    assert said is not None
    assert (said.score, said.correction_chars) == (0.0, 17)
    said = await recorder.feedback("req-1", 0.6, correction="the secret answers")
    assert said is not None
    assert (said.score, said.correction_chars) == (0.6, 18)
    await recorder.flush()
    (stored,) = await store.find_feedback("req-1")
    assert stored == said
    assert len(stored.correction_hash or "") == 64
    await store.close()
    for path in store.path.parent.iterdir():
        assert b"secret answer" not in path.read_bytes()


async def test_words_alone_are_kept_and_teach_no_score(recorder: Recorder) -> None:
    said = await recorder.feedback("req-1", label="too long", comment="far too long")
    assert said is not None
    assert said.score is None
    assert quality(recorder)[0] == 0
    await recorder.feedback("req-1", 0.5)
    assert quality(recorder) == (1, 0.5)


@pytest.mark.requirement("LRN-5")
async def test_feedback_that_joins_nothing_is_refused_counted_and_shown(recorder: Recorder) -> None:
    for number in range(joining.SHOWN + 5):
        with pytest.raises(NotFound, match=f"none-{number}"):
            await recorder.feedback(f"none-{number}", 1.0)
    stats = recorder.feedback_stats()
    assert (stats.unjoined, stats.joined) == (joining.SHOWN + 5, 0)
    assert [name for name, _ in stats.last_unjoined] == [f"none-{n}" for n in range(14, 4, -1)]
    assert quality(recorder)[0] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": float("nan")}, {"score": float("inf")}, {"score": -0.01}, {"score": 1.01}, {"score": True},
        {"score": "0.5"}, {"thumbs": "sideways"}, {"score": 1.0, "thumbs": "up"}, {"label": " "}, {"label": "x" * 65},
        {"label": "a\x07b"}, {"comment": "x" * 2001}, {"correction": "x" * 1_000_001}, {"score": 1.0, "source": "me"},
        {"comment": "  "}, {},
    ],
    ids=lambda wrong: " and ".join(wrong) or "nothing",
)  # fmt: skip
async def test_what_is_no_feedback_is_refused_by_name(recorder: Recorder, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await recorder.feedback("req-1", **wrong)  # type: ignore[arg-type] # wrong on purpose
    assert caught.value.param in {"score", "thumbs", "label", "comment", "correction", "source"}
    assert quality(recorder)[0] == 0


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "naïve", "a\n"])
async def test_a_malformed_request_id_is_not_looked_up(recorder: Recorder, request_id: str) -> None:
    with pytest.raises(InvalidRequest, match="request id"):
        await recorder.feedback(request_id, 1.0)
    assert recorder.feedback_stats().unjoined == 0


async def test_a_request_from_the_future_is_named_as_such(store: SqliteStore) -> None:
    recorder = Recorder(store, RealClock())
    decision, outcome = attempt(1, request="req_0123456789ab0000000f")
    recorder.begin(decision)
    recorder.record(decision, outcome)
    with pytest.raises(NotFound, match="later than any on record"):
        await recorder.feedback("req_0123456789ab00000010", 1.0)
    with pytest.raises(NotFound, match="no request"):
        await recorder.feedback("req_0123456789ab00000001", 1.0)
    assert (await recorder.feedback("req_0123456789ab0000000f", 1.0)) is not None


async def test_feedback_before_the_end_of_the_answer_waits_for_it(store: SqliteStore) -> None:
    recorder = Recorder(store, RealClock())
    failed = attempt("a", request="r", success=False, error="provider_unreachable")  # type: ignore[arg-type]
    good = attempt("b", request="r")  # type: ignore[arg-type]
    recorder.begin(failed[0])
    assert await recorder.feedback("r", thumbs="up") is None
    recorder.record(*failed)
    recorder.begin(good[0])
    await recorder.flush()
    assert await recorder.feedback("r", label="nice") is None
    assert recorder.feedback_stats().held == 1
    assert quality(recorder)[0] == 0
    recorder.record(*good)
    await recorder.flush()
    (said,) = await store.find_feedback("r")
    assert (said.decision_id, said.score, said.label) == ("dec-b", 1.0, "nice")
    assert quality(recorder) == (1, 1.0)
    assert (recorder.feedback_stats().held, recorder.feedback_stats().unjoined) == (0, 0)


async def test_held_feedback_is_bounded_in_time_and_number_and_then_counts_as_unjoined(store: SqliteStore) -> None:
    clock = FakeClock()
    recorder = Recorder(store, clock)
    for number in range(joining.HELD_MOST + 3):
        recorder.begin(attempt(number)[0])
        assert await recorder.feedback(f"req-{number}", 1.0) is None
    assert (recorder.feedback_stats().held, recorder.feedback_stats().unjoined) == (joining.HELD_MOST, 3)
    clock.time += joining.HOLD_S + 1
    assert (recorder.feedback_stats().held, recorder.feedback_stats().unjoined) == (0, joining.HELD_MOST + 3)


async def test_late_feedback_finds_a_request_that_only_the_store_remembers(
    recorder: Recorder, store: SqliteStore
) -> None:
    await recorder.feedback("req-1", 1.0)
    await recorder.close()
    learned: list[Feedback] = []
    revised: list[tuple[Feedback, Feedback]] = []
    again = Recorder(
        store,
        RealClock(),
        evidence=(await store.load()).evidence,
        on_feedback=learned.append,
        on_revision=lambda now, before: revised.append((now, before)),
    )
    assert await again.feedback("req-1", 0.25) is not None
    assert await again.feedback("req-1", 0.5, source="check") is not None
    assert [one.source for one in learned] == ["check"]
    assert [(now.score, before.score) for now, before in revised] == [(0.25, 1.0)]
    assert quality(again) == (2, 0.75)
    await again.close()


async def test_simultaneous_feedback_of_one_source_is_folded_once(recorder: Recorder) -> None:
    await asyncio.gather(*(recorder.feedback("req-1", score) for score in (0.1, 0.2, 0.3)))
    assert quality(recorder) == (1, pytest.approx(0.3))


WORDS = st.tuples(st.integers(0, 3), st.sampled_from(("user", "check", "judge")), st.integers(0, 4))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, max_size=25))
@pytest.mark.no_cover
async def test_evidence_is_that_of_the_last_words_only(tmp_path: Path, words: list[tuple[int, str, int]]) -> None:
    path = tmp_path / f"{time.monotonic_ns()}.db"
    store = open_store(path)
    try:
        recorder = Recorder(store, RealClock())
        for number in range(4):
            recorder.record(*attempt(number))
        last: dict[tuple[int, str], float] = {}
        for number, source, quarter in words:
            await recorder.feedback(f"req-{number}", quarter / 4, source=source)
            last[number, source] = quarter / 4
        count, total = quality(recorder)
        assert count == len(last)
        assert total == pytest.approx(sum(last.values()))
        await recorder.flush()
        stored = [one for number in range(4) for one in await store.find_feedback(f"req-{number}")]
        assert {(f.request_id, f.source): f.score for f in stored} == {
            (f"req-{number}", source): score for (number, source), score in last.items()
        }
    finally:
        await store.close()


@pytest.mark.requirement("LRN-2")
def test_the_learner_takes_a_score_back_and_believes_the_new_one() -> None:
    said: dict[str, Belief] = {}
    learner = Learner(lambda tables: said.update(tables["t"]), lambda: ["a@1"], Bandit())
    first = Feedback(request_id="r", decision_id="d", task="t", ref="a@1", score=1.0, at=0.0)
    for _ in range(10):
        learner.feedback(first)
    learner.publish()
    before = said["a@1"]
    learner.revised(replace(first, score=0.0), first)
    learner.publish()
    assert said["a@1"].mean < before.mean
    assert said["a@1"].weight == before.weight
    learner.revised(replace(first, score=float("nan")), first)
    assert learner.refused == 1


async def test_a_word_of_a_request_that_fell_out_of_memory_is_still_replaced_not_doubled(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "REMEMBERED", 10)
    recorder = Recorder(store, RealClock())
    recorder.record(*attempt(1))
    await recorder.feedback("req-1", 1.0)
    for number in range(2, 30):
        recorder.record(*attempt(number))
    await recorder.flush()
    assert quality(recorder) == (1, 1.0)
    await recorder.feedback("req-1", 0.5)
    await recorder.feedback("req-1", 0.25)
    assert quality(recorder) == (1, 0.25)


async def test_feedback_is_bounded_while_the_store_is_away_and_still_teaches(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(store, RealClock(), capacity=10)
    for number in range(10):
        recorder.record(*attempt(number))
    await recorder.flush()
    real = store.write_batch

    async def refuse(batch: Batch) -> None:
        raise StoreError("the disk is full; free some space")

    monkeypatch.setattr(store, "write_batch", refuse)
    for source in ("user", "check"):
        for number in range(10):
            await recorder.feedback(f"req-{number}", 0.5, source=source)
    with pytest.raises(StoreError):
        await recorder.flush()
    assert (recorder.stats().pending, recorder.stats().dropped) == (10, 10)
    monkeypatch.setattr(store, "write_batch", real)
    await recorder.flush()
    assert (await store.load()).evidence[KEY].quality_samples == 20
    assert (await store.counts())["feedback"] == 10


STEPS = st.lists(
    st.tuples(st.sampled_from(("begin", "end", "say", "flush")), st.integers(0, 2), st.integers(0, 4)), max_size=30
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
@pytest.mark.no_cover
async def test_whatever_the_order_of_requests_attempts_and_feedback_each_last_word_is_folded_once(
    tmp_path: Path, steps: list[tuple[str, int, int]]
) -> None:
    store = open_store(tmp_path / f"{time.monotonic_ns()}.db")
    try:
        recorder = Recorder(store, RealClock())
        running: dict[int, Decision] = {}
        ended: set[int] = set()
        words: dict[int, float] = {}
        made = 0

        def end(number: int) -> None:
            decision = running.pop(number)
            recorder.record(decision, attempt(decision.id[4:], request=decision.request_id)[1])  # type: ignore[arg-type]
            ended.add(number)

        for what, number, quarter in steps:
            if what == "begin" and number not in running and number not in ended:
                made += 1
                running[number] = attempt(made, request=f"r{number}")[0]
                recorder.begin(running[number])
            elif what == "end" and number in running:
                end(number)
            elif what == "say" and number not in running and number not in ended:
                with pytest.raises(NotFound):
                    await recorder.feedback(f"r{number}", quarter / 4)
            elif what == "say":
                said = await recorder.feedback(f"r{number}", quarter / 4)
                assert (said is None) == (number in running)
                words[number] = quarter / 4
            elif what == "flush":
                await recorder.flush()
        for number in list(running):
            end(number)
        await recorder.flush()
        evidence = (await store.load()).evidence.get(KEY)
        assert (evidence.quality_samples if evidence else 0) == len(words)
        assert (evidence.quality_sum if evidence else 0) == pytest.approx(sum(words.values()))
        assert recorder.feedback_stats().held == 0
        assert recorder.knowledge.of("code").score.n == len(words)
    finally:
        await store.close()
