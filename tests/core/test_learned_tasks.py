"""The learned classifier: right on prompts it never saw, silent on what is none of its business, bounded, exact."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core import classifier
from podium.core.classifier import ERROR_RATE, MAX_CLASSES, MAX_EXAMPLES, NEVER, Example, Snapshot, train, unpack
from podium.core.classify import BUILTIN_TASKS, classify
from podium.core.examples import MAX_PROMPTS
from podium.core.ngrams import BUCKETS, KEPT, features
from podium.core.recognition import settle
from podium.domain.request import Endpoint
from podium.domain.task import DEFAULT_TASK
from podium.seeds import seed_prompts

HELD_OUT = [
    json.loads(line)
    for line in (Path(__file__).parent / "classifier_prompts.jsonl").read_text(encoding="utf-8").splitlines()
]
FOREIGN = (
    "asdkj qwpoe zmxn vbqlk hjtrw",
    "qqqq wwww eeee rrrr tttt",
    "0x3f 0x9a 0x11 0xde 0xad",
    "....,,,,;;;;----",
    "blarg snorf wibble quux foo bar baz",
    "The cat sat on the mat and looked at the moon.",
    "My sister moved to Leeds last spring and likes it.",
    "привет как дела сегодня",
    "今日はとても暑いですね",
    "مرحبا كيف حالك اليوم",
    "a" * 1_000_000,
    "\x00\x01\x02\x03" * 500,
    bytes(range(256)).decode("latin-1") * 10,
    "🙂🙃" * 300,
)


@pytest.fixture(scope="module")
def seeded() -> Snapshot:
    return train([Example(task, features(text)) for task, text in seed_prompts()], "seeds")


@pytest.mark.requirement("SEL-8")
def test_prompts_it_never_saw_are_recognised_in_four_languages(seeded: Snapshot) -> None:
    """Measured: likeliest task right 94.9 %, a task named for 79 %, 97.8 % of those right (117 prompts)."""
    assert len(HELD_OUT) >= 100
    assert not {row["text"] for row in HELD_OUT} & {text for _, text in seed_prompts()}
    verdicts = [(row, seeded.judge(features(row["text"]))) for row in HELD_OUT]
    likeliest = [verdict.ranked[0][0] == row["task"] for row, verdict in verdicts]
    named = [verdict.task == row["task"] for row, verdict in verdicts if verdict.task is not None]
    assert np.mean(likeliest) >= 0.90
    assert np.mean(named) >= 0.94
    assert len(named) / len(HELD_OUT) >= 0.70
    for lang in ("en", "de", "fr", "es"):
        of_lang = [right for right, row in zip(likeliest, HELD_OUT, strict=True) if row["lang"] == lang]
        assert len(of_lang) >= 18
        assert np.mean(of_lang) >= 0.85, lang


@pytest.mark.requirement("SEL-8")
def test_with_the_rules_it_names_more_tasks_and_fewer_wrong_ones_than_the_rules_alone(seeded: Snapshot) -> None:
    alone, both = [], []
    for row in HELD_OUT:
        rule = classify(row["text"], Endpoint.CHAT, frozenset(), ())
        found = settle(rule, seeded.judge(features(row["text"])))
        alone += [] if rule.abstained else [rule.task == row["task"]]
        both += [] if found.abstained else [found.task == row["task"]]
    assert len(both) > 2 * len(alone)
    assert np.mean(both) >= 0.90
    assert np.mean(both) > np.mean(alone)


@pytest.mark.requirement("SEL-8")
@pytest.mark.parametrize("text", FOREIGN, ids=range(len(FOREIGN)))
def test_gibberish_small_talk_and_unknown_languages_get_no_task(seeded: Snapshot, text: str) -> None:
    assert seeded.judge(features(text)).task is None


def test_the_instruction_is_found_before_and_behind_a_long_document(seeded: Snapshot) -> None:
    document = "The ferry to the island was late again, and the mayor spoke about the harbour wall. " * 60
    assert seeded.judge(features(f"Summarize the following article.\n\n{document}")).ranked[0][0] == "summarisation"
    assert seeded.judge(features(f"{document}\n\nÜbersetze den Text ins Englische.")).ranked[0][0] == "translation"


def test_every_built_in_task_has_seeds_in_several_languages() -> None:
    counts = dict.fromkeys((DEFAULT_TASK, *BUILTIN_TASKS), 0)
    texts = [text for _, text in seed_prompts()]
    for task, _ in seed_prompts():
        counts[task] += 1
    assert min(counts.values()) >= 60
    assert len(texts) == len(set(texts))


@pytest.mark.no_cover
def test_the_closed_form_of_leaving_one_out_is_what_leaving_one_out_gives() -> None:
    rows = [Example(task, features(text)) for task, text in seed_prompts()[::18]]
    whole = train(rows, "all")
    right = []
    for at, row in enumerate(rows):
        without = train(rows[:at] + rows[at + 1 :], "without")
        right.append(without.judge(row.features).ranked[0][0] == row.task)
    assert whole.quality.accuracy == pytest.approx(np.mean(right), abs=1.5 / len(rows))


def test_the_threshold_keeps_the_stated_error_rate_on_left_out_examples(seeded: Snapshot) -> None:
    quality = seeded.quality
    assert quality.error is not None
    assert quality.error <= ERROR_RATE + 1e-9
    assert quality.answered is not None
    assert quality.answered > 0.5
    assert quality.worst_pair is not None


def test_labels_without_meaning_make_it_silent() -> None:
    """With random labels nothing can be learned; nearly nothing may be named."""
    rng = np.random.default_rng(5)
    texts = [text for _, text in seed_prompts()][:300]
    rows = [Example(f"t{rng.integers(5)}", features(text)) for text in texts]
    quality = train(rows, "noise").quality
    assert quality.accuracy is not None
    assert quality.accuracy < 0.45
    assert quality.answered is not None
    assert quality.answered < 0.15 or quality.threshold == NEVER


def test_a_snapshot_read_back_judges_alike_and_is_small(seeded: Snapshot) -> None:
    data = seeded.pack()
    assert len(data) < len(seeded.tasks) * (BUCKETS + 400)
    again = unpack(data)
    assert again.pack() == data
    for row in HELD_OUT:
        assert again.judge(features(row["text"])) == seeded.judge(features(row["text"]))


@pytest.mark.parametrize("change", ["short", "long", "magic", "format", "empty"])
def test_damaged_snapshots_are_refused(seeded: Snapshot, change: str) -> None:
    data = seeded.pack()
    damaged = {
        "short": data[:-1], "long": data + b"\0", "magic": b"X" + data[1:], "empty": b"",
        "format": data.replace(b'"format": 1', b'"format": 9'),
    }[change]  # fmt: skip
    with pytest.raises(ValueError, match=r".+"):
        unpack(damaged)


def test_the_most_that_can_be_learned_fits_and_more_is_refused() -> None:
    rng = np.random.default_rng(3)
    own = MAX_CLASSES * MAX_PROMPTS
    assert len(seed_prompts()) + own <= MAX_EXAMPLES
    words = [f"w{at}" for at in range(500)]
    rows = [
        Example(f"t{at % MAX_CLASSES}", features(" ".join(rng.choice(words, 12))), own=True) for at in range(own // 4)
    ]
    assert len(train(rows, "many").pack()) <= MAX_CLASSES * (BUCKETS + 400)
    with pytest.raises(ValueError, match="cannot train"):
        train([*rows, Example("one-more", features("one more task"))], "x")
    with pytest.raises(ValueError, match="cannot train"):
        train(rows[:1], "x")


def test_training_twice_gives_the_same_bytes() -> None:
    rows = [Example(task, features(text)) for task, text in seed_prompts()[::5]]
    assert train(rows, "x").pack() == train(rows, "x").pack()


@given(st.text(max_size=2_000))
def test_no_text_makes_hashing_raise_and_its_vectors_are_short(text: str) -> None:
    found = features(text)
    assert len(found.indices) == len(found.values) <= KEPT
    if not found.empty:
        assert float(found.values @ found.values) == pytest.approx(1.0, abs=1e-4)
        assert np.all(np.diff(found.indices.astype(int)) > 0)


@given(st.binary(max_size=500))
def test_nor_do_lone_surrogates(raw: bytes) -> None:
    features(raw.decode("utf-8", "surrogateescape") + "\ud800")


def test_letters_case_spacing_and_digits_do_not_matter() -> None:
    one, other = features("Add 12 and 34  please"), features("add 98 AND 76 please")
    assert np.array_equal(one.indices, other.indices)


def test_a_classifier_of_nothing_names_nothing() -> None:
    empty = classifier.Verdict(None, 0.0, ())
    rule = classify("Translate to French: good morning", Endpoint.CHAT, frozenset(), ())
    assert settle(rule, empty) == rule
