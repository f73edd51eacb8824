"""Notices that somebody asks nearly the same again: a sign that the earlier answer was no help. Pure.

Owns the newest questions for a few minutes, bounded in number and in characters. What counts as asking again:

- within one conversation, the last question is like the one before it (the earlier request is the one that ends there);
- in the same session, like one of the newest questions;
- by the same caller, much like one of them, and only while the caller asks as seldom as a person does: a program that fills
  in a form asks nearly the same all the time and means nothing by it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from podium.domain.judging import Queued

KEPT_S = 600.0
MOST = 1_000
MOST_CHARS = 16_000_000
COMPARED = 3
"""Newest questions of one asker that a new one is compared with."""
LIKE, MUCH_LIKE = 0.6, 0.8
PERSON = 12
"""Questions of one caller within ``KEPT_S`` up to which it is taken for a person."""
READ_CHARS = 4_000
"""Characters of a question that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as far as its asker can be told. Keys are ``None`` when nobody knows."""

    text: str
    """The last thing that was asked."""
    before: str | None = None
    """The question before it in the same conversation."""
    conversation: str | None = None
    """Names everything up to this question."""
    earlier: str | None = None
    """Names everything up to the question before."""
    session: str | None = None
    caller: str | None = None


class Questions:
    """``similar`` tells how alike two texts are, in [0, 1]."""

    def __init__(self, similar: Callable[[str, str], float]) -> None:
        self._similar = similar
        self._known: OrderedDict[str, tuple[float, Question, Queued]] = OrderedDict()
        self._by: dict[tuple[str, str], deque[str]] = {}
        self._chars = 0

    def asked(self, question: Question, answered: Queued, now: float) -> Queued | None:
        """Note a question with what came of it; returns the earlier answer when it was asked again. ``now`` in seconds."""
        self._forget(now)
        again = self._again(question)
        self._known[answered.decision_id] = (now, question, answered)
        self._chars += _size(answered)
        for key in _keys(question):
            self._by.setdefault(key, deque()).append(answered.decision_id)
        return again

    def _again(self, question: Question) -> Queued | None:
        if question.before is not None and question.earlier is not None:
            same = self._by.get(("conversation", question.earlier))
            if same and self._like(question.text, question.before, LIKE):
                return self._known[same[-1]][2]
        for kind, name, like in (
            ("session", question.session, LIKE),
            ("caller", question.caller, MUCH_LIKE),
        ):
            newest = self._by.get((kind, name)) if name else None
            if not newest or (kind == "caller" and len(newest) > PERSON):
                continue
            for decision_id in list(newest)[-COMPARED:][::-1]:
                _, earlier, answered = self._known[decision_id]
                if self._like(question.text, earlier.text, like):
                    return answered
        return None

    def _like(self, one: str, other: str, least: float) -> bool:
        one, other = one[:READ_CHARS].strip(), other[:READ_CHARS].strip()
        return bool(one and other) and self._similar(one, other) >= least

    def _forget(self, now: float) -> None:
        while self._known:
            decision_id, (at, question, answered) = next(iter(self._known.items()))
            if at > now - KEPT_S and len(self._known) < MOST and self._chars < MOST_CHARS:
                return
            del self._known[decision_id]
            self._chars -= _size(answered)
            for key in _keys(question):
                mine = self._by[key]
                mine.remove(decision_id)
                if not mine:
                    del self._by[key]


def _keys(question: Question) -> list[tuple[str, str]]:
    named = (("conversation", question.conversation), ("session", question.session), ("caller", question.caller))
    return [(kind, name) for kind, name in named if name]


def _size(answered: Queued) -> int:
    item = answered.item
    return len(item.prompt) + len(item.output) + 500
