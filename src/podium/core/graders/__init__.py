"""Graders that need no model: one score per criterion from measures of the text, and cheap signs of trouble. Pure.

``grade`` abstains (score ``None`` with a reason) where it has no ground. Its score is a plain rule and so weak evidence;
its ``features`` are what a stack learns from. What an answer says to its judge is left out before anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from podium.core.graders import faithfulness, minimality, relevance, safety
from podium.core.graders.matching import matches
from podium.core.graders.reading import Read, read
from podium.core.graders.signs import SIGNS, misfit, signals, similar
from podium.core.judging.fencing import binary
from podium.domain.judgment import RULES, Judged, Verdict

__all__ = ["FEATURES", "SIGNS", "VERSION", "grade", "misfit", "signals", "similar"]

VERSION = 2
"""Of the rules and features; part of what a stored stack belongs to."""
_MEASURES: Mapping[str, tuple[Callable[[Read], dict[str, float]], Callable[[dict[str, float]], float]]] = (
    MappingProxyType(
        {
            "faithfulness": (faithfulness.measure, faithfulness.score),
            "relevance": (relevance.measure, relevance.score),
            "minimality": (minimality.measure, minimality.score),
            "safety": (safety.measure, safety.score),
        }
    )
)
FEATURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "faithfulness": faithfulness.FEATURES,
        "relevance": relevance.FEATURES,
        "minimality": minimality.FEATURES,
        "safety": safety.FEATURES,
    }
)
"""Names of the features per criterion, in the order in which ``Verdict.features`` holds them."""


def grade(item: Judged, criterion: str) -> Verdict:
    """What the rules say of ``item`` by ``criterion``; ``score`` is ``None`` with a reason where they have no ground.

    A criterion of one's own is graded only when an expected answer or a schema is given.
    """
    text = read(item)
    notes = [f"leaves out {text.removed} pieces that speak to a judge"] if text.removed else []
    if criterion not in _MEASURES:
        return _against(item, text, criterion, notes)
    if criterion != "safety" and binary(item.output):
        return _empty(item, text, criterion, "the answer is no text")
    measure, rule = _MEASURES[criterion]
    certain = False
    try:
        features = measure(text)
    except ValueError as no_ground:
        return _empty(item, text, criterion, str(no_ground))
    value = rule(features)
    method = f"rules {VERSION}: {criterion}"
    if criterion == "relevance" and item.expected is not None and item.expected.strip():
        value = 0.5 * value + 0.5 * matches(text.output, text.expected or "")
        notes.append("half of it agreement with the expected answer")
    if criterion == "relevance" and not text.whole:
        value, certain = 0.0, True
        notes.append("there is no answer")
    elif (
        criterion == "relevance" and item.schema is not None and (wrong := misfit(item.output, item.schema)) is not None
    ):
        value, certain = 0.0, True
        notes.append(f"not what the schema asks for: {wrong}")
    if criterion == "faithfulness" and (least := faithfulness.weakest(text)):
        notes.append(f"least supported: {least!r}")
    return Verdict(
        criterion=criterion,
        judge=RULES,
        score=min(1.0, max(0.0, value)),
        sd=0.0 if certain else None,
        certain=certain,
        method=method,
        reason="; ".join(notes),
        features=MappingProxyType(features),
    )


def _against(item: Judged, text: Read, criterion: str, notes: list[str]) -> Verdict:
    if item.schema is not None and (wrong := misfit(item.output, item.schema)) is not None:
        return Verdict(criterion=criterion, judge=RULES, score=0.0, method="schema", reason="; ".join([wrong, *notes]))
    if text.expected:
        value = matches(text.output, text.expected)
        return Verdict(
            criterion=criterion,
            judge=RULES,
            score=value,
            method="match with the expected answer",
            reason="; ".join(notes),
        )
    return Verdict(
        criterion=criterion,
        judge=RULES,
        score=None,
        reason=f"no rule for {criterion} and no expected answer to compare with",
    )


def _empty(item: Judged, text: Read, criterion: str, why: str) -> Verdict:
    return Verdict(criterion=criterion, judge=RULES, score=None, reason=why)
