"""Has one answer judged by everybody who may: the rules, then a model for each criterion, several at once.

Owns who is asked and the limits of asking: how many requests to judges are under way, how long one may take, what they cost.
Must not store anything, and must not raise for what a judge does: then its verdict is ``invalid``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import structlog

from podium.core.judge_budget import Budget
from podium.core.judge_orders import BEST
from podium.core.judge_silence import Silences
from podium.core.settling import Known, Settled, settle
from podium.domain.judgment import RULES, Judged, Preference, Rubric, Verdict
from podium.domain.model import ModelVersion
from podium.errors import InvalidRequest, NotFound, PodiumError
from podium.ports import Clock
from podium.services.idleness import Idleness

REQUESTS = 16
"""Requests to judges under way at once, over all answers."""
PACE_S = 0.02
"""Between two rules while users are served."""
MOST_MATCHED = 20_000
"""Characters of an answer in which a pattern is looked for."""
LONG = 20_000
"""Characters from which on rules run in a thread."""
_log = structlog.get_logger("podium.judging")
Grade = Callable[[Judged, str], Verdict]
PickJudge = Callable[[str, str | None, ModelVersion | None, frozenset[str]], ModelVersion | None]


class Asking(Protocol):
    """A model as judge; see services/judge."""

    async def judge(
        self,
        item: Judged,
        rubric: Rubric,
        judge: ModelVersion,
        *,
        deadline_s: float = ...,
        judged_ref: str | None = None,
    ) -> Verdict:
        """Its verdict; never raises for what the model does."""
        ...

    async def compare(
        self, item_a: Judged, item_b: Judged, rubric: Rubric, judge: ModelVersion, *, deadline_s: float = ...
    ) -> Preference:
        """Which of two is better, asked in both orders; never raises for what the model does."""
        ...


class Rubrics(Protocol):
    """Where criteria come from."""

    def get(self, criterion: str) -> Rubric:
        """Raises ``NotFound``, ``InvalidRequest``."""
        ...


class Bench:
    """``grade`` is that of core/graders; ``pick`` chooses a judge by criterion, judged version, the one that was named, and
    those whose replies are no verdicts; ``named`` finds one by its name; ``known`` gives stored calibrations; ``search`` says
    whether a pattern is found in a text, ``None`` when that took too long; it blocks.
    """

    def __init__(
        self,
        *,
        grade: Grade,
        asking: Asking,
        rubrics: Rubrics,
        pick: PickJudge,
        named: Callable[[str], ModelVersion],
        known: Known,
        budget: Budget,
        clock: Clock,
        idleness: Idleness,
        search: Callable[[str, str], bool | None],
    ) -> None:
        self._grade = grade
        self._search = search
        self._asking = asking
        self._rubrics = rubrics
        self._pick = pick
        self._named = named
        self._known = known
        self._budget = budget
        self._clock = clock
        self._idleness = idleness
        self._silences = Silences()
        self._one_rule = asyncio.Lock()
        self._places = asyncio.Semaphore(REQUESTS)
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="podium-rules")
        self.problems: dict[str, str] = {}
        """Why no judge is asked, by criterion; gone when one is again."""
        self.unreadable: dict[str, str] = {}
        """Why a criterion has no rubric; gone when it has one."""

    async def judge(
        self,
        item: Judged,
        criteria: Sequence[str],
        *,
        judge: str | None,
        ref: str | None = None,
        timeout_s: float,
        forced: bool = False,
    ) -> tuple[Settled, ...]:
        """One of each criterion, in order. ``judge``: a version, ``auto``, or ``None`` for rules alone; ``ref`` gave the
        answer.
        """
        rubrics = [self._rubric(criterion) for criterion in criteria]
        ruled = [
            await (
                self._rule(item, criterion)
                if one is None or one.pattern is None
                else self._match(item, one, one.pattern)
            )
            for criterion, one in zip(criteria, rubrics, strict=True)
        ]
        asked: list[Verdict | None] = [None] * len(criteria)
        if judge is not None:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    None
                    if one is None or not one.instructions
                    else group.create_task(self._ask(item, one, judge, ref, timeout_s))
                    for one in rubrics
                ]
            asked = [None if task is None else task.result() for task in tasks]
        return tuple(
            settle(
                criterion,
                [one for one in (rules, model) if one is not None],
                self._known,
                forced=forced,
                mark=None if rubric is None else rubric.pass_mark,
            )
            for criterion, rubric, rules, model in zip(criteria, rubrics, ruled, asked, strict=True)
        )

    async def compare(
        self, first: Judged, second: Judged, criterion: str, judge: str, *, timeout_s: float
    ) -> Preference:
        """Which of two answers to the same question is better. ``judge``: a version, or ``auto``.

        Raises ``NotFound`` for a criterion without a rubric or when there is no judge, ``InvalidRequest`` for one that models
        are not asked about.
        """
        rubric = self._rubrics.get(criterion)
        if not rubric.instructions:
            raise InvalidRequest(f"{criterion} is judged by a pattern; no model can compare by it", param="criterion")
        mute = self._silences.of(criterion, self._clock.monotonic())
        version = self._pick(criterion, None, None if judge == BEST else self._named(judge), mute)
        if version is None:
            raise NotFound("no version can judge; register a model that can chat and activate it", param="judge")
        async with self._places:
            try:
                found = await self._asking.compare(first, second, rubric, version, deadline_s=timeout_s)
            except PodiumError as error:
                found = Preference(
                    criterion=criterion,
                    judge=version.ref,
                    winner=None,
                    probability=None,
                    invalid=error.message,
                    again=True,
                )
        self._spend(found)
        return found

    def _spend(self, said: Verdict | Preference) -> None:
        tokens = (said.input_tokens or 0) + (said.output_tokens or 0)
        self._budget.spend((said.latency_ms or 0.0) / 1000, tokens, self._clock.monotonic())

    def check(self, criteria: Sequence[str], judge: str | None) -> None:
        """Raises ``NotFound`` for a criterion without a rubric or a judge that is not there, ``InvalidRequest``."""
        for criterion in criteria:
            self._rubrics.get(criterion)
        if judge is not None and judge != BEST:
            self._named(judge)

    async def _rule(self, item: Judged, criterion: str) -> Verdict:
        try:
            if len(item.prompt) + len(item.output) + len(item.context or "") < LONG:
                async with self._one_rule:  # a turn of the event loop holds one rule at most
                    await asyncio.sleep(PACE_S if self._idleness.users else 0)
                    return self._grade(item, criterion)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._grade, item, criterion)
        except Exception:  # noqa: BLE001 - whatever an answer does to a rule, the other judges go on
            _log.exception("a rule failed", criterion=criterion)
            return Verdict(criterion=criterion, judge=RULES, score=None, invalid="the rule failed; see the log")

    async def _match(self, item: Judged, rubric: Rubric, pattern: str) -> Verdict:
        """1 when the pattern of a rubric is found in the answer, else 0: a fact."""
        text = item.output[:MOST_MATCHED].encode("utf-8", "replace").decode()
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._search, pattern, text)
        blank = Verdict(criterion=rubric.criterion, judge=RULES, score=None, method="pattern")
        if found is None:
            return replace(blank, invalid="the pattern took too long on this answer; simplify it")
        reason = "" if found else "the pattern was not found"
        return replace(blank, score=float(found), sd=0.0, certain=True, reason=reason)

    async def _ask(self, item: Judged, rubric: Rubric, judge: str, ref: str | None, timeout_s: float) -> Verdict | None:
        """``None`` when there is nobody to ask."""
        criterion = rubric.criterion
        mute = self._silences.of(criterion, self._clock.monotonic())
        try:
            version = self._pick(criterion, ref, None if judge == BEST else self._named(judge), mute)
        except PodiumError as error:
            self.problems[criterion] = error.message
            return None
        if version is None:
            self.problems[criterion] = (
                "no other version can judge it; register a judge and activate it, or set may_judge_itself"
            )
            return None
        self.problems.pop(criterion, None)
        async with self._places:
            try:
                verdict = await self._asking.judge(item, rubric, version, deadline_s=timeout_s, judged_ref=ref)
            except PodiumError as error:
                verdict = Verdict(criterion=criterion, judge=version.ref, score=None, invalid=error.message, again=True)
        self._silences.heard(verdict, self._clock.monotonic())
        self._spend(verdict)
        return verdict

    def _rubric(self, criterion: str) -> Rubric | None:
        """``None`` for one without a usable file; then rules alone judge it."""
        try:
            found = self._rubrics.get(criterion)
        except PodiumError as error:
            self.unreadable[criterion] = error.message
            return None
        self.unreadable.pop(criterion, None)
        return found

    def close(self) -> None:
        """End the thread of the rules."""
        self._threads.shutdown(wait=True, cancel_futures=True)
