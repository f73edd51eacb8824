"""Measures what a request costs on the instance that serves it, from the kernel's own counters.

CPU time of a shared instance is split by ``core/attribution``: equal parts to the requests active in each
interval. Memory is what the instance's processes held, the largest of the readings at start, end and sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.core.attribution import CpuSplit
from podium.ports import Clock, Instance

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Metered:
    """``None`` where the instance has no counters we may read."""

    cpu_ms: float | None
    peak_memory_mb: float | None


_NOTHING = Metered(None, None)


class _Ledger:
    __slots__ = ("instance", "memory", "split")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.split = CpuSplit()
        self.memory: dict[str, int] = {}


class Meter:
    """One ledger per instance; forgotten when the last request on it ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ledgers: dict[str, _Ledger] = {}

    def begin(self, instance_id: str, instance: Instance, operation: str) -> None:
        """A request starts on an instance."""
        usage = instance.usage()
        if usage is None:
            return
        ledger = self._ledgers.get(instance_id)
        if ledger is None:
            ledger = self._ledgers[instance_id] = _Ledger(instance)
        ledger.split.start(operation, self._clock.monotonic(), usage.cpu_s)
        ledger.memory[operation] = usage.memory_bytes

    def end(self, instance_id: str, operation: str) -> Metered:
        """It ended: its part. Nothing measured if the instance has no counters."""
        ledger = self._ledgers.get(instance_id)
        if ledger is None or operation not in ledger.memory:
            return _NOTHING
        usage = ledger.instance.usage()
        peak = ledger.memory.pop(operation)
        if not ledger.memory:
            del self._ledgers[instance_id]
        if usage is None:
            return Metered(None, peak / MB)
        part = ledger.split.stop(operation, self._clock.monotonic(), usage.cpu_s)
        return Metered(part.cpu_s * 1000 if part is not None else None, max(peak, usage.memory_bytes) / MB)

    def sweep(self) -> None:
        """Called regularly: reads the memory of busy instances, so that a peak inside a request is seen."""
        for ledger in self._ledgers.values():
            usage = ledger.instance.usage()
            if usage is None:
                continue
            ledger.split.observe(self._clock.monotonic(), usage.cpu_s)
            for operation, seen in ledger.memory.items():
                if usage.memory_bytes > seen:
                    ledger.memory[operation] = usage.memory_bytes
