"""Limits in force: lets a request of a key in, or says which limit has no room and when to come back.

Owns a meter for each key that has limits, in memory alone: a reload keeps them, a restart begins with full ones. Time is
the monotonic clock, so that a clock that is set means nothing here. Knows no HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from podium.core.limits import Meter, Which, shown_rate
from podium.domain.limit import UNSAID, Limits
from podium.domain.principal import Principal
from podium.errors import RateLimited
from podium.ports import Clock

ANONYMOUS = "anonymous"
"""Whoever needs no key; they share one meter."""
_BUSY_S = 1.0
"""When to come back for a place, which nobody can foresee."""


class Grant:
    """One request's part of its key's limits. ``enter`` first; ``leave`` when the last byte went out or the caller left."""

    __slots__ = ("_clock", "_entered", "_held", "_name", "_taken", "meter")

    def __init__(self, meter: Meter, name: str, clock: Clock) -> None:
        self.meter = meter
        self._name = name
        self._clock = clock
        self._entered = self._taken = False
        self._held = 0

    def now(self) -> float:
        """Seconds on the clock of the meter."""
        return self._clock.monotonic()

    def enter(self) -> None:
        """Count the request and take its place. Raises ``RateLimited``; then nothing was counted."""
        which = self.meter.enter(self._clock.monotonic())
        if which is not None:
            raise self._refusal(which)
        self._entered = True

    def leave(self) -> None:
        """Give the place back, and tokens that nobody said anything about."""
        if self._entered:
            self._entered = False
            self.meter.leave()
            if self._held:
                self.spent(0)

    def take(self, read: int, written: int, *, known: bool) -> None:
        """Reserve tokens for an attempt; what a further attempt needs is taken whether it is there or not.

        Raises ``RateLimited``.
        """
        meter, again = self.meter, self._taken
        self._taken = True
        if self._held:
            self.spent(0)
        now = self._clock.monotonic()
        held = meter.reserve(read, written, now, known=known)
        if held is not None:
            self._held = held
        elif again and meter.tokens is not None:
            self._held = read + written
            meter.tokens.put(-self._held, now)
        else:
            raise self._too_many(read + (written if known else 1))

    def spent(self, tokens: int | None) -> None:
        """An attempt ended and used so many; ``None``: nobody can tell, what was reserved counts."""
        held, self._held = self._held, 0
        bucket = self.meter.tokens
        if bucket is not None and tokens is not None and held != tokens:
            bucket.put(held - tokens, self._clock.monotonic())

    def _refusal(self, which: Which) -> RateLimited:
        meter = self.meter
        if which is Which.CONCURRENCY:
            return RateLimited(
                f"{self._name} may have {meter.concurrency} requests under way at a time and has them; send this one again "
                "when one has ended",
                retry_after_s=_BUSY_S,
                details={"limit": which.value},
            )
        bucket = meter.requests if which is Which.REQUESTS else meter.tokens
        assert bucket is not None
        return _later(
            f"{self._name} may use {shown_rate(bucket.rate)} of {which.value} and has used them",
            bucket.wait_s(1.0),
            which,
        )

    def _too_many(self, need: int) -> RateLimited:
        bucket = self.meter.tokens
        assert bucket is not None
        said = f"this request may need {need} tokens, and of the {shown_rate(bucket.rate)} that {self._name} may use"
        if need > bucket.capacity:
            return RateLimited(
                f"{said} it can never have as many; send less, or ask for fewer max_tokens",
                details={"limit": Which.TOKENS.value, "never": True},
            )
        return _later(f"{said} {max(0, int(bucket.level))} are left", bucket.wait_s(need), Which.TOKENS)


def _later(said: str, wait_s: float, which: Which) -> RateLimited:
    seconds = max(1, math.ceil(wait_s))
    return RateLimited(f"{said}; come back in {seconds} s", retry_after_s=seconds, details={"limit": which.value})


class Limiter:
    """One per gateway. ``roles``: limits by role, and of ``ANONYMOUS``."""

    def __init__(self, clock: Clock, roles: Mapping[str, Limits] | None = None) -> None:
        self._clock = clock
        self._roles = dict(roles or {})
        self._meters: dict[str, Meter | None] = {}
        """By account; ``None`` for one without limits."""
        self._said: dict[str, Limits] = {}

    def configure(self, roles: Mapping[str, Limits]) -> None:
        """Put other limits of roles in force; what was used stays used."""
        self._roles = dict(roles)
        self._said.clear()

    def in_force(self, role: str, own: Limits) -> Limits:
        """What applies to a key of a role; ``None`` is no limit."""
        return own.over(self._roles.get(role, UNSAID))

    def grant(self, principal: Principal | None) -> Grant | None:
        """What a request needs of the limits of whoever sends it; ``None`` where nothing is limited."""
        if principal is None:
            account, own, role, name = ANONYMOUS, UNSAID, ANONYMOUS, "requests without a key"
        else:
            account, own, role, name = (
                principal.account or principal.id,
                principal.limits,
                principal.role,
                principal.name,
            )
        meter = self._meters[account] if self._said.get(account) is own else self._prepare(account, role, own)
        return None if meter is None else Grant(meter, name if principal is None else f"the key {name!r}", self._clock)

    def _prepare(self, account: str, role: str, own: Limits) -> Meter | None:
        limits = self.in_force(role, own)
        meter = None
        if not limits.empty:
            meter = self._meters.get(account) or Meter()
            meter.set(limits, self._clock.monotonic())
        self._meters[account] = meter
        self._said[account] = own
        return meter
