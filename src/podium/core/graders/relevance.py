"""Relevance without a model: whether an answer takes up what was asked and keeps the constraints that were stated. Pure.

Owns these measures. Must not know whether an answer is right. In a conversation the last turn counts, and what was said
before; of an instruction its words, its constraints and the kind of answer its question wants.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from podium.core.graders.cleaning import content, sentences, stems, words
from podium.core.graders.constraints import checks
from podium.core.graders.reading import Read
from podium.core.graders.speech import refuses
from podium.core.graders.wordy import CLOSING, OPENING

FEATURES = (
    "chat",
    "chat_last",
    "chat_before",
    "chat_known",
    "chat_length",
    "chat_new",
    "chat_repeats",
    "chat_question",
    "chat_answers",
    "chat_echo",
    "chat_agrees",
    "chat_unsure",
    "chat_pairs",
    "chat_turn_pairs",
    "chat_opinion",
    "chat_links",
    "chat_rare",
    "asked",
    "asked_first",
    "asked_rare",
    "precision",
    "pairs",
    "echo",
    "refuses",
    "length",
    "brief",
    "constraints",
    "constrained",
    "kind",
    "repeats",
    "ends",
    "opening",
    "closing",
    "question",
    "lists",
    "code",
    "script",
    "first_word",
    "focus",
)
_TURN = re.compile(r"^(?:user|assistant|human|system|bot|ai|speaker \w+|[ab])\s*:", re.IGNORECASE | re.MULTILINE)
_LISTED = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
_CODE = re.compile(r"```|[{};]\s*$|^\s*(?:def|class|import|function)\b", re.MULTILINE)
_WANTS_CODE = re.compile(
    r"\b(?:code|function|script|program|html|css|sql|python|java|c\+\+|regex|algorithm|query)\b", re.IGNORECASE
)
_AGREES = re.compile(
    r"\b(?:yes|yeah|yep|no|nope|true|right|exactly|agree|sure|wow|haha|lol|cool|nice|interesting|that's|that is|me too|i know|same here|oh)\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\bi(?: do n't|'m not| am not| don't| 'm not) (?:know|sure|think)|not sure|no idea\b", re.IGNORECASE
)
_OPINION = re.compile(
    r"\bi (?:think|like|love|hate|believe|guess|feel|wonder|prefer|wish|heard|bet|agree)\b", re.IGNORECASE
)
_LINKS = re.compile(
    r"\b(?:it|that|they|he|she|this|those|these|them|him|her|there|too|also|either|though|but)\b", re.IGNORECASE
)
_KINDS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile(r"\bhow (?:many|much|old|long|far|tall|big|high|often)\b", re.IGNORECASE), re.compile(r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|many|none|no)\b", re.IGNORECASE)),
    (re.compile(r"(?:^|[.?!\n]\s*)(?:when|in what year|what year|which year)\b", re.IGNORECASE), re.compile(r"\d|\b(?:today|tomorrow|yesterday|january|february|march|april|may|june|july|august|september|october|november|december)\b", re.IGNORECASE)),
    (re.compile(r"(?:^|[.?!\n]\s*)who\b", re.IGNORECASE), re.compile(r"[A-Z][a-z]+|\b(?:he|she|they)\b")),
    (re.compile(r"(?:^|[.?!\n]\s*)(?:is|are|was|were|do|does|did|can|could|should|will|would|has|have) [^?\n]{3,120}\?", re.IGNORECASE), re.compile(r"^\W*(?:yes|no|yeah|nope|it|they|there|he|she|that|this|i|you|we|the|not|true|false|sure|certainly|of course|absolutely|definitely)\b", re.IGNORECASE)),
    (re.compile(r"(?:^|[.?!\n]\s*)why\b", re.IGNORECASE), re.compile(r"\b(?:because|since|due|reason|so that|as|cause[sd]?)\b", re.IGNORECASE)),
)  # fmt: skip
_SCRIPTS = re.compile(
    r"(?P<latin>[A-Za-z\u00c0-\u024f])|(?P<cyrillic>[\u0400-\u04ff])|(?P<arabic>[\u0600-\u06ff])|(?P<han>[\u3040-\u30ff\u4e00-\u9fff])|(?P<hangul>[\uac00-\ud7af])|(?P<indic>[\u0900-\u0dff])|(?P<greek>[\u0370-\u03ff])|(?P<hebrew>[\u0590-\u05ff])"
)


def measure(read: Read) -> dict[str, float]:
    """The features by name, each about 0 to 1. Raises ``ValueError`` without a prompt."""
    if not read.prompt:
        raise ValueError("no prompt that the answer could be relevant to")
    turns = _turns(read.prompt)
    said_stems = stems(read.output)
    said = content(said_stems)
    said_set = set(said)
    size = len(said_stems)
    chat = float(len(turns) >= 3)
    last, before = turns[-1], "\n".join(turns[:-1])
    found = dict.fromkeys(FEATURES, 0.0)
    found["chat"] = chat
    own = 1 - len(said_set) / max(1, len(said))
    if chat:
        last_stems = stems(last)
        last_set, before_set = set(content(last_stems)), set(content(stems(before)))
        known = set(content(stems(read.context)))
        said_stems = _taken_up(read.output, last_set | before_set | known) or said_stems
        said, size = content(said_stems), len(said_stems)
        said_set = set(said)
        own = 1 - len(said_set) / max(1, len(said))
        found |= {
            "chat_last": _part(said_set & last_set, said_set),
            "chat_before": _part(said_set & before_set, said_set),
            "chat_known": _part((said_set & known) - last_set - before_set, said_set),
            "chat_length": min(1.0, size / 40),
            "chat_new": _part(said_set - last_set - before_set - known, said_set),
            "chat_repeats": own,
            "chat_question": float("?" in read.output),
            "chat_answers": float(
                "?" in last and re.search(r"\b(?:i|yes|no|it|they)\b", read.output[:40], re.IGNORECASE) is not None
            ),
            "chat_echo": _copied(said_stems, stems(before) + last_stems, 4),
            "chat_agrees": float(_AGREES.search(read.output[:40]) is not None),
            "chat_unsure": float(_UNSURE.search(read.output) is not None),
            "chat_pairs": _copied(said_stems, stems(before) + last_stems, 2),
            "chat_turn_pairs": _copied(said_stems, last_stems, 2),
            "chat_opinion": float(_OPINION.search(read.output) is not None),
            "chat_links": min(1.0, len(_LINKS.findall(read.output)) / 5),
            "chat_rare": min(1.0, sum(len(one) > 5 for one in said_set & (last_set | before_set)) / 3),
        }
    else:
        found |= _instruction(read, said, said_stems, own)
    return {name: float(found[name]) for name in FEATURES}


def score(found: dict[str, float]) -> float:
    """The plain rule: takes up the words asked about, keeps the constraints, fits the kind of question, echoes nothing."""
    if found["chat"]:
        value = (
            0.35
            + 0.35 * found["chat_last"]
            + 0.25 * found["chat_before"]
            + 0.15 * found["chat_rare"]
            - 0.25 * found["chat_repeats"]
        )
        value += 0.05 * found["chat_question"] - 0.1 * found["chat_unsure"] - 0.2 * found["chat_echo"]
        return min(1.0, max(0.0, value))
    value = 0.25 + 0.25 * found["asked"] + 0.1 * found["asked_first"] + 0.3 * found["constraints"] + 0.1 * found["kind"]
    value -= 0.3 * found["echo"] + 0.3 * found["refuses"] + 0.2 * (1 - found["script"]) + 0.2 * found["repeats"]
    return min(1.0, max(0.0, value))


def _instruction(read: Read, said: list[str], said_stems: list[str], own: float) -> dict[str, float]:
    asked_stems = stems(read.prompt)
    asked = content(asked_stems)
    counts = Counter(asked)
    asked_set, said_set = set(asked), set(said)
    rare = {one for one in asked_set if len(one) > 4 and counts[one] == 1}
    first = sentences(read.prompt)[0] if read.prompt else ""
    first_set = set(content(stems(first)))
    asks = checks(read.prompt)
    met = [check(read.output) for check in asks.values()]
    size = len(said_stems)
    opening = sentences(read.output)[:2]
    return {
        "asked": _part(asked_set & said_set, asked_set),
        "asked_first": _part(first_set & said_set, first_set),
        "asked_rare": _part(rare & said_set, rare),
        "precision": _part(said_set & asked_set, said_set),
        "pairs": _copied(asked_stems, said_stems, 2),
        "echo": _copied(said_stems, asked_stems, 5),
        "refuses": float(refuses(read.output)),
        "length": min(1.0, math.log1p(size) / 7),
        "brief": float(size < 12),
        "constraints": sum(met) / len(met) if met else 0.7,
        "constrained": float(bool(met)),
        "kind": _kind(read.prompt, read.output),
        "repeats": own,
        "ends": float(read.output.rstrip()[-1:] in set(".!?\"')]}`*。！？؟>|")),  # noqa: RUF001 - the full stops of other scripts
        "opening": float(OPENING.search(read.output) is not None),
        "closing": float(CLOSING.search(read.output, max(0, len(read.output) - 300)) is not None),
        "question": float(read.output.rstrip().endswith("?")),
        "lists": min(1.0, len(_LISTED.findall(read.output)) / 6),
        "code": 1.0
        - abs(float(_CODE.search(read.output) is not None) - float(_WANTS_CODE.search(read.prompt) is not None)),
        "script": _same_script(read.prompt, read.output),
        "first_word": float(bool(said) and said[0] in asked_set),
        "focus": _part(set(content(stems(" ".join(opening)))) & asked_set, set(content(stems(" ".join(opening))))),
    }


def _taken_up(answer: str, told: set[str]) -> list[str]:
    """The words of the sentences that take up something of what was told: one about nothing of it, such as an order to a
    judge, makes no reply longer or newer.
    """
    return [one for part in sentences(answer) if not told.isdisjoint(found := stems(part)) for one in found]


def _turns(prompt: str) -> list[str]:
    if len(_TURN.findall(prompt)) >= 3:
        return [part for part in (one.strip() for one in re.split(_TURN, prompt)) if part]
    lines = [line.strip() for line in prompt.split("\n") if line.strip()]
    spoken = sum(4 <= len(words(line)) <= 80 and line[:1].islower() for line in lines)
    return lines if len(lines) >= 3 and spoken >= 0.7 * len(lines) else [prompt]


def _part(some: set[str], whole: set[str]) -> float:
    return len(some) / len(whole) if whole else 0.0


def _copied(said: list[str], ground: list[str], size: int) -> float:
    made = list(zip(*(said[at:] for at in range(size)), strict=False))
    held = set(zip(*(ground[at:] for at in range(size)), strict=False))
    return sum(one in held for one in made) / len(made) if made else 0.0


def _kind(prompt: str, answer: str) -> float:
    wanted = [fits for asks, fits in _KINDS if asks.search(prompt)]
    return sum(fits.search(answer) is not None for fits in wanted) / len(wanted) if wanted else 0.7


def _same_script(prompt: str, answer: str) -> float:
    def main(text: str) -> str | None:
        counts = Counter(found.lastgroup for found in _SCRIPTS.finditer(text[:1500]))
        return counts.most_common(1)[0][0] if counts else None

    one, other = main(prompt), main(answer)
    return (
        1.0
        if one is None
        or other is None
        or one == other
        or re.search(
            r"translat|language|chinese|japanese|arabic|russian|korean|hindi|greek|hebrew", prompt, re.IGNORECASE
        )
        else 0.0
    )
