"""How hard a prompt looks, from what is cheap to see. Pure; an estimate, not a measurement.

``difficulty = 1 - exp(-sum(w_i * min(n_i, cap_i) / cap_i))`` over counts ``n_i`` of the part that is read: more of
anything never makes a prompt easier, and nothing alone makes it certain. Must not call a model or know tasks.
"""

from __future__ import annotations

import math
import re

READ_CHARS = 4_000
_LONG_WORD = re.compile(r"[^\W\d_]{9,}")
_CODE = re.compile(r"```|[{};]\s*\n|\b(?:def|class|return|import|void|SELECT|lambda|const|fn)\b|==|!=|->|=>|\(\)")
_MATHS = re.compile(r"\\[a-z]+|[=^∫∑√≤≥±\u00d7÷%]|\d\s*[-+*/]\s*\d")
_NUMBER = re.compile(r"\d+")
_LIMIT = re.compile(
    r"\b(?:must|exactly|at (?:least|most)|only|without|never|each|every|unless|except|if|then|prove|derive|explain|step"
    r"|muss|genau|mindestens|höchstens|nur|ohne|jede[rsnm]?|beweise|falls"
    r"|doit|exactement|au moins|au plus|sans|chaque|démontre[rz]?"
    r"|debe|exactamente|al menos|como máximo|sin|cada|demuestra)\b",
    re.IGNORECASE,
)
_TERMS = (
    # pattern, weight, count beyond which more says nothing
    (_LONG_WORD, 0.35, 40),
    (_CODE, 0.30, 12),
    (_MATHS, 0.35, 12),
    (_NUMBER, 0.20, 20),
    (_LIMIT, 0.25, 10),
)
_LENGTH_WEIGHT, _LENGTH_CAP = 0.45, 2_000.0
_QUESTION_WEIGHT, _QUESTION_CAP = 0.10, 5


def difficulty(text: str) -> float:
    """In [0, 1): 0 for nothing. Never falls when words are added within the first ``READ_CHARS`` characters."""
    text = text[:READ_CHARS]
    total = _LENGTH_WEIGHT * min(len(text), _LENGTH_CAP) / _LENGTH_CAP
    total += _QUESTION_WEIGHT * min(text.count("?") + text.count("\uff1f"), _QUESTION_CAP) / _QUESTION_CAP
    for pattern, weight, cap in _TERMS:
        total += weight * min(len(pattern.findall(text)), cap) / cap
    return 1.0 - math.exp(-total)
