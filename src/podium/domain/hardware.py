"""What a probe of the hardware found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Backend(StrEnum):
    """What computes."""

    CUDA = "cuda"
    ROCM = "rocm"
    VULKAN = "vulkan"
    METAL = "metal"
    ANE = "ane"
    CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One device, and the evidence that it is there."""

    backend: Backend
    name: str
    memory_bytes: int | None
    evidence: str
    capability: tuple[int, int] | None = None
    """CUDA's compute capability."""
    target: str | None = None
    """ROCm's target, such as ``gfx90a``."""
    card: str | None = None
    """PCI address, where it is known: two backends may see the same card."""
    software: bool = False
    """A renderer that runs on the CPU."""
