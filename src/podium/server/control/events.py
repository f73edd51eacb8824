"""Routes of what happens: the record of events, the same live, webhooks, and statistics of swaps and rollouts.

A live stream is woken when events are on record and reads them there: ids are in order and complete, whoever reads
slowly reads later, and whoever comes back goes on where they were. What the record no longer has is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated

import msgspec
from fastapi import Header, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

from podium.core.event_kinds import check_patterns, wanted
from podium.domain.history import TaskHistory
from podium.domain.swap import Event
from podium.errors import InvalidRequest, Overloaded, StoreError
from podium.ports import Page
from podium.server import views
from podium.server.control.access import MOST, Limit, Many, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.plane import Services
from podium.services.webhook_courier import HookView

router = guarded(tag="events")
HEARTBEAT_S = 15.0
BATCH = 200
"""Events a stream holds at most, however slow its reader."""
MOST_STREAMS = 64
STALL_S = 60.0
"""A reader that takes nothing for this long is cut off; it can come back with ``Last-Event-ID``."""
After = Annotated[int | None, Query(ge=0, le=MOST)]


class LiveResponse(StreamingResponse):
    """A stream that is not held up for ever by a reader that stopped reading, and that ends what it reads from."""

    def __init__(self, source: AsyncGenerator[bytes, None], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(source, headers=headers, media_type="text/event-stream")
        self._source = source

    async def stream_response(self, send: Send) -> None:
        async def patient(message: object) -> None:
            async with asyncio.timeout(STALL_S):
                await send(message)  # type: ignore[arg-type] # passed on as it came

        try:
            with contextlib.suppress(TimeoutError):
                await super().stream_response(patient)
        finally:
            await self._source.aclose()


@router.get("/events", response_model=None)
async def events(
    services: ServicesDep,
    after: After = None,
    limit: Limit = 100,
    kind: Many = None,
    newest: bool = False,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[str, Header()] = "",
) -> views.Json | Response:
    """Recorded events after an id, of some kinds (``swap.*``), the oldest or the ``newest``; with ``Accept: text/event-stream`` live, from now on or
    from ``Last-Event-ID`` or ``after``.
    """
    kinds = _kinds(kind or [])
    with contextlib.suppress(StoreError):  # while the disk is full, what is on it can be read all the same
        await services.recorder.flush()
    if "text/event-stream" not in accept:
        found = await services.event_log.events_like(after or 0, kinds, Page(limit=limit), newest=newest)
        return {"events": [views.event(item) for item in found]}
    if services.events.followers >= MOST_STREAMS:
        raise Overloaded(f"{MOST_STREAMS} streams of events are open; close one", retry_after_s=5)
    start = _last_id(last_event_id)
    return LiveResponse(_live(services, after if start is None else start, kinds))


def _kinds(given: Sequence[str]) -> tuple[str, ...]:
    kinds = tuple(word for text in given for word in text.split(",") if word)
    try:
        check_patterns(kinds)
    except ValueError as error:
        raise InvalidRequest(str(error), param="kind") from None
    return kinds


def _last_id(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise InvalidRequest("Last-Event-ID is not an id of ours; leave it out to start from now")
    return int(text)


async def _live(services: Services, after: int | None, kinds: tuple[str, ...]) -> AsyncGenerator[bytes, None]:
    """Server-sent events (HTML standard, 9.2.6). ``lost`` says which ids the record no longer has."""
    news = services.events.follow()
    try:
        oldest, newest = await services.event_log.event_bounds()
        asked = newest if after is None else after
        at = asked if asked <= newest else 0
        yield b": listening\nid: %d\nretry: 2000\n\n" % at
        if asked > newest:
            yield _frame(0, "lost", {"after": asked, "why": "the record was replaced; this is all of the new one"})
        while not services.events.closing:
            news.clear()
            if at < oldest - 1:
                yield _frame(oldest - 1, "lost", {"after": at, "count": oldest - 1 - at, "why": "too old"})
                at = oldest - 1
            found = await services.event_log.events_like(at, (), Page(limit=BATCH))
            told = [item for item in found if wanted(item.kind, kinds)]
            if found and (found[0].id or 0) > at + 1:
                oldest = found[0].id or 0
                continue
            if found:
                at = found[-1].id or at
            if told:
                yield b"".join(_event(item) for item in told)
            elif len(found) == BATCH:
                yield b": looking\n\n"
            if len(found) < BATCH and not await _within(news, HEARTBEAT_S):
                yield b"id: %d\n: alive\n\n" % at if kinds else b": alive\n\n"
        yield b": the gateway stops\n\n"
    finally:
        services.events.unfollow(news)


async def _within(news: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return False
    return True


def _event(item: Event) -> bytes:
    return _frame(item.id or 0, item.kind, views.event(item))


def _frame(event_id: int, kind: str, data: views.Json) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event_id, kind.encode(), msgspec.json.encode(data))


# ---------------------------------------------------------------- webhooks


@router.get("/webhooks")
async def list_webhooks(services: ServicesDep) -> views.Json:
    """Who is told of events, and how that goes. Neither secrets nor more of a URL than its origin."""
    return {"webhooks": [_webhook(item) for item in await services.webhooks.views()]}


@router.post("/webhooks/{name}/test", responses=errors(e404="there is no such webhook"))
async def test_webhook(name: str, services: ServicesDep) -> views.Json:
    """Call a webhook once with an event of kind ``webhook.test``; a call that fails is a result with ``ok: false``."""
    event = Event(kind="webhook.test", at=services.clock.now(), subject=name)
    done = await services.webhooks.test(name, f"msg_test_{secrets.token_hex(8)}", event)
    return {"name": name, "ok": done.ok, "status": done.status, "error": done.error, "took_ms": done.took_ms}


def _webhook(item: HookView) -> views.Json:
    names = ("state", "waiting", "oldest_at", "next_at", "delivered", "failed", "given_up")
    last = ("last_at", "last_status", "last_error")
    return {
        "name": item.hook.name,
        "url": item.hook.shown,
        "events": item.hook.events,
        "problem": item.hook.problem,
        **{name: getattr(item, name) for name in (*names, *last)},
    }


# ---------------------------------------------------------------- statistics


@router.get("/swaps/stats")
async def swap_stats(services: ServicesDep, task: str | None = None) -> views.Json:
    """Swaps, rollbacks and rollouts per task, counted, with median times."""
    return {"tasks": [_history(item) for item in await services.event_log.task_history(task)]}


def _history(item: TaskHistory) -> views.Json:
    return {name: getattr(item, name) for name in type(item).__slots__}
