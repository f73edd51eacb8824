"""Joins feedback to the answers it is about: which requests are under way, which are known, what was said before.

Owns the newest outcomes and feedback by id, and what was said of answers that have not ended yet. All of it is bounded;
older requests are found in the store. Must not fold evidence nor write.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from podium.core.feedback import Given, over
from podium.domain.decision import Decision, Feedback, Outcome
from podium.errors import NotFound
from podium.ports import Clock, Store

REMEMBERED = 5_000
"""How many newest decisions, and how many newest feedbacks, are known without asking the store."""
HELD_MOST = 1_000
HOLD_S = 1_800.0
"""How long feedback waits for the end of its answer; longer than any answer may take by default."""
SHOWN = 10
"""How many ids that joined nothing are kept to be shown."""
_OWN_ID = re.compile(r"req_[0-9a-f]{20}")
_PREFIX = len("req_") + 12
"""Ids the gateway makes: 12 digits of the process, 8 of a counter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackStats:
    """What became of feedback since the start."""

    joined: int
    """It found its answer; repetitions and replacements included."""
    replaced: int
    """It took the place of an earlier word of the same source."""
    held: int
    """Waits now for answers that have not ended."""
    unjoined: int
    """It found no answer, and taught nothing."""
    last_unjoined: tuple[tuple[str, float], ...]
    """(request id, Unix time), newest first."""


class Joining:
    """One per recorder."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._newest = ""
        self._known: OrderedDict[str, Outcome] = OrderedDict()
        self._attempts: dict[str, list[Outcome]] = {}
        self._said: dict[str, dict[str, Feedback]] = {}
        """Of known decisions, complete: by decision, then by source. What is said of older ones is in the store, and the
        newest of it here too, as it may not be written yet."""
        self._said_late: OrderedDict[tuple[str, str], Feedback] = OrderedDict()
        self._held: OrderedDict[str, tuple[float, dict[str, Given]]] = OrderedDict()
        self._lost: deque[tuple[str, float]] = deque(maxlen=SHOWN)
        self._joined = self._replaced = self._unjoined = 0

    # ------------------------------------------------------------ requests

    def begin(self, decision: Decision) -> None:
        """An attempt starts; ``end`` follows in any case."""
        request_id = decision.request_id
        self._open[request_id] += 1
        if request_id[:4] == "req_" and request_id > self._newest and _OWN_ID.fullmatch(request_id):
            self._newest = request_id

    def end(self, request_id: str) -> None:
        """An attempt ended."""
        self._open[request_id] -= 1
        if self._open[request_id] <= 0:
            del self._open[request_id]

    def knows(self, decision_id: str) -> bool:
        """Whether this outcome was noted before, as far back as is remembered."""
        return decision_id in self._known

    def note(self, outcome: Outcome) -> None:
        """Remember an outcome by its ids."""
        self._known[outcome.decision_id] = outcome
        self._attempts.setdefault(outcome.request_id, []).append(outcome)
        if len(self._known) > REMEMBERED:
            _, old = self._known.popitem(last=False)
            attempts = self._attempts[old.request_id]
            attempts.remove(old)
            if not attempts:
                del self._attempts[old.request_id]
            for said in self._said.pop(old.decision_id, {}).values():
                self._remember_late(said)

    def newest(self) -> dict[str, str]:
        """The newest remembered request that was answered, by task."""
        return {one.task: one.request_id for one in self._known.values() if one.success}

    # ------------------------------------------------------------ feedback

    async def find(self, given: Given) -> tuple[Outcome, Feedback | None] | None:
        """The answer (the last attempt that succeeded, else the last) and what the source said of it before.

        ``None`` when the request is still under way: then the feedback is held until it ends. Raises ``NotFound``.
        """
        self._expire()
        request_id = given.request_id
        if self._open[request_id] > 0:
            self._hold(given)
            return None
        attempts = self._attempts.get(request_id)
        if attempts:
            answer = _answer(attempts)
            return answer, self._said.get(answer.decision_id, {}).get(given.source)
        attempts = [outcome for _, outcome in await self._store.find_decisions(request_id)]
        if not attempts:
            self._lose(request_id)
            raise NotFound(self._unknown(request_id), param="request_id")
        answer = _answer(attempts)
        key = (answer.decision_id, given.source)
        recorded = await self._store.find_feedback(request_id)
        earlier = self._said_late.get(key) or next((f for f in recorded if (f.decision_id, f.source) == key), None)
        return answer, earlier

    def released(self, request_id: str) -> Iterator[tuple[Given, Outcome]]:
        """What was held for a request, each with its answer, once the request has ended."""
        attempts = self._attempts.get(request_id)
        if request_id not in self._held or not attempts or self._open[request_id] > 0:
            return
        _, words = self._held.pop(request_id)
        answer = _answer(attempts)
        for given in words.values():
            yield given, answer

    def remember(self, said: Feedback, earlier: Feedback | None) -> None:
        """Feedback joined its answer."""
        self._joined += 1
        self._replaced += earlier is not None and earlier is not said
        if said.decision_id in self._known:
            self._said.setdefault(said.decision_id, {})[said.source] = said
        else:
            self._remember_late(said)

    def _remember_late(self, said: Feedback) -> None:
        key = (said.decision_id, said.source)
        self._said_late[key] = said
        self._said_late.move_to_end(key)
        if len(self._said_late) > REMEMBERED:
            self._said_late.popitem(last=False)

    def stats(self) -> FeedbackStats:
        """What became of feedback."""
        self._expire()
        return FeedbackStats(
            joined=self._joined,
            replaced=self._replaced,
            held=sum(len(words) for _, words in self._held.values()),
            unjoined=self._unjoined,
            last_unjoined=tuple(reversed(self._lost)),
        )

    def _hold(self, given: Given) -> None:
        _, words = self._held.setdefault(given.request_id, (self._clock.monotonic() + HOLD_S, {}))
        before = words.get(given.source)
        words[given.source] = given if before is None else over(before, given)
        if len(self._held) > HELD_MOST:
            self._drop()

    def _expire(self) -> None:
        now = self._clock.monotonic()
        while self._held and next(iter(self._held.values()))[0] <= now:
            self._drop()

    def _drop(self) -> None:
        request_id, (_, words) = self._held.popitem(last=False)
        for _ in words:
            self._lose(request_id)

    def _lose(self, request_id: str) -> None:
        self._unjoined += 1
        self._lost.append((request_id, self._clock.now()))

    def _unknown(self, request_id: str) -> str:
        newest = self._newest
        if _OWN_ID.fullmatch(request_id) and request_id[:_PREFIX] == newest[:_PREFIX] and request_id > newest:
            return f"request {request_id!r} is later than any on record: the newest of this server is {newest!r}"
        return (
            f"no request {request_id[:64]!r} is on record; the header x-request-id of a reply names it, "
            "and it is forgotten with its decision (recording.retention_days)"
        )


def _answer(attempts: list[Outcome]) -> Outcome:
    return next((outcome for outcome in reversed(attempts) if outcome.success), attempts[-1])
