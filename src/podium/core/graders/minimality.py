"""Minimality without a model: how much of an answer could go. Pure.

Owns measures of repetition, padding and length. Must not know what the answer had to say: an answer that is short
because it leaves out what was asked is minimal here; relevance sees that.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter

from podium.core.graders.cleaning import FUNCTION, content, sentences, stem, words
from podium.core.graders.reading import Read
from podium.core.graders.wordy import CLOSING, FILLER, HEDGE, OPENING, savings

FEATURES = (
    "saved",
    "saved_share",
    "hits",
    "function",
    "repeated",
    "repeated_runs",
    "squeeze",
    "fillers",
    "hedges",
    "opening",
    "closing",
    "restates",
    "length",
    "long_sentence",
    "commas",
    "brackets",
    "figures",
    "capitals",
    "quotes",
    "of",
    "the",
    "that",
    "being",
    "past",
    "adverbs",
    "nouns",
    "pronouns",
    "and",
    "clauses",
    "word_length",
    "excess",
)
_BE = frozenset(["is", "are", "was", "were", "be", "been", "being", "has", "have", "had"])
_PRONOUN = frozenset(
    [
        "he",
        "she",
        "it",
        "they",
        "them",
        "his",
        "her",
        "its",
        "their",
        "him",
        "we",
        "our",
        "i",
        "my",
        "this",
        "these",
        "those",
    ]
)
_LINK = frozenset(
    [
        "that",
        "which",
        "who",
        "whom",
        "whose",
        "where",
        "when",
        "while",
        "although",
        "though",
        "because",
        "since",
        "as",
        "if",
    ]
)
_NOUN = re.compile(r"(?:tion|sion|ment|ness|ity|ance|ence|ism|ship|hood|ing)s?$")


def measure(read: Read) -> dict[str, float]:
    """The features of an answer by name, each about 0 to 1. Raises ``ValueError`` for an answer without words."""
    text = read.output
    said = words(text)
    if not said:
        raise ValueError("an answer without words has no length to judge")
    count = len(said)
    parts = sentences(text)
    hits, saved = savings(text)
    counts = Counter(said)
    inner = content([stem(one) for one in said])
    runs = list(zip(said, said[1:], said[2:], strict=False))
    raw = text.encode("utf-8", "replace")
    size = max(1, count)
    asked = set(content([stem(one) for one in words(read.prompt)])) if read.prompt != text else set()
    first = content([stem(one) for one in words(parts[0])]) if parts else []

    def share(number: float, most: float) -> float:
        return min(1.0, number / size / most)

    found = {
        "saved": min(1.0, saved / 12),
        "saved_share": share(saved, 0.4),
        "hits": share(hits, 0.25),
        "function": sum(one in FUNCTION for one in said) / size,
        "repeated": 1 - len(set(inner)) / max(1, len(inner)),
        "repeated_runs": 1 - len(set(runs)) / len(runs) if runs else 0.0,
        "squeeze": min(1.0, len(zlib.compress(raw, 6)) / max(1, len(raw))) if len(raw) >= 40 else 1.0,
        "fillers": share(len(FILLER.findall(text)), 0.1),
        "hedges": share(len(HEDGE.findall(text)), 0.1),
        "opening": float(OPENING.search(text) is not None),
        "closing": float(CLOSING.search(text, max(0, len(text) - 400)) is not None),
        "restates": sum(one in asked for one in first) / len(first) if first and asked else 0.0,
        "length": min(1.0, math.log1p(count) / 7),
        "long_sentence": min(1.0, count / max(1, len(parts)) / 50),
        "commas": share(text.count(","), 0.15),
        "brackets": share(text.count("(") + text.count("["), 0.1),
        "figures": share(sum(one[0].isdigit() for one in said), 0.2),
        "capitals": share(len(re.findall(r"(?<=\s)[A-Z]", text)), 0.4),
        "quotes": share(text.count('"'), 0.1),
        "of": share(counts["of"], 0.12),
        "the": share(counts["the"], 0.2),
        "that": share(counts["that"] + counts["which"] + counts["who"], 0.08),
        "being": share(sum(counts[one] for one in _BE), 0.15),
        "past": share(sum(one.endswith("ed") for one in said), 0.2),
        "adverbs": share(sum(one.endswith("ly") for one in said), 0.1),
        "nouns": share(sum(_NOUN.search(one) is not None for one in said), 0.2),
        "pronouns": share(sum(counts[one] for one in _PRONOUN), 0.15),
        "and": share(counts["and"] + counts["or"], 0.12),
        "clauses": share(sum(counts[one] for one in _LINK), 0.15),
        "word_length": min(1.0, sum(map(len, said)) / size / 8),
        "excess": _excess(count, read.expected),
    }
    return {name: float(found[name]) for name in FEATURES}


def score(found: dict[str, float]) -> float:
    """The plain rule: one, less what repetition, wordy constructions, padding and excess length waste."""
    waste = (
        0.55 * found["saved_share"]
        + 0.5 * max(0.0, found["repeated"] - 0.3)
        + 0.6 * found["repeated_runs"]
        + 0.1 * found["fillers"]
        + 0.1 * found["hedges"]
        + 0.08 * found["opening"]
        + 0.08 * found["closing"]
        + 0.05 * found["restates"]
        + 0.5 * found["excess"]
    )
    return max(0.0, 1.0 - waste)


def _excess(count: int, expected: str | None) -> float:
    """How much longer than the expected answer: 0 up to its length, 1 from four times on."""
    if not expected:
        return 0.0
    wanted = max(1, len(words(expected)))
    return min(1.0, max(0.0, math.log(max(1, count) / wanted) / math.log(4)))
