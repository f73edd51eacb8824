"""One version's place in the pool: its copies, its waiting line, what is known of its loads. Only the pool writes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podium.core.autoscaling import Scaler, ScaleRules
from podium.core.breaker import Breaker
from podium.core.fair_queue import FairQueue
from podium.core.waiting import ServiceRate, expected_wait_s, load_left_s
from podium.domain.directive import Directive
from podium.domain.instance import InstanceState
from podium.domain.model import Capability, ModelVersion
from podium.domain.request import Ticket
from podium.services.pool.copy import Copy
from podium.services.pool.limits import PoolLimits

if TYPE_CHECKING:
    from podium.services.pool.lease import Lease

HELPER = "helper"
"""The tag of versions that serve Podium itself."""
CRASHES_TOLERATED = 4
"""Crashes in a row (each within a minute of the last) that requests wait through; then they are told."""


class Endpoint:
    """A server that is not ours, shared by the versions it serves: they become unreachable together."""

    __slots__ = ("breaker", "name")

    def __init__(self, name: str, limits: PoolLimits) -> None:
        self.name = name
        self.breaker = Breaker(limits.breaker)


@dataclass(eq=False, slots=True)
class Waiter:
    """A request in line. It holds nothing but its place in the line."""

    future: asyncio.Future[Lease]
    ticket: Ticket


class Slot:
    """Times are monotonic seconds unless said otherwise."""

    __slots__ = (
        "blocked", "copies", "crashed_at", "crashes", "directive", "endpoint", "error", "failures", "keep_alive_s",
        "limits", "load_s", "measured_bytes", "places", "queue", "rate", "ready", "ref", "resting", "retry_at", "scaled",
        "scaler", "turn", "version", "wish",
    )  # fmt: skip

    def __init__(self, version: ModelVersion, limits: PoolLimits, endpoint: Endpoint | None) -> None:
        self.version = version
        self.ref = version.ref
        self.limits = limits
        self.endpoint = endpoint
        self.directive = Directive()
        self.copies: list[Copy] = []
        self.ready: list[Copy] = []
        self.queue: FairQueue[Waiter] = FairQueue(patience_s=limits.patience_s)
        self.wish = False
        """One copy is wanted without a request: preload, restart, restoration."""
        self.scaled = 0
        """Copies autoscaling wants."""
        self.resting = False
        """Unloaded by order: standing orders start no copy before the next request or order."""
        self.blocked: str | None = None
        """What its load waits for, in words."""
        self.failures = 0
        """Failed loads in a row."""
        self.crashes = 0
        self.crashed_at = float("-inf")
        self.retry_at = 0.0
        self.error: str | None = None
        self.load_s: float | None = None
        self.measured_bytes: int | None = None
        self.rate = ServiceRate()
        self.places = 1
        """Of the copy that was ready last."""
        self.keep_alive_s: float | None = None
        """As the last request since its load that named one asked for."""
        self.turn = 0
        self.scaler = Scaler(self.scale_rules())

    @property
    def helper(self) -> bool:
        """True for what serves Podium itself: tagged so, or able to do nothing but embed."""
        return HELPER in self.version.tags or self.version.facts.capabilities == {Capability.EMBEDDING.value}

    @property
    def idle_ttl_s(self) -> float | None:
        """Idle seconds it is kept; ``None`` for ever."""
        if self.directive.pinned:
            return None
        for value in (self.keep_alive_s, self.directive.keep_alive_s):
            if value is not None:
                return None if value == float("inf") else value
        return self.limits.idle_ttl_s

    def scale_rules(self) -> ScaleRules:
        """Limits and directive, as autoscaling takes them."""
        limits, order = self.limits, self.directive
        return ScaleRules(
            up_at=limits.scale_up_at,
            down_at=limits.scale_down_at,
            up_after_s=limits.scale_up_after_s,
            down_after_s=limits.scale_down_after_s,
            cooldown_s=limits.scale_cooldown_s,
            min_copies=max(1, order.min_copies),
            max_copies=max(1, order.max_copies, order.min_copies),
        )

    def live(self) -> int:
        """Copies that serve or are about to."""
        return sum(copy.state in (InstanceState.LOADING, InstanceState.READY) for copy in self.copies)

    def stands_still(self) -> bool:
        """True while somebody waits and nothing serves or loads."""
        return len(self.queue) > 0 and not self.live()

    def sort_out(self) -> None:
        """Call after every change of a copy's state."""
        self.ready = [copy for copy in self.copies if copy.state is InstanceState.READY]

    def wanted(self) -> int:
        """Copies to start: the first one for whoever waits, the others for those who ordered them."""
        live = self.live()
        if len(self.queue) and not live:
            return 1
        if self.resting:
            return 0
        return max(0, max(int(self.wish), self.directive.min_copies, self.scaled) - live)

    def waiters(self) -> list[Waiter]:
        """Everybody in line."""
        return list(self.queue)

    def usual_load_s(self) -> float | None:
        """How long a load takes, as far as is known."""
        return self.load_s

    def expected_wait_s(self, now: float, position: int | None = None) -> float | None:
        """Seconds until a place is free for who stands at ``position`` (default: a newcomer); ``None``: unknown."""
        width = sum(copy.places for copy in self.ready) or self.places
        left: float | None = None
        if not self.ready:
            loading = [copy for copy in self.copies if copy.state is InstanceState.LOADING]
            elapsed = now - loading[0].load_started if loading else 0.0
            left = load_left_s(elapsed, self.load_s)
        place = len(self.queue) if position is None else position
        return expected_wait_s(position=place, width=width, held_s=self.rate.held_s, load_left_s=left)
