"""The judging pipeline: from answers of live traffic to stored judgments and scores that teach.

An observer of the gateway picks answers (``intake``), a queue on disk keeps them (``queue``), the bench judges them one
criterion beside the other (``bench``), and here the parts are driven: when users are served it waits, when the budget is used
up it waits, and what comes of it is stored and said to the recorder as feedback of the source ``judge``. A judge's own
requests go past the gateway, so they are never judged themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from podium.core.judge_budget import Budget
from podium.core.judge_orders import JudgeOrders, TaskOrders
from podium.core.judging_health import JudgingFacts
from podium.core.sampling import Thinning, sureness, teaching_weight
from podium.core.settling import Overall, Settled, overall, overall_verdict
from podium.domain.decision import Decision
from podium.domain.judging import Queued, Tally, Waiting
from podium.domain.judgment import CRITERIA, Judged, Judgment, Preference, Verdict
from podium.domain.request import RequestHead
from podium.errors import NotFound, PodiumError, StoreError
from podium.ports import Clock, JudgmentFilter, JudgmentStore, Page
from podium.services.idleness import Idleness
from podium.services.judging.bench import Bench
from podium.services.judging.calibrations import REFRESH_S, Calibrations
from podium.services.judging.figures import Figures
from podium.services.judging.intake import RE_ASK, Intake, Signals
from podium.services.judging.queue import JudgeQueue
from podium.services.judging.reading import clean
from podium.services.observing import Answered
from podium.services.recorder import Recorder

CALM_S = 0.05
"""Judging begins when no user was served for so long."""
PATIENCE_S, MODEL_PATIENCE_S = 2.0, 30.0
"""It goes on after so long although users are served all the time: rules slowly, and models on other machines. Models on
this machine wait on."""
TRIES = 5
"""Times that an answer is taken up again because its judge could not be heard."""
RETRY_S = 1.0
TURN_S = 1.0
PRUNE_EVERY = 1_000
REPLY_CHARS, REASON_CHARS = 2_000, 1_000
_log = structlog.get_logger("podium.judging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What came of judging one item."""

    item: Judged
    settled: tuple[Settled, ...]
    overall: Overall


class Judging:
    """One per gateway. ``orders`` may be exchanged while it runs."""

    def __init__(
        self,
        *,
        store: JudgmentStore,
        recorder: Recorder,
        idleness: Idleness,
        clock: Clock,
        bench: Bench,
        budget: Budget,
        calibrations: Calibrations,
        orders: JudgeOrders,
        new_id: Callable[[str], str],
        signals: Signals,
        similar: Callable[[str, str], float],
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._idleness = idleness
        self._clock = clock
        self._bench = bench
        self.budget = budget
        self.calibrations = calibrations
        self._orders = orders
        self._new_id = new_id
        self._thinning = Thinning(orders.waiting)
        self.queue = JudgeQueue(store, self._thinning)
        self.intake = Intake(store, self.queue, self._thinning, idleness, clock, lambda: self._orders, signals, similar)
        self.figures = Figures()
        self._tries: dict[str, int] = {}
        self._unpruned = 0
        self.heard: list[Callable[[Sequence[Judgment]], None]] = []
        """Who is told of the judgments of an answer, once they are on record; must be quick and must not raise."""
        self.resumed = 0
        """Answers that the last run had picked and not judged."""

    # ------------------------------------------------------------ the request path

    def wants(self, head: RequestHead, decision: Decision) -> bool:
        """See ``Observer``."""
        return self.intake.wants(head, decision)

    def take(self, answered: Answered) -> None:
        """See ``Observer``."""
        self.intake.take(answered)

    # ------------------------------------------------------------ settings

    @property
    def orders(self) -> JudgeOrders:
        """What is in force."""
        return self._orders

    def configure(self, orders: JudgeOrders) -> None:
        """Put other settings in force; what waits is judged by them."""
        self._orders = orders
        self._thinning.capacity = orders.waiting
        self.budget.change(orders.limits, self._clock.monotonic())

    @property
    def problems(self) -> dict[str, str]:
        """Why no judge is asked, by criterion."""
        return {**self._bench.problems, **self._bench.unreadable}

    def facts(self) -> JudgingFacts:
        """What a diagnosis needs."""
        return JudgingFacts(
            enabled=self._orders.any,
            unscored=self.figures.unscored(),
            judges=self.figures.judges(self.calibrations.of),
            short_of=self.budget.short_of(self._clock.monotonic()),
            deferred=self.queue.held_up,
            waiting=len(self.queue),
            thinned_to=self.thinned_to,
            thinned=self.queue.thinned,
            problems=dict(self._bench.problems),
            unreadable=dict(self._bench.unreadable),
        )

    @property
    def thinned_to(self) -> float:
        """Share of what is picked that has room."""
        return self._thinning.share

    # ------------------------------------------------------------ on demand

    async def score(self, item: Judged) -> float | None:
        """How good an answer is, in [0, 1], by those who may be learned from; ``None`` when nobody has ground.

        A model is asked only where the task has one and the budget allows.
        """
        task = self._orders.of(item.task)
        broke = self.budget.short_of(self._clock.monotonic()) is not None
        found = await self.rule(item, judge=None if broke else task.judge, forced=task.forced, criteria=task.criteria)
        return found.overall.score if found.overall.teaches else None

    async def rule(
        self,
        item: Judged,
        *,
        judge: str | None,
        criteria: Sequence[str] = CRITERIA,
        ref: str | None = None,
        forced: bool = False,
    ) -> Ruling:
        """Judge one item that is not of live traffic; nothing is stored and nothing is learned."""
        settled = await self._bench.judge(
            item, criteria, judge=judge, ref=ref, timeout_s=self._orders.timeout_s, forced=forced
        )
        return Ruling(item=item, settled=settled, overall=overall(settled))

    async def compare(
        self, first: Judged, second: Judged, criterion: str, judges: Sequence[str]
    ) -> tuple[Preference, ...]:
        """Which of two answers each of ``judges`` prefers, in their order; nothing is stored and nothing is learned.

        Raises ``NotFound``, ``InvalidRequest`` for a criterion or a judge that is not there.
        """
        for judge in judges:
            self._bench.check([criterion], judge)
        timeout_s = self._orders.timeout_s
        asked = [self._bench.compare(first, second, criterion, judge, timeout_s=timeout_s) for judge in judges]
        return tuple(await asyncio.gather(*asked))

    def check(self, criteria: Sequence[str], judge: str | None) -> None:
        """Raises ``NotFound`` for a criterion without a rubric or a judge that is not there, ``InvalidRequest``."""
        self._bench.check(criteria, judge)

    async def listed(self, wanted: JudgmentFilter, page: Page) -> tuple[Judgment, ...]:
        """Stored judgments, newest first."""
        return await self._store.judgments(wanted, page)

    async def tallies(self, task: str | None, since: float) -> tuple[Tally, ...]:
        """What stored judgments add up to, from the Unix time ``since`` on."""
        return await self._store.judgment_tallies(task, since, self.calibrations.cuts())

    # ------------------------------------------------------------ the background

    async def resume(self) -> None:
        """Take up what the last run left. Raises ``StoreError``."""
        await self.calibrations.refresh()
        self.resumed = await self.queue.resume()

    async def run(self) -> None:
        """Until cancelled: pick and judge."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.intake.run(), name="podium-judging-intake")
            group.create_task(self._every_second(), name="podium-judging-pace")
            for number in range(self._orders.at_once):
                group.create_task(self._work(), name=f"podium-judging-{number}")

    async def close(self) -> None:
        """End the threads; idempotent."""
        await asyncio.to_thread(self._bench.close)

    async def _every_second(self) -> None:
        seconds = 0
        while True:
            await asyncio.sleep(1.0)
            self.intake.every_second()
            if (seconds := seconds + 1) % REFRESH_S == 0:
                await self._recalibrate()

    async def _recalibrate(self) -> None:
        try:
            await self.calibrations.refresh()
        except StoreError as error:
            _log.warning("calibrations could not be read again", error=error.message)

    async def _work(self) -> None:
        while True:
            waiting = await self.queue.next(self._able, TURN_S)
            if waiting is None:
                continue
            try:
                await self._one(waiting)
            except StoreError as error:
                _log.warning("an answer could not be judged, it waits", error=error.message)
                self.queue.put_back(waiting)
                await asyncio.sleep(RETRY_S)
            except asyncio.CancelledError:
                self.queue.put_back(waiting)
                raise
            except Exception:  # noqa: BLE001 - one odd answer must not end the judging of all others
                _log.exception("an answer could not be judged", decision=waiting.decision_id)
                with contextlib.suppress(StoreError):
                    await self.queue.forget(waiting)

    def _able(self, task: str) -> bool:
        """Whether its turn may come now: what needs a model waits for the budget."""
        return self._orders.of(task).judge is None or self.budget.short_of(self._clock.monotonic()) is None

    async def _one(self, waiting: Waiting) -> None:
        task = self._orders.of(waiting.task)
        queued = await self.queue.read(waiting)
        if queued is None or not task.enabled:
            await self._finished(waiting, forget=True)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S if task.judge is None else MODEL_PATIENCE_S):
                await self._idleness.calm(CALM_S)
        settled = await self._bench.judge(
            queued.item,
            task.criteria,
            judge=task.judge,
            ref=queued.ref,
            timeout_s=self._orders.timeout_s,
            forced=task.forced,
        )
        if self._again(waiting, settled):
            return
        found = overall(settled)
        taught = await self._teach(queued, task, found)
        made = self._judgments(queued, settled, found, taught)
        await self._store.save_judgments(made)
        for hear in self.heard:
            hear(made)
        if (raised := self.queue.raised(queued.decision_id)) is not None:
            await self._store.raise_judged_probability(queued.decision_id, *raised)
        await self._finished(waiting)
        self.figures.judged(queued.task, settled, taught=taught, scored=found.score is not None)
        await self._prune(len(made))

    def _again(self, waiting: Waiting, settled: Sequence[Settled]) -> bool:
        """Whether it goes to the end of the line because a judge could not be heard."""
        if not any(verdict.again for one in settled for verdict in one.verdicts):
            return False
        tries = self._tries[waiting.decision_id] = self._tries.get(waiting.decision_id, 0) + 1
        if tries >= TRIES:
            return False
        self.figures.done.retried += 1
        self.queue.put_back(waiting)
        return True

    async def _finished(self, waiting: Waiting, *, forget: bool = False) -> None:
        self._tries.pop(waiting.decision_id, None)
        if forget:
            await self.queue.forget(waiting)
        else:
            self.queue.done(waiting)

    async def _teach(self, queued: Queued, task: TaskOrders, found: Overall) -> bool:
        """Tell the recorder; ``False`` when there is nothing to be learned."""
        if found.score is None or not found.teaches:
            return False
        late = RE_ASK in queued.signs
        if late and not queued.by_chance:
            return False  # those that chance picked stand for it, and have taught already
        weight = 1.0 if late else teaching_weight(queued.sample, queued.odds)
        if weight <= 0.0:
            return False  # nothing is picked by chance: what signs pick says nothing of the others
        try:
            await self._recorder.feedback(
                queued.request_id,
                found.score,
                source="judge",
                weight=weight * sureness(found.sd),
                extra=not queued.by_chance,
            )
        except NotFound:
            self.figures.done.unjoined += 1
            return False
        except PodiumError as error:
            _log.warning("a score was not taken", error=error.message)
            return False
        return True

    def _judgments(
        self, queued: Queued, settled: Sequence[Settled], found: Overall, taught: bool
    ) -> tuple[Judgment, ...]:
        made = []
        for one in settled:
            for verdict, (score, calibrated) in zip(one.verdicts, one.scores, strict=True):
                used = taught and one.teaches and verdict is one.chosen
                made.append(self._judgment(queued, verdict, score, calibrated, used))
        made.append(self._judgment(queued, overall_verdict(found), found.score, False, taught))
        return tuple(made)

    def _judgment(
        self, queued: Queued, verdict: Verdict, score: float | None, calibrated: bool, used: bool
    ) -> Judgment:
        return Judgment(
            id=self._new_id("jud"),
            request_id=queued.request_id,
            decision_id=queued.decision_id,
            task=queued.task,
            ref=queued.ref,
            verdict=_brief(verdict),
            score=score,
            calibrated=calibrated,
            at=self._clock.now(),
            probability=queued.probability,
            signal=", ".join(queued.signs) or None,
            used=used,
        )

    async def _prune(self, made: int) -> None:
        self._unpruned += made
        if self._unpruned >= PRUNE_EVERY:
            self._unpruned = 0
            self._tries = {one: tries for one, tries in self._tries.items() if self.queue.waits(one)}
            await self._store.prune_judgments(self._orders.keep)


def _brief(verdict: Verdict) -> Verdict:
    """What is kept of a verdict: long words are shortened."""
    reply = None if verdict.reply is None else clean(verdict.reply[:REPLY_CHARS])
    return replace(verdict, reason=clean(verdict.reason[:REASON_CHARS]), reply=reply)
