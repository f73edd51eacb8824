"""The state the pool keeps per version. Only ``services/pool`` writes it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from podium.domain.instance import InstanceState, InstanceView
from podium.domain.model import ModelVersion
from podium.ports import Clock, Instance

if TYPE_CHECKING:
    from podium.services.pool import Lease

MB = 1024 * 1024


class Slot:
    """One version's place in the pool. Times are monotonic seconds unless said otherwise."""

    __slots__ = (
        "active", "error", "failures", "holds_room", "idle", "instance", "instance_id", "last_used", "load_s", "load_started",
        "loaded_at", "pinned", "ref", "retry_at", "served", "state", "version", "waiters", "warmed",
    )  # fmt: skip

    def __init__(self, version: ModelVersion) -> None:
        self.version = version
        self.ref = version.ref
        self.state = InstanceState.STOPPED
        self.instance: Instance | None = None
        self.instance_id = version.ref
        self.waiters: deque[asyncio.Future[Lease]] = deque()
        self.active = 0
        self.served = 0
        self.pinned = False
        self.warmed = False
        self.holds_room = False
        self.failures = 0
        self.retry_at = 0.0
        self.error: str | None = None
        self.last_used = 0.0
        self.load_started = 0.0
        self.loaded_at: float | None = None
        self.load_s: float | None = None
        self.idle = asyncio.Event()

    def expected_wait_s(self) -> float:
        """A rough honest answer for ``Retry-After``: the last load time, or a second per queue round."""
        width = self.instance.concurrency if self.instance is not None else 1
        return max(1.0, (self.load_s or 0.0), len(self.waiters) / max(1, width))

    def view(self, clock: Clock) -> InstanceView:
        """A snapshot for people."""
        usage = self.instance.usage() if self.instance is not None else None
        last = clock.now() - (clock.monotonic() - self.last_used) if self.last_used else None
        return InstanceView(
            id=self.instance_id,
            ref=self.ref,
            state=self.state,
            pid=self.instance.pid if self.instance is not None else None,
            active=self.active,
            waiting=len(self.waiters),
            concurrency=self.instance.concurrency if self.instance is not None else 0,
            memory_mb=round(usage.memory_bytes / MB, 1) if usage is not None else None,
            cpu_s=round(usage.cpu_s, 3) if usage is not None else None,
            loaded_at=self.loaded_at if self.instance is not None else None,
            load_s=self.load_s,
            last_used_at=last,
            pinned=self.pinned,
            error=self.error,
        )
