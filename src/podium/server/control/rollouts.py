"""Routes of rollouts: look at them, command them, and get their report as JSON, text or a picture."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict

from podium.core.picture.sheet import sheet
from podium.core.picture.svg import draw
from podium.domain.rollout import Metric, Rollout, RolloutReport, RolloutState
from podium.errors import CallerError
from podium.ports import Page
from podium.server import rollout_views as views
from podium.server.control.access import Actor, Limit, Offset, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.server.pictures import png_of
from podium.services.plane import Services

router = guarded(tag="rollouts", prefix="/rollouts")
Order = Literal["pause", "resume", "promote", "abort", "rollback"]
_BATCH = 200


class Format(StrEnum):
    """How a report may look."""

    JSON = "json"
    TEXT = "text"
    SVG = "svg"
    PNG = "png"


_TYPES = {
    Format.JSON: "application/json",
    Format.TEXT: "text/plain",
    Format.SVG: "image/svg+xml",
    Format.PNG: "image/png",
}


class OrderBody(BaseModel):
    """Why, for the record."""

    model_config = ConfigDict(extra="forbid")
    reason: str = ""


@router.get("", responses=errors(e400="a parameter is wrong"))
async def list_rollouts(
    services: ServicesDep,
    task: str | None = None,
    state: Annotated[list[RolloutState | Literal["open"]] | None, Query()] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> views.RolloutsView:
    """Rollouts, newest first; ``state`` may be repeated, and ``open`` stands for all that have not ended."""
    if state is None:
        found = await services.rollouts.listed(task, Page(limit=limit, offset=offset))
    else:
        found = await _in_state(services, task, frozenset(state), limit, offset)
    return views.RolloutsView(rollouts=[views.rollout(item) for item in found])


async def _in_state(
    services: Services, task: str | None, wanted: frozenset[str], limit: int, offset: int
) -> tuple[Rollout, ...]:
    """Those of the wanted states, page by page until there are enough."""
    kept: list[Rollout] = []
    start = 0
    while len(kept) < offset + limit:
        page = await services.rollouts.listed(task, Page(limit=_BATCH, offset=start))
        kept += [item for item in page if item.state in wanted or ("open" in wanted and item.open)]
        if len(page) < _BATCH:
            break
        start += _BATCH
    return tuple(kept[offset : offset + limit])


@router.get("/{rollout_id}", responses=errors(e404="there is no such rollout"))
async def show_rollout(rollout_id: str, services: ServicesDep) -> views.DetailView:
    """One rollout: where it stands, what comes next, its history and its evidence."""
    return views.detail(await services.rollouts.report(rollout_id), services.clock.now())


@router.post(
    "/{rollout_id}/{order}",
    responses=errors(
        e400="the body or the order is wrong", e404="there is no such rollout", e409="it makes no sense now"
    ),
)
async def command_rollout(
    rollout_id: str, order: Order, services: ServicesDep, actor: Actor, body: OrderBody | None = None
) -> views.RolloutView:
    """Pause, resume, promote, abort or roll back a rollout; it is recorded and in force when this returns."""
    reason = body.reason if body else ""
    return views.rollout(await services.rollouts.command(rollout_id, order, by=actor, reason=reason))


@router.get(
    "/{rollout_id}/report",
    response_class=Response,
    responses={
        200: {
            "description": "The report in the wanted format",
            "model": views.ReportView,
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "image/svg+xml": {"schema": {"type": "string"}},
                "image/png": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **errors(e400="a parameter is wrong", e404="there is no such rollout", e406="this format cannot be made here"),
    },
)
async def report_rollout(
    rollout_id: str,
    request: Request,
    services: ServicesDep,
    format: Format | None = None,  # noqa: A002 - the name of the parameter in the address
    metric: Metric | None = None,
    width: Annotated[int, Query(ge=40, le=160)] = 100,
    ascii: bool = False,  # noqa: A002 - same
) -> Response:
    """Everything about a rollout, with its curves. ``format`` wins over the header ``Accept``; without either: JSON.

    ``metric`` chooses the curve that is drawn, ``width`` and ``ascii`` how the text is drawn.
    """
    report = await services.rollouts.report(rollout_id)
    now = services.clock.now()
    match format or _accepted(request.headers.get("accept", "*/*")):
        case Format.JSON:
            return JSONResponse(views.full(report, now).model_dump(mode="json", by_alias=True))
        case Format.TEXT:
            return PlainTextResponse(sheet(report, now, metric=metric, width=width, ascii_only=ascii) + "\n")
        case Format.SVG:
            return _picture(draw(report, now, metric=metric).encode(), Format.SVG, report)
        case Format.PNG:
            png = await asyncio.to_thread(png_of, draw(report, now, metric=metric))
            return _picture(png, Format.PNG, report)


def _picture(content: bytes, format: Format, report: RolloutReport) -> Response:  # noqa: A002 - as in the route
    name = f'inline; filename="{report.rollout.id}.{format}"'
    return Response(content, media_type=_TYPES[format], headers={"content-disposition": name})


def _accepted(header: str) -> Format:
    """The format the client prefers by RFC 9110, section 12.5.1. Raises ``CallerError`` (406) for none of them."""
    best: tuple[float, int, Format] | None = None
    for part in header.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((_weight(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
        for rank, (found, name) in enumerate(_TYPES.items()):
            fits = kind in (name, "*/*", f"{name.partition('/')[0]}/*")
            exact = 1 if kind == name else 0
            if fits and weight > 0 and (best is None or (weight, exact * 10 - rank) > best[:2]):
                best = (weight, exact * 10 - rank, found)
    if best is None:
        known = ", ".join(_TYPES.values())
        raise CallerError(f"a report comes as {known}, not as {header[:80]!r}", status=406, code="not_acceptable")
    return best[2]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
