"""Recognising the task of an ``auto`` request by rules (SEL-8). Pure, cheap, and willing to abstain.

Owns the cues. Must not call a model, read more than the ends of a long prompt, or guess: without a clear winner
the request belongs to the default task.

Three kinds of cue add points: an imperative among the first or last words of the prompt (3), a telling phrase
anywhere in the part that is read (2), a word of the trade (1). A keyword a user gave to a task counts 3. The best
task wins with at least ``THRESHOLD`` points and a lead over the second; its confidence is
``points / (points + second + 1)``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from podium.domain.request import Endpoint
from podium.domain.task import DEFAULT_TASK, Classification, TaskSpec

HEAD_CHARS = 600
TAIL_CHARS = 300
LEAD_WORDS = 12
THRESHOLD = 2.0
_VERB, _PHRASE, _WORD, _KEYWORD = 3.0, 2.0, 1.0, 3.0


@dataclass(frozen=True, slots=True)
class _Rule:
    verbs: frozenset[str]
    phrases: tuple[str, ...]
    words: frozenset[str]


def _rule(verbs: str, phrases: tuple[str, ...], words: str) -> _Rule:
    return _Rule(frozenset(verbs.split()), phrases, frozenset(words.split()))


@dataclass(frozen=True, slots=True)
class _Tally:
    """Points and the cues they came from, by task."""

    scores: dict[str, float]
    cues: dict[str, list[str]]

    def add(self, name: str, points: float, cue: str) -> None:
        self.scores[name] = self.scores.get(name, 0.0) + points
        self.cues.setdefault(name, []).append(cue)


_RULES: Mapping[str, _Rule] = MappingProxyType(
    {
        "code-generation": _rule(
            "implement refactor debug",
            (
                "```", "def ", "#include", "public static", "import numpy", "write a function", "write a script",
                "write a program", "python function", "in python", "in javascript", "in typescript", "in rust",
                "in java", "in go ", "in c++", "sql query", "unit test", "fix the bug", "fix this bug", "this code",
            ),
            "python javascript typescript rust golang java c++ sql function class method algorithm regex api bash "
            "compile compiler bug code html css json refactor script",
        ),
        "judgment": _rule(
            "judge evaluate assess grade rank critique",
            (
                "which is better", "which answer is better", "which response is better", "compare the two",
                "on a scale of", "score the", "rate the", "pros and cons", "answer a and", "response a and", "is it correct",
                "verdict",
            ),
            "rubric criteria score judge better worse evaluate grading rating",
        ),
        "summarisation": _rule(
            "summarize summarise condense shorten tldr recap",
            (
                "tl;dr", "summary of", "in one sentence", "in a few sentences", "in a nutshell", "key points",
                "main points", "bullet points", "key takeaways",
            ),
            "summary summarize summarise summarizing abstract brief condense overview",
        ),
        "translation": _rule(
            "translate übersetze traduce traduis",
            (
                "translate", "translation of", "into english", "into german", "into french", "into spanish",
                "into italian", "into chinese", "into japanese", "to english", "to german", "to french", "to spanish",
                "from english", "how do you say",
            ),
            "translate translation german french spanish italian portuguese chinese japanese korean russian dutch",
        ),
        "extraction": _rule(
            "extract parse",
            (
                "extract", "list all the", "find all the", "pull out", "named entities", "as json", "return json",
                "key-value", "fill in the fields",
            ),
            "extract entities fields json csv dates emails names addresses schema",
        ),
        "classification": _rule(
            "classify categorize categorise label tag",
            (
                "classify", "positive or negative", "spam or not", "which category", "one of the following categories",
                "sentiment", "choose one of the labels", "label the", "categories:", "labels:",
            ),
            "classify category categories label labels sentiment spam class positive negative neutral",
        ),
        "math": _rule(
            "calculate compute solve prove integrate differentiate simplify",
            (
                "how much is", "solve for", "what is the sum", "square root", "derivative of", "integral of",
                "equation", "\\frac", "\\int", "percent of", "probability that",
            ),
            "calculate sum product equation derivative integral probability algebra geometry prime theorem fraction "
            "divided multiplied plus minus times triangle",
        ),
        "question-answering": _rule(
            "who what when where why which",
            (
                "based on the context", "based on the text", "according to the", "answer the question",
                "answer the following question", "question:", "who is", "who was", "what is the", "capital of",
                "when did", "where is", "why is", "why do",
            ),
            "question answer context passage",
        ),
    }
)  # fmt: skip

BUILTIN_TASKS = tuple(_RULES)
"""The tasks the rules know, beside the default task."""

_TOKEN = re.compile(r"[^\W_]+(?:\+\+)?")
_ARITHMETIC = re.compile(r"\d\s*[+*^\u00d7\u00f7=]\s*\(?\d|\d\s+[-/]\s+\d")
_SOFTENERS = frozenset(
    [
        "please",
        "kindly",
        "can",
        "could",
        "would",
        "will",
        "you",
        "now",
        "also",
        "then",
        "just",
        "i",
        "me",
        "my",
        "want",
        "need",
        "to",
        "help",
        "the",
    ]
)


def _phrases_by_anchor() -> dict[str, tuple[tuple[str, str], ...]]:
    """Phrases with their task by their longest word: only those whose anchor occurs have to be searched for."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rule in _RULES.items():
        for phrase in rule.phrases:
            anchor = max(_TOKEN.findall(phrase), key=len, default="")
            found.setdefault(anchor, []).append((name, phrase))
    return {anchor: tuple(entries) for anchor, entries in found.items()}


def _tasks_by_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, rule in _RULES.items():
        for word in rule.words:
            found.setdefault(word, []).append(name)
    return {word: tuple(names) for word, names in found.items()}


_PHRASES = _phrases_by_anchor()
_SIGNS = _PHRASES.pop("", ())
"""Phrases without a word in them."""
_TRADE = _tasks_by_word()
_CUE_WORDS = frozenset(_PHRASES) | frozenset(_TRADE)


def classify(text_sample: str, endpoint: Endpoint, needs: frozenset[str], tasks: Sequence[TaskSpec]) -> Classification:
    """The task of a prompt nobody named a task for; never raises on any text.

    Reads the first ``HEAD_CHARS`` and last ``TAIL_CHARS`` characters. ``rule`` says which cues decided, or why none
    did; ``scores`` has the points of every task that got any.
    """
    if endpoint is Endpoint.EMBEDDING:
        return _abstain("embeddings carry no instruction", {})
    text = text_sample
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        text = f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"
    text = text.lower()
    words = _TOKEN.findall(text)
    if not words:
        return _abstain("nothing to read", {})
    unique = frozenset(words)
    tally = _Tally({}, {})
    _imperatives(tally, _lead(words[:LEAD_WORDS]) + _lead(_last_sentence(text)))
    _vocabulary(tally, unique, text)
    if _ARITHMETIC.search(text):
        tally.add("math", _VERB + _WORD, "arithmetic")
    if "json_schema" in needs:
        tally.add("extraction", _WORD, "JSON schema asked for")
    for spec in tasks:
        for keyword in spec.keywords:
            if _has(keyword.lower(), unique, text):
                tally.add(spec.name, _KEYWORD, keyword)
    return _winner(tally.scores, tally.cues)


def _imperatives(tally: _Tally, lead: list[str]) -> None:
    for name, rule in _RULES.items():
        word = next((word for word in lead if word in rule.verbs), None)
        if word is not None:
            tally.add(name, _VERB, word)


def _vocabulary(tally: _Tally, unique: frozenset[str], text: str) -> None:
    for word in unique & _CUE_WORDS:
        for name in _TRADE.get(word, ()):
            tally.add(name, _WORD, word)
        for name, phrase in _PHRASES.get(word, ()):
            if phrase in text:
                tally.add(name, _PHRASE, phrase)
    for name, sign in _SIGNS:
        if sign in text:
            tally.add(name, _PHRASE, sign)


def _winner(scores: dict[str, float], cues: dict[str, list[str]]) -> Classification:
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    if not ranked:
        return _abstain("no rule matched", scores)
    name, points = ranked[0]
    second = ranked[1][1] if len(ranked) > 1 else 0.0
    if points < THRESHOLD:
        return _abstain(f"only a weak cue for {name}: {_words(cues[name])}", scores)
    if points == second:
        return _abstain(f"tie between {name} and {ranked[1][0]} at {points:g} points", scores)
    return Classification(
        task=name,
        confidence=points / (points + second + 1.0),
        rule=f"{name}: {_words(cues[name])}",
        scores=scores,
    )


def _abstain(rule: str, scores: Mapping[str, float]) -> Classification:
    return Classification(task=DEFAULT_TASK, confidence=0.0, rule=rule, abstained=True, scores=scores)


def _words(cues: list[str]) -> str:
    """At most five, telling ones (long) first; the set order of words must not show."""
    return ", ".join(repr(cue) for cue in sorted(set(cues), key=lambda cue: (-len(cue), cue))[:5])


def _lead(words: list[str]) -> list[str]:
    """The first two words that carry meaning: ``please could you summarise the …`` leads with ``summarise``."""
    return [word for word in words if word not in _SOFTENERS][:2]


def _last_sentence(text: str) -> list[str]:
    tail = text.rstrip(" \t\n.?!:")[-160:]
    cut = max(tail.rfind("\n"), tail.rfind(". "), tail.rfind("? "), tail.rfind("! "))
    return _TOKEN.findall(tail[cut + 1 :])[:LEAD_WORDS] if cut >= 0 else []


def _has(keyword: str, words: frozenset[str], text: str) -> bool:
    if keyword in words:
        return True
    if keyword.isalnum() or not keyword:
        return False  # a single word must match as a whole word
    return keyword in text
