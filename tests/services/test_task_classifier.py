"""Learns from requests that name their task, in the background, within bounds, and keeps hashes only."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest

from podium import seeds
from podium.core.classifier import Example, train, unpack
from podium.core.classify import BUILTIN_TASKS
from podium.core.examples import ENOUGH, MAX_BYTES, MAX_TASKS
from podium.core.ngrams import features
from podium.domain.request import Endpoint, RequestHead
from podium.domain.task import DEFAULT_TASK, TaskSpec
from podium.services import classifier as module
from podium.services import wire
from podium.services.classifier import BURST, EXAMPLES, MAX_BODY, SNAPSHOT, TaskClassifier, digest_of

ORDERS = ("steel bolts", "oak planks", "copper pipes", "glass panes", "paint tins", "door hinges", "roof tiles")
PLACES = ("Leeds", "Porto", "Gdansk", "Lyon", "Graz", "Turin")


class Clock:
    def __init__(self) -> None:
        self.at = 1_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Kept:
    """Where a classifier saves to."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    async def save_learned(self, name: str, content: bytes, at: float) -> None:
        self.content[name] = content


def built(kept: Mapping[str, bytes] | None = None, *, learn: bool = True) -> tuple[TaskClassifier, Kept, Clock]:
    store, clock = Kept(), Clock()
    store.content |= kept or {}
    return TaskClassifier(store, clock, seeds, dict(store.content), learn=learn), store, clock


def asked(text: str, task: str | None = None) -> RequestHead:
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()
    return wire.parse(Endpoint.CHAT, body, request_id="r", task=task)


def dispatch_note(number: int) -> str:
    order, place = ORDERS[number % len(ORDERS)], PLACES[number % len(PLACES)]
    return f"Dispatch note {number}: {number + 3} crates of {order} leave the depot for {place}, forklift bay {number}."


async def taught(classifier: TaskClassifier, clock: Clock, count: int = 30, task: str = "dispatch") -> None:
    for number in range(count):
        classifier.observe(asked(dispatch_note(number)), task)
    await classifier.step()
    clock.at += 600.0
    await classifier.step()


@pytest.mark.requirement("SEL-8")
@pytest.mark.no_cover
async def test_a_task_is_learned_from_thirty_labelled_requests() -> None:
    classifier, _, clock = built()
    unseen = asked("Dispatch note 77: nine crates of window frames leave the depot for Bergen, forklift bay two.")
    await classifier.step()
    assert classifier.classify(unseen, ()).task != "dispatch"
    await taught(classifier, clock)
    found = classifier.classify(unseen, ())
    assert (found.task, found.abstained) == ("dispatch", False)
    assert found.rule.startswith("learned: dispatch at ")
    assert 0.5 < found.confidence <= 1.0
    assert classifier.classify(asked("Translate this letter into Polish, please."), ()).task == "translation"


async def test_fewer_than_enough_examples_make_no_task() -> None:
    classifier, _, clock = built()
    await taught(classifier, clock, ENOUGH - 1)
    report = classifier.report()
    assert report.kept == {"dispatch": ENOUGH - 1}
    assert report.quality is not None
    assert "dispatch" not in report.quality.own


async def test_the_same_prompt_again_teaches_nothing() -> None:
    classifier, _, _ = built()
    for _ in range(40):
        classifier.observe(asked(dispatch_note(1)), "dispatch")
    await classifier.step()
    assert classifier.report().kept == {"dispatch": 1}


@pytest.mark.requirement("SEL-8")
async def test_a_restart_decides_as_before_without_training_again() -> None:
    first, store, clock = built()
    await taught(first, clock)
    await first.close()
    assert set(store.content) == {EXAMPLES, SNAPSHOT}
    second, _, _ = built(store.content)
    texts = [dispatch_note(200), "Who wrote Faust?", "Résume ce texte.", "zzz qqq"]
    assert [second.classify(asked(t), ()) for t in texts] == [first.classify(asked(t), ()) for t in texts]
    await second.step()
    assert second.report().trained_at is None


async def test_no_word_of_a_prompt_is_kept() -> None:
    classifier, store, clock = built()
    await taught(classifier, clock)
    await classifier.close()
    stored = b"".join(store.content.values())
    for word in (b"forklift", b"crates", b"depot", b"Dispatch note"):
        assert word not in stored


@pytest.mark.no_cover
async def test_switched_off_it_learns_nothing_and_forgets_what_it_had() -> None:
    first, store, clock = built()
    await taught(first, clock)
    await first.close()
    second, kept, _ = built(store.content, learn=False)
    second.observe(asked(dispatch_note(300)), "dispatch")
    await second.step()
    await second.close()
    assert second.report().kept == {}
    third, _, _ = built(kept.content)
    assert third.classify(asked(dispatch_note(301)), ()).task != "dispatch"
    first.learn = False
    assert first.report().kept == {}
    assert first.classify(asked(dispatch_note(302)), ()).task != "dispatch"


@pytest.mark.no_cover
async def test_a_flood_of_task_names_is_bounded_and_does_not_push_out_what_was_learned() -> None:
    classifier, _, clock = built()
    await taught(classifier, clock)
    for number in range(10_000):
        clock.at += 0.3
        classifier.observe(asked(f"flood message with word{number} and other{number * 7}"), f"flood-{number}")
        if number % 50 == 49:
            await classifier.step()
    report = classifier.report()
    assert report.kept["dispatch"] == 30
    assert len(report.kept) <= MAX_TASKS
    assert report.examples_bytes <= MAX_BYTES
    assert report.quality is not None
    assert {name for name, count in report.quality.own.items() if count} == {"dispatch"}


async def test_more_labels_than_the_rate_allows_are_left_out_and_the_queue_stays_short() -> None:
    classifier, _, _ = built()
    for number in range(5_000):
        classifier.observe(asked(dispatch_note(number)), "dispatch")
    assert classifier.report().waiting <= BURST


async def test_bodies_that_are_large_or_broken_are_not_learned_from() -> None:
    classifier, _, _ = built()
    classifier.observe(asked("x" * (MAX_BODY + 1)), "dispatch")
    broken = wire.parse(Endpoint.CHAT, b'{"messages": [{"role": "user", "content": 7}]}', request_id="r")
    classifier.observe(broken, "dispatch")
    await classifier.step()
    assert classifier.report().kept == {}


@pytest.mark.parametrize(
    "damage", [b"", b"PODX", b"\x00" * 200, b"PODX\x01\x00\x01\x00\xff\xff", b"PODC\xff\xff\xff\x7f{}"]
)
async def test_what_cannot_be_read_is_learned_anew(damage: bytes) -> None:
    classifier, _, _ = built({EXAMPLES: damage, SNAPSHOT: damage})
    assert not classifier.classify(asked("Who wrote Faust?"), ()).rule.startswith("learned")
    await classifier.step()
    assert classifier.report().quality is not None


async def test_keywords_of_a_user_outrank_what_was_learned() -> None:
    classifier, _, _ = built()
    await classifier.step()
    spec = TaskSpec(name="billing", keywords=frozenset({"waybill"}))
    assert classifier.classify(asked("Translate this waybill into Polish, please."), (spec,)).task in {
        "billing",
        "translation",
    }
    assert classifier.classify(asked("The waybill is lost."), (spec,)).task == "billing"


async def test_every_classification_says_how_hard_the_prompt_looks_and_embeddings_have_no_task() -> None:
    classifier, _, _ = built()
    await classifier.step()
    found = classifier.classify(asked("Who wrote Faust?"), ())
    assert found.difficulty is not None
    assert 0.0 < found.difficulty < 0.5
    body = json.dumps({"model": "auto", "input": "Translate this to French"}).encode()
    embedding = wire.parse(Endpoint.EMBEDDING, body, request_id="r")
    assert classifier.classify(embedding, ()).task == DEFAULT_TASK


async def test_the_report_says_what_was_learned() -> None:
    classifier, _, _ = built()
    await classifier.step()
    report = classifier.report()
    assert report.quality is not None
    assert set(report.quality.seeds) == {DEFAULT_TASK, *BUILTIN_TASKS}
    assert min(report.quality.seeds.values()) >= 60
    assert 0.0 < report.quality.threshold <= 1.01
    assert report.snapshot_bytes < 16_600 * len(report.quality.seeds)


async def test_what_is_shipped_is_what_training_on_the_seeds_makes() -> None:
    """Otherwise: ``python scripts/train_seeds.py``."""
    shipped = unpack(seeds.trained())
    fresh = train([Example(task, features(text)) for task, text in seeds.seed_prompts()], "fresh")
    assert shipped.digest == digest_of(seeds.seeds_digest(), ())
    assert shipped.tasks == fresh.tasks
    assert np.abs(shipped.steps.astype(int) - fresh.steps.astype(int)).max() <= 1  # processors round differently
    assert shipped.quality.seeds == fresh.quality.seeds
    assert shipped.quality.accuracy == pytest.approx(fresh.quality.accuracy, abs=0.01)


async def test_who_has_no_examples_takes_what_is_shipped_and_does_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr(module, "_fit", fit)
    classifier, store, _ = built()
    await classifier.step()
    assert await classifier.ready(0.0)
    assert classifier.classify(asked("Translate this letter into Polish, please."), ()).task == "translation"
    assert classifier.report().trained_at is None
    await classifier.close()
    assert store.content == {}


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", seeds.trained().replace(seeds.seeds_digest().encode(), b"0" * 24)]
)
async def test_what_is_shipped_for_other_seeds_is_left_aside(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "trained", lambda: content)
    classifier, _, _ = built()
    await classifier.step()
    assert classifier.report().trained_at is not None
