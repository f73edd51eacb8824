"""Routes of judging: what was judged of live traffic and what that says of all of it, and judging what is handed in."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from podium.core.correction import moments_of, ppi, rogan_gladen
from podium.core.judge_orders import BEST, NOBODY
from podium.core.sampling import Estimate, hajek
from podium.core.settling import Settled
from podium.domain.judging import Tally
from podium.domain.judgment import CRITERIA, OVERALL, Calibration, Judged, Judgment, Verdict
from podium.errors import InvalidRequest
from podium.ports import JudgmentFilter, Page
from podium.server import views
from podium.server.control.access import Limit, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.judging.pipeline import Judging, Ruling

router = guarded(tag="judging")
MOST_ITEMS = 256
_NORMAL = 1.96
AT_ONCE = 8
"""Items of one call that are judged at the same time."""


class Item(BaseModel):
    """One answer to be judged."""

    model_config = ConfigDict(extra="forbid")
    output: str
    task: str = Field(default="general", description="What kind of work it is; chooses the settings")
    prompt: str = Field(default="", description="What was asked")
    expected: str | None = Field(default=None, description="What the output should have been")
    context: str | None = Field(default=None, description="What the output must be faithful to")
    id: str | None = Field(default=None, description="Comes back with the result")
    output_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema that was asked for")
    finish: str | None = Field(default=None, description="Why the model stopped, as its server said it")


class JudgeBody(BaseModel):
    """One answer or many. Nothing is stored and nothing is learned from it."""

    model_config = ConfigDict(extra="forbid")
    items: Annotated[list[Item], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    item: Item | None = None
    criteria: list[str] | None = Field(default=None, description="Names of rubrics; all shipped ones without it")
    judge: str | None = Field(
        default=None, description="name@version, auto, or none for rules alone; without it the task's own, else auto"
    )


@router.post("/judge", responses=errors(e404="there is no such judge or criterion"))
async def judge(body: JudgeBody, services: ServicesDep) -> views.Json:
    """Judge answers by criteria: rules, and a model where one can. Results come in the order of the items."""
    if (body.item is None) is (body.items is None):
        raise InvalidRequest("give either item or items", param="items")
    items = [body.item] if body.item is not None else body.items or []
    judging = services.judging
    criteria = tuple(dict.fromkeys(body.criteria)) if body.criteria else CRITERIA
    judging.check(criteria, None if body.judge in (None, NOBODY) else body.judge)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, item: Item) -> Ruling:
        own = judging.orders.of(item.task).judge
        asked = body.judge or own or BEST
        async with places:
            return await judging.rule(
                _judged(number, item), judge=None if asked == NOBODY else asked, criteria=criteria
            )

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number, item)) for number, item in enumerate(items)]
    results = [_ruling(task.result()) for task in tasks]
    return {
        "results": results,
        "passed": sum(one["passed"] is True for one in results),
        "problems": judging.problems,
    }


@router.get("/judgments")
async def list_judgments(
    services: ServicesDep,
    task: str | None = None,
    ref: str | None = None,
    criterion: str | None = None,
    judge: str | None = None,
    request_id: str | None = None,
    invalid: bool | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> views.Json:
    """Judgments of live traffic, newest first. ``overall`` is a criterion of its own."""
    wanted = JudgmentFilter(
        task=task, ref=ref, criterion=criterion, judge=judge, request_id=request_id, invalid=invalid
    )
    found = await services.judging.listed(wanted, Page(limit=limit, offset=offset))
    return {"judgments": [_judgment(one) for one in found]}


@router.get("/judgments/stats")
async def judgment_stats(
    services: ServicesDep,
    task: str | None = None,
    hours: Annotated[float | None, Query(gt=0, description="Only the newest; without it all that are kept")] = None,
) -> views.Json:
    """What the judged answers say of all: by task, version, criterion and judge the mean, weighted by the probability with
    which each was picked, with its 95 % interval; what judging cost by task; and how the pipeline keeps up.
    """
    since = 0.0 if hours is None else services.clock.now() - hours * 3600.0
    tallies = await services.judging.tallies(task, since)
    return {
        "estimates": [_estimate(one, services.judging.calibrations.of(one.judge, one.criterion)) for one in tallies],
        "costs": _costs(tallies),
        "live": live(services.judging, services.clock.monotonic()),
    }


def live(judging: Judging, now: float) -> views.Json:
    """How the pipeline keeps up; counts since the start. ``now`` is monotonic."""
    intake, done, orders = judging.intake, judging.figures.done, judging.orders
    return {
        "enabled": orders.any,
        "seen": intake.seen.answers,
        "looked_at": intake.seen.looked,
        "look_share": intake.look,
        "unfit": intake.seen.unfit,
        "signs": dict(intake.signs),
        "picked": intake.seen.picked,
        "waiting": len(judging.queue),
        "thinned": judging.queue.thinned,
        "thinned_to": judging.thinned_to,
        "resumed": judging.resumed,
        **{name: getattr(done, name) for name in type(done).__slots__},
        "deferred": judging.queue.held_up,
        "budget": {
            "short_of": judging.budget.short_of(now),
            **asdict(judging.budget.spent()),
            **asdict(judging.budget.limits),
        },
        "problems": judging.problems,
    }


def _judged(number: int, item: Item) -> Judged:
    return Judged(
        id=item.id or str(number),
        task=item.task,
        prompt=item.prompt,
        output=item.output,
        context=item.context,
        expected=item.expected,
        schema=item.output_schema,
        finish=item.finish,
    )


def _ruling(ruling: Ruling) -> views.Json:
    return {
        "id": ruling.item.id,
        "task": ruling.item.task,
        "overall": ruling.overall.score,
        "passed": ruling.overall.passed,
        "criteria": [_settled(one) for one in ruling.settled],
    }


def _settled(one: Settled) -> views.Json:
    return {
        "criterion": one.criterion,
        "score": one.score,
        "passed": one.passed,
        "pass_mark": one.mark,
        "judge": None if one.chosen is None else one.chosen.judge,
        "calibrated": one.calibrated,
        "evidence": one.teaches,
        "why": one.why,
        "verdicts": [_verdict(verdict) for verdict in one.verdicts],
    }


def _verdict(verdict: Verdict) -> views.Json:
    return {
        "judge": verdict.judge,
        "score": verdict.score,
        "sd": verdict.sd,
        "method": verdict.method,
        "reason": verdict.reason,
        "invalid": verdict.invalid,
        "reply": verdict.reply,
        "features": dict(verdict.features),
        "latency_ms": verdict.latency_ms,
        "input_tokens": verdict.input_tokens,
        "output_tokens": verdict.output_tokens,
        "cached": verdict.cached,
    }


def _judgment(one: Judgment) -> views.Json:
    head = {"id": one.id, "request_id": one.request_id, "decision_id": one.decision_id, "task": one.task}
    rest = {
        "ref": one.ref,
        "criterion": one.verdict.criterion,
        "score": one.score,
        "calibrated": one.calibrated,
        "passed": one.passed,
        "at": one.at,
        "probability": one.probability,
        "signal": one.signal,
        "used": one.used,
    }
    verdict = _verdict(one.verdict)
    return {**head, **rest, "raw": verdict.pop("score"), **verdict}


def _estimate(one: Tally, calibration: Calibration | None) -> views.Json:
    found = hajek(one.sums)
    return {
        "task": one.task,
        "ref": one.ref,
        "criterion": one.criterion,
        "judge": one.judge,
        "judgments": one.judgments,
        "invalid": one.invalid,
        "no_ground": one.no_ground,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "effective": found.effective,
        "stands_for": found.stands_for,
        "corrected": _corrected(one, found, calibration),
        "pass_rate": _pass_rate(one, calibration),
        "seconds": one.latency_ms / 1000.0,
        "tokens": one.tokens,
        "last_at": one.last_at,
    }


def _corrected(one: Tally, found: Estimate, calibration: Calibration | None) -> views.Json | None:
    """The mean as people would have it, as far as the labelled rows are like these answers; ``None`` where the judge was not
    calibrated when it gave all of the scores.
    """
    labelled = None if calibration is None else moments_of(calibration)
    if labelled is None or found.mean is None or found.low is None or found.high is None or one.calibrated < one.sums.n:
        return None
    error = (found.high - found.low) / (2 * _NORMAL)
    made = ppi(labelled, found.mean, error * error)
    return {"mean": made.value, "low": made.low, "high": made.high, "method": made.method, "labels": labelled.n}


def _pass_rate(one: Tally, calibration: Calibration | None) -> views.Json | None:
    """The share that the judge passes, cut where it passes as many labelled answers as people did, and that share as people
    would have it; ``None`` where the judge was not calibrated when it gave all of the scores.
    """
    if calibration is None or one.passing is None or not one.sums.n or one.calibrated < one.sums.n:
        return None
    if calibration.sensitivity is None or calibration.specificity is None:
        return None
    found = hajek(one.passing)
    assert found.mean is not None
    made = rogan_gladen(
        found.mean,
        found.effective,
        sensitivity=calibration.sensitivity,
        positives=calibration.positives,
        specificity=calibration.specificity,
        negatives=calibration.n - calibration.positives,
    )
    corrected = {"share": made.value, "low": made.low, "high": made.high, "method": made.method}
    return {
        "share": found.mean,
        "low": found.low,
        "high": found.high,
        "cut": calibration.cut,
        "corrected": {**corrected, "labels": calibration.n, "missing": made.missing},
    }


def _costs(tallies: tuple[Tally, ...]) -> list[views.Json]:
    """What judging cost, on the account of the task whose answers were judged."""
    found: dict[str, list[Tally]] = defaultdict(list)
    for one in tallies:
        if one.criterion != OVERALL:
            found[one.task].append(one)
    return [
        {
            "task": task,
            "judgments": sum(one.judgments for one in mine),
            "seconds": sum(one.latency_ms for one in mine) / 1000.0,
            "tokens": sum(one.tokens for one in mine),
        }
        for task, mine in found.items()
    ]
