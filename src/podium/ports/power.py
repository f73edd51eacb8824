"""What the energy counters of this machine say. Protocols; no implementation."""

from __future__ import annotations

from typing import Protocol

from podium.core.energy import CpuPower


class Power(Protocol):
    """Tells what a CPU second costs now."""

    def sample(self, now: float) -> None:
        """Read the counters, if there are any; ``now`` is monotonic seconds. Quick; never raises."""
        ...

    def cpu(self) -> CpuPower:
        """As of the newest sample. Takes microseconds."""
        ...
