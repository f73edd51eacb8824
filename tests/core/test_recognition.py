"""Who has the last word: keywords of the user, tasks of the user, rules, what was learned, nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.classifier import Verdict
from podium.core.difficulty import READ_CHARS, difficulty
from podium.core.examples import ENOUGH, MAX_BYTES, MAX_PROMPTS, MAX_TASKS, Examples
from podium.core.ngrams import features
from podium.core.recognition import VETO, settle
from podium.domain.task import DEFAULT_TASK, Classification

SILENT = Classification(task=DEFAULT_TASK, confidence=0.0, rule="no rule matched", abstained=True)


def ruled(task: str) -> Classification:
    return Classification(task=task, confidence=0.7, rule=f"{task}: 'cue'")


def letters(number: int) -> str:
    """A word of its own for every number: digits are all alike to the classifier."""
    return "".join(chr(97 + number // 26**place % 26) for place in range(4))


def learned(sure: str | None, **shares: float) -> Verdict:
    ranked = tuple(sorted(((name.replace("_", "-"), share) for name, share in shares.items()), key=lambda one: -one[1]))
    return Verdict(sure, ranked[0][1], ranked)


@pytest.mark.requirement("SEL-8")
def test_a_rule_stands_when_what_was_learned_finds_it_likely_enough() -> None:
    assert settle(ruled("math"), learned(None, math=VETO, translation=0.3)) == ruled("math")


@pytest.mark.requirement("SEL-8")
def test_a_rule_that_looks_unlikely_gives_way_to_a_sure_task_or_to_none() -> None:
    sure = settle(ruled("question-answering"), learned("extraction", extraction=0.95, question_answering=0.02))
    assert (sure.task, sure.confidence, sure.abstained) == ("extraction", 0.95, False)
    assert sure.rule == "learned: extraction at 95%"
    unsure = settle(ruled("question-answering"), learned(None, extraction=0.5, question_answering=0.1))
    assert (unsure.task, unsure.confidence, unsure.abstained) == (DEFAULT_TASK, 0.0, True)
    assert "question-answering look otherwise (10%)" in unsure.rule


def test_a_task_of_the_users_own_outranks_a_built_in_rule_and_a_keyword_outranks_both() -> None:
    verdict = learned("dispatch", dispatch=0.7, math=0.25)
    assert settle(ruled("math"), verdict, {"dispatch"}).task == "dispatch"
    assert settle(ruled("math"), verdict).task == "math"
    assert settle(ruled("billing"), verdict, {"dispatch"}).task == "billing"


def test_nobody_sure_abstains_and_says_what_was_likeliest() -> None:
    found = settle(SILENT, learned(None, math=0.4, general=0.3))
    assert (found.task, found.abstained) == (DEFAULT_TASK, True)
    assert found.rule == "no rule matched; learned: math is not sure enough (40%)"


WORDS = st.lists(
    st.sampled_from(
        ["prove", "exactly", "12", "x^2", "why?", "international", "the", "def", "return", "at least", "```", "5 + 6"]
    ),
    max_size=120,
)


@pytest.mark.requirement("SEL-8")
@given(WORDS, WORDS)
def test_more_words_never_make_a_prompt_easier(first: list[str], more: list[str]) -> None:
    short, long = " ".join(first), " ".join([*first, *more])
    assert 0.0 <= difficulty(short) <= difficulty(long) < 1.0


def test_a_proof_with_conditions_looks_harder_than_a_greeting_and_the_rest_of_a_long_text_is_not_read() -> None:
    proof = "Prove that for every integer n at least 3, n^2 - 1 = (n-1)(n+1), without induction. Explain each step."
    assert difficulty(proof) > 3 * difficulty("Hello, how are you?")
    assert difficulty("") == 0.0
    assert difficulty("x " * READ_CHARS) == difficulty("x " * READ_CHARS * 10)


def test_a_sample_keeps_at_most_so_many_different_prompts_and_survives_being_stored() -> None:
    draws = iter(range(10**6))
    sample = Examples(lambda n: next(draws) % n)
    for number in range(300):
        sample.add("notes", features(f"crate {letters(number)} of the depot"))
        if number < MAX_PROMPTS:
            assert not sample.add("notes", features(f"CRATE {letters(number)}  of the depot"))
    assert sample.counts() == {"notes": MAX_PROMPTS}
    assert sample.seen() == {"notes": 300}
    again = Examples(lambda n: 0)
    again.unpack(sample.pack())
    assert again.pack() == sample.pack()
    assert again.counts() == sample.counts()


def test_what_is_established_stays_however_many_names_arrive_and_the_size_is_bounded() -> None:
    sample = Examples(lambda n: 0)
    long = " ".join(letters(at * 977) for at in range(400))
    for number in range(ENOUGH):
        sample.add("real", features(f"{letters(number)} real thing {long}"))
    for number in range(2_000):
        sample.add(f"name{number}", features(f"junk {letters(number)} here"))
    assert sample.counts()["real"] == ENOUGH
    assert len(sample.counts()) <= MAX_TASKS
    full = Examples(lambda n: 0)
    for task in range(MAX_TASKS):
        for number in range(MAX_PROMPTS):
            full.add(f"big{task}".ljust(64, "x"), features(f"{letters(task)} {letters(number)} {long[number * 5 :]}"))
    assert sum(full.counts().values()) == MAX_TASKS * MAX_PROMPTS
    assert 0.9 * MAX_BYTES < len(full.pack()) <= MAX_BYTES


@given(st.binary(max_size=300))
def test_a_damaged_sample_is_refused(raw: bytes) -> None:
    sample = Examples(lambda n: 0)
    for data in (raw, b"PODX\x01\x00\x01\x00\x01\x00" + raw):
        try:
            sample.unpack(data)
        except ValueError:
            continue
        assert len(sample.pack()) <= MAX_BYTES
