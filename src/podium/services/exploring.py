"""Draws, now and then, a version that does not look best, so that the learner hears of it. Pure chance, known odds.

No draw where it would harm: inside a tool loop, in a session that has a version already, for a choice that is not
the learner's, and never a version that would first have to be loaded. What is left is recorded as the propensity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from podium.core.selection import CANARY, drawn
from podium.domain.decision import Choice
from podium.domain.request import RequestHead
from podium.services import wire
from podium.services.sessions import Sessions
from podium.services.splitting import Splitter

MOST_DRAWN = 1_000


class Explorer:
    """``draw`` is uniform in [0, 1); ``loaded`` tells how many copies of a version are ready."""

    def __init__(self, draw: Callable[[], float], loaded: Callable[[str], int]) -> None:
        self._draw = draw
        self._loaded = loaded
        self._sessions = Sessions()
        self._splitter = Splitter(draw, self._sessions)
        self._drawn: dict[tuple[int, str, str, tuple[str, ...]], tuple[Choice, Choice]] = {}

    def settle(self, choice: Choice, head: RequestHead) -> Choice:
        """The choice this request really gets."""
        if choice.strategy == CANARY:
            return self._splitter.settle(choice, head)
        if head.session is not None:
            before = self._sessions.served(choice.task, head.session)
            if before is not None and before != choice.chosen and before in choice.fallbacks:
                return self._made(choice, before, (), kept=True)
            if before is not None:
                return self._made(choice, choice.chosen, ())
        if wire.in_tool_loop(head):
            return self._made(choice, choice.chosen, ())
        able = tuple(filter(self._loaded, choice.alternatives))
        place = int(self._draw() / choice.exploration)
        return self._made(choice, able[place] if place < len(able) else choice.chosen, able)

    def served(self, task: str, session: str, ref: str) -> None:
        """Remember what answered a session."""
        self._sessions.note(task, session, ref)

    def _made(self, choice: Choice, ref: str, able: tuple[str, ...], *, kept: bool = False) -> Choice:
        """Made once per choice and outcome of the draw: requests share it, and so does the log."""
        key = (id(choice), ref, "kept" if kept else "drawn", able)
        found = self._drawn.get(key)
        if found is not None and found[0] is choice:
            return found[1]
        if len(self._drawn) >= MOST_DRAWN:
            self._drawn.clear()
        made = _kept(choice, ref) if kept else drawn(choice, ref, able)
        self._drawn[key] = (choice, made)
        return made


def _kept(choice: Choice, ref: str) -> Choice:
    """The session goes on where it was: certain, given the session."""
    reason = f"the session was served by {ref} before; without it {choice.chosen}: {choice.reason}"
    return replace(drawn(choice, ref, ()), strategy="session", propensity=1.0, reason=reason, alternatives=())
