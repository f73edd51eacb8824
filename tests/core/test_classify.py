"""Rules recognise plain cases, abstain otherwise, explain themselves and survive any text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.classify import BUILTIN_TASKS, classify
from podium.domain.request import Endpoint
from podium.domain.task import DEFAULT_TASK, TaskSpec

NONE: frozenset[str] = frozenset()


def task_of(text: str, *tasks: TaskSpec) -> str:
    return classify(text, Endpoint.CHAT, NONE, tasks).task


@pytest.mark.requirement("SEL-8")
@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("code-generation", "Write a Python function that reverses a string."),
        ("code-generation", "Fix this bug:\n```js\nlet a = ;\n```"),
        ("code-generation", "Implement quicksort in Rust."),
        ("judgment", "Which response is better? Rate each on a scale of 1 to 10."),
        ("judgment", "Evaluate the answer against this rubric and give a verdict."),
        ("summarisation", "Summarize the following article in one sentence: The council met on Monday."),
        ("summarisation", "The council met on Monday and talked for hours.\n\nTL;DR"),
        ("translation", "Translate to French: good morning"),
        ("translation", "Please could you translate this letter into German?"),
        ("extraction", "Extract all email addresses from this text as JSON."),
        ("classification", "Classify the sentiment as positive or negative: I love it."),
        ("question-answering", "What is the capital of France?"),
        ("question-answering", "Answer the question based on the context. Context: it rained. Question: was it wet?"),
        ("math", "What is 2+2?"),
        ("math", "Solve for x: 3x + 2 = 11"),
        ("math", "Calculate the derivative of x squared."),
    ],
)
def test_plain_cases_are_recognised(task: str, text: str) -> None:
    assert task in BUILTIN_TASKS
    found = classify(text, Endpoint.CHAT, NONE, ())
    assert (found.task, found.abstained) == (task, False)
    assert found.rule.startswith(f"{task}: '")
    assert 0.0 < found.confidence < 1.0


@pytest.mark.requirement("SEL-8")
@pytest.mark.parametrize(
    "text", ["", "   \n", "Hello, how are you?", "Write a haiku about the sea.", "ok", "🙂🙂", "on 2024-05-01"]
)
def test_without_a_clear_cue_it_abstains_to_the_default_task(text: str) -> None:
    found = classify(text, Endpoint.CHAT, NONE, ())
    assert (found.task, found.abstained, found.confidence) == (DEFAULT_TASK, True, 0.0)
    assert found.rule


def test_a_tie_abstains_and_names_both() -> None:
    specs = (
        TaskSpec(name="poetry", keywords=frozenset({"moon"})),
        TaskSpec(name="space", keywords=frozenset({"orbit"})),
    )
    found = classify("moon orbit", Endpoint.CHAT, NONE, specs)
    assert found.abstained
    assert found.rule == "tie between poetry and space at 3 points"
    assert found.scores == {"poetry": 3.0, "space": 3.0}


def test_keywords_of_a_task_count_as_whole_words_in_any_case() -> None:
    poetry = TaskSpec(name="poetry", keywords=frozenset({"Haiku", "free verse"}))
    assert task_of("Write a HAIKU about the sea", poetry) == "poetry"
    assert task_of("some free verse", poetry) == "poetry"
    assert task_of("haikus", poetry) == DEFAULT_TASK


def test_nouns_that_look_like_orders_do_not_decide() -> None:
    assert task_of("Rate limits in our API cause failures.") == DEFAULT_TASK
    assert task_of("Write a short story about a dragon who learns to code.") == DEFAULT_TASK


def test_one_weak_word_is_not_enough() -> None:
    found = classify("I had a json breakfast", Endpoint.CHAT, NONE, ())
    assert found.abstained


def test_only_the_ends_of_a_long_prompt_are_read() -> None:
    filler = "lorem ipsum dolor sit amet " * 400
    assert task_of(f"Translate to German: {filler}") == "translation"
    assert task_of(f"{filler}\nSummarize the above.") == "summarisation"
    assert task_of(f"{filler} translate to german {filler}") == DEFAULT_TASK


def test_an_asked_for_schema_tips_extraction_and_embeddings_have_no_task() -> None:
    found = classify("names and dates", Endpoint.CHAT, frozenset({"json_schema"}), ())
    assert found.task == "extraction"
    assert classify("Translate to French: hi", Endpoint.EMBEDDING, NONE, ()).abstained


def test_the_same_text_gets_the_same_explanation_every_time() -> None:
    text = "Classify the sentiment label of this spam category as positive or negative."
    first = classify(text, Endpoint.CHAT, NONE, ())
    assert all(classify(text, Endpoint.CHAT, NONE, ()) == first for _ in range(20))


@given(st.text(max_size=3_000), st.sampled_from(Endpoint), st.frozensets(st.text(max_size=8), max_size=3))
def test_no_text_makes_it_raise(text: str, endpoint: Endpoint, keywords: frozenset[str]) -> None:
    spec = TaskSpec(name="own", keywords=keywords)
    found = classify(text, endpoint, NONE, (spec,))
    assert found.task in {*BUILTIN_TASKS, "own", DEFAULT_TASK}
    assert found.abstained == (found.confidence == 0.0)


@given(st.binary(max_size=500))
def test_nor_do_lone_surrogates_and_broken_encodings(raw: bytes) -> None:
    classify(raw.decode("utf-8", "surrogateescape") + "\ud800", Endpoint.COMPLETION, NONE, ())


def test_the_work_does_not_grow_with_the_prompt() -> None:
    short, long = "word " * 180, "word " * 200_000

    def best(text: str) -> int:
        times = []
        for _ in range(30):
            begin = time.perf_counter_ns()
            classify(text, Endpoint.CHAT, NONE, ())
            times.append(time.perf_counter_ns() - begin)
        return min(times)

    assert best(long) < 20 * best(short)
