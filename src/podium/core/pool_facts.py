"""What the planner of the warm pool looks at: devices, the instances on them, and the versions that are wanted.

Facts only, in bytes and seconds; they decide nothing. Whoever measures fills them in, ``core/planning`` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.domain.instance import InstanceState

RAM = "ram"
GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One memory that instances share: the RAM or one GPU."""

    id: str
    capacity_bytes: int
    """All that instances may hold together."""
    reserve_bytes: int = 0
    """The part of the capacity that is kept for helpers."""
    available_bytes: int | None = None
    """What the operating system says is free now; ``None``: unknown, then only the capacity counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One instance that holds memory or is about to."""

    id: str
    ref: str
    device: str
    footprint_bytes: int
    """Its whole footprint, also while it loads and drains."""
    state: InstanceState
    active: int = 0
    """Requests it answers now."""
    waiting: int = 0
    """Callers in the queue of its version."""
    idle_s: float = 0.0
    """Since it was last used."""
    age_s: float = 0.0
    """Since it became ready."""
    pinned: bool = False
    helper: bool = False
    load_s: float | None = None
    """What loading it took, ``None`` before it was measured (then counted as 1 s for every GiB)."""
    untouched_bytes: int = 0
    """While it loads: the part of its footprint the operating system still counts as available."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A version that should get one more instance."""

    ref: str
    footprint_bytes: int
    devices: tuple[str, ...] = (RAM,)
    """Where it may go, best first. Devices the snapshot does not hold are passed over."""
    waited_s: float = 0.0
    """How long its oldest caller has waited."""
    helper: bool = False
    """A judge or an embedding model: has the reserve, never evicts a serving model."""
    optional: bool = False
    """A further copy, a preload, a restore: takes free memory only and delays nobody."""
    load_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How long an instance may stay when others want its memory."""

    min_residency_s: float = 2.0
    """Nothing younger is evicted."""
    max_wait_s: float = 5.0
    """After that a caller's version may push out a busy one."""
    residency_loads: float = 4.0
    """A busy one stays at least this many times what loading it costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """The pool at one moment. Resident and device ids are unique; several residents or wants may share a ref."""

    devices: tuple[Device, ...]
    residents: tuple[Resident, ...]
    wants: tuple[Want, ...]
    """First come, first served."""
    rules: Rules = Rules()
