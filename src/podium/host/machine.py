"""Reads what this machine really has: processors, memory, accelerators. Never guesses; says why not."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil

from podium import nvml
from podium.core.hardware_plan import plan
from podium.domain.hardware import Found
from podium.host import accelerators, power, readings
from podium.ports import RAM, Accelerator, HostFacts

CPU = "cpu"
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
PROBES: tuple[tuple[tuple[str, ...], Callable[[], accelerators.Probed]], ...] = (
    (("cuda",), accelerators.nvidia),
    (("rocm",), accelerators.amd),
    (("vulkan",), accelerators.vulkan),
    (("metal", "ane"), accelerators.apple),
)


class Host:
    """The machine this process runs on."""

    def facts(self) -> HostFacts:
        """Everything ``podium doctor`` shows. Takes up to a second when drivers have to be asked."""
        memory = psutil.virtual_memory()
        missing: list[tuple[str, str]] = []
        devices: list[Found] = []
        for kinds, probe in PROBES:
            there, reason = probe()
            devices += there
            missing += [(kind, reason) for kind in kinds if reason is not None]
        found = [_accelerator(one) for one in devices]
        flags = accelerators.cpu_features()
        no_counter = power.why_no_counter()
        if no_counter is not None:
            missing.append(("energy counter", no_counter))
        return HostFacts(
            cpu_model=_cpu_model(),
            cores_physical=psutil.cpu_count(logical=False),
            cores_logical=psutil.cpu_count() or 1,
            memory_bytes=memory.total,
            memory_available_bytes=memory.available,
            accelerators=tuple(found),
            cpu_features=readings.feature_names(flags),
            plan=plan(devices, cpu_features=flags),
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

    def accelerators(self) -> tuple[tuple[Accelerator, ...], tuple[tuple[str, str], ...]]:
        """What there is now, but for Vulkan, and (kind, why not) of the rest. No tool is started where a file can tell."""
        found: list[Accelerator] = []
        missing: list[tuple[str, str]] = []
        for kinds, probe in PROBES:
            if "vulkan" in kinds:
                continue
            there, reason = probe()
            found += map(_accelerator, there)
            missing += [(kind, reason) for kind in kinds if reason is not None]
        return tuple(found), tuple(missing)

    def memory_pressure(self) -> float | None:
        """The part of the last 10 s in which something waited for memory, in [0, 1]; ``None`` where nobody tells.

        Source: Documentation/accounting/psi.rst, ``some avg10``.
        """
        with contextlib.suppress(OSError, ValueError, LookupError):
            some = (_PROC / "pressure" / "memory").read_text().splitlines()[0].split()
            return min(1.0, max(0.0, float(dict(each.split("=") for each in some[1:])["avg10"]) / 100))
        return None


def _accelerator(one: Found) -> Accelerator:
    return Accelerator(kind=one.backend, name=one.name, memory_bytes=one.memory_bytes, evidence=one.evidence)


@cache
def _kinds() -> frozenset[str]:
    return frozenset(one.kind for one in Host().accelerators()[0])


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


def _cpu_model() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None
