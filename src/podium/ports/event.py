"""Events: their log, their deliveries, and who hears of them. Protocols and small values; no implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from podium.domain.history import TaskHistory
from podium.domain.swap import Event
from podium.domain.webhook import Backlog, Delivery, Posted
from podium.ports.store import Page


class EventLog(Protocol):
    """The record of events and of what it adds up to."""

    async def events_like(
        self, after_id: int, kinds: Sequence[str], page: Page, *, newest: bool = False
    ) -> tuple[Event, ...]:
        """As ``Store.events``, of kinds that fit any of the patterns (see core/event_kinds); none: all. With ``newest``
        the page is counted from the newest event; it is given out oldest first all the same.
        """
        ...

    async def event_bounds(self) -> tuple[int, int]:
        """Ids of the oldest event kept and of the newest ever written; what is between them is all there."""
        ...

    async def prune_events(self, most: int) -> int:
        """Delete the oldest beyond the newest ``most``; returns how many."""
        ...

    async def task_history(self, task: str | None) -> tuple[TaskHistory, ...]:
        """Swaps and rollouts of one task or of all, counted."""
        ...


class DeliveryStore(Protocol):
    """The outbox of webhooks. What a webhook wants is queued in the transaction that records the event."""

    async def subscribe_webhooks(self, subscriptions: Mapping[str, tuple[str, ...]]) -> None:
        """From now on: patterns of kinds by webhook. Replaces what was said before."""
        ...

    async def backlog(self, webhook: str, now: float, horizon: float, limit: int) -> Backlog:
        """At most ``limit`` deliveries that may go out at ``now``, one per subject; see core/retrying."""
        ...

    async def delivered(self, done: Delivery) -> Delivery | None:
        """Forget it; returns the next of the same webhook and subject, due or not."""
        ...

    async def postpone_delivery(self, failed: Delivery) -> None:
        """Keep its attempts, its error and the time of the next attempt."""
        ...

    async def give_up_delivery(self, lost: Delivery, event: Event) -> None:
        """Forget it and record that."""
        ...

    async def trim_deliveries(self, webhook: str, keep: int, told: Callable[[int], Event]) -> Event | None:
        """Forget the oldest beyond ``keep`` and record ``told(how many)``; ``None`` when there were none."""
        ...

    async def waiting_deliveries(self) -> Mapping[str, tuple[int, float]]:
        """(how many, Unix time of the oldest) by webhook."""
        ...


class Poster(Protocol):
    """Sends the calls of webhooks."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, allow_link_local: bool
    ) -> Posted:
        """One call; returns when the status is known. Redirects are not followed. Raises ``ProviderError``, and
        ``Forbidden`` for an address nobody should be made to call.
        """
        ...


EventSink = Callable[[Event], None]
"""Receives events as they happen; must not block or raise."""


AsyncCallback = Callable[[], Awaitable[None]]
