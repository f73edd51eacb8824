"""What is read out of an answer, and how it is scored."""

from __future__ import annotations

import contextlib
import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core import grading
from podium.core.ranking import paired, rank
from podium.domain.benchmark import ItemResult

pytestmark = pytest.mark.requirement("LRN-6")


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Paris", True),
        (" **paris**. ", True),
        ("The answer is Paris.", True),
        ("Answer: Paris\nbecause it always was", True),
        ("Paris\n\nIt lies on the Seine.", True),
        ("It is Paris", False),
        ("London", False),
        ("", False),
    ],
)
def test_exact_takes_the_whole_answer_or_its_first_line(answer, right):
    assert grading.exact(answer, ["Paris"]).score == right


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ("The capital is Paris.", ["Paris"], True),
        ("comparison", ["paris"], False),
        ("He said: São Paulo!", ["Sao Paulo"], True),
        ("H₂O is water", ["H2O"], True),
        ("at 3.5 hours", ["3.5"], True),
        ("at 13.5 hours", ["3.5"], False),
        ("The flower-pot", ["flower pot"], True),
    ],
)
def test_contains_compares_whole_words(answer, expected, right):
    assert grading.contains(answer, expected).score == right


LETTERS = ("A", "B", "C", "D")
LABELS = ("spam", "not spam")


@pytest.mark.parametrize(
    ("answer", "choices", "chosen"),
    [
        ("B", LETTERS, "B"),
        ("B) because of the rain", LETTERS, "B"),
        ("(C)", LETTERS, "C"),
        ("**D**", LETTERS, "D"),
        ("The correct answer is B.", LETTERS, "B"),
        ("Answer: C - the river", LETTERS, "C"),
        ("It is a river, so I choose D.", LETTERS, "D"),
        ("Either A or B", LETTERS, None),
        ("none of them", LETTERS, None),
        ("not spam", LABELS, "not spam"),
        ("This is spam.", LABELS, "spam"),
        ("Label: Not Spam", LABELS, "not spam"),
        ("I think it is spam\nNo, it is not spam", LABELS, "spam"),
        ("positive or negative?", ("positive", "negative"), None),
        ("Sentiment: positive.\nThere is nothing negative in it.", ("positive", "negative"), "positive"),
        ("", LETTERS, None),
    ],
)
def test_choice_reads_the_label_an_answer_commits_to(answer, choices, chosen):
    assert grading.chosen_label(answer, choices) == chosen


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("42", 42),
        ("The answer is 1,250.", 1250),
        ("6 plus 7 = 13", 13),
        ("First 5, then 7, so the answer is 12 apples, not 30", 12),
        ("**-3.5** degrees", -3.5),
        ("$19.99", 19.99),
        ("1e3", 1000),
        ("there are 7 days in a week", 7),
        ("none", None),
        ("v2a", None),
        (".5", 0.5),
    ],
)
def test_numeric_reads_the_stated_number(answer, said):
    assert grading.stated_number(answer) == said


def test_numeric_respects_the_tolerance_and_refuses_infinity():
    assert grading.numeric("3.14", math.pi, 0.01).score == 1
    assert grading.numeric("3.1", math.pi, 0.01).score == 0
    assert grading.numeric("9" * 400, 1.0, 1e308).score == 0


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": 1}',
        'Sure! Here it is:\n```json\n{"a": 1}\n```\nAnything else?',
        '```\n{"a": 1}\n```',
        'The object is {"a": 1} as you asked.',
        '~~~json\n{"a": 1}',
        'Use {braces} like {"a": 1}',
    ],
)
def test_json_is_found_in_prose_and_fences(answer):
    assert grading.json_value(answer) == {"a": 1}


@pytest.mark.parametrize("answer", ["", "no", "{'a': 1}", '{"a": NaN}', "{" * 30_000, "[" * 30_000, '{"a": 1'])
def test_what_is_no_json_is_refused(answer):
    with pytest.raises(ValueError, match="no JSON"):
        grading.json_value(answer)


def test_fields_score_the_share_that_is_right():
    wanted = {"name": "Nora Lind", "age": 34, "tags": ["a", "b"], "ok": True}
    assert grading.fields({"name": "nora lind.", "age": 34.0, "tags": ["A", "b"], "ok": True}, wanted).score == 1
    half = grading.fields({"name": "Nora", "age": 34, "tags": ["a"], "ok": True}, wanted)
    assert half.score == 0.5
    assert half.why == "wrong: name, tags"
    assert grading.fields({"age": True, "ok": 1}, wanted).score == 0
    assert grading.fields([], wanted).score == 0


@pytest.mark.parametrize(
    "answer",
    [
        "def f(x):\n    return x",
        "Here you go:\n\n```python\ndef f(x):\n    return x\n```\n\nThis returns x.",
        "```py\ndef f(x):\n    return x",
        "Sure, I can help.\ndef f(x):\n    return x\n\nThis function returns x.",
        "Example call first:\n```bash\npython f.py\n```\n```python\ndef f(x):\n    return x\n```",
        "```python\ndef f(x):\n    return x\n```\nExample:\n```python\nprint(f(undefined))\n```",
        "```python\n# answer\ndef f(x):\n    return x\nThat's all\n```",
    ],
)
def test_code_is_found_in_prose_and_fences(answer):
    space: dict[str, object] = {}
    exec(grading.python_code(answer), space)
    assert space["f"](3) == 3


@pytest.mark.parametrize("answer", ["", "I cannot do that.", "```python\ndef f(:\n```", "def f(x) return x"])
def test_what_does_not_compile_is_refused(answer):
    with pytest.raises(ValueError, match="compiles"):
        grading.python_code(answer)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_no_answer_makes_a_grader_raise(answer):
    for grade in (
        grading.exact(answer, ["a"]),
        grading.contains(answer, ["a"]),
        grading.choice(answer, "a", ["a", "b"]),
        grading.numeric(answer, 1.0, 0.0),
    ):
        assert grade.score in (0.0, 1.0)
    for read in (grading.json_value, grading.python_code):
        with contextlib.suppress(ValueError):
            read(answer)


@pytest.mark.parametrize(
    "answer",
    ["```\n" * 5000, "{" * 20_000, "1," * 10_000, "9" * 20_000 + "x", " " * 20_000, "def f(:\n" * 2500, "a" * 10**7],
)
def test_hostile_answers_are_read_in_bounded_time(answer):
    started = time.perf_counter()
    grading.choice(answer, "a", ["a", "b"])
    grading.numeric(answer, 1.0, 0.0)
    grading.exact(answer, ["a"])
    for read in (grading.json_value, grading.python_code):
        with contextlib.suppress(ValueError):
            read(answer)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("mean", "n", "low", "high"), [(0.5, 10, 0.2366, 0.7634), (0.0, 20, 0.0, 0.1611), (1.0, 50, 0.9287, 1.0)]
)
def test_the_interval_is_wilsons(mean, n, low, high):
    assert grading.wilson(mean, n) == pytest.approx((low, high), abs=1e-4)
    assert grading.wilson(0.0, 0) == (0.0, 1.0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """10,000 samples of 48 right/wrong answers, seed 1: coverage of a 95 % interval within 92 to 98 %."""
    rng = random.Random(1)
    covered = 0
    for _ in range(10_000):
        truth = rng.uniform(0.05, 0.95)
        mean = sum(rng.random() < truth for _ in range(48)) / 48
        low, high = grading.wilson(mean, 48)
        covered += low <= truth <= high
    assert 0.92 < covered / 10_000 < 0.98


def result(item: str, ref: str, score: float, latency_ms: float = 1.0, task: str = "t") -> ItemResult:
    return ItemResult(
        suite="s", digest="d", task=task, item=item, ref=ref, score=score, why="", latency_ms=latency_ms,
        input_tokens=None, output_tokens=None, answer_hash="", at=0.0,
    )  # fmt: skip


def test_the_leaderboard_puts_the_best_first_and_the_faster_of_equals():
    rows = [result(f"i{n}", ref, score, ms) for n in range(10) for ref, score, ms in
            (("slow@1", 1.0, 9.0), ("fast@1", 1.0, 2.0), ("bad@1", 0.0, 1.0))]  # fmt: skip
    rows.append(result("x", "fast@1", 0.5, task="other"))
    ranked = rank(rows)
    assert [(row.task, row.ref) for row in ranked] == [
        ("other", "fast@1"), ("t", "fast@1"), ("t", "slow@1"), ("t", "bad@1"),
    ]  # fmt: skip
    assert ranked[1].n == 10
    assert ranked[1].low == pytest.approx(grading.wilson(1.0, 10)[0])
    assert ranked[1].output_tokens is None
    assert rank([]) == ()


def test_pairs_that_differ_decide_whether_two_versions_do():
    one = [result(f"i{n}", "a@1", 1.0) for n in range(10)]
    other = [result(f"i{n}", "b@1", float(n >= 8)) for n in range(10)]
    assert paired(one, other) == (8, 0, pytest.approx(2 / 256))
    assert paired(one, one) == (0, 0, 1.0)
