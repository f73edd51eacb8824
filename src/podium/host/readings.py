"""Makes devices of what drivers and tools print. Pure text in, findings out, so that recordings of other machines are read
the same way. Sources: nvidia-smi(1), ROCm's ``/sys/class/kfd`` topology, vulkaninfo(1), system_profiler(8), sysctl(8).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from podium.domain.hardware import Backend, Found

NVIDIA_SMI = "nvidia-smi --query-gpu=index,name,memory.total,compute_cap,pci.bus_id --format=csv,noheader,nounits"
MIB = 1 << 20
_DEVICE = re.compile(r"^GPU(\d+):", re.MULTILINE)
_FEATURES = {
    "sse4_2": "SSE4.2", "avx": "AVX", "avx2": "AVX2", "f16c": "F16C", "fma": "FMA", "avx512f": "AVX512",
    "avx512_vnni": "AVX512-VNNI", "avx512_bf16": "AVX512-BF16", "avx512_fp16": "AVX512-FP16", "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX-INT8", "amx_bf16": "AMX-BF16", "asimd": "NEON", "asimdhp": "NEON-FP16", "asimddp": "NEON-DOTPROD",
    "i8mm": "NEON-I8MM", "bf16": "NEON-BF16", "sve": "SVE",
}  # fmt: skip
_SYSCTL = {
    "hw.optional.AdvSIMD": "asimd", "hw.optional.neon": "asimd", "hw.optional.arm.FEAT_FP16": "asimdhp",
    "hw.optional.arm.FEAT_DotProd": "asimddp", "hw.optional.arm.FEAT_I8MM": "i8mm", "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.avx2_0": "avx2", "hw.optional.avx512f": "avx512f",
}  # fmt: skip


def nvidia(text: str) -> list[Found]:
    """What ``NVIDIA_SMI`` prints. Lines that are none are passed over."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 5 or not parts[0].isdigit():
            continue
        index, name, memory, capability, bus = parts
        major, _, minor = capability.partition(".")
        known = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
        found.append(
            Found(
                backend=Backend.CUDA,
                name=name,
                memory_bytes=int(memory) * MIB if memory.isdigit() else None,
                evidence=f"nvidia-smi lists it as GPU {index}",
                capability=known,
                card=_pci(bus),
            )
        )
    return found


def amd(node: str, properties: str, memory: str, name: str) -> Found | None:
    """One node of ``/sys/class/kfd/kfd/topology/nodes``; ``None`` for one that is a processor."""
    facts = _pairs(properties)
    if int(facts.get("simd_count", "0")) <= 0:
        return None
    version = int(facts.get("gfx_target_version", "0"))
    target = f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}" if version else None
    size = _pairs(memory).get("size_in_bytes")
    location = int(facts.get("location_id", "0"))
    card = f"{int(facts.get('domain', '0')):04x}:{location >> 8:02x}:{location >> 3 & 31:02x}.{location & 7}"
    return Found(
        backend=Backend.ROCM,
        name=name.strip() or target or "AMD GPU",
        memory_bytes=int(size) if size is not None else None,
        evidence=f"{node} has {facts['simd_count']} SIMD units{f', target {target}' if target else ''}",
        target=target,
        card=card if location else None,
    )


def vulkan(text: str) -> list[Found]:
    """What ``vulkaninfo --summary`` prints."""
    found = []
    marks = list(_DEVICE.finditer(text))
    for place, mark in enumerate(marks):
        end = marks[place + 1].start() if place + 1 < len(marks) else len(text)
        facts = dict(re.findall(r"^\s+(\w+)\s*=\s*(.+?)\s*$", text[mark.end() : end], re.MULTILINE))
        kind = facts.get("deviceType", "")
        found.append(
            Found(
                backend=Backend.VULKAN,
                name=facts.get("deviceName", f"device {mark[1]}"),
                memory_bytes=None,
                evidence=f"vulkaninfo lists it as GPU{mark[1]}: {kind or 'of no type'}, API {facts.get('apiVersion', '?')}",
                software=kind.endswith("TYPE_CPU"),
            )
        )
    return found


def apple(profile: str, sysctl: Mapping[str, str]) -> list[Found]:
    """``system_profiler -json SPDisplaysDataType SPHardwareDataType`` and ``sysctl`` of a Mac with Apple silicon."""
    if sysctl.get("hw.optional.arm64") != "1":
        return []
    try:
        displays = json.loads(profile).get("SPDisplaysDataType", [])
    except (ValueError, AttributeError):
        displays = []
    memory = int(sysctl["hw.memsize"]) if sysctl.get("hw.memsize", "").isdigit() else None
    chip = sysctl.get("machdep.cpu.brand_string", "Apple silicon")
    found = []
    for display in displays:
        support = str(display.get("spdisplays_mtlgpufamilysupport") or display.get("spdisplays_metal") or "")
        if support:
            cores = display.get("sppci_cores", "?")
            found.append(
                Found(
                    backend=Backend.METAL,
                    name=str(display.get("sppci_model", chip)),
                    memory_bytes=memory,
                    evidence=f"system_profiler: {cores} cores, {support.removeprefix('spdisplays_')}; shares the memory",
                )
            )
    found.append(
        Found(
            backend=Backend.ANE,
            name=f"{chip} neural engine",
            memory_bytes=memory,
            evidence=f"{chip} (sysctl hw.optional.arm64 = 1): every Apple silicon Mac has one; only Core ML reaches it",
        )
    )
    return found


def features(cpuinfo: str) -> tuple[str, ...]:
    """Instructions that matter here, from ``/proc/cpuinfo``, by the kernel's names."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            there = set(value.split())
            return tuple(flag for flag in _FEATURES if flag in there)
    return ()


def features_of_mac(sysctl: Mapping[str, str]) -> tuple[str, ...]:
    """The same from ``sysctl hw.optional``."""
    return tuple(dict.fromkeys(flag for name, flag in _SYSCTL.items() if sysctl.get(name) == "1"))


def feature_names(flags: tuple[str, ...]) -> tuple[str, ...]:
    """As people write them."""
    return tuple(_FEATURES[flag] for flag in flags if flag in _FEATURES)


def sysctl_facts(text: str) -> dict[str, str]:
    """What ``sysctl NAME...`` prints."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def _pairs(text: str) -> dict[str, str]:
    return dict(line.split(None, 1) for line in text.splitlines() if len(line.split(None, 1)) == 2)


def _pci(bus: str) -> str:
    """``00000000:17:00.0`` and ``0000:17:00.0`` are the same card."""
    domain, _, rest = bus.lower().partition(":")
    return f"{domain[-4:]}:{rest}"
