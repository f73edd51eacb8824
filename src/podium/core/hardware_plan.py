"""Which backend and precision would run a model on a machine. Pure: feed it what a probe found, or a recording of it.

Owns the order. On Apple silicon: Core ML on the neural engine, else Metal, else the CPU. On GPUs: CUDA, ROCm, else Vulkan,
else the CPU. Core ML runs only models converted for it, so it is first in line only for those. A plan is what would be
tried first; that it is faster is measured (``gain``), never assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from podium.domain.hardware import Backend, Found

VOLTA, AMPERE = (7, 0), (8, 0)
FP16_GFX = 900
"""Vega (gfx900) and newer compute in 16 bits."""
BF16_GFX = frozenset({"gfx908", "gfx90a", "gfx940", "gfx941", "gfx942", "gfx950"})
BF16_GFX_SERIES = ("gfx11", "gfx12")


class Precision(StrEnum):
    """Of weights and sums that are not quantized."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One place a model may run, and why it is in this place of the order."""

    backend: Backend
    device: str
    precision: Precision
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwarePlan:
    """Best first; the last one is always the CPU. ``left_out``: (backend, why it is not in the plan)."""

    steps: tuple[Step, ...]
    left_out: tuple[tuple[Backend, str], ...]

    @property
    def first(self) -> Step:
        """What would be tried first."""
        return self.steps[0]


@dataclass(frozen=True, slots=True)
class Gain:
    """What an accelerator really brought: times as fast, and joules for the same work, against the CPU."""

    speed: float
    energy: float | None
    worth_it: bool


def plan(
    found: Sequence[Found], *, cpu_features: Iterable[str] = (), formats: Iterable[str] = ("gguf",)
) -> HardwarePlan:
    """The order for what was found. ``formats``: in which forms the model is there (``gguf``, ``safetensors``, ``coreml``,
    ``onnx``, ``mlx``).
    """
    forms, features = frozenset(formats), frozenset(cpu_features)
    by_kind: dict[Backend, list[Found]] = {}
    for one in found:
        by_kind.setdefault(one.backend, []).append(one)
    steps: list[Step] = []
    left: list[tuple[Backend, str]] = []
    covered: set[str] = set()
    for backend in (Backend.ANE, Backend.METAL, Backend.CUDA, Backend.ROCM, Backend.VULKAN):
        devices = by_kind.get(backend, [])
        if not devices:
            left.append((backend, "not found"))
            continue
        for device in sorted(devices, key=lambda one: -(one.memory_bytes or 0)):
            problem = _problem(device, forms, covered)
            if problem is not None:
                left.append((backend, f"{device.name}: {problem}"))
                continue
            if device.card is not None:
                covered.add(device.card)
            steps.append(_step(device))
    steps.append(_cpu(features))
    return HardwarePlan(steps=tuple(steps), left_out=tuple(left))


def gain(cpu_s: float, device_s: float, cpu_joules: float | None = None, device_joules: float | None = None) -> Gain:
    """Compare the same work on the CPU and on a device, in seconds (and joules, where both are known). It is worth it when
    it is a tenth faster. Raises ``ValueError`` for times that are not above 0.
    """
    if not (cpu_s > 0 and device_s > 0):
        raise ValueError(f"times are above 0, not {cpu_s} and {device_s}")
    speed = cpu_s / device_s
    energy = device_joules / cpu_joules if cpu_joules and device_joules is not None else None
    return Gain(speed, energy, worth_it=speed >= 1.1)


def _problem(device: Found, forms: frozenset[str], covered: set[str]) -> str | None:
    if device.backend is Backend.ANE and "coreml" not in forms:
        return "the neural engine runs models converted to Core ML only"
    if device.backend is not Backend.ANE and forms == {"coreml"}:
        return "a Core ML model is run by Core ML"
    if device.backend is Backend.VULKAN and device.software:
        return "a software renderer, which is the CPU in disguise"
    if device.backend is Backend.VULKAN and device.card is not None and device.card in covered:
        return "the same card is in the plan by its own driver already"
    if device.backend is Backend.ROCM and device.target is not None and not _gfx(device.target):
        return f"{device.target} is older than ROCm supports"
    return None


def _step(device: Found) -> Step:
    match device.backend:
        case Backend.ANE:
            precision, why = Precision.FP16, "Core ML on the neural engine comes first on Apple silicon"
        case Backend.METAL:
            precision, why = Precision.FP16, "Metal comes after the neural engine, and before the CPU"
        case Backend.CUDA:
            known = device.capability
            precision = Precision.FP16 if known is not None and VOLTA <= known < AMPERE else Precision.BF16
            if known is not None and known < VOLTA:
                precision = Precision.FP32
            said = "of unknown capability" if known is None else f"of compute capability {known[0]}.{known[1]}"
            why = f"CUDA comes first among GPUs; {said}"
            if known is None:
                precision = Precision.FP16
        case Backend.ROCM:
            target = device.target or ""
            bf16 = target in BF16_GFX or target.startswith(BF16_GFX_SERIES)
            precision = Precision.BF16 if bf16 else Precision.FP16
            why = f"ROCm comes after CUDA; {target or 'its target is unknown'}"
        case Backend.VULKAN:
            precision, why = Precision.FP16, "Vulkan comes where neither CUDA nor ROCm is"
        case Backend.CPU:
            raise AssertionError("the CPU is no accelerator")
    return Step(backend=device.backend, device=device.name, precision=precision, why=why)


def _cpu(features: frozenset[str]) -> Step:
    if "avx512_bf16" in features or "bf16" in features:
        return Step(backend=Backend.CPU, device="cpu", precision=Precision.BF16, why="the CPU multiplies bf16 itself")
    if "avx512_fp16" in features or "asimdhp" in features or "neon_fp16" in features:
        return Step(backend=Backend.CPU, device="cpu", precision=Precision.FP16, why="the CPU multiplies fp16 itself")
    return Step(backend=Backend.CPU, device="cpu", precision=Precision.FP32, why="the CPU is always there")


def _gfx(target: str) -> bool:
    """Whether a target such as ``gfx90a`` is ``FP16_GFX`` or newer; its last two digits are hexadecimal."""
    digits = target.removeprefix("gfx")
    try:
        return int(digits[:-2]) * 100 + int(digits[-2:], 16) >= FP16_GFX
    except ValueError:
        return False
