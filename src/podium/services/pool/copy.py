"""One instance of a version as the pool keeps it: its state, its leases, its health. Only the pool writes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from podium.core import balancing
from podium.core.breaker import Breaker, BreakerState
from podium.core.concurrency import AdaptiveLimit
from podium.domain.instance import InstanceState
from podium.ports import Instance

if TYPE_CHECKING:
    from podium.services.pool.slot import Slot


class Copy:
    """States: ``loading`` → ``ready`` → ``draining`` → ``stopped``, or ``failed``. Times are monotonic seconds."""

    __slots__ = (
        "active", "breaker", "device", "drained", "ended", "evicted", "facts", "id", "idle", "instance", "last_sign", "last_used",
        "limit", "load_started", "loaded_at", "loading", "places", "probe_at", "probe_failures", "probing", "ready_at",
        "reserved_bytes", "served", "settled", "sick", "slot", "state", "stopping", "troubled", "warmed",
    )  # fmt: skip

    def __init__(self, slot: Slot, number: int, device: str, reserved_bytes: int, now: float) -> None:
        self.slot = slot
        self.id = f"{slot.ref}#{number}"
        self.device = device
        self.reserved_bytes = reserved_bytes
        """Budgeted until it is measured."""
        self.state = InstanceState.LOADING
        self.instance: Instance | None = None
        self.load_started = now
        self.loading: asyncio.Task[object] | None = None
        """Its load, while that is under way."""
        self.ready_at = 0.0
        self.loaded_at: float | None = None
        """Unix seconds."""
        self.last_used = now
        self.last_sign = now
        """When it last showed that it lives: a byte of an answer, a healthy probe."""
        self.active = 0
        self.places = 0
        """Leases it takes at a time."""
        self.served = 0
        self.warmed = False
        self.limit: AdaptiveLimit | None = None
        self.breaker = Breaker(slot.limits.breaker)
        self.troubled = False
        """The breaker, the endpoint's breaker or the monitor has something against it: ask before a lease."""
        self.sick = False
        """Its health checks fail."""
        self.probe_failures = 0
        self.probe_at = now
        self.probing = False
        self.stopping = False
        """Drained, and told to stop: its process ends rightly."""
        self.ended: str | None = None
        """Why requests under way on it were ended, in words for their callers."""
        self.facts = balancing.Copy(id=self.id, active=0, capacity=0)
        """What balancing sees of it."""
        self.evicted: tuple[str, ...] = ()
        """Versions that were stopped to make room for it; restored if it fails to load."""
        self.drained: asyncio.Task[object] | None = None
        """Ends when it is stopped."""
        self.idle = asyncio.Event()
        self.settled = asyncio.Event()
        """Set when loading has ended, well or not."""

    def became_ready(self, instance: Instance, now: float, wall: float) -> None:
        """The load succeeded."""
        self.instance = instance
        self.state = InstanceState.READY
        self.ready_at = self.last_used = self.last_sign = self.probe_at = now
        self.loaded_at = wall
        if getattr(instance, "adaptive", False):
            self.limit = AdaptiveLimit(initial=min(8, instance.concurrency), ceiling=instance.concurrency)
            self.places = self.limit.limit
        else:
            self.places = instance.concurrency

    def is_last(self) -> bool:
        """True for the only copy of its version that serves or is about to."""
        return self.slot.live() == 1

    def balancing_facts(self, now: float) -> balancing.Copy:
        """Its present load; a copy that takes more at a time weighs more, one that fails takes none."""
        facts = self.facts
        facts.active, facts.weight = self.active, float(self.places)
        facts.capacity = self.places if self.admissible(now) else 0
        return facts

    def admissible(self, now: float) -> bool:
        """May a request go here, as far as its health is concerned? No side effect."""
        if not self.troubled:
            return True
        endpoint = self.slot.endpoint
        return (
            not self.sick and self.breaker.would_admit(now) and (endpoint is None or endpoint.breaker.would_admit(now))
        )

    def admit(self, now: float) -> bool:
        """Like ``admissible``, and takes the one probe of a half-open breaker."""
        if not self.troubled:
            return True
        if not self.admissible(now):
            return False
        endpoint = self.slot.endpoint
        return self.breaker.admit(now) and (endpoint is None or endpoint.breaker.admit(now))

    def assess(self, now: float) -> None:
        """Work out ``troubled`` again after anything that bears on it."""
        endpoint = self.slot.endpoint
        self.troubled = (
            self.sick
            or self.breaker.state(now) is not BreakerState.CLOSED
            or (endpoint is not None and endpoint.breaker.state(now) is not BreakerState.CLOSED)
        )

    def retry_in_s(self, now: float) -> float:
        """When a request may be tried here again."""
        endpoint = self.slot.endpoint
        waits = [self.breaker.retry_in_s(now), endpoint.breaker.retry_in_s(now) if endpoint else 0.0]
        return max(*waits, self.slot.limits.health_interval_s if self.sick else 0.0)
