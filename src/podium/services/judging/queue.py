"""Answers that wait to be judged: an index in memory over rows on disk, in the order they came, and never too many.

What does not fit is thinned out by lowering one line for all (core/sampling), so that the probability of every answer that
stays is known. A start takes up what the last run left. Owns no texts: a judge reads them when their turn comes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from podium.core.sampling import Thinning
from podium.domain.judging import Queued, Waiting
from podium.ports import JudgmentStore
from podium.services.judging.lines import Lines

AT_HAND, AT_HAND_CHARS = 64, 2_000_000
"""Answers, and characters of them, that are kept in memory too, so that a queue that keeps up reads nothing back."""


class JudgeQueue:
    """Used from one event loop. ``thinning`` is shared with whoever picks answers."""

    def __init__(self, store: JudgmentStore, thinning: Thinning) -> None:
        self._store = store
        self._thinning = thinning
        self._waiting = Lines()
        self._under_way: dict[str, Waiting] = {}
        self._at_hand: OrderedDict[str, Queued] = OrderedDict()
        self._chars = 0
        self._raised: dict[str, tuple[float, str]] = {}
        self._changed = asyncio.Event()
        self.thinned = 0
        """Answers that were picked and given up for want of room."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    @property
    def held_up(self) -> int:
        """Answers that had to wait because their task was not able to be judged."""
        return self._waiting.held_up

    def waits(self, decision_id: str) -> bool:
        """Whether it is in line."""
        return decision_id in self._waiting

    async def resume(self) -> int:
        """Take up what is on disk; returns how many wait."""
        for one in await self._store.waiting_judging():
            if one.decision_id not in self._waiting:
                self._waiting.put(one)
            self._thinning.share = min(self._thinning.share, one.share)
        self._changed.set()
        return len(self._waiting)

    async def add(self, items: Sequence[Queued]) -> None:
        """Keep them on disk and in line; one that waits is replaced. Raises ``StoreError``; then none of them is in."""
        fresh = [one for one in items if one.decision_id not in self._under_way]
        if not fresh:
            return
        await self._store.enqueue_judging(fresh)
        for one in fresh:
            self._waiting.put(
                Waiting(decision_id=one.decision_id, task=one.task, place=one.place, odds=one.odds, share=one.share)
            )
            self._let_go(one.decision_id)
            self._at_hand[one.decision_id] = one
            self._chars += _size(one)
        while len(self._at_hand) > AT_HAND or self._chars > AT_HAND_CHARS:
            self._let_go(next(iter(self._at_hand)))
        self._changed.set()
        await self._make_room()

    def _let_go(self, decision_id: str) -> None:
        one = self._at_hand.pop(decision_id, None)
        if one is not None:
            self._chars -= _size(one)

    async def _make_room(self) -> None:
        gone: list[str] = []
        lowered = False
        while self._thinning.over(len(self._waiting)):
            lowered = True
            share = self._thinning.share
            for one in self._waiting:
                if one.place >= one.odds * min(one.share, share):
                    self._waiting.take(one.decision_id)
                    self._let_go(one.decision_id)
                    gone.append(one.decision_id)
                elif one.share > share:
                    self._waiting.put(replace(one, share=share))
        if lowered:
            self.thinned += len(gone)
            await self._store.thin_judging(gone, self._thinning.share)

    async def next(self, able: Callable[[str], bool], wait_s: float) -> Waiting | None:
        """The first of a task that ``able`` allows, now under way; ``None`` when there was none for ``wait_s`` seconds."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            one = self._waiting.first(able)
            if one is not None:
                self._waiting.take(one.decision_id)
                self._under_way[one.decision_id] = one
                return one
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return None

    async def read(self, one: Waiting) -> Queued | None:
        """Its texts; ``None`` when they are gone."""
        known = self._at_hand.get(one.decision_id)
        found = (known,) if known is not None else await self._store.take_judging((one.decision_id,))
        return replace(found[0], share=min(found[0].share, one.share)) if found else None

    def put_back(self, one: Waiting) -> None:
        """It could not be judged now: last in line."""
        if self._under_way.pop(one.decision_id, None) is not None:
            self._waiting.put(one, again=True)
            self._changed.set()

    def done(self, one: Waiting) -> None:
        """It was judged, or given up."""
        self._under_way.pop(one.decision_id, None)
        self._raised.pop(one.decision_id, None)
        self._let_go(one.decision_id)
        self._thinning.relax(len(self))

    def raise_odds(self, decision_id: str, probability: float, sign: str) -> None:
        """An answer that is being judged showed a sign late; whoever stores its judgments asks ``raised``."""
        if decision_id in self._under_way:
            self._raised[decision_id] = (probability, sign)

    def raised(self, decision_id: str) -> tuple[float, str] | None:
        """(probability, sign) that came while it was judged."""
        return self._raised.get(decision_id)

    async def forget(self, one: Waiting) -> None:
        """Give it up unjudged, texts and all."""
        self.done(one)
        await self._store.thin_judging((one.decision_id,), 1.0)


def _size(one: Queued) -> int:
    return len(one.item.prompt) + len(one.item.output)
