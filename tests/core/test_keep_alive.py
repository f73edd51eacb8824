"""``keep_alive`` means what it means to Ollama, and nothing else is taken."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.keep_alive import parse_keep_alive

LONGEST_NS = 2**63 - 1


@pytest.mark.requirement("POOL-7")
@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("5", 5.0), ("0", 0.0), ("0.5", 0.5), ("3600", 3600.0), ("1e3", 1000.0), ("-0", 0.0), ("-0.0", 0.0),
        ("-1", math.inf), ("-0.001", math.inf), ("-999", math.inf), ("1e300", math.inf), ("9" * 400, math.inf),
        ('"5m"', 300.0), ('"1h30m"', 5400.0), ('"300ms"', 0.3), ('"1.5h"', 5400.0), ('"24h"', 86400.0),
        ('"+5s"', 5.0), ('"0"', 0.0), ('"+0"', 0.0), ('"-0"', 0.0), ('"0s"', 0.0), ('"-0s"', 0.0), ('"007s"', 7.0),
        ('"-1m"', math.inf), ('"-1s"', math.inf), ('"-1ns"', math.inf), ('"-0.5ns"', 0.0),
        ('"1\u00b5s"', 1e-6), ('"1\u03bcs"', 1e-6), ('"1us"', 1e-6), ('"1ns"', 1e-9), ('".5s"', 0.5), ('"1.s"', 1.0),
        ('"1m1m"', 120.0), ('"1s1h"', 3601.0), ('"0.9ns"', 0.0), ('"2562047h47m16.854775807s"', LONGEST_NS / 1e9),
        (f'"{LONGEST_NS}ns"', LONGEST_NS / 1e9), (f'"-{LONGEST_NS + 1}ns"', math.inf),
        ('"0.3333333333333333333333333s"', 0.333333333), ('"000000000000000000000000001s"', 1.0),
    ],
)  # fmt: skip
def test_every_form_ollama_accepts(sent: str, seconds: float) -> None:
    assert parse_keep_alive(json.loads(sent)) == seconds


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is empty"), ("-", "no number"), ("+", "no number"), ("5", "no unit"), ("-1", "no unit"), ("1h5", "no unit"),
        ("abc", "not a number"), (".s", "not a number"), (".", "not a number"), ("--5s", "not a number"),
        ("1d", "unit 'd'"), ("1w", "unit 'w'"), ("5M", "unit 'M'"), ("5min", "unit 'min'"), ("1h-5m", "unit 'h-'"),
        ("5m ", "unit 'm '"), (" 5m", "not a number"), ("1h 30m", "unit 'h '"), ("1e3s", "unit 'e'"), ("1,5s", "unit"),
        ("\u0663s", "not a number"), ("NaN", "not a number"), ("inf", "not a number"), ("-inf", "not a number"),
        (f"{LONGEST_NS + 1}ns", "292 years"), (f"-{LONGEST_NS + 2}ns", "292 years"), ("9999999h", "292 years"),
        ("2562047h" * 2, "292 years"), ("9" * 10_000 + "s", "292 years"), ("1s\x00", "unit"), ("5s\n", "unit"),
        (True, "true or false"), (False, "true or false"), (None, "null"), ([], "a list"), ({}, "an object"),
        (b"5m", "bytes"), (math.nan, "finite"), (math.inf, "finite"), (-math.inf, "finite"),
    ],
)  # fmt: skip
def test_what_ollama_refuses_is_refused_with_a_message_that_helps(value: object, says: str) -> None:
    with pytest.raises(ValueError, match="keep_alive") as caught:
        parse_keep_alive(value)
    message = str(caught.value)
    assert says in message
    assert '"5m"' in message  # how to write it
    assert len(message) < 300


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["ns", "us", "ms", "s", "m"])), min_size=1, max_size=6)
)
def test_parts_add_up_exactly(parts: list[tuple[int, str]]) -> None:
    size = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_keep_alive(text) == sum(number * size[unit] for number, unit in parts) / 1e9


@given(st.integers(0, 10**6), st.integers(0, 999_999_999), st.sampled_from(["", "-", "+"]))
def test_fractions_of_seconds_are_exact_to_the_nanosecond(whole: int, ns: int, sign: str) -> None:
    found = parse_keep_alive(f"{sign}{whole}.{ns:09}s")
    total = whole * 10**9 + ns
    assert found == (math.inf if sign == "-" and total else total / 1e9)


@given(st.floats() | st.integers())
def test_a_number_is_refused_or_seconds_to_the_nanosecond(value: float) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        with pytest.raises(ValueError, match="finite"):
            parse_keep_alive(value)
        return
    found = parse_keep_alive(value)
    if value < 0:
        assert found == math.inf
    elif found != math.inf:
        assert abs(found - value) <= 1e-9 + value * 1e-15
    else:
        assert value >= LONGEST_NS // 10**9


@given(st.text(alphabet="0123456789.+-hmsnuµμ \u0663e_", max_size=30) | st.text(max_size=30))
@pytest.mark.no_cover
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_keep_alive(text)
    except ValueError as error:
        seconds, message = 0.0, str(error)
    else:
        message = "keep_alive is fine"
    assert seconds >= 0.0
    assert message.startswith("keep_alive ")
