"""Picks the answers of live traffic that are judged. The observer of the gateway is here.

On the request path there is one hash and one comparison, and the bytes of a few answers are kept. Everything else — reading
texts, looking for signs, noticing that a question came again — is done later, in small steps, while users are not served or
slowly when they always are. What is picked goes to the queue with the probability it was picked with.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from podium.core.judge_orders import JudgeOrders
from podium.core.reasking import MOST, Questions
from podium.core.sampling import Odds, Thinning, looking, place
from podium.domain.decision import Decision
from podium.domain.judging import Queued
from podium.domain.judgment import Judged
from podium.domain.request import Endpoint, RequestHead
from podium.errors import StoreError
from podium.ports import Clock, JudgmentStore
from podium.services.idleness import Idleness
from podium.services.judging.queue import JudgeQueue
from podium.services.judging.reading import item_of, question_of
from podium.services.observing import Answered

TEXT = frozenset({Endpoint.CHAT, Endpoint.COMPLETION})
IN_HAND, IN_HAND_BYTES = 512, 32 * 1024 * 1024
"""Answers, and bytes of them, that may wait to be looked at."""
RE_ASK = "re-ask"
PACE_S = 0.04
"""Between two answers that are looked at while users are served."""
STORE_RETRY_S = 1.0
AT_ONCE = 64
_log = structlog.get_logger("podium.judging")
Signals = Callable[..., tuple[str, ...]]


@dataclass(slots=True)
class Seen:
    """Counts since the start."""

    answers: int = 0
    """Of tasks that are judged."""
    looked: int = 0
    picked: int = 0
    unfit: int = 0
    """Failed without a word, called tools, or too long to be kept whole: there is nothing to judge."""


class Intake:
    """``signals`` and ``similar`` are those of core/graders; ``orders`` says what is judged now."""

    def __init__(
        self,
        store: JudgmentStore,
        queue: JudgeQueue,
        thinning: Thinning,
        idleness: Idleness,
        clock: Clock,
        orders: Callable[[], JudgeOrders],
        signals: Signals,
        similar: Callable[[str, str], float],
    ) -> None:
        self._store = store
        self._queue = queue
        self._thinning = thinning
        self._idleness = idleness
        self._clock = clock
        self._orders = orders
        self._signals = signals
        self._questions = Questions(similar)
        self._look = 1.0
        self._since = 0
        self._expected: dict[str, tuple[Odds, float]] = {}
        """What held when an answer was asked for, by decision."""
        self._in_hand: deque[tuple[Answered, Odds, float]] = deque()
        self._raised: OrderedDict[str, None] = OrderedDict()
        """Decisions whose question is known to have come again."""
        self._bytes = 0
        self._ready = asyncio.Event()
        self.seen = Seen()
        self.signs: Counter[str] = Counter()
        """Answers that were looked at and showed one, by sign."""

    # ------------------------------------------------------------ the request path

    def wants(self, head: RequestHead, decision: Decision) -> bool:
        """Whether the answer may be judged, whatever it will look like."""
        orders = self._orders()
        task = orders.of(decision.choice.task)
        if not task.enabled or head.endpoint not in TEXT:
            return False
        self.seen.answers += 1
        self._since += 1
        look = min(self._look, looking(float(self._since), orders.looks_per_s))  # a burst is cut before its second ends
        odds = Odds(task.sample, task.extra, max(look, task.sample))
        share = self._thinning.share
        if place(decision.id) >= odds.interesting() * share:
            return False
        self._expected[decision.id] = odds, share
        return True

    def take(self, answered: Answered) -> None:
        """Keep the bytes for later."""
        expected = self._expected.pop(answered.decision.id, None)
        if expected is None or answered.outcome.error == "client_left":
            return
        self._in_hand.append((answered, *expected))
        self._bytes += len(answered.raw) + answered.head.size
        while self._thinning.over(int(self._load() * self._thinning.capacity)):
            self._in_hand = deque(one for one in self._in_hand if self._in_reach(*one))
            self._bytes = sum(len(one.raw) + one.head.size for one, _, _ in self._in_hand)
        self._ready.set()

    def _load(self) -> float:
        """Of what may be in hand; above 1 it is too much."""
        return max(len(self._in_hand) / IN_HAND, self._bytes / IN_HAND_BYTES)

    def _in_reach(self, answered: Answered, odds: Odds, share: float) -> bool:
        return place(answered.decision.id) < odds.interesting() * min(share, self._thinning.share)

    # ------------------------------------------------------------ the background

    def every_second(self) -> None:
        """Keep to the number of answers that may be looked at in a second."""
        self._look = looking(float(self._since), self._orders().looks_per_s)
        self._since = 0
        self._thinning.relax(len(self._queue))

    @property
    def look(self) -> float:
        """Share of answers that are looked at for signs now."""
        return self._look

    @property
    def in_hand(self) -> int:
        """Answers whose bytes wait to be looked at."""
        return len(self._in_hand)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._in_hand:
                self._ready.clear()
                await self._ready.wait()
            picked: list[Queued] = []
            while self._in_hand and len(picked) < AT_ONCE:
                answered, odds, share = self._in_hand.popleft()
                self._bytes -= len(answered.raw) + answered.head.size
                try:
                    picked += await self._looked(answered, odds, share)
                except StoreError as error:
                    _log.warning("a probability could not be corrected", error=error.message)
                except Exception:  # noqa: BLE001 - one odd answer must not end the judging of all others
                    _log.exception("an answer could not be looked at")
                await asyncio.sleep(PACE_S if self._idleness.users else 0)
            await self._hand_on(picked)

    async def _hand_on(self, picked: list[Queued]) -> None:
        self.seen.picked += len(picked)
        while picked:
            try:
                await self._queue.add(picked)
            except StoreError as error:
                _log.warning("answers to be judged wait for the store", error=error.message)
                await asyncio.sleep(STORE_RETRY_S)
            else:
                return

    async def _looked(self, answered: Answered, odds: Odds, share: float) -> list[Queued]:
        """What is to be judged because of this answer: itself, or one before it that was no help."""
        self.seen.looked += 1
        item = item_of(answered)
        if item is None or not (answered.outcome.success or item.output.strip()):
            self.seen.unfit += 1
            return []
        signs = self._signals(item, answered=answered.outcome.success)
        self.signs.update(signs)
        share = min(share, self._thinning.share)
        queued = self._queued(answered, item, odds, share, signs)
        earlier = self._questions.asked(question_of(answered.head, item.prompt), queued, self._clock.monotonic())
        found = [queued] if queued.place < queued.probability else []
        if earlier is not None and (raised := await self._again(earlier)) is not None:
            found.append(raised)
        return found

    def _queued(self, answered: Answered, item: Judged, odds: Odds, share: float, signs: tuple[str, ...]) -> Queued:
        decision = answered.decision
        return Queued(
            decision_id=decision.id,
            request_id=decision.request_id,
            task=item.task,
            ref=decision.served,
            item=item,
            place=place(decision.id),
            odds=odds.inclusion(sign=bool(signs)),
            most=odds.inclusion(sign=True),
            sample=odds.sample,
            share=share,
            signs=signs,
            at=decision.at,
        )

    async def _again(self, earlier: Queued) -> Queued | None:
        """A question came again: its earlier answer is judged now if its place allows, and if it was judged by chance,
        that had a higher probability than was known then.
        """
        if earlier.decision_id in self._raised:
            return None
        self._raised[earlier.decision_id] = None
        if len(self._raised) > MOST:
            self._raised.popitem(last=False)
        self.signs[RE_ASK] += 1
        if earlier.signs:
            return None
        reached = earlier.most * min(earlier.share, self._thinning.share)
        probability = max(earlier.probability, reached)
        if earlier.place >= probability:
            return None
        raised = replace(earlier, odds=probability / earlier.share, signs=(RE_ASK,))
        if not earlier.by_chance or self._queue.waits(earlier.decision_id):
            return raised
        self._queue.raise_odds(earlier.decision_id, probability, RE_ASK)
        await self._store.raise_judged_probability(earlier.decision_id, probability, RE_ASK)
        return None
