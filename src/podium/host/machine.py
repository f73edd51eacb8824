"""Reads what this machine really has: processors, memory, accelerators. Never guesses; says why not."""

from __future__ import annotations

import contextlib
import ctypes.util
import platform
from functools import cache
from pathlib import Path

import psutil

from podium import nvml
from podium.host import power
from podium.ports import RAM, Accelerator, HostFacts

CPU = "cpu"
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


class Host:
    """The machine this process runs on."""

    def facts(self) -> HostFacts:
        """Everything ``podium doctor`` shows. Takes up to a second when drivers have to be asked."""
        memory = psutil.virtual_memory()
        found: list[Accelerator] = []
        missing: list[tuple[str, str]] = []
        for kind, probe in (("cuda", _nvidia), ("rocm", _amd), ("vulkan", _vulkan), ("metal", _metal)):
            devices, reason = probe()
            found += devices
            if reason is not None:
                missing.append((kind, reason))
        no_counter = power.why_no_counter()
        if no_counter is not None:
            missing.append(("energy", no_counter))
        return HostFacts(
            cpu_model=_cpu_model(),
            cores_physical=psutil.cpu_count(logical=False),
            cores_logical=psutil.cpu_count() or 1,
            memory_bytes=memory.total,
            memory_available_bytes=memory.available,
            accelerators=tuple(found),
            unavailable=tuple(missing),
        )

    def devices(self) -> tuple[tuple[str, int], ...]:
        """(id, total bytes) of where models can be kept: ``RAM``, then NVIDIA GPUs in NVML's order."""
        total = min([_ram_total(), *(limit for limit, _ in _cgroup_limits())])
        driver = nvml.opened()
        cards = driver.devices if driver is not None else ()
        return ((RAM, total), *((card.id, card.total_bytes) for card in cards))

    def free_bytes(self, device: str) -> int | None:
        """What can still be allocated on ``device``; ``None`` when unknown. RAM takes some 50 µs, a GPU a driver call.

        RAM is ``MemAvailable``, or what a cgroup v2 limit leaves if that is less.
        """
        if device == RAM:
            return max(0, min([_ram_available(), *(limit - used for limit, used in _cgroup_limits())]))
        driver = nvml.opened()
        return driver.free_bytes(device) if driver is not None else None

    def kinds(self) -> frozenset[str]:
        """Kinds of hardware a model may run on here: always ``cpu``, and what was really found."""
        return frozenset({CPU, *_kinds()})


@cache
def _kinds() -> frozenset[str]:
    return frozenset(device.kind for probe in (_nvidia, _amd, _metal) for device in probe()[0])


def _meminfo(name: bytes) -> int | None:
    """One line of ``/proc/meminfo`` in bytes."""
    with contextlib.suppress(OSError):
        raw = (_PROC / "meminfo").read_bytes()
        at = raw.find(name)
        if at >= 0:
            return int(raw[at + len(name) : raw.index(b"\n", at)].split()[0]) * 1024
    return None


def _ram_total() -> int:
    return _meminfo(b"MemTotal:") or int(psutil.virtual_memory().total)


def _ram_available() -> int:
    known = _meminfo(b"MemAvailable:")
    return known if known is not None else int(psutil.virtual_memory().available)


def _cgroup_limits() -> list[tuple[int, int]]:
    """(limit, used) in bytes of every cgroup v2 above this process that has a limit; file pages the kernel can take
    back do not count as used.

    Source: Documentation/admin-guide/cgroup-v2.rst, ``memory.max``, ``memory.current`` and ``memory.stat``.
    """
    found = []
    for folder in _cgroup_folders():
        with contextlib.suppress(OSError, ValueError):
            limit = (folder / "memory.max").read_text().strip()
            if limit != "max":
                used = int((folder / "memory.current").read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                cached = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
                found.append((int(limit), max(0, used - cached)))
    return found


def _cgroup_folders() -> list[Path]:
    """The cgroup v2 of this process and those around it; in a container the outermost visible one is its own."""
    with contextlib.suppress(OSError):
        for line in (_PROC / "self" / "cgroup").read_text().splitlines():
            if line.startswith("0::"):
                own = _CGROUPS / line[3:].strip("/")
                return [own, *(each for each in own.parents if each.is_relative_to(_CGROUPS))]
    return []


Found = tuple[list[Accelerator], str | None]


def _nvidia() -> Found:
    if not nvml.has_driver():
        return [], "no NVIDIA driver: neither /dev/nvidiactl nor nvidia-smi"
    try:
        import pynvml  # noqa: PLC0415 - an optional dependency, needed only where there is a driver
    except ImportError:
        return [], "an NVIDIA driver is there, but nvidia-ml-py is not: pip install nvidia-ml-py"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"NVML does not answer: {error}"
    try:
        devices = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(handle)
            devices.append(
                Accelerator(
                    kind="cuda",
                    name=name if isinstance(name, str) else name.decode(),
                    memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                    evidence=f"NVML device {index}",
                )
            )
    except pynvml.NVMLError as error:
        return [], f"NVML does not say what there is: {error}"
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return devices, None if devices else "NVML lists no device"


def _amd() -> Found:
    devices = []
    for node in sorted(Path("/sys/class/kfd/kfd/topology/nodes").glob("*")):
        with contextlib.suppress(OSError, ValueError):
            facts = dict(line.split(None, 1) for line in (node / "properties").read_text().splitlines())
            if int(facts.get("simd_count", 0)) > 0:
                bank = dict(line.split(None, 1) for line in (node / "mem_banks/0/properties").read_text().splitlines())
                devices.append(
                    Accelerator(
                        kind="rocm",
                        name=(node / "name").read_text().strip() or f"gfx target {facts.get('gfx_target_version')}",
                        memory_bytes=int(bank["size_in_bytes"]),
                        evidence=str(node),
                    )
                )
    return devices, None if devices else "no AMD GPU node under /sys/class/kfd"


def _vulkan() -> Found:
    if ctypes.util.find_library("vulkan") is None:
        return [], "no Vulkan loader (libvulkan) is installed"
    return [], "a Vulkan loader is installed; whether a device works is not probed yet"


def _metal() -> Found:
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return [], "not an Apple silicon Mac"
    return [
        Accelerator(
            kind="metal",
            name=_cpu_model() or "Apple silicon",
            memory_bytes=psutil.virtual_memory().total,
            evidence="macOS on arm64, which always has Metal; memory is shared with the CPU",
        )
    ], None


def _cpu_model() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None
