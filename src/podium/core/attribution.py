"""Splitting the CPU time of a shared instance over the requests that ran in it. Pure.

Owns the arithmetic: the CPU seconds between two events go in equal parts to the requests active between them.
Must not read a counter or a clock; whoever does feeds the readings in.

Instead of walking over all active requests at each event it keeps one running total, the CPU seconds a request
active since the beginning would have received; a request's part is the difference between its end and its start.
Every event is O(1).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One request's part: CPU seconds, and wall seconds it was active."""

    cpu_s: float
    wall_s: float


class CpuSplit:
    """The ledger of one instance. Feed it every start and stop with the counter's reading at that moment.

    A counter that went backwards (the process was replaced) or a time that did is taken as no progress. The parts
    of all requests plus ``idle_s`` always equal ``total_s`` up to rounding.
    """

    __slots__ = ("_active", "_at", "_counter", "_share", "idle_s", "total_s")

    def __init__(self) -> None:
        self._active: dict[str, tuple[float, float]] = {}
        self._at: float | None = None
        self._counter: float | None = None
        self._share = 0.0
        self.idle_s = 0.0
        """CPU seconds spent while no request was active."""
        self.total_s = 0.0
        """CPU seconds since the first reading."""

    @property
    def active(self) -> int:
        """Requests started and not stopped."""
        return len(self._active)

    def start(self, request_id: str, at: float, cpu_s: float) -> None:
        """A request begins. Starting one that is active already changes nothing but the reading."""
        at = self.observe(at, cpu_s)
        self._active.setdefault(request_id, (self._share, at))

    def stop(self, request_id: str, at: float, cpu_s: float) -> Part | None:
        """A request ends; its part, exactly once: ``None`` for one that is not active."""
        at = self.observe(at, cpu_s)
        begun = self._active.pop(request_id, None)
        if begun is None:
            return None
        part = Part(self._share - begun[0], at - begun[1])
        if not self._active:
            self._share = 0.0  # keeps the running total small, and with it its rounding
        return part

    def observe(self, at: float, cpu_s: float) -> float:
        """Account for the time since the last event; returns the time taken as now, which never goes back."""
        if self._at is not None and at < self._at:
            at = self._at
        if self._counter is not None and cpu_s > self._counter:
            spent = cpu_s - self._counter
            self.total_s += spent
            if self._active:
                self._share += spent / len(self._active)
            else:
                self.idle_s += spent
        self._at, self._counter = at, cpu_s
        return at
