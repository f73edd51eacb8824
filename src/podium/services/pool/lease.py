"""The right to send one request to an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.errors import PodiumError
from podium.ports import Instance

if TYPE_CHECKING:
    from podium.services.pool.copy import Copy
    from podium.services.pool.pool import Pool


class Lease:
    """Release exactly once; releasing again does nothing.

    Whoever holds it tells what came of it: ``succeeded`` or ``failed``. Silence means that the caller left, which
    says nothing about the instance.
    """

    __slots__ = (
        "_pool",
        "copy",
        "endpoint_ticket",
        "error",
        "first_byte_s",
        "instance",
        "ok",
        "since",
        "ticket",
        "token",
    )

    def __init__(self, pool: Pool, copy: Copy, instance: Instance, since: float) -> None:
        self._pool: Pool | None = pool
        self.copy = copy
        self.instance = instance
        self.since = since
        self.ticket = self.endpoint_ticket = 0
        """Not 0: it is the one request that finds out whether the instance, or its server, works again."""
        if copy.troubled:
            self.ticket = copy.breaker.ticket
            self.endpoint_ticket = copy.slot.endpoint.breaker.ticket if copy.slot.endpoint is not None else 0
        self.token = copy.limit.started() if copy.limit is not None else 0
        self.ok = False
        self.error: PodiumError | None = None
        self.first_byte_s: float | None = None

    @property
    def instance_id(self) -> str:
        """Identifies the instance in the meter and in ``podium ps``."""
        return self.copy.id

    def sign(self, now: float) -> None:
        """A piece of the answer came: the instance lives."""
        self.copy.last_sign = now

    def succeeded(self, first_byte_s: float | None = None) -> None:
        """The answer was delivered, its first byte after this many seconds."""
        self.ok = True
        self.first_byte_s = first_byte_s

    def failed(self, error: PodiumError) -> None:
        """The instance did not answer as it should."""
        self.error = error

    def keep_alive(self, seconds: float) -> None:
        """How long the version stays loaded after this request."""
        self.copy.slot.keep_alive_s = seconds

    def release(self) -> None:
        """Give the place back; the next waiter gets it at once."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.give_back(self)
