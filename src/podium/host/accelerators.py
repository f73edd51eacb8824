"""Looks for accelerators with the system's own means, and says for each that is not there why it is not.

Runs tools of drivers (``nvidia-smi``, ``vulkaninfo``, ``system_profiler``, ``sysctl``) with a deadline, never through a shell.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import platform
import shutil
import subprocess
from pathlib import Path

from podium import nvml
from podium.domain.hardware import Backend, Found
from podium.host import readings

KFD = Path("/sys/class/kfd/kfd/topology/nodes")
TOOL_S = 10.0
Probed = tuple[list[Found], str | None]
"""What was found, and why nothing was."""


def nvidia() -> Probed:
    """By NVML."""
    if not nvml.has_driver():
        return [], "no NVIDIA driver: neither /dev/nvidiactl nor nvidia-smi"
    try:
        import pynvml  # noqa: PLC0415 - an optional dependency, needed only where there is a driver
    except ImportError:
        found = readings.nvidia(_said(readings.NVIDIA_SMI.split()) or "")
        return found, None if found else "an NVIDIA driver is there, but nvidia-ml-py is not: pip install nvidia-ml-py"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"NVML does not answer: {error}"
    try:
        found = [_card(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return [], f"NVML does not say what there is: {error}"
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return found, None if found else "NVML lists no device"


def amd() -> Probed:
    """By the kernel's compute driver."""
    found = []
    for node in sorted(KFD.glob("*")):
        with contextlib.suppress(OSError, ValueError):
            texts = ((node / part).read_text() for part in ("properties", "mem_banks/0/properties", "name"))
            one = readings.amd(str(node), *texts)
            if one is not None:
                found.append(one)
    return found, None if found else "no AMD GPU node under /sys/class/kfd"


def vulkan() -> Probed:
    """By ``vulkaninfo``: a loader alone proves no device."""
    if ctypes.util.find_library("vulkan") is None:
        return [], "no Vulkan loader (libvulkan) is installed"
    said = _said(["vulkaninfo", "--summary"])
    if said is None:
        return [], "a Vulkan loader is installed, but vulkaninfo (package vulkan-tools) does not answer"
    found = readings.vulkan(said)
    real = [one for one in found if not one.software]
    if found and not real:
        return [], f"Vulkan has only a software renderer ({found[0].name})"
    return real, None if real else "vulkaninfo lists no device"


def apple() -> Probed:
    """Metal and the neural engine of Apple silicon."""
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return [], "not an Apple silicon Mac"
    said = _said(["system_profiler", "-json", "SPDisplaysDataType"]) or ""
    facts = {"hw.optional.arm64": "1", **_sysctl()}
    found = readings.apple(said, facts)
    return found, None if found else "system_profiler lists no GPU"


def cpu_features() -> tuple[str, ...]:
    """Instructions of this processor that matter, by the kernel's names."""
    if platform.system() == "Darwin":
        return readings.features_of_mac(_sysctl())
    with contextlib.suppress(OSError):
        return readings.features(Path("/proc/cpuinfo").read_text())
    return ()


def _card(library: object, index: int) -> Found:
    """One device by NVML. Old versions of its library answer in bytes."""
    ask = library  # the module, typed loosely: it is optional
    handle = ask.nvmlDeviceGetHandleByIndex(index)  # type: ignore[attr-defined]  # see above
    name = ask.nvmlDeviceGetName(handle)  # type: ignore[attr-defined]  # see above
    capability: tuple[int, int] | None = None
    with contextlib.suppress(AttributeError, ValueError, TypeError):
        major, minor = ask.nvmlDeviceGetCudaComputeCapability(handle)  # type: ignore[attr-defined]  # see above
        capability = (int(major), int(minor))
    return Found(
        backend=Backend.CUDA,
        name=name if isinstance(name, str) else name.decode(),
        memory_bytes=int(ask.nvmlDeviceGetMemoryInfo(handle).total),  # type: ignore[attr-defined]  # see above
        evidence=f"NVML device {index}",
        capability=capability,
    )


def _sysctl() -> dict[str, str]:
    names = ["hw.memsize", "machdep.cpu.brand_string", "hw.optional"]
    return readings.sysctl_facts(_said(["sysctl", *names]) or "")


def _said(command: list[str]) -> str | None:
    """What a tool prints; ``None`` when it is not there, fails or takes too long."""
    if shutil.which(command[0]) is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_S, check=True)  # noqa: S603 - fixed words
        return done.stdout
    return None
