"""Faithfulness without a model: how far the words, numbers, names and quotes of an answer stand in what it was given. Pure.

Owns these measures. Must not know facts: a true statement that the context does not hold counts as unsupported, and an
answer longer than its ground ("open") is mostly unsupported by nature. The measures of copying follow the
extractive fragments of Grusky et al. (NAACL 2018); an answer that copies most pairs of words is "extractive", another one
uses its "own" words, and different measures tell them apart.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from podium.core.graders.cleaning import NUMBER_WORDS, content, numbers, sentences, stems, words
from podium.core.graders.reading import Read
from podium.core.graders.speech import refuses

FEATURES = (
    "extractive",
    "extractive_triples",
    "extractive_seams",
    "extractive_together",
    "extractive_length",
    "own_support",
    "own_least",
    "own_novel",
    "own_pairs",
    "own_together",
    "own_length",
    "numbers",
    "names",
    "negation",
    "rule",
    "open",
    "open_length",
    "open_numbers",
    "open_names",
    "open_sentences",
    "open_refusal",
    "open_wants_fact",
    "open_wants_text",
    "open_question",
    "open_ability",
    "open_code",
    "open_list",
    "open_overlap",
)
_MOST_SENTENCES = 20
_MOST_GROUND_SENTENCES = 100
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|neither|nor|without|cannot|\w+n't|nicht|kein\w*|ne|pas|jamais|nunca|no)\b|n't|не|没|不",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"(?<![.!?:\n])(?<=[\s,(\"'])[A-Z][\w'&.-]*(?:\s+(?:of|the|de|van|von|and|du|la)?\s*[A-Z][\w'&.-]*)*"
)
_QUOTE = re.compile(r"\"([^\"\n]{8,200})\"|`` ([^`'\n]{8,200}) ''")
_WANTS_FACT = re.compile(
    r"\b(?:who|when|where|which|how (?:many|much|old|long|far|tall)|name|list|find|identify|retrieve|give (?:an?|me|two|three|five)|what (?:is|are|was|were)|latest|current|year|population|capital|top|statistics?|research|compare|calculate|data|article|quote|cite|source|recommend|https?://)\b",
    re.IGNORECASE,
)
_WANTS_TEXT = re.compile(
    r"\b(?:write|rewrite|compose|create|generate|story|poem|essay|letter|e-?mail|tweet|slogan|dialogue|paraphrase|edit|rephrase|summari[sz]e|translate|convert|explain|describe|suggest|brainstorm|design)\b",
    re.IGNORECASE,
)
_ABILITY = re.compile(
    r"\b(?:image|picture|photo|video|draw|play|song|audio|file|chart|graph|visuali[sz]ation|download|upload|today|tomorrow|yesterday|latest|this week|current(?:ly)?|your (?:favou?rite|opinion|name|hobby|feelings?)|20(?:2[1-9]|3\d)|https?://)",
    re.IGNORECASE,
)
_CODE = re.compile(r"```|\b(?:def |function |class |import |SELECT |console\.|print\()|[{};]\s*$", re.MULTILINE)


def measure(read: Read) -> dict[str, float]:
    """The features of an answer by name, each about 0 to 1. Raises ``ValueError`` when there is nothing to compare with."""
    if not read.ground:
        raise ValueError("neither a context nor a prompt to compare with")
    if not read.output:
        raise ValueError("an empty answer states nothing that could be supported")
    ground_stems, said_stems = stems(read.ground), stems(read.output)
    ground_set = set(ground_stems) | {NUMBER_WORDS.get(one, one) for one in ground_stems}
    said = content(said_stems)
    if not said:
        raise ValueError("the answer holds no words that could be supported")
    opened = 1.0 if len(said_stems) > 0.5 * len(ground_stems) and not read.context else 0.0
    novel = [one for one in said if one not in ground_set]
    parts = sentences(read.output)
    shares = [share for part in parts if (share := _share(content(stems(part)), ground_set)) is not None]
    support = 1 - len(novel) / len(said)
    names = _names(read.output)
    ground_words = set(words(read.ground))
    named = [all(word in ground_words for word in words(name)) for name in names]
    figures = numbers(read.output)
    given = set(numbers(read.ground)) | {NUMBER_WORDS[one] for one in ground_set if one in NUMBER_WORDS}
    fragments = _seams(said_stems, ground_stems)
    closed = 1.0 - opened
    together, flips = _per_sentence(parts, read.ground) if closed else (0.0, 0.0)
    pairs, triples = _runs(said_stems, ground_stems, 2), _runs(said_stems, ground_stems, 3)
    least = min(shares, default=support)
    copied = float(pairs >= 0.6)
    size = _size(len(said_stems))
    right = _mean([one in given for one in figures])
    found: dict[str, float] = {
        "extractive": copied,
        "extractive_triples": copied * triples,
        "extractive_seams": copied * min(1.0, fragments),
        "extractive_together": copied * together,
        "extractive_length": copied * size,
        "own_support": (1 - copied) * support,
        "own_least": (1 - copied) * least,
        "own_novel": (1 - copied) * min(1.0, len(novel) / 6),
        "own_pairs": (1 - copied) * pairs,
        "own_together": (1 - copied) * together,
        "own_length": (1 - copied) * size,
        "numbers": right,
        "names": _mean(named) * _quotes(read),
        "negation": flips,
        "rule": (0.3 * support + 0.15 * least + 0.2 * pairs + 0.2 * triples + 0.15 * together)
        * (0.85 + 0.15 * right)
        * (1 - 0.1 * flips),
    }
    found = {name: closed * value for name, value in found.items()}
    per_word = 12 / max(12, len(said_stems))
    found |= {
        "open": opened,
        "open_length": opened * _size(len(said_stems)),
        "open_numbers": opened * min(1.0, len(figures) * per_word),
        "open_names": opened * min(1.0, len(names) * per_word),
        "open_sentences": opened * min(1.0, len(parts) / 20),
        "open_refusal": opened * refuses(read.output),
        "open_wants_fact": opened * (_WANTS_FACT.search(read.prompt) is not None),
        "open_wants_text": opened * (_WANTS_TEXT.search(read.prompt) is not None),
        "open_question": opened * ("?" in read.prompt),
        "open_ability": opened * (_ABILITY.search(read.prompt) is not None),
        "open_code": opened * (_CODE.search(read.output) is not None),
        "open_list": opened * min(1.0, len(re.findall(r"^\s*(?:[-*•]|\d+[.)])\s", read.output, re.MULTILINE)) / 5),
        "open_overlap": opened * support,
    }
    return {name: float(found[name]) for name in FEATURES}


def score(found: dict[str, float]) -> float:
    """The plain rule: support by words, pairs and figures, less what is new; for open answers how few claims it makes."""
    if found["open"]:
        return (
            0.6
            - 0.2 * found["open_numbers"]
            - 0.15 * found["open_wants_fact"]
            - 0.15 * found["open_ability"]
            - 0.1 * found["open_refusal"]
        )
    return found["rule"]


def weakest(read: Read) -> str:
    """The sentence of the answer that its ground supports least, shortened."""
    ground = set(stems(read.ground))
    shares = [(_share(content(stems(part)), ground), part) for part in sentences(read.output)]
    known = [(share, part) for share, part in shares if share is not None]
    return min(known, key=lambda one: one[0])[1][:80] if known else ""


def _share(said: Sequence[str], ground: set[str]) -> float | None:
    return sum(one in ground for one in said) / len(said) if said else None


def _mean(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else 1.0


def _size(count: int) -> float:
    return min(1.0, math.log1p(count) / 6)


def _runs(said: Sequence[str], ground: Sequence[str], size: int) -> float:
    made = list(zip(*(said[at:] for at in range(size)), strict=False))
    held = set(zip(*(ground[at:] for at in range(size)), strict=False))
    return sum(one in held for one in made) / len(made) if made else 1.0


def _seams(said: Sequence[str], ground: Sequence[str]) -> float:
    """Copied runs of at least two words per word of the answer: many runs stitched together say something else."""
    places: dict[tuple[str, str], list[int]] = {}
    for at, pair in enumerate(pairwise(ground)):
        known = places.setdefault(pair, [])
        if len(known) < 8:
            known.append(at)
    count, at = 0, 0
    while at < len(said) - 1:
        longest = 0
        for start in places.get((said[at], said[at + 1]), ()):
            size = 2
            while (
                size < 60
                and at + size < len(said)
                and start + size < len(ground)
                and said[at + size] == ground[start + size]
            ):
                size += 1
            longest = max(longest, size)
        count += 1
        at += max(1, longest)
    return count / max(10, len(said))


def _per_sentence(parts: Sequence[str], ground: str) -> tuple[float, float]:
    """(per sentence of the answer, the best share of its content words held by two neighbouring sentences of the ground;
    share of its sentences whose closest sentence of the ground agrees in words and differs in negation).
    """
    held = sentences(ground)[:_MOST_GROUND_SENTENCES]
    places: dict[str, set[int]] = {}
    for at, one in enumerate(held):
        for word in content(stems(one)):
            places.setdefault(word, set()).add(at)
    best, flipped = [], 0
    for part in parts[:_MOST_SENTENCES]:
        said = set(content(stems(part)))
        if not said or not places:
            continue
        alone: Counter[int] = Counter()
        doubled: Counter[int] = Counter()
        for word in said:
            found = places.get(word, set())
            alone.update(found)
            doubled.update(found | {at - 1 for at in found})
        best.append(max(doubled.values(), default=0) / len(said))
        if len(said) >= 3 and alone:
            at, shared = max(alone.items(), key=lambda one: (one[1], one[0]))
            if shared >= 0.6 * len(said):
                flipped += (_NEGATION.search(held[at]) is None) != (_NEGATION.search(part) is None)
    return sum(best) / len(best) if best else 0.0, flipped / max(1, len(parts))


def _names(text: str) -> list[str]:
    return [found[0] for found in _NAME.finditer(text)][:100]


def _quotes(read: Read) -> float:
    quoted = [" ".join(words(one or other)) for one, other in _QUOTE.findall(read.output)]
    if not quoted:
        return 1.0
    ground = " ".join(words(read.ground))
    return sum(one in ground for one in quoted) / len(quoted)
