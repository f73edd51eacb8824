"""What one family of processes uses of NVIDIA GPUs: time and energy, from the driver's counters.

The stated rule. A GPU's time is what its utilisation says, its energy what its counter (joules since the driver was
loaded) says above idle power. Both go to the processes on it by their own utilisation where the driver tells it, else
whole to the only one there. Where several are on it and nobody tells them apart, nothing is known.

Idle power is the lowest seen while nothing ran on the GPU, and charged to nobody.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from podium.nvml import Device, Nvml

IDLE_S = 0.5


@dataclass(slots=True)
class _Last:
    at: float
    joules: float | None
    stamp_us: int
    idle_watts: float | None = None
    busy: bool = True


@dataclass(slots=True)
class GpuShare:
    """Grows from the first reading on. ``None``: it cannot be told."""

    driver: Nvml
    busy_s: float | None = 0.0
    joules: float | None = 0.0
    _last: dict[str, _Last] = field(default_factory=dict)

    def read(self, pids: Collection[int], now: float) -> None:
        """Look at every device; ``now`` is monotonic seconds."""
        for device in self.driver.devices:
            self._read(device, pids, now)

    def _read(self, device: Device, pids: Collection[int], now: float) -> None:
        percent, joules = self.driver.busy_percent(device), self.driver.joules(device)
        last = self._last.get(device.id)
        stamp, share = self.driver.share_of(device, pids, last.stamp_us if last is not None else 0)
        if last is None:
            self._last[device.id] = _Last(now, joules, stamp)
            return
        seconds = now - last.at
        if seconds <= 0:
            return
        watts = None
        if joules is not None and last.joules is not None and joules >= last.joules:
            watts = (joules - last.joules) / seconds
        if watts is not None and percent == 0 and not last.busy and seconds >= IDLE_S:
            last.idle_watts = watts if last.idle_watts is None else min(watts, last.idle_watts)
        if share is None:
            self.busy_s = self.joules = None
        elif share > 0:
            self._add(share, seconds, percent, watts, last.idle_watts or 0.0)
        self._last[device.id] = _Last(now, joules, stamp, last.idle_watts, percent != 0)

    def _add(self, share: float, seconds: float, percent: float | None, watts: float | None, idle: float) -> None:
        if percent is None:
            self.busy_s = None
        elif self.busy_s is not None:
            self.busy_s += share * seconds * percent / 100
        if watts is None:
            self.joules = None
        elif self.joules is not None:
            self.joules += share * seconds * max(0.0, watts - idle)
