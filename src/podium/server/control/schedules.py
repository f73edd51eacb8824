"""Routes of schedules, and of batches of swaps that go at once. Times come and go as Unix seconds and as local time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from podium.domain.rollout import RolloutMode, RolloutPlan
from podium.domain.schedule import (
    LowTraffic,
    Moment,
    Opening,
    PlannedSwap,
    Schedule,
    ScheduleState,
    Window,
)
from podium.errors import InvalidRequest
from podium.ports import Page
from podium.server import views
from podium.server.control.access import Actor, Limit, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.server.rollout_plans import PlanBody, read_plan
from podium.services import openings
from podium.services.plane import Services

router = guarded(tag="schedules")
Mode = Literal["immediate", "gradual"]


class SwapItem(BaseModel):
    """One swap of a batch."""

    model_config = ConfigDict(extra="forbid")
    task: str
    to: str


class BatchBody(BaseModel):
    """Several swaps as one unit: all of them, or none."""

    model_config = ConfigDict(extra="forbid")
    swaps: list[SwapItem]
    mode: Mode = "immediate"
    plan: PlanBody | None = Field(default=None, description="How its rollouts go; only for mode gradual.")
    strict: bool = False
    reason: str = ""


class ScheduleBody(BatchBody):
    """A batch, and when: exactly one of ``cron``, ``window``, ``at``, ``low_traffic``."""

    cron: str | None = Field(default=None, description="Five cron fields, read in the time zone.")
    window: str | None = Field(default=None, description="Name of a window of the configuration.")
    at: str | float | None = Field(default=None, description="ISO 8601 or Unix seconds.")
    low_traffic: bool = Field(default=False, description="When the tasks usually get the fewest requests.")
    timezone: str | None = Field(default=None, description="IANA name; UTC.")
    duration: str | float | None = Field(default=None, description='How long it stays open: seconds or "90m"; "1h".')
    repeat: bool = Field(default=False, description="At every opening instead of at one.")


@router.get("/schedules")
async def list_schedules(services: ServicesDep, limit: Limit = 50, offset: Offset = 0) -> views.Json:
    """Schedules, newest first; ``windows`` are those of the configuration with their next openings."""
    found = await services.schedules.listed(Page(limit=limit, offset=offset))
    now = services.clock.now()
    windows = {
        name: {**asdict(window), "next": [_opening(one, window.timezone) for one in _coming(window, now)]}
        for name, window in sorted(services.schedules.windows.items())
    }
    return {"schedules": [_view(services, one) for one in found], "windows": windows}


@router.post("/schedules", status_code=201, responses=errors(e400="something is wrong", e404="no such version"))
async def add_schedule(body: ScheduleBody, services: ServicesDep, actor: Actor) -> views.Json:
    """Keep a schedule; ``next`` shows its next three openings."""
    return _view(services, await services.schedules.add(_order(body, services, actor)))


@router.get("/schedules/{schedule_id}", responses=errors(e404="there is no such schedule"))
async def show_schedule(schedule_id: str, services: ServicesDep) -> views.Json:
    """One schedule with what became of its openings."""
    return _view(services, await services.schedules.find(schedule_id))


@router.delete(
    "/schedules/{schedule_id}",
    responses=errors(e404="there is no such schedule", e409="it runs now, or has ended"),
)
async def cancel_schedule(schedule_id: str, services: ServicesDep, actor: Actor) -> views.Json:
    """Take a schedule back; it stays in the list as cancelled."""
    return _view(services, await services.schedules.cancel(schedule_id, actor))


@router.post("/swaps/batch", responses=errors(e400="something is wrong", e404="no such version"))
async def swap_batch(body: BatchBody, services: ServicesDep, actor: Actor) -> views.Json:
    """Several swaps now, all or none. At once: the reply says how it ended; gradual: that it has begun."""
    done = await services.schedules.at_once(
        _swaps(body), gradual=_plan(body), strict=body.strict, by=actor, reason=body.reason
    )
    return _view(services, done)


def _order(body: ScheduleBody, services: Services, actor: str) -> Schedule:
    given = [name for name in ("cron", "window", "at") if getattr(body, name) is not None]
    given += ["low_traffic"] if body.low_traffic else []
    if len(given) != 1:
        found = f"found {', '.join(given)}" if given else "found none"
        raise InvalidRequest(
            f"say when by exactly one of cron, window, at, low_traffic, or now by POST /api/v1/swaps/batch; {found}",
            param="when",
        )
    lasts = None if body.duration is None else openings.duration(body.duration)
    timezone, duration_s = body.timezone or "UTC", 3600.0 if lasts is None else lasts
    window = moment = low_traffic = None
    if body.cron is not None:
        window = Window(cron=body.cron, timezone=timezone, duration_s=duration_s)
    elif body.window is not None:
        window = services.schedules.named(body.window, lasts)
        if body.timezone is not None and body.timezone != window.timezone:
            raise InvalidRequest(f"window {body.window} is in {window.timezone}; leave timezone out", param="timezone")
    elif body.at is not None:
        at = openings.point(body.at, timezone) if isinstance(body.at, str) else body.at
        moment = Moment(at=at, timezone=timezone, duration_s=duration_s)
    else:
        low_traffic = LowTraffic(timezone=timezone, duration_s=duration_s)
    openings.zone(timezone)
    return Schedule(
        id="",
        swaps=_swaps(body),
        state=ScheduleState.WAITING,
        created_at=0.0,
        by=actor,
        window=window,
        moment=moment,
        low_traffic=low_traffic,
        gradual=_plan(body),
        strict=body.strict,
        repeat=body.repeat,
        reason=body.reason,
    )


def _swaps(body: BatchBody) -> tuple[PlannedSwap, ...]:
    return tuple(PlannedSwap(task=one.task, to=one.to) for one in body.swaps)


def _plan(body: BatchBody) -> RolloutPlan | None:
    if body.mode == "immediate":
        if body.plan is not None:
            raise InvalidRequest('a plan is for mode "gradual"; leave one of them out', param="plan")
        return None
    return read_plan(body.plan, RolloutMode.GRADUAL, strict=body.strict)


def _coming(window: Window, now: float) -> tuple[Opening, ...]:
    return openings.coming(openings.of_window(window), now)


def _opening(one: Opening, timezone: str) -> views.Json:
    return {**asdict(one), "local": openings.shown(one.opens_at, timezone)}


def _view(services: Services, one: Schedule) -> views.Json:
    return {
        "id": one.id,
        "state": one.state,
        "ok": one.state not in (ScheduleState.FAILED, ScheduleState.MISSED),
        "says": services.schedules.troubles.get(one.id, one.says),
        "swaps": [asdict(swap) for swap in one.swaps],
        "mode": "immediate" if one.gradual is None else "gradual",
        "when": _when(one),
        "timezone": one.timezone,
        "duration_s": one.duration_s,
        "repeat": one.repeat,
        "next": [_opening(each, one.timezone) for each in services.schedules.coming(one)],
        "expected_requests": one.expected_requests,
        "batch": one.batch,
        "by": one.by,
        "reason": one.reason,
        "created_at": one.created_at,
        "finished_at": one.finished_at,
        "runs": [asdict(run) for run in one.runs],
    }


def _when(one: Schedule) -> str:
    """In one line."""
    if one.window is not None:
        name = f" ({one.window.name})" if one.window.name else ""
        return f"{one.window.cron}{name}"
    return openings.shown(one.moment.at, one.timezone) if one.moment is not None else "low traffic"
