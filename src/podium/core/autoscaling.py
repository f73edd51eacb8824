"""How many copies of a version there should be (POOL-6). Pure: the clock is passed in.

Owns the decision, one copy up or down. Must not load, stop or place anything, and need not succeed: what it sees next
is what it decides on.

What is smoothed is the demand, busy places plus waiters, as a time-weighted mean over the last ``up_after_s``; use is
that mean over the present capacity. So the sampling interval does not matter, and a change of capacity counts at
once. One sample counts for at most ``CLIP`` times the capacity of its time (or 1.5 ``up_at``): a burst must last to
count as use.

* Up when use over a full window is at least ``up_at``.
* Down when for all of ``down_after_s`` use stayed below ``down_at`` **and** one copy less would have been used less
  than ``MARGIN * up_at``. A load that made it go up by one cannot make it go down again: constant load never flaps.
  A noisy one may: when going down turns out wrong, that is, it goes up within ``REGRET_S``, the next time down needs
  twice as long, up to 16 times ``down_after_s``, until an hour has passed without that.
* ``cooldown_s`` between changes. Limits come first: a number of copies outside ``min_copies .. max_copies`` is
  corrected without waiting.
* A gap in the samples (longer than 15 s or ``up_after_s``) or a clock that went back is no evidence: the window starts
  anew.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

CLIP = 1.25
MARGIN = 0.95
GAP_S = 15.0
REGRET_S = 900.0
FORGET_S = 3600.0
_MAX_CAUTION = 16
_SEGMENTS = 50
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRules:
    """Shares of the capacity (0 to 1 and above), seconds, and numbers of copies. Raises ``ValueError`` for nonsense."""

    up_at: float = 0.8
    down_at: float = 0.5
    up_after_s: float = 10.0
    down_after_s: float = 120.0
    cooldown_s: float = 30.0
    min_copies: int = 1
    max_copies: int = 1

    def __post_init__(self) -> None:
        if not 0.0 < self.down_at < self.up_at:
            raise ValueError(f"scaling needs 0 < down_at < up_at, not {self.down_at} and {self.up_at}")
        if not 0 <= self.min_copies <= self.max_copies:
            raise ValueError(f"scaling needs 0 <= min <= max copies, not {self.min_copies} and {self.max_copies}")
        if min(self.up_after_s, self.down_after_s, self.cooldown_s) < 0.0:
            raise ValueError("scaling times are 0 seconds or more")


class Scaler:
    """The scaler of one version. ``rules`` may be replaced at any time."""

    __slots__ = (
        "_caution", "_changed_at", "_down_at", "_last", "_low_since", "_regret_at", "_window", "_window_s", "rules",
    )  # fmt: skip

    def __init__(self, rules: ScaleRules) -> None:
        self.rules = rules
        self._last: float | None = None
        self._changed_at: float | None = None
        self._low_since: float | None = None
        self._caution = 1
        """Multiplies ``down_after_s``."""
        self._down_at = self._regret_at = -math.inf
        self._window: deque[tuple[float, float]] = deque()
        """(seconds, mean demand), oldest first, together at least ``up_after_s`` once it is full."""
        self._window_s = 0.0

    def observe(self, now: float, *, busy: int, capacity: int, waiting: int, copies: int) -> int:
        """One sample, every 1 to 5 s; returns the change wanted now: +1, -1 or 0.

        ``busy`` of ``capacity`` places are taken over all ``copies``, ``waiting`` requests have none. Count copies
        that are still loading in ``copies`` and their places in ``capacity``, or it asks for more before they are
        there. ``now`` is monotonic seconds.
        """
        self._take(now, min(float(busy + waiting), max(CLIP, 1.5 * self.rules.up_at) * capacity))
        change = self._wanted(now, capacity, copies)
        if change:
            self._changed_at, self._low_since = now, None
            self._learn(now, change)
        return change

    def _learn(self, now: float, change: int) -> None:
        if change < 0:
            self._down_at = now
        elif now - self._down_at <= REGRET_S:
            self._caution = min(2 * self._caution, _MAX_CAUTION)
            self._down_at, self._regret_at = -math.inf, now

    def _wanted(self, now: float, capacity: int, copies: int) -> int:
        rules = self.rules
        if copies < rules.min_copies:
            return 1
        if copies > rules.max_copies:
            return -1
        if capacity <= 0 or self._window_s < rules.up_after_s or not self._window:
            return 0
        use = sum(seconds * demand for seconds, demand in self._window) / self._window_s / capacity
        if copies < 2 or use >= rules.down_at or use * copies / (copies - 1) >= MARGIN * rules.up_at:
            self._low_since = None
        elif self._low_since is None:
            self._low_since = now
        if self._changed_at is not None and now - self._changed_at < rules.cooldown_s:
            return 0
        if use >= rules.up_at - _ROUNDING:
            return int(copies < rules.max_copies)
        if now - self._regret_at > FORGET_S:
            self._caution = 1
        if self._low_since is not None and now - self._low_since >= self._caution * rules.down_after_s:
            return -int(copies > rules.min_copies)
        return 0

    def _take(self, now: float, demand: float) -> None:
        """The demand seen now stands for the time since the last sample."""
        last, self._last = self._last, now
        seconds = 0.0 if last is None else now - last
        if seconds < 0.0:
            self._changed_at, self._down_at, self._regret_at = None, -math.inf, -math.inf
        if seconds < 0.0 or seconds > max(GAP_S, self.rules.up_after_s):
            self._window.clear()
            self._window_s, self._low_since = 0.0, None
            return
        if seconds == 0.0:
            return
        window, span = self._window, self.rules.up_after_s
        if window and window[-1][0] + seconds <= span / _SEGMENTS:
            old_s, old = window.pop()
            window.append((old_s + seconds, (old_s * old + seconds * demand) / (old_s + seconds)))
        else:
            window.append((seconds, demand))
        self._window_s += seconds
        while self._window_s - window[0][0] >= span and len(window) > 1:
            self._window_s -= window.popleft()[0]
