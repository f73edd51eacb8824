"""One webhook: takes its deliveries out of the outbox, signs and sends them, tries again, gives up.

The outbox is filled by the store together with each event; here is only what happens to it. Of one webhook and subject
one delivery is under way at a time, in order; other subjects and other webhooks do not wait for it. In memory are at
most ``LANES`` deliveries per webhook, whatever the outbox holds. A delivery can arrive twice (the process dies between
the answer and the record of it) and then has the same ``webhook-id``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from podium.core.retrying import Retries, due, horizon_s, read_retry_after, spent, wait_s
from podium.domain.swap import Event
from podium.domain.webhook import Delivery, Posted
from podium.errors import PodiumError
from podium.ports import AsyncCallback, Clock, DeliveryStore, Poster
from podium.services.webhook_signing import Key, headers

LANES = 4
"""Subjects of one webhook that are told side by side."""
PACE_S = 0.05
"""Shortest time between two looks into the outbox of one webhook."""
REST = 10.0
"""A look that takes longer, because much is waiting, is followed by a rest of this many times as long."""
TRIM_TO = 0.9
"""An outbox that is over its bound is cut to this share of it, so that the loss is one event and not thousands."""
LONGEST_PAUSE_S = 60.0
"""A clock that is set forward is noticed after this long."""
STORE_PAUSE_S = 1.0
GONE = 410
_log = structlog.get_logger("podium.webhooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One webhook. ``keys`` sign; ``problem`` says why it cannot be called, then what it wants waits in the outbox."""

    name: str
    url: str = field(repr=False)
    shown: str
    """What of the URL may be shown: its origin."""
    events: tuple[str, ...]
    keys: tuple[Key, ...] = field(default=(), repr=False)
    problem: str | None = None
    timeout_s: float = 15.0
    retries: Retries = field(default_factory=Retries)
    most_waiting: int = 10_000
    allow_link_local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HookView:
    """How a webhook is doing. Counts are since the start; times are Unix seconds."""

    hook: Hook
    state: str
    """``idle``, ``delivering``, ``failing``, ``gone`` (it answered 410) or ``unusable`` (see ``problem``)."""
    waiting: int
    oldest_at: float | None
    next_at: float | None
    delivered: int
    failed: int
    """Attempts that failed."""
    given_up: int
    last_at: float | None
    """Of the last attempt."""
    last_status: int | None
    last_error: str | None
    """``None`` after an attempt that succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """How one attempt ended. ``status`` is ``None`` when no answer came."""

    ok: bool
    status: int | None
    error: str | None
    took_ms: float
    retry_after: str | None = None


class Courier:
    """Everything about one webhook. ``publish`` is told of events that are on record already; ``on_gone`` sees to it that
    nothing more is queued for an endpoint that answered 410.
    """

    def __init__(
        self,
        hook: Hook,
        *,
        store: DeliveryStore,
        poster: Poster,
        clock: Clock,
        publish: Callable[[Event], None],
        draw: Callable[[], float],
        on_gone: AsyncCallback,
    ) -> None:
        self.hook = hook
        self.gone = False
        self._given_back = False
        self.delivered = self.failed = self.given_up = 0
        self.last: tuple[float, Attempted] | None = None
        self.next_at: float | None = None
        self._store = store
        self._poster = poster
        self._clock = clock
        self._publish = publish
        self._draw = draw
        self._on_gone = on_gone
        self._wake = asyncio.Event()
        self._lanes: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> int:
        """Calls under way."""
        return len(self._lanes)

    def wake(self) -> None:
        """There may be something new."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled. Calls under way then end without a record and are made again later."""
        try:
            while True:
                self._wake.clear()
                started = self._clock.monotonic()
                try:
                    pause_s = await self._round()
                except Exception as error:  # noqa: BLE001 - whatever it was, this must go on as long as the gateway does
                    _log.warning("the outbox cannot be read", webhook=self.hook.name, error=str(error))
                    pause_s = STORE_PAUSE_S
                took_s = self._clock.monotonic() - started
                await asyncio.sleep(min(max(PACE_S, took_s * REST), STORE_PAUSE_S))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause_s)
        finally:
            for lane in self._lanes.values():
                lane.cancel()
            await asyncio.gather(*self._lanes.values(), return_exceptions=True)

    async def _round(self) -> float | None:
        """Start what may go out now; returns how long to wait unless woken."""
        hook = self.hook
        if self.gone:
            if not self._given_back:
                await self._on_gone()
                await self.drop("the endpoint answered 410 Gone")
                self._given_back = True
            return None
        now = self._clock.now()
        busy = set(self._lanes)  # what is read of these may be out of date when it arrives
        found = await self._store.backlog(hook.name, now, horizon_s(hook.retries), LANES + len(self._lanes))
        if found.waiting > hook.most_waiting:
            await self.drop(f"more than {hook.most_waiting} were waiting", keep=int(hook.most_waiting * TRIM_TO))
        self.next_at = found.next_at
        if hook.problem is not None:
            return None
        for head in found.ready:
            if len(self._lanes) < LANES and head.subject not in busy:
                lane = asyncio.create_task(self._lane(head), name=f"podium-webhook-{hook.name}")
                self._lanes[head.subject] = lane
        return None if found.next_at is None else min(max(0.0, found.next_at - now), LONGEST_PAUSE_S)

    async def _lane(self, head: Delivery) -> None:
        """Deliver one subject, in order, until one fails or there is no more."""
        delivery: Delivery | None = head
        try:
            while delivery is not None and due(delivery.next_at, self._clock.now(), horizon_s(self.hook.retries)):
                delivery = await self._deliver(delivery)
        except Exception as error:  # noqa: BLE001 - whatever it was, the outbox has it still, and it must not spin
            _log.warning("a delivery was interrupted", webhook=self.hook.name, error=str(error))
            await asyncio.sleep(STORE_PAUSE_S)
        finally:
            del self._lanes[head.subject]
            self._wake.set()

    async def _deliver(self, delivery: Delivery) -> Delivery | None:
        """One attempt and its record; returns the next of the subject after one that succeeded."""
        ended = await self.attempt(delivery.message_id, delivery.content)
        if ended.ok:
            following = await self._store.delivered(delivery)
            self.delivered += 1
            return following
        self.failed += 1
        now, attempts = self._clock.now(), delivery.attempts + 1
        if ended.status == GONE:
            self.gone = True
            _log.warning("the endpoint is gone; nothing is sent to it any more", webhook=self.hook.name)
            return None
        reason = spent(self.hook.retries, attempts, delivery.created_at, now)
        if reason is not None:
            event = self._lost(1, reason, delivery, attempts, ended.error)
            await self._store.give_up_delivery(delivery, event)
            self.given_up += 1
            self._publish(event)
            return None
        pause = wait_s(self.hook.retries, attempts, self._draw(), read_retry_after(ended.retry_after, now))
        await self._store.postpone_delivery(
            replace(delivery, attempts=attempts, next_at=now + pause, error=ended.error)
        )
        return None

    async def attempt(self, message_id: str, body: bytes) -> Attempted:
        """Sign and send once. Never raises ``PodiumError``."""
        hook = self.hook
        at, started = self._clock.now(), self._clock.monotonic()
        signed = {
            "content-type": "application/json",
            "user-agent": "podium-webhook",
            **headers(hook.keys, message_id, at, body),
        }
        answer: Posted | None = None
        error: str | None = None
        try:
            answer = await self._poster.post(
                hook.url, signed, body, timeout_s=hook.timeout_s, allow_link_local=hook.allow_link_local
            )
        except PodiumError as failure:
            error = failure.message
        if answer is not None and not 200 <= answer.status < 300:
            redirect = "; redirects are not followed, write the final url" if 300 <= answer.status < 400 else ""
            error = f"{hook.shown} answered {answer.status}{redirect}"
        ended = Attempted(
            ok=error is None,
            status=None if answer is None else answer.status,
            error=error,
            took_ms=(self._clock.monotonic() - started) * 1000,
            retry_after=None if answer is None else answer.retry_after,
        )
        self.last = (at, ended)
        return ended

    async def drop(self, reason: str, keep: int = 0) -> None:
        """Give up the oldest of what waits, all but ``keep``, and say so once."""
        event = await self._store.trim_deliveries(self.hook.name, keep, lambda count: self._lost(count, reason))
        if event is not None:
            self.given_up += int(dict(event.data)["lost"] or 0)
            self._publish(event)

    def _lost(
        self,
        count: int,
        reason: str,
        delivery: Delivery | None = None,
        attempts: int | None = None,
        error: str | None = None,
    ) -> Event:
        about = () if delivery is None else (("kind", delivery.kind), ("subject", delivery.subject))
        data = (("lost", count), ("reason", reason), *about, ("attempts", attempts), ("error", error))
        return Event(kind="webhook.gave_up", at=self._clock.now(), subject=self.hook.name, data=data)

    def view(self, waiting: int, oldest_at: float | None) -> HookView:
        """How it is doing."""
        at, ended = self.last if self.last is not None else (None, None)
        state = "delivering" if self._lanes else "idle"
        if ended is not None and not ended.ok:
            state = "failing"
        if self.gone:
            state = "gone"
        if self.hook.problem is not None:
            state = "unusable"
        return HookView(
            hook=self.hook,
            state=state,
            waiting=waiting,
            oldest_at=oldest_at,
            next_at=self.next_at if waiting else None,
            delivered=self.delivered,
            failed=self.failed,
            given_up=self.given_up,
            last_at=at,
            last_status=None if ended is None else ended.status,
            last_error=None if ended is None else ended.error,
        )
