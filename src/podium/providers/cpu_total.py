"""Adds up the CPU time of a family of processes that come and go. Pure: readings in, a total out that never goes back."""

from __future__ import annotations

from collections.abc import Mapping


class CpuTotal:
    """What a family used, from the first reading of each process on.

    A process that ends takes its counter away; when its parent collects it, the time appears in the parent's. What was
    counted already of those that are gone is kept as a credit, and what parents collect is new only beyond it.
    A number that comes back with a smaller counter is another process.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, float]] = {}
        self._credit = 0.0
        self.seconds = 0.0

    def read(self, times: Mapping[int, tuple[float, float]]) -> float:
        """(own, collected) CPU seconds by process number; returns the total."""
        collected = 0.0
        for pid in self._seen.keys() - times.keys():
            self._credit += sum(self._seen.pop(pid))
        for pid, (own, from_children) in times.items():
            before = self._seen.get(pid, (0.0, 0.0))
            if own < before[0]:
                self._credit += sum(before)
                before = (0.0, 0.0)
            self.seconds += own - before[0]
            collected += max(0.0, from_children - before[1])
            self._seen[pid] = (own, max(from_children, before[1]))
        self.seconds += max(0.0, collected - self._credit)
        self._credit = max(0.0, self._credit - collected)
        return self.seconds
