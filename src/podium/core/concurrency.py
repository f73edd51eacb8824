"""How many requests one instance may work on at once, when nobody knows what its server can do (POOL-7). Pure.

Owns the limit. Must not count what is under way or send anything: the pool tells it what happened.

Additive increase, multiplicative decrease (Chiu and Jain 1989), with three rules:

* Grow only when most of the limit was really used: a quiet hour proves nothing. A request that ends well while at
  least 80 % of the limit was under way adds ``1 / limit``, about one place per round of requests. The last place
  below the level where the server last refused is taken ten times more slowly, and slower still (down to fifty times)
  the more often it refused there, so that a known bound is probed and not hit again and again. The level is forgotten
  after ``REMEMBER_S`` without another refusal.
* One cut per overload episode: a refusal (429, 503) or time-out cuts to 70 %, rounded up but by one place at least,
  unless that request started before the last cut: a burst of refusals is one piece of news. For the same reason only
  requests started after the last cut make the limit grow.
* A server that queues instead of refusing shows it in the time to the first byte: while its smoothed value is more
  than twice the best seen, the limit does not grow. It is not cut: a long prompt looks the same as a queue. A worse
  value replaces the best one only at low load (at most half of the limit under way) and after ``REMEMBER_S``.
"""

from __future__ import annotations

import math

CUT = 0.7
USED = 0.8
LOW_LOAD = 0.5
SLOWER = 2.0
NEAR = 0.1
"""Speed of growth just below the level of the last refusal, divided by how often in a row that was the level."""
NEAR_TIMES = 5
REMEMBER_S = 300.0
_SMOOTH = 0.2


class AdaptiveLimit:
    """The limit of one instance. Seconds are monotonic; tokens are numbers of starts, from 1.

    With ``adaptive=False`` the limit stays ``initial`` and everything else does nothing.
    Raises ``ValueError`` unless ``1 <= floor <= ceiling``; ``initial`` is brought between them.
    """

    __slots__ = (
        "_best_at", "_best_s", "_cut_after", "_limit", "_refused_at", "_refused_level", "_refused_times", "_sequence",
        "_smoothed_s", "adaptive", "ceiling", "floor",
    )  # fmt: skip

    def __init__(self, initial: int, ceiling: int, floor: int = 1, adaptive: bool = True) -> None:
        if not 1 <= floor <= ceiling:
            raise ValueError(f"concurrency needs 1 <= floor <= ceiling, not floor {floor} and ceiling {ceiling}")
        self.floor, self.ceiling, self.adaptive = floor, ceiling, adaptive
        self._limit = float(min(max(initial, floor), ceiling))
        self._sequence = 0
        self._cut_after = 0
        self._refused_level, self._refused_at, self._refused_times = math.inf, -math.inf, 0
        self._smoothed_s: float | None = None
        self._best_s, self._best_at = math.inf, -math.inf

    @property
    def limit(self) -> int:
        """Requests that may be under way at once."""
        return int(self._limit)

    def started(self) -> int:
        """A request was sent; hand the token back with its result. One whose client left needs no result."""
        self._sequence += 1
        return self._sequence

    def finished(self, token: int, *, in_flight: int, latency_s: float | None, now: float) -> None:
        """A request ended well. ``in_flight`` counts itself; ``latency_s`` is its time to the first byte."""
        if not self.adaptive:
            return
        if latency_s is not None:
            self._measure(latency_s, in_flight, now)
        if token <= self._cut_after or in_flight < USED * self.limit or self._queues():
            return
        if now - self._refused_at > REMEMBER_S:
            self._refused_level, self._refused_times = math.inf, 0
        speed = NEAR / self._refused_times if 0.0 < self._refused_level - self._limit <= 1.0 else 1.0
        self._limit = min(self._limit + speed / self._limit, float(self.ceiling))

    def overloaded(self, token: int, *, now: float) -> None:
        """A request was refused (429, 503) or timed out."""
        if not self.adaptive or token <= self._cut_after:
            return
        self._cut_after = self._sequence
        limit = self.limit
        self._refused_times = min(self._refused_times + 1, NEAR_TIMES) if limit == self._refused_level else 1
        self._refused_level, self._refused_at = float(limit), now
        self._limit = float(max(min(math.ceil(limit * CUT), limit - 1), self.floor))

    def _measure(self, latency_s: float, in_flight: int, now: float) -> None:
        old = self._smoothed_s
        self._smoothed_s = latency_s if old is None else old + _SMOOTH * (latency_s - old)
        low_load = in_flight <= max(1.0, LOW_LOAD * self._limit)
        if latency_s <= self._best_s or (low_load and now - self._best_at > REMEMBER_S):
            self._best_s, self._best_at = latency_s, now

    def _queues(self) -> bool:
        return self._smoothed_s is not None and self._smoothed_s > SLOWER * self._best_s
