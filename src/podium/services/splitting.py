"""Divides a task's traffic between the two arms of a rollout: at random, by the share in force, and known odds.

A conversation is not moved between versions: a session stays with the arm that answered it, its place in a growing
share is a hash (so that what the candidate has, it keeps), and a conversation without a session is recognised by how
it began. Inside a tool loop nobody starts anew. Bounded; what is remembered does not outlive the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

from podium.core.selection import drawn
from podium.domain.decision import Choice
from podium.domain.request import RequestHead
from podium.services import wire
from podium.services.sessions import Sessions

MOST_CONVERSATIONS = 10_000
MOST_MADE = 1_000
_WHOLE = 2.0**64


class Splitter:
    """``draw`` is uniform in [0, 1)."""

    def __init__(self, draw: Callable[[], float], sessions: Sessions) -> None:
        self._draw = draw
        self._sessions = sessions
        self._begun: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._made: dict[tuple[int, str, bool], tuple[Choice, Choice]] = {}

    def settle(self, choice: Choice, head: RequestHead) -> Choice:
        """The choice of one request among ``choice.chosen`` (the baseline) and its alternative (the candidate)."""
        candidate = choice.alternatives[0] if choice.alternatives else None
        arms = (choice.chosen, candidate)
        if head.session is not None:
            before = self._sessions.served(choice.task, head.session)
            if before in arms:
                return self._make(choice, str(before), kept=True)
            place = place_of(choice.task, candidate or "", head.session)
        else:
            key = (choice.task, wire.affinity(head))
            if wire.goes_on(head):
                return self._make(choice, self._arm_of(key, choice, arms), kept=True)
            place = self._draw()
        ref = candidate if candidate is not None and place < choice.exploration else choice.chosen
        if head.session is None:
            self._remember(key, ref)
        return self._make(choice, ref, kept=False)

    def _arm_of(self, key: tuple[str, int], choice: Choice, arms: tuple[str | None, ...]) -> str:
        before = self._begun.get(key)
        return before if before is not None and before in arms else choice.chosen

    def _remember(self, key: tuple[str, int], ref: str) -> None:
        self._begun[key] = ref
        self._begun.move_to_end(key)
        if len(self._begun) > MOST_CONVERSATIONS:
            self._begun.popitem(last=False)

    def _make(self, choice: Choice, ref: str, *, kept: bool) -> Choice:
        """Made once per choice and arm: requests share it, and so does the log."""
        key = (id(choice), ref, kept)
        found = self._made.get(key)
        if found is not None and found[0] is choice:
            return found[1]
        if len(self._made) >= MOST_MADE:
            self._made.clear()
        made = drawn(choice, ref, choice.alternatives)
        if kept:
            reason = f"the conversation stays with {ref}; {choice.reason}"
            made = replace(made, strategy="session", propensity=1.0, reason=reason, alternatives=())
        elif ref != choice.chosen:
            made = replace(made, reason=f"this request is of the {choice.exploration:.0%} for {ref}; {choice.reason}")
        self._made[key] = (choice, made)
        return made


def place_of(task: str, candidate: str, session: str) -> float:
    """Where a session stands in [0, 1) for a rollout of ``candidate``: below the share, the candidate has it."""
    text = f"{task}\0{candidate}\0{session}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") / _WHOLE
