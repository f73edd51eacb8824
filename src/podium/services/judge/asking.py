"""Asks a model for its verdict on an answer, or on which of two is better.

Requests go past selection and past the recorder, at the lowest priority (``services/background``): a judge earns no
quality by judging, and no user waits for it. Owns the cache of verdicts. Never raises for what a model or its server does:
then the verdict is ``invalid``, with what was said, and never a number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from podium.core.judging.fencing import binary, shortened
from podium.core.judging.marks import Mark, Unreadable, read_letter, read_mark
from podium.core.judging.prompts import EDITION, Prompt, mark_prompt, pair_prompt
from podium.domain.cost import Cause
from podium.domain.judgment import Judged, Preference, Rubric, Verdict
from podium.domain.model import ModelVersion
from podium.domain.request import Endpoint
from podium.services.background import Background, Heard
from podium.services.charging import charged
from podium.services.judge.cache import MOST_KEPT, Cache, key_of
from podium.services.judge.replies import Said, read_said
from podium.services.judge.requests import LETTERS, Strictness, body_for, form_for, marks_of, strictest

DEADLINE_S = 60.0
MOST_CHARS = 16_000
"""Characters of data in one prompt, where the judge's context has room for them."""
LEAST_CHARS = 400
CHARS_PER_TOKEN = 2.5
RESERVED_TOKENS = 400
"""Of the context, for the instructions, the template and the reply, beside the rubric."""
SHRINKS = 4
REPLY_KEPT = 500
"""Characters of an invalid reply that are kept."""
N = TypeVar("N", int, float)
TOO_LONG, TIMED_OUT = "context_length_exceeded", "provider_timeout"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of asking once: a mark, or ``invalid``."""

    mark: Mark | None = None
    invalid: str | None = None
    reply: str | None = None
    again: bool = False
    cut: int = 0
    latency_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class ModelJudge:
    """``context_length`` gives the tokens of a version's context as it is served, ``None`` where nobody knows."""

    def __init__(
        self,
        background: Background,
        context_length: Callable[[ModelVersion], int | None],
        *,
        most_kept: int = MOST_KEPT,
        most_chars: int = MOST_CHARS,
    ) -> None:
        self._background = background
        self._context_length = context_length
        self._most_chars = most_chars
        self._verdicts: Cache[Verdict] = Cache(most_kept)
        self._preferences: Cache[Preference] = Cache(most_kept)
        self._strictness: dict[str, Strictness] = {}
        """What servers accepted less than they promised, by digest."""
        self._numbers = itertools.count(1)

    async def judge(
        self,
        item: Judged,
        rubric: Rubric,
        judge: ModelVersion,
        *,
        deadline_s: float = DEADLINE_S,
        judged_ref: str | None = None,
    ) -> Verdict:
        """The verdict of ``judge``. ``deadline_s`` bounds the judge's own time, not the wait while users are served.

        ``judged_ref``: the version that gave the answer, so that a judge of itself says so.
        """
        blank = Verdict(criterion=rubric.criterion, judge=judge.ref, score=None)
        missing = no_ground(item, rubric)
        if missing is not None:
            return replace(blank, reason=missing)
        key = key_of((*_who(judge, rubric), item.prompt, item.output, item.context, item.expected))
        known = self._verdicts.get(key)
        if known is None:
            with charged(Cause.JUDGE, item.id, item.task, item.id):
                made = await self._ask(
                    judge,
                    rubric,
                    lambda room: mark_prompt(item, rubric, form_for(judge), room),
                    lambda said: read_mark(said.text or "", said.tokens, rubric.low, rubric.high),
                    marks_of(rubric),
                    deadline_s,
                )
            verdict = _verdict(blank, rubric, made)
            if verdict.score is not None:
                self._verdicts.put(key, verdict)
        else:
            verdict = replace(known, cached=True, latency_ms=None, input_tokens=0, output_tokens=0)
        if judged_ref == judge.ref:
            verdict = replace(verdict, reason=f"{verdict.reason}; it judged its own answer".removeprefix("; "))
        return verdict

    async def compare(
        self,
        item_a: Judged,
        item_b: Judged,
        rubric: Rubric,
        judge: ModelVersion,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> Preference:
        """Which output is better; question and context are those of ``item_a``. Asked in both orders."""
        blank = Preference(criterion=rubric.criterion, judge=judge.ref, winner=None, probability=None)
        if item_a.output == item_b.output:
            return replace(blank, winner="tie", probability=0.5, method="same text", reason="both outputs are the same")
        for item in (item_a, item_b):
            missing = no_ground(replace(item_a, output=item.output), rubric)
            if missing is not None:
                return replace(blank, reason=missing)
        given = (item_a.prompt, item_a.context, item_a.expected, item_a.output, item_b.output)
        key = key_of((*_who(judge, rubric), "pair", *given))
        known = self._preferences.get(key)
        if known is not None:
            return replace(known, cached=True, latency_ms=None, input_tokens=0, output_tokens=0)
        orders = ((item_a.output, item_b.output), (item_b.output, item_a.output))
        both = []
        for first, second in orders:
            with charged(Cause.JUDGE, item_a.id, item_a.task, item_a.id):
                made = await self._ask(
                    judge,
                    rubric,
                    partial(_pair, item_a, first, second, rubric, judge),
                    lambda said: read_letter(said.text or "", said.tokens),
                    LETTERS,
                    deadline_s,
                )
            if made.mark is None:
                return replace(blank, invalid=made.invalid, reply=made.reply, again=made.again)
            both.append(made)
        preference = _preference(blank, both[0], both[1])
        self._preferences.put(key, preference)
        return preference

    async def _ask(
        self,
        judge: ModelVersion,
        rubric: Rubric,
        prompt: Callable[[int], Prompt],
        read: Callable[[Said], Mark],
        values: tuple[object, ...],
        deadline_s: float,
    ) -> _Asked:
        """One reply; asked anew with less data when that was too much, and less strictly when the server refuses."""
        room = self._room(judge, rubric)
        strict = self._strictness.get(judge.facts.digest, strictest(judge))
        for _ in range(SHRINKS + Strictness.PROBABILITIES + 1):
            made = prompt(room)
            heard = await self._background.ask(
                judge,
                Endpoint.CHAT,
                body_for(judge, made.text, values, strict),
                request_id=f"judgment-{next(self._numbers)}",
                who="judge",
                timeout_s=deadline_s,
            )
            if heard.code == TOO_LONG and room > LEAST_CHARS:
                room = max(LEAST_CHARS, room // 2)
            elif heard.refused and strict > Strictness.PLAIN:
                strict = Strictness(strict - 1)
            else:
                break
        if heard.body is None:
            return _unheard(heard, deadline_s)
        self._strictness[judge.facts.digest] = strict
        return _read(heard, heard.body, read, made.cut)

    def _room(self, judge: ModelVersion, rubric: Rubric) -> int:
        """Characters of data that surely fit into the judge's context."""
        context = self._context_length(judge)
        if context is None:
            return self._most_chars
        tokens = context - RESERVED_TOKENS - len(rubric.instructions) / CHARS_PER_TOKEN
        return max(LEAST_CHARS, min(self._most_chars, int(tokens * CHARS_PER_TOKEN)))


def no_ground(item: Judged, rubric: Rubric) -> str | None:
    """Why a model cannot judge this at all; ``None`` when it can."""
    if not item.output.strip():
        return "the output is empty: there is nothing to judge"
    if binary(item.output):
        return "the output is no text"
    if rubric.needs_context and not (item.context or item.prompt).strip():
        return "there is no context to compare the output with"
    return None


def _pair(item: Judged, first: str, second: str, rubric: Rubric, judge: ModelVersion, room: int) -> Prompt:
    return pair_prompt(item, first, second, rubric, form_for(judge), room)


def _who(judge: ModelVersion, rubric: Rubric) -> tuple[str, ...]:
    return (EDITION, judge.ref, judge.facts.digest, rubric.criterion, rubric.digest)


def _unheard(heard: Heard, deadline_s: float) -> _Asked:
    if heard.code == TIMED_OUT:
        return _Asked(invalid=f"time-out: the judge gave no verdict within {deadline_s:g} s")
    again = not heard.blame and not heard.refused and heard.code != TOO_LONG
    return _Asked(invalid=f"the judge was not heard: {heard.error}", again=again)


def _read(heard: Heard, body: bytes, read: Callable[[Said], Mark], cut: int) -> _Asked:
    said = read_said(body)
    asked = _Asked(
        cut=cut, latency_ms=heard.latency_ms, input_tokens=said.input_tokens, output_tokens=said.output_tokens
    )
    if said.text is None:
        raw = body[: 4 * REPLY_KEPT].decode("utf-8", "replace")
        return replace(asked, invalid="the judge's server sent no answer of a chat", reply=raw[:REPLY_KEPT])
    try:
        return replace(asked, mark=read(said))
    except Unreadable as problem:
        more = "; it was cut off" if said.finish == "length" else ""
        return replace(asked, invalid=f"{problem}{more}", reply=shortened(said.text, REPLY_KEPT))


def _verdict(blank: Verdict, rubric: Rubric, made: _Asked) -> Verdict:
    verdict = replace(
        blank, latency_ms=made.latency_ms, input_tokens=made.input_tokens, output_tokens=made.output_tokens
    )
    if made.mark is None:
        return replace(verdict, invalid=made.invalid, reply=made.reply, again=made.again)
    mark = made.mark
    reason = f"marked {mark.stated:g} on {rubric.low} to {rubric.high}"
    if made.cut:
        reason = f"{reason}; {made.cut:,} characters from the middle were left out for want of room"
    features = {"stated": (mark.stated - rubric.low) / (rubric.high - rubric.low)}
    if mark.mass is not None:
        features["mass"] = mark.mass
    return replace(verdict, score=mark.score, sd=mark.sd, method=mark.method, reason=reason, features=features)


def _preference(blank: Preference, one: _Asked, other: _Asked) -> Preference:
    """``one`` was asked with a first, ``other`` with a second."""
    assert one.mark is not None
    assert other.mark is not None
    first, swapped = one.mark.score, 1.0 - other.mark.score
    winner = "tie" if (first - 0.5) * (swapped - 0.5) <= 0 else "a" if first > 0.5 else "b"
    reason = "the two orders disagree" if winner == "tie" else "both orders agree"
    cut = max(one.cut, other.cut)
    if cut:
        reason = f"{reason}; {cut:,} characters from the middle were left out for want of room"
    return replace(
        blank,
        winner=winner,
        probability=(first + swapped) / 2,
        first=first,
        swapped=swapped,
        method=one.mark.method if one.mark.method == other.mark.method else f"{one.mark.method}, {other.mark.method}",
        reason=reason,
        latency_ms=_sum(one.latency_ms, other.latency_ms),
        input_tokens=_sum(one.input_tokens, other.input_tokens),
        output_tokens=_sum(one.output_tokens, other.output_tokens),
    )


def _sum(one: N | None, other: N | None) -> N | None:
    return None if one is None or other is None else one + other
