"""What the machine offers: memory, processors, accelerators. Protocols and small values; no implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from podium.core.hardware_plan import HardwarePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One GPU or NPU that was really found. ``evidence`` says how."""

    kind: str
    name: str
    memory_bytes: int | None
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What this machine is."""

    cpu_model: str | None
    cores_physical: int | None
    cores_logical: int
    memory_bytes: int
    memory_available_bytes: int
    accelerators: tuple[Accelerator, ...]
    unavailable: tuple[tuple[str, str], ...]
    """(what was looked for, why it is not usable)."""
    cpu_features: tuple[str, ...] = ()
    """Instructions that matter for models, such as AVX2 or NEON."""
    plan: HardwarePlan | None = None
    """Where a GGUF would be run, best first."""


class HostProbe(Protocol):
    """Reads the machine."""

    def facts(self) -> HostFacts: ...

    def accelerators(self) -> tuple[tuple[Accelerator, ...], tuple[tuple[str, str], ...]]:
        """What there is now, but for Vulkan, and (kind, why not) of the rest; cheap enough for every few seconds."""
        ...

    def memory_pressure(self) -> float | None:
        """The part of the last 10 s in which something waited for memory, in [0, 1]; ``None`` where nobody tells."""
        ...

    def devices(self) -> tuple[tuple[str, int], ...]:
        """Where models can be kept: (id, total bytes), ``RAM`` first. A container's limit counts as its total."""
        ...

    def free_bytes(self, device: str) -> int | None:
        """What can still be allocated there without swapping; ``None`` when nobody can say. Takes under 1 ms for RAM.

        Pages of mapped files count as free in RAM although running models need theirs: see ``ProcessUsage``.
        """
        ...
