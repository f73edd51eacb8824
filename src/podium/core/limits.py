"""Rate limits of a key: how they are written, and what was used of them lately. Pure: ``now`` is an argument.

A limit of N in a while is a bucket that holds N and is refilled evenly (a token bucket, the same as GCRA with a burst of
N): N may come at once, and then as fast as it refills. Tokens are taken by estimate and put right afterwards, so a bucket
may owe. ``now`` should be monotonic; where it goes back nothing is refilled and nothing taken away.
"""

from __future__ import annotations

import re
from enum import StrEnum

from podium.domain.limit import WITHOUT, Limits, Rate
from podium.errors import InvalidRequest

PERIODS = {"s": 1, "min": 60, "h": 3600, "day": 86400}
_NAMES = {
    "s": "s", "sec": "s", "second": "s", "m": "min", "min": "min", "minute": "min", "h": "h", "hour": "h", "d": "day", "day": "day",
}  # fmt: skip
_OF = {seconds: name for name, seconds in PERIODS.items()}
_SUFFIX = {"": 1, "k": 1_000, "m": 1_000_000}
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([kKmM]?)\s*/\s*([a-z]+)")
MOST = 1_000_000_000_000
MOST_UNDER_WAY = 100_000
DEFAULT, NONE = "default", "none"
_SLACK = 1e-6
"""What rounding may cost: whoever comes back when told to is let in."""


class Which(StrEnum):
    """The limit that has no room."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"


def read_rate(value: object, param: str) -> Rate | None:
    """``60/min``, ``100k/min``, ``1.5M/day``; ``none`` is no limit, ``default`` or ``None`` what the role has.

    Raises ``InvalidRequest``.
    """
    if value is None or value == DEFAULT:
        return None
    if value == NONE:
        return Rate(WITHOUT, 1)
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    period = _NAMES.get(found[3]) if found is not None else None
    if found is None or period is None:
        shown = f"{value!r}"[:60]
        raise InvalidRequest(
            f"{param} must be an amount in a time such as 60/min or 100k/min (s, min, h, day), {NONE} or {DEFAULT}, "
            f"not {shown}",
            param=param,
        )
    amount = float(found[1]) * _SUFFIX[found[2].lower()]
    if amount != int(amount):
        raise InvalidRequest(f"{param} must be a whole amount, not {value}; take a longer time", param=param)
    return Rate(_within(int(amount), MOST, param), PERIODS[period])


def read_concurrency(value: object, param: str = "concurrency") -> int | None:
    """A number, ``none`` or ``default``. Raises ``InvalidRequest``."""
    if value is None or value == DEFAULT:
        return None
    if value == NONE:
        return WITHOUT
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,12}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(
            f"{param} must be a whole number, {NONE} or {DEFAULT}, not {f'{value!r}'[:60]}", param=param
        )
    return _within(value, MOST_UNDER_WAY, param)


def read_limits(requests: object = None, tokens: object = None, concurrency: object = None) -> Limits:
    """All three. Raises ``InvalidRequest`` naming the one that is wrong."""
    return Limits(
        requests=read_rate(requests, "requests"),
        tokens=read_rate(tokens, "tokens"),
        concurrency=read_concurrency(concurrency),
    )


def shown_rate(rate: Rate | None) -> str | None:
    """As ``read_rate`` reads it; ``None`` where nothing is said."""
    if rate is None:
        return None
    return NONE if rate.amount >= WITHOUT else f"{rate.amount}/{_OF[rate.period_s]}"


def shown_concurrency(most: int | None) -> int | str | None:
    """As ``read_concurrency`` reads it."""
    return NONE if most is not None and most >= WITHOUT else most


def _within(amount: int, most: int, param: str) -> int:
    if amount < 1:
        raise InvalidRequest(
            f"{param} must be 1 or more, not {amount}; {NONE} is no limit, and `podium keys revoke` ends a key",
            param=param,
        )
    if amount > most:
        raise InvalidRequest(f"{param} may be {most} at most; {NONE} is no limit", param=param)
    return amount


class Bucket:
    """What is left of a rate. ``level`` is that of the last look; below 0 it owes."""

    __slots__ = ("_at", "capacity", "level", "per_s", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.level = 0.0
        self.capacity = 0
        self._at = now
        self._set(rate)
        self.level = float(rate.amount)

    def _set(self, rate: Rate) -> None:
        self.rate = rate
        self.capacity = rate.amount
        self.per_s = rate.amount / rate.period_s

    def look(self, now: float) -> float:
        """What is left now."""
        passed = now - self._at
        if passed > 0.0:
            self._at = now
            level = self.level + passed * self.per_s
            self.level = level if level < self.capacity else float(self.capacity)
        elif passed < 0.0:
            self._at = now  # the clock went back: go on from there
        return self.level

    def take(self, amount: float, now: float) -> bool:
        """Take it, or nothing when it is not there."""
        if self.look(now) + _SLACK < amount:
            return False
        self.level -= amount
        return True

    def put(self, amount: float, now: float) -> None:
        """Give back what was not used; a negative amount takes what was used beyond."""
        level = self.look(now) + amount
        self.level = level if level < self.capacity else float(self.capacity)

    def wait_s(self, amount: float) -> float:
        """Seconds after the last look until so much is there."""
        return max(0.0, (amount - self.level) / self.per_s)

    def full_in_s(self) -> float:
        """Seconds after the last look until nothing is missing."""
        return (self.capacity - self.level) / self.per_s

    def change(self, rate: Rate, now: float) -> None:
        """Another rate: what was used stays used, but nobody owes for it who did not before."""
        left = self.look(now)
        used = self.capacity - left
        self._set(rate)
        self.level = min(float(rate.amount), max(rate.amount - used, min(left, 0.0)))


class Meter:
    """What one key used of the limits in force. ``under_way`` counts whether there is a limit or not."""

    __slots__ = ("concurrency", "requests", "tokens", "under_way")

    def __init__(self) -> None:
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.concurrency: int | None = None
        self.under_way = 0

    def set(self, limits: Limits, now: float) -> None:
        """Put limits in force."""
        self.requests = _bucket(self.requests, limits.requests, now)
        self.tokens = _bucket(self.tokens, limits.tokens, now)
        self.concurrency = limits.concurrency

    def enter(self, now: float) -> Which | None:
        """A request begins: it takes its place, or nothing and the limit that has no room."""
        most = self.concurrency
        if most is not None and self.under_way >= most:
            return Which.CONCURRENCY
        tokens = self.tokens
        if tokens is not None and tokens.look(now) + _SLACK < 1.0:
            return Which.TOKENS
        requests = self.requests
        if requests is not None and not requests.take(1.0, now):
            return Which.REQUESTS
        self.under_way += 1
        return None

    def leave(self) -> None:
        """It ended."""
        self.under_way -= 1

    def reserve(self, read: int, written: int, now: float, *, known: bool) -> int | None:
        """Take what a request may need, or ``None`` for no room. What it writes, where that is a guess, may be less."""
        bucket = self.tokens
        if bucket is None:
            return 0
        left = bucket.look(now)
        need = read + written
        if not known:
            need = max(min(need, int(left)), read, 1)
        if left + _SLACK < need:
            return None
        bucket.level = left - need
        return need


def _bucket(before: Bucket | None, rate: Rate | None, now: float) -> Bucket | None:
    if rate is None:
        return None
    if before is None:
        return Bucket(rate, now)
    if before.rate != rate:
        before.change(rate, now)
    return before
