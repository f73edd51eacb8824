"""Reads the reply of a model as judge: a mark on a scale or a letter, with the probabilities of the tokens it was made of.

A reply that is not exactly what was asked for is ``Unreadable``, never a number. The score is the expectation over the
marks, weighted with their token probabilities (G-Eval, Liu et al. 2023, arXiv 2303.16634); the standard deviation is that
of the same distribution.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podium.core.judging.prompts import BETTER, SCORE

PROBABILITIES = "token probabilities"
STATED = "stated number"
STATED_CHOICE = "stated choice"
LONGEST = 4_000
"""Characters of a reply that are looked at; a verdict is far shorter."""
_FENCED = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)
_TRIMMED = " \t\r\n\"'`:{}"
_SLACK = 0.02
"""By how much probabilities may exceed one in all: servers round them."""


class Unreadable(ValueError):
    """Why a reply is no verdict, in words."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply, with the natural logarithms of the likeliest tokens at its place, itself among them."""

    text: str
    top: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Mark:
    """``score`` in [0, 1]. ``mass``: how much of the probability at the mark's place was on marks at all."""

    score: float
    sd: float | None
    method: str
    stated: float
    mass: float | None = None


def read_mark(text: str, tokens: Sequence[Token], low: int, high: int) -> Mark:
    """The mark in a reply. Raises ``Unreadable``."""
    stated = _number(_value(text, SCORE), low, high)
    marks = {str(mark): (mark - low) / (high - low) for mark in range(low, high + 1)}
    found = _weights(text, tokens, f"{stated:g}", frozenset(marks))
    if found is None:
        return Mark((stated - low) / (high - low), None, STATED, stated)
    mass = sum(found.values())
    mean = sum(weight * marks[mark] for mark, weight in found.items()) / mass
    square = sum(weight * marks[mark] ** 2 for mark, weight in found.items()) / mass
    spread = math.sqrt(max(0.0, square - mean * mean))
    return Mark(min(1.0, max(0.0, mean)), spread, PROBABILITIES, stated, min(1.0, mass))


def read_letter(text: str, tokens: Sequence[Token]) -> Mark:
    """Which of A and B: ``score`` is the probability of A. Raises ``Unreadable``."""
    value = text.strip() if text.strip() in {"A", "B"} else _value(text, BETTER)
    if value not in ("A", "B"):
        raise Unreadable(f"it names {_shown(value)}, not A or B")
    stated = 1.0 if value == "A" else 0.0
    found = _weights(text, tokens, str(value), frozenset({"A", "B"}))
    if found is None:
        return Mark(stated, None, STATED_CHOICE, stated)
    mass = sum(found.values())
    share = min(1.0, max(0.0, found.get("A", 0.0) / mass))
    return Mark(share, math.sqrt(share * (1 - share)), PROBABILITIES, stated, min(1.0, mass))


def _value(text: str, key: str) -> object:
    if not text.strip():
        raise Unreadable("the reply is empty")
    if len(text) > LONGEST:
        raise Unreadable(f"the reply has {len(text):,} characters where a mark was asked for")
    inside = _FENCED.fullmatch(text)
    try:
        value = json.loads(inside[1] if inside else text, object_pairs_hook=_once, parse_constant=_refused)
    except Unreadable:
        raise
    except (ValueError, RecursionError):
        raise Unreadable("the reply is not the JSON that was asked for") from None
    if isinstance(value, dict):
        if key not in value:
            raise Unreadable(f'the reply has no "{key}"')
        return value[key]
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Unreadable("the reply names a key twice")
    return value


def _refused(name: str) -> object:
    raise Unreadable(f"the reply says {name}, which is no mark")


def _number(value: object, low: int, high: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"the mark is {_shown(value)}, not a number")
    if not low <= value <= high:
        raise Unreadable(f"the mark is {_shown(value)}, outside {low} to {high}")
    return float(value)


def _shown(value: object) -> str:
    try:
        return repr(value)[:60]
    except ValueError:  # an integer of more than 4300 digits
        return "a very long number"


def _weights(text: str, tokens: Sequence[Token], stated: str, marks: frozenset[str]) -> dict[str, float] | None:
    """The probability of each mark at the place of the stated one; ``None`` when the tokens do not tell."""
    place = _place(tokens, stated)
    if place is None or stated not in marks:
        return None
    found: dict[str, float] = {}
    for said, logarithm in tokens[place].top.items():
        mark = said.strip(_TRIMMED)
        if mark in marks and math.isfinite(logarithm) and logarithm <= _SLACK:
            found[mark] = found.get(mark, 0.0) + math.exp(logarithm)
    mass = sum(found.values())
    return found if 0.0 < mass <= 1.0 + _SLACK else None


def _place(tokens: Sequence[Token], stated: str) -> int | None:
    """Which token is the mark: the last that is nothing but it, so that a digit in a word before it does not count."""
    return next(
        (place for place in range(len(tokens) - 1, -1, -1) if tokens[place].text.strip(_TRIMMED) == stated), None
    )
