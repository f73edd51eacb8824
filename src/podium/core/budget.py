"""Accounts of budgets: reserve before, settle after, refuse what does not fit. Pure: time and zones are arguments.

What is reserved counts as used until it is settled, so the sum never passes the limit by more than operations used beyond
what was reserved for them. A clock that goes back over a window's edge takes what was used along: nothing is refilled.
"""

from __future__ import annotations

import math
import re
from datetime import tzinfo
from enum import StrEnum

from podium.core.budget_windows import window_at
from podium.domain.budget import EACH, AccountRow, Budget, Need, Standing, Unit, Window
from podium.errors import InvalidRequest

WARN_AT, DEFER_AT = 0.8, 0.9
"""Shares of the limit: something is said; requests of low priority have to wait."""
MOST = 9_000_000_000_000_000
"""Largest amount: exact in every database."""
WINDOWS_KEPT = 16
PARTS = {Unit.TOKENS: 1, Unit.COMPUTE: 1_000, Unit.ENERGY: 3_600_000, Unit.MONEY: 1_000_000}
"""Amounts inside that make one of what users write: 1 Wh is 3,600,000 mJ."""
WARNED, EXHAUSTED = 1, 2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Refusal(StrEnum):
    """Why an account has no room."""

    EXHAUSTED = "exhausted"
    """All is used."""
    TOO_LARGE = "too_large"
    """What is left is less than it may need."""
    BUSY = "busy"
    """What is left is reserved by operations under way; some of it may come back."""
    DEFERRED = "deferred"
    """Little is left, and it is of low priority."""


def amount(value: object, unit: Unit, param: str = "limit") -> int:
    """The amount inside of a number that a user wrote. Raises ``InvalidRequest``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{param} must be a number of {unit}, not {value!r}", param=param)
    if not math.isfinite(value):
        raise InvalidRequest(
            f"{param} must be a finite number of {unit}; leave the budget out for no limit", param=param
        )
    if value < 0:
        raise InvalidRequest(f"{param} must be 0 or more {unit}, not {value:g}; 0 refuses everything", param=param)
    found = round(value * PARTS[unit])
    if found == 0 and value > 0:
        raise InvalidRequest(f"{value:g} {unit} is less than the smallest part that is counted", param=param)
    if found > MOST:
        raise InvalidRequest(f"{value:g} {unit} is more than can be counted exactly; leave the budget out", param=param)
    if unit is Unit.TOKENS and found != value:
        raise InvalidRequest(f"{param} must be a whole number of tokens, not {value:g}", param=param)
    return found


def shown(inside: int, unit: Unit) -> int | float:
    """An amount as users write it."""
    return inside if unit is Unit.TOKENS else inside / PARTS[unit]


def word(inside: int, unit: Unit) -> str:
    """An amount in a sentence: ``1200 tokens``, ``$0.31``."""
    value = shown(inside, unit)
    match unit:
        case Unit.TOKENS:
            return f"{value} tokens"
        case Unit.COMPUTE:
            return f"{value:.4g} s of compute"
        case Unit.ENERGY:
            return f"{value:.4g} Wh"
        case Unit.MONEY:
            return f"${value:.6f}".rstrip("0").rstrip(".")


def check(budget: Budget) -> None:
    """Raise ``InvalidRequest`` for a budget that makes no sense; ``param`` names the field."""
    if not _NAME.fullmatch(budget.name):
        raise InvalidRequest(
            f"{budget.name[:64]!r} is no name for a budget: letters, digits and . _ - only, 64 at most", param="name"
        )
    if not budget.subject or len(budget.subject) > 256 or not budget.subject.isprintable():
        raise InvalidRequest(
            f"subject must name a {budget.scope}, or be {EACH!r} for each of them; it has 256 characters at most",
            param="subject",
        )


class Account:
    """What one subject used of one budget. ``zone`` is that of the budget."""

    __slots__ = (
        "_earlier",
        "_zone",
        "budget",
        "defer_at",
        "reserved",
        "subject",
        "told",
        "unmeasured",
        "used",
        "window",
    )

    def __init__(self, budget: Budget, subject: str, zone: tzinfo, now: float, kept: AccountRow | None = None) -> None:
        self._zone = zone
        self.subject = subject
        self.reserved = 0
        self._earlier: dict[float, int] = {}
        if kept is None:
            self.used = self.told = self.unmeasured = 0
            self.window = window_at(budget.period, zone, now)
        else:
            self.used, self.told, self.unmeasured = kept.used, kept.told, kept.unmeasured
            self._earlier = dict(kept.earlier)
            self.window = window_at(budget.period, zone, kept.window_start)
        self.limit(budget)
        self.roll(now)

    def limit(self, budget: Budget) -> None:
        """Put another limit of the same kind of budget in force."""
        self.budget = budget
        self.defer_at = math.ceil(budget.limit * DEFER_AT)

    def roll(self, now: float) -> bool:
        """Go to the window of ``now``; true when it is another one than before."""
        window = self.window
        if window.start <= now and (window.end is None or now < window.end):
            return False
        coming = window_at(self.budget.period, self._zone, now)
        before, left = window.start, self.used
        self._earlier[before] = left
        known = self._earlier.pop(coming.start, 0)
        self.used = max(known, left) if coming.start < before else known
        self.told = self.unmeasured = 0
        self.window = coming
        while len(self._earlier) > WINDOWS_KEPT:
            del self._earlier[self._least_missed()]
        return True

    def _least_missed(self) -> float:
        """The window to forget: first one that has no more than what a clock set back carried into it from a later one."""
        known = {**self._earlier, self.window.start: self.used}
        carried = (
            start
            for start, used in self._earlier.items()
            if any(later > start and each == used for later, each in known.items())
        )
        return next(carried, next(iter(self._earlier)))

    def room(self, need: Need, *, low: bool) -> int | Refusal:
        """What to reserve for an operation, or why there is no room. The window must be that of now."""
        limit, taken = self.budget.limit, self.used + self.reserved
        if self.used >= limit:
            return Refusal.EXHAUSTED
        if low and taken >= self.defer_at:
            return Refusal.DEFERRED
        if not need.known:
            return min(need.amount, limit - taken) if taken < limit else Refusal.BUSY
        if taken + need.amount <= limit:
            return need.amount
        return Refusal.BUSY if self.used + need.amount <= limit else Refusal.TOO_LARGE

    def settle(self, reserved: int, used: int | None) -> bool:
        """An operation ended. ``used`` is ``None`` where nobody could tell: then what was reserved counts, but not as energy.
        True when something is to be said: see ``told``.
        """
        self.reserved -= reserved
        if used is None and not reserved and self.budget.unit is Unit.MONEY:
            used = 0  # a version that nobody bills
        if used is None:
            self.unmeasured += 1
            used = 0 if self.budget.unit is Unit.ENERGY else reserved
        self.used += used
        level = self.level()
        if level <= self.told:
            return False
        self.told = level
        return True

    def level(self) -> int:
        """0, ``WARNED`` or ``EXHAUSTED``, by what is used."""
        if self.used >= self.budget.limit:
            return EXHAUSTED
        return WARNED if self.used >= self.budget.limit * WARN_AT else 0

    def standing(self) -> Standing:
        """Now, as far as the window was rolled."""
        level = self.level()
        state = "exhausted" if level == EXHAUSTED else "warned" if level == WARNED else "ok"
        if level != EXHAUSTED and self.used + self.reserved >= self.defer_at:
            state = "deferring"
        return Standing(
            subject=self.subject,
            used=self.used,
            reserved=self.reserved,
            left=max(0, self.budget.limit - self.used - self.reserved),
            window=self.window,
            state=state,
            unmeasured=self.unmeasured,
        )

    def row(self) -> AccountRow:
        """As it is kept."""
        return AccountRow(
            budget=self.budget.name,
            subject=self.subject,
            kind=self.budget.kind,
            window_start=self.window.start,
            used=self.used,
            told=self.told,
            unmeasured=self.unmeasured,
            earlier=tuple(self._earlier.items()),
        )

    def forgettable(self, now: float) -> bool:
        """Nothing that it knows matters any more: its window, and one as long after it, are over."""
        end = self.window.end
        return end is not None and not self.reserved and now >= end + (end - self.window.start)


def forecast(window: Window, now: float) -> float | None:
    """Seconds until a window ends; ``None`` for one without end."""
    return None if window.end is None else max(0.0, window.end - now)
