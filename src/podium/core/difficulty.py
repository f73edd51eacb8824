"""How hard a prompt looks, from what is cheap to see. Pure; an estimate, not a measurement.

``difficulty = 1 - exp(-sum(w_i * min(n_i, cap_i) / cap_i))`` over counts ``n_i`` in the part that is read: more of
anything never makes a prompt easier, and nothing alone makes it certain. Must not call a model or know tasks.
"""

from __future__ import annotations

import math
import re

READ_CHARS = 2_000
LONG_WORD = 9
_WORD = re.compile(r"\w+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SIGNS = "=^+*%<>\u2211\u221a\u222b\u2264\u2265\u00b1\u00d7\u00f7\\"
_CODE_SIGNS = ("```", "{", "}", ";\n", "()", "->", "=>", "==", "!=")
_CODE_WORDS = _words("def class return import void lambda const fn func struct elif printf println")
_LIMITS = _words(
    # conditions, quantities and demands for reasons, in the languages of the seeds
    "must exactly least most only without never each every unless except if then prove derive explain step such "
    "muss genau mindestens höchstens nur ohne jede jeder jedes beweise falls begründe schritt "
    "doit exactement moins plus sans chaque démontre démontrer explique étape si "
    "debe exactamente menos máximo sin cada demuestra explica paso"
)
_LENGTH, _LONG, _CODE, _MATHS, _NUMBERS, _CONDITIONS, _QUESTIONS = range(7)
WEIGHTS = (0.45, 0.25, 0.30, 0.35, 0.40, 0.25, 0.05)
CAPS = (2_000, 40, 12, 12, 20, 10, 5)
"""Counts beyond which more says nothing: characters, long words, code, mathematics, numbers, conditions, questions."""


def counts(text: str) -> tuple[int, ...]:
    """What is counted, in the order of ``CAPS``, within the first ``READ_CHARS`` characters."""
    text = text[:READ_CHARS].lower()
    words = _WORD.findall(text)
    return (
        len(text),
        len([word for word in words if len(word) >= LONG_WORD]),
        sum(map(text.count, _CODE_SIGNS)) + len([word for word in words if word in _CODE_WORDS]),
        sum(map(text.count, _SIGNS)),
        len([word for word in words if word[0].isdecimal()]),
        len([word for word in words if word in _LIMITS]),
        text.count("?"),
    )


def difficulty(text: str) -> float:
    """In [0, 1): 0 for nothing. Never falls when words are added within the first ``READ_CHARS`` characters."""
    total = sum(weight * min(count, cap) / cap for count, weight, cap in zip(counts(text), WEIGHTS, CAPS, strict=True))
    return 1.0 - math.exp(-total)
