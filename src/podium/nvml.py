"""Asks NVIDIA's driver through NVML: devices, their free memory, what each process holds and how much of them it uses.

Opened once, on first use, and kept: opening takes tens of milliseconds, a question microseconds. Without a driver or
its Python library every answer is empty or ``None``; ``host.py`` tells people why.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CUDA = "cuda"
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""``PROC_PID_INIT_INO`` in the kernel's include/linux/proc_ns.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device by the number NVML (and CUDA with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``) gives it."""

    id: str
    uuid: str
    total_bytes: int
    handle: Any


def has_driver() -> bool:
    """Whether there is any sign of NVIDIA's driver; without one the library is not even imported."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


class Nvml:
    """The opened library, and the devices this process may use (``CUDA_VISIBLE_DEVICES``)."""

    def __init__(self, library: Any, visible: str | None) -> None:
        self._library = library
        self._devices = tuple(
            each for index in range(library.nvmlDeviceGetCount()) if _allowed(each := self._device(index), visible)
        )

    @property
    def devices(self) -> tuple[Device, ...]:
        """In NVML's order."""
        return self._devices

    def free_bytes(self, device: str) -> int | None:
        """What is free on ``cuda:N`` now; ``None`` for an unknown one or when the driver does not say."""
        for each in self._devices:
            if each.id == device:
                try:
                    return int(self._library.nvmlDeviceGetMemoryInfo(each.handle).free)
                except self._library.NVMLError:
                    return None
        return None

    def used_by(self, pids: Collection[int]) -> int | None:
        """Bytes the processes ``pids`` hold on all devices; ``None`` when the driver does not tell.

        A process that computes and draws is listed twice with the same memory, so the larger number counts.
        In a container the driver may know processes by their numbers outside; then none is found, which says nothing.
        """
        total, found = 0, False
        for device in self._devices:
            held: dict[int, int] = {}
            try:
                running = [
                    *self._library.nvmlDeviceGetComputeRunningProcesses(device.handle),
                    *self._library.nvmlDeviceGetGraphicsRunningProcesses(device.handle),
                ]
            except self._library.NVMLError:
                return None
            for process in running:
                if process.pid in pids:
                    if process.usedGpuMemory is None:
                        return None
                    held[process.pid] = max(held.get(process.pid, 0), int(process.usedGpuMemory))
            total += sum(held.values())
            found = found or bool(held)
        return total if found or _numbers_are_the_hosts() else None

    def busy_percent(self, device: Device) -> float | None:
        """Share of the driver's newest sample (up to a second) in which a kernel ran, in percent."""
        try:
            return float(self._library.nvmlDeviceGetUtilizationRates(device.handle).gpu)
        except self._library.NVMLError:
            return None

    def joules(self, device: Device) -> float | None:
        """Energy since the driver was loaded (Volta and newer)."""
        try:
            return float(self._library.nvmlDeviceGetTotalEnergyConsumption(device.handle)) / 1000
        except self._library.NVMLError:
            return None

    def share_of(self, device: Device, pids: Collection[int], since_us: int) -> tuple[int, float | None]:
        """The newest time stamp of the driver's samples, and which part in [0, 1] of what ran on the device after
        ``since_us`` were the processes ``pids``; ``None`` when the driver does not tell them from others.
        """
        there = self._users(device)
        if there is None:
            return since_us, None
        stamp, used = self._samples(device, since_us)
        whole = sum(used.values())
        if whole > 0 and used.keys() <= there:
            ours = sum(value for pid, value in used.items() if pid in pids)
            if ours or _numbers_are_the_hosts():
                return stamp, ours / whole
        if _numbers_are_the_hosts():
            ours_there = there & set(pids)
            return stamp, 0.0 if not ours_there else 1.0 if ours_there == there else None
        return stamp, 0.0 if not there else 1.0 if len(there) == 1 else None

    def _users(self, device: Device) -> set[int] | None:
        try:
            return {process.pid for process in self._library.nvmlDeviceGetComputeRunningProcesses(device.handle)}
        except self._library.NVMLError:
            return None

    def _samples(self, device: Device, since_us: int) -> tuple[int, dict[int, float]]:
        """Utilisation of each process, added up over the samples after ``since_us``."""
        used: dict[int, float] = {}
        try:
            samples = self._library.nvmlDeviceGetProcessUtilization(device.handle, since_us)
        except self._library.NVMLError:  # there is none newer, or the device cannot tell
            return since_us, used
        for sample in samples:
            if sample.timeStamp > since_us:
                used[sample.pid] = used.get(sample.pid, 0.0) + float(sample.smUtil)
        return max([since_us, *(int(sample.timeStamp) for sample in samples)]), used

    def _device(self, index: int) -> Device:
        handle = self._library.nvmlDeviceGetHandleByIndex(index)
        uuid = self._library.nvmlDeviceGetUUID(handle)
        return Device(
            id=f"{CUDA}:{index}",
            uuid=uuid if isinstance(uuid, str) else uuid.decode(),
            total_bytes=int(self._library.nvmlDeviceGetMemoryInfo(handle).total),
            handle=handle,
        )


def _numbers_are_the_hosts() -> bool:
    """Whether process numbers here are those the driver knows: not in a pid namespace of a container."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino == _FIRST_PID_NAMESPACE
    except OSError:
        return True


def _allowed(device: Device, visible: str | None) -> bool:
    """Whether ``CUDA_VISIBLE_DEVICES`` names the device, by number or by the beginning of its UUID."""
    if visible is None:
        return True
    number = device.id.partition(":")[2]
    names = [name.strip() for name in visible.split(",")]
    return any(name == number or (name.startswith("GPU-") and device.uuid.startswith(name)) for name in names)


@cache
def opened() -> Nvml | None:
    """NVML, opened on the first call; ``None`` without driver, library or device."""
    if not has_driver():
        return None
    try:
        import pynvml  # noqa: PLC0415 - an optional dependency, needed only where there is a driver
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        found = Nvml(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except pynvml.NVMLError:
        return None
    return found if found.devices else None
