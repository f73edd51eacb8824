"""An answer against the answer that somebody expected: the same text, the same number, or shared words. Pure."""

from __future__ import annotations

import re
from collections import Counter

from podium.core import grading
from podium.core.graders.cleaning import content, stems

_ONLY_NUMBER = re.compile(r"^[\s$€£]*[-+]?\d[\d,]*(?:\.\d+)?\s*%?\s*$")


def matches(answer: str, expected: str) -> float:
    """In [0, 1]. 1 when the answer commits to ``expected`` (exact, or its number); else the F1 of shared content words
    (Rajpurkar et al., EMNLP 2016), which for a short expected answer that stands in a longer one is at least 0.9.

    Raises ``ValueError`` when ``expected`` is empty.
    """
    if not expected.strip():
        raise ValueError("the expected answer is empty")
    if not answer.strip():
        return 0.0
    if grading.exact(answer, [expected]).score == 1.0:
        return 1.0
    if _ONLY_NUMBER.match(expected):
        value = float(re.sub(r"[^\d.+-]", "", expected))
        return float(grading.numeric(answer, value, 0.0).score == 1.0)
    said, wanted = Counter(content(stems(answer))), Counter(content(stems(expected)))
    if not wanted:
        return float(grading.contains(answer, [expected]).score == 1.0)
    shared = sum((said & wanted).values())
    f1 = 2 * shared / (sum(said.values()) + sum(wanted.values()))
    if sum(wanted.values()) <= 6 and grading.contains(answer, [expected]).score == 1.0:
        return max(0.9, f1)
    return f1
