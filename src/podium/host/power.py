"""Reads energy counters: RAPL under ``/sys/class/powercap`` (Intel and AMD), or the model when there is none readable.

Source: Documentation/power/powercap/powercap.rst: ``energy_uj`` counts microjoules and starts anew at
``max_energy_range_uj``. Only packages are read: what is inside of one (core, uncore) is part of it. Kernels since 5.10
let only root read them.
"""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

from podium.core.energy import CpuPower, Family, PackageRate, family_of, modelled
from podium.domain.cost import Method
from podium.domain.unmeasured import APPLE

POWERCAP = Path("/sys/class/powercap")
PROC = Path("/proc")
_TICK_S = 0.01
"""Of ``/proc/stat``: USER_HZ is 100 on every architecture Linux runs models on."""


class HostPower:
    """One per gateway. ``watts_per_core`` and ``idle_watts`` are those configured."""

    def __init__(
        self,
        *,
        watts_per_core: float | None = None,
        idle_watts: float | None = None,
        powercap: Path = POWERCAP,
        proc: Path = PROC,
    ) -> None:
        self._proc = proc
        self._counters = [_Counter(folder) for folder in packages(powercap)]
        self._counters = [counter for counter in self._counters if counter.read() is not None]
        busy = self._machine()
        cores = busy[1] if busy is not None else 1
        self._rate = PackageRate(cores, idle_watts) if self._counters and busy is not None else None
        self._model = modelled(watts_per_core, idle_watts, family_here(proc))
        if self._model.joules is None and platform.system() == "Darwin":
            self._model = CpuPower(joules=None, method=Method.UNAVAILABLE, source="nothing", reason=APPLE)

    def sample(self, now: float) -> None:
        """Read the counters; some 50 µs a package, nothing where there are none."""
        if self._rate is None:
            return
        machine = self._machine()
        readings = [counter.read() for counter in self._counters]
        if machine is None or None in readings:
            return
        self._rate.read(now, sum(reading for reading in readings if reading is not None), machine[0])

    def cpu(self) -> CpuPower:
        """Measured where a counter tells, else by the model."""
        if self._rate is None or self._rate.rate is None:
            return self._model
        names = ", ".join(counter.name for counter in self._counters)
        return CpuPower(
            joules=self._rate.rate,
            method=Method.MEASURED,
            source=f"the energy counters of {names}, shared by CPU time",
            idle_watts=self._rate.idle_watts,
        )

    def _machine(self) -> tuple[float, int] | None:
        """CPU seconds used by everything on this machine, and how many processors there are."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = (self._proc / "stat").read_text().splitlines()
            user, nice, system, _, _, irq, softirq, steal = (int(each) for each in lines[0].split()[1:9])
            cores = sum(line.startswith("cpu") for line in lines) - 1
            return (user + nice + system + irq + softirq + steal) * _TICK_S, max(1, cores)
        return None


class _Counter:
    """One package, in joules since the first reading; survives its counter starting anew."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self.name = _text(folder / "name") or folder.name
        self._range = int(_text(folder / "max_energy_range_uj") or 0)
        self._last: int | None = None
        self._joules = 0.0

    def read(self) -> float | None:
        """``None`` when it cannot be read."""
        text = _text(self._file)
        if text is None or not text.isdigit():
            return None
        now = int(text)
        if self._last is not None:
            moved = now - self._last
            if moved < 0:
                moved = max(0, moved + self._range)
            self._joules += moved / 1e6
        self._last = now
        return self._joules


def packages(powercap: Path = POWERCAP) -> list[Path]:
    """Folders of whole packages. ``intel-rapl-mmio`` shows the same package a second time."""
    found = []
    with contextlib.suppress(OSError):
        for folder in sorted(powercap.iterdir()):
            name = folder.name
            if name.count(":") == 1 and "mmio" not in name and (_text(folder / "name") or "").startswith("package"):
                found.append(folder)
    return found


def why_no_counter(powercap: Path = POWERCAP) -> str | None:
    """Why there is no energy counter of the processors, or ``None`` when there is one."""
    if not powercap.is_dir():
        return f"{powercap} is not there (a virtual machine, or a kernel without intel_rapl)"
    found = packages(powercap)
    if not found:
        return f"no package under {powercap}"
    if all(_text(folder / "energy_uj") is None for folder in found):
        return f"{found[0] / 'energy_uj'} may be read by root only; see docs/metering.md for a rule that opens it"
    return None


def family_here(proc: Path = PROC) -> Family | None:
    """The processor's family in the table of the model."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (proc / "cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    with contextlib.suppress(KeyError, ValueError):
        numbers = (int(facts[name]) for name in ("cpu family", "model", "stepping"))
        return family_of(facts["vendor_id"], *numbers)
    return None


def _text(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return None
