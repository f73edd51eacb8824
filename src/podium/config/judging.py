"""The ``[judging]`` section, and what a task may set otherwise in ``[tasks.NAME.judging]``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated

from msgspec import Meta

from podium.core.judge_budget import Limits
from podium.core.judge_orders import BEST, NOBODY, JudgeOrders, TaskOrders
from podium.domain.judgment import CRITERIA, OVERALL, RULES, STACK

Fraction = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]
_CRITERION = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskJudging:
    """Judging of one task; what is unset is as in ``[judging]``."""

    enabled: Annotated[bool | None, Meta(description="Judge a sample of this task's answers")] = None
    sample: Annotated[Fraction | None, Meta(description="Share of answers judged by chance")] = None
    extra: Annotated[Fraction | None, Meta(description="Share of the answers judged that show a sign of trouble")] = (
        None
    )
    criteria: Annotated[tuple[str, ...] | None, Meta(description="Criteria, by the names of their rubrics")] = None
    judge: Annotated[
        str | None, Meta(description="name@version, `auto` for the best judge there is, `none` for rules alone")
    ] = None
    learn_uncalibrated: Annotated[
        bool | None, Meta(description="Learn from a model as judge that was never calibrated")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """Judging a sample of live traffic in the background, at the lowest priority and within a budget."""

    enabled: Annotated[bool, Meta(description="For all tasks that do not say otherwise")] = False
    sample: Annotated[Fraction, Meta(description="Share of answers judged by chance")] = 0.1
    extra: Annotated[
        Fraction,
        Meta(description="Share judged of answers that are empty, refuse, loop, are cut off, break their schema, …"),
    ] = 1.0
    criteria: Annotated[tuple[str, ...], Meta(description="Criteria, by the names of their rubrics")] = CRITERIA
    judge: Annotated[
        str, Meta(description="name@version, `auto` for the best judge there is, `none` for rules alone")
    ] = NOBODY
    learn_uncalibrated: Annotated[
        bool, Meta(description="Learn from a model as judge that was never calibrated: it may be no better than chance")
    ] = False
    may_judge_itself: Annotated[
        bool, Meta(description="A version judges its own answers when no other model can; else rules alone do")
    ] = True
    compute_share: Annotated[
        Fraction, Meta(description="Seconds in which judging models answer, by seconds that pass; 1 is no limit")
    ] = 0.1
    tokens_per_hour: Annotated[
        Amount | None, Meta(description="Tokens of judging models, in and out; unset: no limit")
    ] = None
    energy_wh_per_hour: Annotated[
        Amount | None, Meta(description="Energy of judging models, estimated with `watts`; unset: no limit")
    ] = None
    watts: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="What the machine draws while a judge answers; needed for an energy limit"),
    ] = None
    queue: Annotated[int, Meta(ge=10, le=100_000, description="Answers that may wait; beyond it fewer are picked")] = (
        2_000
    )
    looks_per_s: Annotated[
        float, Meta(gt=0, description="Answers looked at for signs of trouble in a second, at most")
    ] = 20.0
    at_once: Annotated[int, Meta(ge=1, le=64, description="Answers judged at the same time")] = 4
    timeout_s: Annotated[float, Meta(gt=0, description="Longest time a judge may take for one criterion")] = 60.0
    keep: Annotated[int, Meta(ge=100, description="Judgments kept at most")] = 100_000

    def task(self, own: TaskJudging | None = None) -> TaskOrders:
        """What is in force for a task."""
        found: dict[str, object] = {entry.name: getattr(self, entry.name) for entry in fields(TaskJudging)}
        if own is not None:
            said = {entry.name: getattr(own, entry.name) for entry in fields(TaskJudging)}
            found |= {name: value for name, value in said.items() if value is not None}
        judge, forced = str(found.pop("judge")), found.pop("learn_uncalibrated")
        return TaskOrders(judge=None if judge == NOBODY else judge, forced=bool(forced), **found)  # type: ignore[arg-type] # the fields are the same

    def orders(self, tasks: Mapping[str, TaskJudging]) -> JudgeOrders:
        """What is in force for all tasks; ``tasks`` are those with settings of their own."""
        wh = self.energy_wh_per_hour
        return JudgeOrders(
            default=self.task(),
            by_task={name: self.task(own) for name, own in tasks.items() if own != TaskJudging()},
            limits=Limits(
                compute_share=self.compute_share,
                tokens_per_hour=self.tokens_per_hour,
                energy_mwh_per_hour=None if wh is None else wh * 1000.0,
                watts=self.watts,
            ),
            waiting=self.queue,
            looks_per_s=self.looks_per_s,
            at_once=self.at_once,
            timeout_s=self.timeout_s,
            keep=self.keep,
            may_judge_itself=self.may_judge_itself,
        )

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, message) of what cannot be meant."""
        yield from judging_problems(self.criteria, self.judge)
        if self.energy_wh_per_hour is not None and self.watts is None:
            yield "energy_wh_per_hour", "needs 'watts' too: energy of a judge is not measured, only estimated from it"


def judging_problems(criteria: tuple[str, ...] | None, judge: str | None) -> Iterator[tuple[str, str]]:
    """(key, message) of settings that cannot be meant; ``None`` is unset."""
    if criteria is not None:
        if not criteria:
            yield "criteria", f"name at least one; there are {', '.join(CRITERIA)}, and your own rubrics"
        for name in criteria:
            if not _CRITERION.fullmatch(name) or name in {OVERALL, RULES, STACK}:
                yield "criteria", f"{name[:40]!r} cannot name a criterion: lower-case letters, digits, _ and -"
        if len(set(criteria)) < len(criteria):
            yield "criteria", "each criterion is named once"
    if judge is not None and not judge.strip():
        yield "judge", f"name a version, {BEST!r}, or {NOBODY!r} for rules alone"
