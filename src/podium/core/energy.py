"""From joules of a whole package to joules of one process's CPU second. Pure: readings in, rates out.

The stated rule. A package's counter (RAPL) tells the energy of everything on it. Its idle power, which it draws whether
or not anybody asks, is charged to nobody: it is shown apart. What is above it is shared by CPU time, so a process pays
for its CPU seconds the joules that a CPU second of this machine cost at that time.

Without a counter the model is: CPU seconds times the watts that a busy hardware thread adds. They are configured, or
those of the processor's family in ``FAMILIES``: (watts per hardware thread at full load) minus (the same at idle).
Source: coefficients of Cloud Carbon Footprint (2023), made from SPECpower_ssj2008 results, as cited in
https://greenkubecloud.github.io/GreenKube/docs/power_estimation_methodology.html.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.domain.cost import Method
from podium.domain.unmeasured import NO_MODEL

SHORTEST_S = 0.05
"""A package's counter moves every millisecond; over a shorter time noise is read."""
IDLE_S = 1.0
"""A window in which idle power is measured."""
IDLE_SHARE = 0.05
"""Of the processors' time may be in use while that is called idle."""
BUSY_SHARE = 0.02
"""Less than that in use tells nothing of what a CPU second costs."""
MOST_WATTS = 100.0
"""No hardware thread draws more; a reading above it is no reading."""


@dataclass(frozen=True, slots=True)
class Family:
    """Watts of one hardware thread."""

    name: str
    idle: float
    full: float


FAMILIES: tuple[tuple[str, int, tuple[int, ...], tuple[int, ...] | None, Family], ...] = (
    ("GenuineIntel", 6, (60, 63, 69, 70), None, Family("Haswell", 1.90, 5.99)),
    ("GenuineIntel", 6, (61, 71, 79, 86), None, Family("Broadwell", 0.71, 3.54)),
    ("GenuineIntel", 6, (85,), (0, 1, 2, 3, 4), Family("Skylake", 0.64, 4.05)),
    ("GenuineIntel", 6, (85,), (5, 6, 7), Family("Cascade Lake", 0.64, 3.80)),
    ("AuthenticAMD", 23, (1,), None, Family("EPYC 1st generation", 0.82, 2.55)),
    ("AuthenticAMD", 23, (49,), None, Family("EPYC 2nd generation", 0.47, 1.64)),
    ("AuthenticAMD", 25, (0, 1), None, Family("EPYC 3rd generation", 0.45, 1.87)),
)
"""(vendor, family, models, steppings or all, watts) by what CPUID says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPower:
    """What a CPU second costs. ``joules`` is ``None`` when nobody knows; then ``reason`` says why."""

    joules: float | None
    method: Method
    source: str
    reason: str | None = None
    idle_watts: float | None = None
    """Charged to nobody."""


def family_of(vendor: str, family: int, model: int, stepping: int) -> Family | None:
    """The processor's family, if it is in the table."""
    for known, number, models, steppings, found in FAMILIES:
        if (vendor, family) == (known, number) and model in models and (steppings is None or stepping in steppings):
            return found
    return None


def modelled(watts_per_core: float | None, idle_watts: float | None, family: Family | None) -> CpuPower:
    """The model that holds without a counter."""
    if watts_per_core is not None:
        source = f"{watts_per_core:g} W for each busy hardware thread, as configured"
        return CpuPower(joules=watts_per_core, method=Method.ESTIMATED, source=source, idle_watts=idle_watts)
    if family is not None:
        watts = family.full - family.idle
        source = f"{watts:.2f} W for each busy hardware thread, the table's value for {family.name}"
        return CpuPower(joules=watts, method=Method.ESTIMATED, source=source, idle_watts=idle_watts)
    return CpuPower(joules=None, method=Method.UNAVAILABLE, source="nothing", reason=NO_MODEL, idle_watts=idle_watts)


class PackageRate:
    """What a CPU second of a machine with a package counter costs, from one reading to the next.

    ``idle_watts``: as configured; without it the lowest power seen while the machine was idle.
    """

    def __init__(self, cores: int, idle_watts: float | None = None) -> None:
        self._cores = cores
        self._configured = idle_watts
        self._idle: float | None = None
        self._last: tuple[float, float, float] | None = None
        self._idle_from: tuple[float, float, float] | None = None
        self.rate: float | None = None
        """Joules per CPU second above idle, in the newest piece of time that tells."""

    @property
    def idle_watts(self) -> float | None:
        """Of all packages together; ``None`` until it was seen."""
        return self._configured if self._configured is not None else self._idle

    def read(self, at: float, joules: float, cpu_s: float) -> None:
        """Cumulative joules of the packages and CPU seconds of the whole machine at a time. What goes back is ignored."""
        if self._last is None or at < self._last[0] or joules < self._last[1] or cpu_s < self._last[2]:
            self._last = self._idle_from = (at, joules, cpu_s)
            return
        seconds, spent, used = at - self._last[0], joules - self._last[1], cpu_s - self._last[2]
        if seconds < SHORTEST_S:
            return
        self._last = (at, joules, cpu_s)
        share = used / (seconds * self._cores)
        if share >= IDLE_SHARE:
            self._idle_from = self._last
        elif self._idle_from is not None and at - self._idle_from[0] >= IDLE_S:
            watts = (joules - self._idle_from[1]) / (at - self._idle_from[0])
            self._idle = watts if self._idle is None else min(self._idle, watts)
            self._idle_from = self._last
        if share >= BUSY_SHARE:
            found = max(0.0, spent - (self.idle_watts or 0.0) * seconds) / used
            if found <= MOST_WATTS:
                self.rate = found
