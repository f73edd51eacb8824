"""Replies of judges: a mark only when it is exactly one; the score is the expectation over the marks' probabilities."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.judging.marks import PROBABILITIES, STATED, Token, Unreadable, read_letter, read_mark

pytestmark = pytest.mark.requirement("JDG-2")


def tokens(*parts: tuple[str, dict[str, float]]) -> tuple[Token, ...]:
    return tuple(
        Token(text, {one: math.log(share) if share else -math.inf for one, share in likely.items()})
        for text, likely in parts
    )


def plain(*texts: str) -> tuple[Token, ...]:
    return tokens(*((text, {text: 1.0}) for text in texts))


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"score": 1}', 0.0),
        ('{"score": 5}', 1.0),
        ('{"score":3}', 0.5),
        (' {\n\n "score": 2\n} ', 0.25),
        ('```json\n{"score": 4}\n```', 0.75),
        ('```\n{"score": 4}\n```', 0.75),
        ("4", 0.75),
        (" 1\n", 0.0),
        ('{"score": 4.5}', 0.875),
        ('{"score": 4, "why": "clear"}', 0.75),
    ],
)
def test_a_stated_mark_is_put_on_the_scale(reply, score):
    mark = read_mark(reply, (), 1, 5)
    assert (mark.score, mark.method, mark.sd, mark.mass) == (score, STATED, None, None)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "  \n",
        "I would give this answer a 4.",
        "4 out of 5",
        "Score: 5",
        '{"score": ',
        '{"score": 4',
        "[4]",
        "null",
        '"4"',
        '{"score": "4"}',
        '{"score": null}',
        '{"score": true}',
        "true",
        '{"score": [4]}',
        '{"mark": 4}',
        "{}",
        "NaN",
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"score": -Infinity}',
        '{"score": 1e999}',
        '{"score": 1e9}',
        "1e9",
        "0",
        "6",
        "-1",
        '{"score": 0.99}',
        '{"score": 5, "score": 1}',
        '{"score": 4} {"score": 5}',
        "\u56db\u5206",
        "Ich gebe eine Vier.",
        "\u0661",
        "9" * 5_000,
        '{"score": ' + "9" * 4_500 + "}",
        "[" * 3_000,
        "\x00\x01",
        "\ud800",
    ],
)
def test_anything_else_is_unreadable_and_never_a_number(reply):
    with pytest.raises(Unreadable) as problem:
        read_mark(reply, (), 1, 5)
    assert len(str(problem.value)) < 200


def test_the_score_is_the_expectation_over_the_marks_and_its_spread_that_of_the_same_distribution():
    said = tokens(("3", {"3": 0.5, "5": 0.2, "1": 0.1, "The": 0.2}))
    mark = read_mark("3", said, 1, 5)
    assert mark.method == PROBABILITIES
    assert mark.stated == 3
    assert mark.mass == pytest.approx(0.8)
    expected = (0.5 * 0.5 + 0.2 * 1 + 0.1 * 0) / 0.8
    assert mark.score == pytest.approx(expected)
    square = (0.5 * 0.25 + 0.2) / 0.8
    assert mark.sd == pytest.approx(math.sqrt(square - expected**2))


def test_a_sure_lowest_mark_is_exactly_zero():
    mark = read_mark("1", tokens(("1", {"1": 1.0})), 1, 5)
    assert mark.score == 0.0
    assert mark.sd == 0.0
    assert read_mark('{"score": 0}', (), 0, 9).score == 0.0


def test_the_mark_is_found_among_the_tokens_however_they_are_cut():
    likely = {"4": 0.6, " 5": 0.4}
    for before in (
        ("{", '"', "score", '":', " "),
        ('{"score', '": '),
        ("`", "`", "`", "json", "\n", "{\n", '"score":', " "),
    ):
        said = (*plain(*before), *tokens(("4", likely)), *plain("}", "\n", "```", ""))
        assert read_mark('{"score": 4}', said, 1, 5).score == pytest.approx(0.6 * 0.75 + 0.4)
    glued = (*plain('{"score":'), *tokens((" 4}", {" 4}": 0.5, " 2}": 0.5})))
    assert read_mark('{"score": 4}', glued, 1, 5).score == pytest.approx(0.5)


@pytest.mark.parametrize(
    "said",
    [
        (),
        plain("{", "score", "}"),
        tokens(("4", {"the": 1.0})),
        (Token("4", {"4": math.nan, "5": math.inf}),),
        (Token("4", {"4": 3.0}),),
        (Token("4", {"4": -9_999.0}),),
        tokens(("4", {"4": 0.9, "5": 0.9})),
    ],
)
def test_where_the_tokens_do_not_tell_the_stated_number_counts_and_is_said_to(said):
    mark = read_mark('{"score": 4}', said, 1, 5)
    assert (mark.score, mark.method, mark.sd) == (0.75, STATED, None)


def test_tokens_do_not_save_a_reply_that_is_none():
    with pytest.raises(Unreadable):
        read_mark("I say 4", tokens(("I", {"I": 1.0}), ("4", {"4": 1.0})), 1, 5)


@pytest.mark.parametrize(
    ("reply", "share"), [("A", 1.0), ("B", 0.0), (' {"better": "B"}', 0.0), ('```json\n{"better":"A"}\n```', 1.0)]
)
def test_a_letter_says_which_is_better(reply, share):
    assert read_letter(reply, ()).score == share


def test_a_letter_comes_with_its_probability():
    mark = read_letter(
        '{"better": "B"}', (*plain('{"better":', ' "'), *tokens(("B", {"B": 0.3, "A": 0.1})), *plain('"}'))
    )
    assert mark.score == pytest.approx(0.25)
    assert mark.method == PROBABILITIES


@pytest.mark.parametrize(
    "reply", ["", "C", "a", "AB", "Answer A", '{"better": 1}', '{"better": "both"}', "4", "[]", "{"]
)
def test_what_is_no_letter_is_unreadable(reply):
    with pytest.raises(Unreadable):
        read_letter(reply, ())


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["score", "x"]), inner, max_size=2),
    max_leaves=6,
)


@given(
    st.one_of(st.text(max_size=60), _JSON.map(repr)),
    st.lists(
        st.tuples(
            st.sampled_from(["1", "3", "5", " 2", "x", ""]),
            st.dictionaries(st.text(max_size=3), st.floats(), max_size=4),
        ),
        max_size=4,
    ),
)
@settings(max_examples=100, deadline=None)
@pytest.mark.no_cover
def test_whatever_is_said_there_is_a_score_in_range_or_none(reply, said):
    try:
        mark = read_mark(reply, tuple(Token(text, top) for text, top in said), 1, 5)
    except Unreadable:
        return
    assert 0.0 <= mark.score <= 1.0
    assert mark.sd is None or 0.0 <= mark.sd <= 0.5 + 1e-9
