"""Measures what a request costs on the instance that serves it, from the kernel's and the drivers' own counters.

CPU time, GPU time and energy of a shared instance are split by ``core/attribution``. Memory is not split: it is what the
instance's processes held while the request ran, the highest reading and the mean over time of the readings at start,
end and sweeps. Energy is CPU time at the joules a CPU second costs now, and what GPUs drew; see ``core/energy``.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.core.attribution import Counters, SharedWork, Sharer
from podium.core.energy import CpuPower
from podium.domain.cost import Method
from podium.domain.instance import ProcessUsage
from podium.domain.record import record
from podium.domain.unmeasured import GONE, NO_ENERGY, NO_GPU, NO_GPU_COUNTER, NO_PROCESS
from podium.ports import Clock, Instance, Power

MB = 1024 * 1024
J_PER_MWH = 3.6
_NO_POWER = CpuPower(joules=None, method=Method.UNAVAILABLE, source="nothing", reason=NO_ENERGY)
Missing = tuple[tuple[str, str], ...]


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """``None`` where nothing can be measured; then ``missing`` says why. Fields as in ``Cost``."""

    cpu_ms: float | None = None
    gpu_ms: float | None = None
    peak_memory_mb: float | None = None
    mean_memory_mb: float | None = None
    mapped_memory_mb: float | None = None
    energy_mwh: float | None = None
    energy_method: Method = Method.UNAVAILABLE
    estimated: tuple[str, ...] = ()
    missing: Missing = ()

    @property
    def held_memory_mb(self) -> float | None:
        """As ``Cost.held_memory_mb``."""
        return None if self.peak_memory_mb is None else self.peak_memory_mb + (self.mapped_memory_mb or 0.0)


def unmeasured(reason: str) -> Metered:
    """Nothing at all, for one reason."""
    fields = ("energy_mwh", "cpu_ms", "gpu_ms", "peak_memory_mb", "mean_memory_mb")
    return Metered(missing=tuple((field, reason) for field in fields))


_NOT_OURS = unmeasured(NO_PROCESS)


@dataclass(slots=True)
class _Running:
    """One request. ``area``: the ledger's memory integral when it began."""

    sharer: Sharer
    begun_at: float
    peak: int
    area: float
    mapped: int


class _Ledger:
    """One instance."""

    __slots__ = ("area", "at", "instance", "joules", "running", "split", "usage")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.split = SharedWork()
        self.running: dict[str, _Running] = {}
        self.usage: ProcessUsage | None = None
        self.at = 0.0
        self.area = 0.0
        """Private bytes times seconds so far."""
        self.joules = 0.0

    def observe(self, at: float, power: CpuPower) -> Counters | None:
        """Read the instance's counters; ``None`` when it has none (any more)."""
        usage = self.instance.usage()
        if usage is None:
            return None
        before = self.usage
        if before is not None:
            seconds = max(0.0, at - self.at)
            self.area += seconds * (before.private_bytes + usage.private_bytes) / 2
            self.joules += max(0.0, usage.cpu_s - before.cpu_s) * (power.joules or 0.0)
            self.joules += max(0.0, (usage.gpu_joules or 0.0) - (before.gpu_joules or 0.0))
        self.usage, self.at = usage, max(at, self.at)
        for one in self.running.values():
            one.peak = max(one.peak, usage.private_bytes)
            one.mapped = max(one.mapped, usage.file_bytes)
        return Counters(usage.cpu_s, usage.gpu_busy_s or 0.0, self.joules)


class Meter:
    """One ledger per instance; forgotten when the last request on it ends. Without ``power`` there is no energy."""

    def __init__(self, clock: Clock, power: Power | None = None) -> None:
        self._clock = clock
        self._power = power
        self._ledgers: dict[str, _Ledger] = {}

    def power(self) -> CpuPower:
        """What a CPU second costs now, and how that is known."""
        return self._power.cpu() if self._power is not None else _NO_POWER

    def begin(self, instance_id: str, instance: Instance, operation: str) -> Sharer | None:
        """A request starts on an instance. What comes back wants to hear of its tokens; ``None``: nothing is metered."""
        ledger = self._ledgers.get(instance_id) or _Ledger(instance)
        now = self._clock.monotonic()
        counters = ledger.observe(now, self.power())
        usage = ledger.usage
        if counters is None or usage is None:
            return None
        self._ledgers[instance_id] = ledger
        sharer = ledger.split.start(operation, now, counters)
        if operation not in ledger.running:
            begun = _Running(sharer, ledger.at, usage.private_bytes, ledger.area, usage.file_bytes)
            ledger.running[operation] = begun
        return sharer

    def end(self, instance_id: str, operation: str) -> Metered:
        """It ended: its part. Nothing measured if the instance has no counters."""
        ledger = self._ledgers.get(instance_id)
        one = ledger.running.get(operation) if ledger is not None else None
        if ledger is None or one is None:
            return _NOT_OURS
        now, power = self._clock.monotonic(), self.power()
        counters = ledger.observe(now, power)
        spent = ledger.split.stop(operation, now, counters) or Counters()
        del ledger.running[operation]
        if not ledger.running:
            del self._ledgers[instance_id]
        return _metered(ledger, one, spent, power, gone=counters is None)

    def sweep(self) -> None:
        """Called regularly: reads the counters of busy instances, so that a peak inside a request is seen."""
        now = self._clock.monotonic()
        if self._power is not None:
            self._power.sample(now)
        power = self.power()
        for ledger in self._ledgers.values():
            counters = ledger.observe(now, power)
            if counters is not None:
                ledger.split.observe(now, counters)


def _metered(ledger: _Ledger, one: _Running, spent: Counters, power: CpuPower, *, gone: bool) -> Metered:
    """The figures of one request. Where its process is gone they are what was read before, which is less than it was."""
    usage = ledger.usage
    assert usage is not None, "a request begins with a reading"
    seconds = ledger.at - one.begun_at
    mean = (ledger.area - one.area) / seconds if seconds > 0 else float(usage.private_bytes)
    unread = gone and seconds <= 0
    missing: list[tuple[str, str]] = [("cpu_ms", GONE)] if unread else []
    on_gpu = bool(usage.gpu_memory_bytes)
    gpu_known = on_gpu and usage.gpu_busy_s is not None
    if not gpu_known:
        missing.append(("gpu_ms", NO_GPU_COUNTER if on_gpu else NO_GPU))
    energy, method = None, Method.UNAVAILABLE
    if unread:
        missing.append(("energy_mwh", GONE))
    elif power.joules is None and not (gpu_known and usage.gpu_joules is not None):
        missing.append(("energy_mwh", power.reason or NO_ENERGY))
    else:
        energy = spent.joules / J_PER_MWH
        whole = power.joules is not None and (not on_gpu or usage.gpu_joules is not None)
        method = power.method if whole and not gone else Method.ESTIMATED
    return Metered(
        cpu_ms=None if unread else spent.cpu_s * 1000,
        gpu_ms=spent.gpu_s * 1000 if gpu_known else None,
        peak_memory_mb=one.peak / MB,
        mean_memory_mb=mean / MB,
        mapped_memory_mb=one.mapped / MB,
        energy_mwh=energy,
        energy_method=method,
        estimated=("cpu_ms", "mean_memory_mb", "peak_memory_mb") if gone else (),
        missing=tuple(missing),
    )
