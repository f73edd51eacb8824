"""Objectives of a task: how much may go wrong, how much of that is used up, and whether it goes too fast.

Owns the objectives, their error budgets and when a budget burns. Must not know what an alert leads to, and reads no clock.

An objective allows a share of bad events over its window, the error budget: failed requests, answers slower than the
limit (one in twenty may be: a 95th percentile), or what scores fall short of 1. The burn rate is how many times as fast as
allowed the budget is used. It is looked at in two windows at once, so that an alert comes early and ends soon ("The Site
Reliability Workbook", 2018, chapter 5): 1 h and 5 min for a fast burn, which takes ``FAST`` of the budget in an hour, and
6 h and 30 min for a slow one, which takes ``SLOW`` in six. With a window of 30 days that is 14.4 and 6 times as fast.

Where so much cannot happen (an objective of 0.8 allows no burn rate above 5) the limit is half way between 1 and what can.
A few requests show nothing: an alert needs ``LEAST`` events in the long window and ``LEAST_BAD`` bad ones. It ends when the
short window was below half of the limit for a quarter of the long one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podium.core.burn_rings import Ring
from podium.domain.alert import Aspect

LATENCY_SHARE = 0.95
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
WINDOW_S = 30 * DAY
SHORTEST_S, LONGEST_S = 6 * HOUR, 90 * DAY
FAST, SLOW = 0.02, 0.05
LEAST, LEAST_BAD = 10.0, 3.0
_TOTAL, _FAILED, _ANSWERED, _SLOWER, _WEIGHT, _LOST = range(6)
_PLACES = {
    Aspect.ERRORS: (_TOTAL, _FAILED),
    Aspect.LATENCY: (_ANSWERED, _SLOWER),
    Aspect.QUALITY: (_WEIGHT, _LOST),
}
_PIECES = 120
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([mhd])")
_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What a task promises. ``None``: nothing."""

    latency_ms: float | None = None
    """95 of 100 answers take no longer."""
    success: float | None = None
    """Share of requests that are answered, in (0, 1)."""
    quality: float | None = None
    """Mean score, in (0, 1)."""
    window_s: float = WINDOW_S

    def allowed(self) -> Mapping[Aspect, float]:
        """The share of bad events that each objective allows."""
        found = {}
        if self.success is not None:
            found[Aspect.ERRORS] = 1.0 - self.success
        if self.latency_ms is not None:
            found[Aspect.LATENCY] = 1.0 - LATENCY_SHARE
        if self.quality is not None:
            found[Aspect.QUALITY] = 1.0 - self.quality
        return found

    def of(self, aspect: Aspect) -> float | None:
        """The objective of one aspect, as it was set."""
        return {Aspect.ERRORS: self.success, Aspect.LATENCY: self.latency_ms, Aspect.QUALITY: self.quality}[aspect]


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """How fast a budget is used, in times of what is allowed; ``None`` without events in a window."""

    speed: str
    long_s: float
    short_s: float
    limit: float
    long: float | None
    short: float | None
    events: float
    bad: float
    """In the long window."""
    burning: bool
    """Its alert is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One objective now. ``left``: share of the error budget that is left, below 0 when more was used."""

    aspect: Aspect
    objective: float
    allowed: float
    events: float
    bad: float
    """Over the window, or ``measured_s`` when that is shorter."""
    left: float | None
    measured_s: float
    burns: tuple[Burn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A budget began to burn, or does so no more."""

    aspect: Aspect
    burn: Burn

    @property
    def share(self) -> float:
        """Of bad events in the long window."""
        return self.burn.bad / self.burn.events if self.burn.events else 0.0


class Budget:
    """The error budgets of one task, some six kilobytes. All times are of one clock that need not be right."""

    __slots__ = ("_days", "_hot", "_hours", "_latest", "_minutes", "_pending", "_since", "objectives")

    def __init__(self, objectives: Objectives, now: float) -> None:
        self.objectives = objectives
        self._since = self._latest = now
        self._minutes = Ring(MINUTE, 60, 6, now)
        self._hours = Ring(10 * MINUTE, 36, 6, now)
        self._days = Ring(objectives.window_s / _PIECES, _PIECES, 6, now)
        self._pending = [0.0] * 6
        self._hot: dict[tuple[Aspect, str], float] = {}
        """When the short window of an open alert was last above half of its limit."""

    def outcome(self, now: float, success: bool, latency_ms: float, *, again: bool = False) -> None:
        """A request ended; ``again``: its earlier attempt was counted as failed, this one makes up for it or not."""
        if now - self._latest >= MINUTE:
            self._pour(now)
        pending = self._pending
        if not again:
            pending[_TOTAL] += 1.0
        if success:
            if again:
                pending[_FAILED] -= 1.0
            pending[_ANSWERED] += 1.0
            limit = self.objectives.latency_ms
            if limit is not None and latency_ms > limit:
                pending[_SLOWER] += 1.0
        elif not again:
            pending[_FAILED] += 1.0

    def score(self, now: float, value: float, weight: float = 1.0) -> None:
        """An answer was scored, in [0, 1]."""
        if now - self._latest >= MINUTE:
            self._pour(now)
        self._pending[_WEIGHT] += weight
        self._pending[_LOST] += weight * (1.0 - value)

    def remember(self, at: float, sums: Iterable[float], *, days: bool) -> None:
        """What an earlier run recorded: (requests, failed, answered, slow, scores, lost) of one piece of time.

        ``days``: for the window of the objective; else for the last hours.
        """
        self._since = min(self._since, at)
        values = list(sums)
        for ring in (self._days,) if days else (self._minutes, self._hours):
            ring.add(at, values)

    def _pour(self, now: float) -> None:
        """Put what waits where it belongs in time."""
        if any(self._pending):
            for ring in (self._minutes, self._hours, self._days):
                ring.add(self._latest, self._pending)
            self._pending = [0.0] * 6
        self._latest = max(self._latest, now)

    def look(self, now: float) -> tuple[Turn, ...]:
        """Which budgets began to burn since the last look, and which do so no more."""
        self._pour(now)
        six = self._hours.last(6 * HOUR, self._latest)
        if not self._hot and not any(six[place] for _, place in _PLACES.values()):
            return ()
        found = []
        for aspect, burns in self._burn_rates(six).items():
            for burn in burns:
                key = (aspect, burn.speed)
                if not burn.burning and self._burns(burn):
                    self._hot[key] = self._latest
                elif burn.burning and (burn.short or 0.0) > burn.limit / 2:
                    self._hot[key] = self._latest
                    continue
                elif burn.burning and self._latest - self._hot[key] >= burn.long_s / 4:
                    del self._hot[key]
                else:
                    continue
                found.append(Turn(aspect=aspect, burn=burn))
        return tuple(found)

    def resume(self, aspect: Aspect, speed: str, now: float) -> None:
        """Its alert was open when the last run ended."""
        self._hot[aspect, speed] = now

    def burning(self, aspect: Aspect, speed: str) -> bool:
        """Its alert is open."""
        return (aspect, speed) in self._hot

    @staticmethod
    def _burns(burn: Burn) -> bool:
        enough = burn.events >= LEAST and burn.bad >= LEAST_BAD
        return enough and (burn.long or 0.0) > burn.limit and (burn.short or 0.0) > burn.limit

    def standings(self, now: float) -> tuple[Standing, ...]:
        """Every objective; changes nothing."""
        self._pour(now)
        now = self._latest
        window_s = self.objectives.window_s
        days = self._days.last(window_s, now)
        found = []
        for aspect, burns in self._burn_rates(self._hours.last(6 * HOUR, now)).items():
            events, bad = (days[place] for place in _PLACES[aspect])
            allowed, objective = self.objectives.allowed()[aspect], self.objectives.of(aspect)
            assert objective is not None, "only objectives that are set allow something"
            found.append(
                Standing(
                    aspect=aspect,
                    objective=objective,
                    allowed=allowed,
                    events=events,
                    bad=bad,
                    left=1.0 - bad / (allowed * events) if events else None,
                    measured_s=min(window_s, now - self._since),
                    burns=burns,
                )
            )
        return tuple(found)

    def _burn_rates(self, six: list[float]) -> Mapping[Aspect, tuple[Burn, ...]]:
        five, half, hour = (self._minutes.last(span, self._latest) for span in (5 * MINUTE, 30 * MINUTE, HOUR))
        return {
            aspect: (
                self._burn(aspect, allowed, "fast", HOUR, 5 * MINUTE, hour, five),
                self._burn(aspect, allowed, "slow", 6 * HOUR, 30 * MINUTE, six, half),
            )
            for aspect, allowed in self.objectives.allowed().items()
        }

    def _burn(
        self,
        aspect: Aspect,
        allowed: float,
        speed: str,
        long_s: float,
        short_s: float,
        long: list[float],
        short: list[float],
    ) -> Burn:
        events, bad = (long[place] for place in _PLACES[aspect])
        newest, newest_bad = (short[place] for place in _PLACES[aspect])
        return Burn(
            speed=speed,
            long_s=long_s,
            short_s=short_s,
            limit=burn_limit(speed, allowed, self.objectives.window_s),
            long=bad / events / allowed if events else None,
            short=newest_bad / newest / allowed if newest else None,
            events=events,
            bad=bad,
            burning=(aspect, speed) in self._hot,
        )


def burn_limit(speed: str, allowed: float, window_s: float) -> float:
    """The burn rate from which on an alert opens, above 1 and below the most there can be."""
    nominal = FAST * window_s / HOUR if speed == "fast" else SLOW * window_s / (6 * HOUR)
    return min(max(nominal, 2.0 if speed == "fast" else 1.0), (1.0 + 1.0 / allowed) / 2.0)


def read_window(value: str | float) -> float:
    """Seconds of "30d", "12h", "90m" or a number of seconds. Raises ``ValueError`` with what to write instead."""
    if isinstance(value, str):
        found = _DURATION.fullmatch(value.strip().lower())
        if found is None:
            raise ValueError(f'{value[:32]!r} is no window; write "30d", "12h" or a number of seconds')
        seconds = float(found[1]) * _UNITS[found[2]]
    else:
        seconds = float(value)
    if not math.isfinite(seconds) or not SHORTEST_S <= seconds <= LONGEST_S:
        raise ValueError(f"{value!r} is no window between 6h and 90d")
    return seconds
