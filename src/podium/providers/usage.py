"""What a tree of processes uses: CPU time, memory, GPU memory. Read on the way of every request, so it is cheap.

What is cheap was measured on Linux 6.18: ``/proc/PID/status`` takes 20 µs whatever the size of the process,
``smaps_rollup`` (which would split shared pages exactly) 15 ms per GiB, as it walks the page tables. So pages that
several processes of one tree share after a fork count once for each of them: an upper bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from podium import nvml
from podium.domain.instance import ProcessUsage
from podium.providers import procfs
from podium.providers.cpu_total import CpuTotal
from podium.providers.gpu_share import GpuShare

FAMILY_S = 0.5
"""How long the list of descendants is believed: finding them reads a file per thread."""
GPU_S = 1.0
"""How long an answer of the driver is believed: it may take milliseconds."""
GPU_SHARE_S = 0.1
"""The same for time and energy, which requests are charged for."""


class ProcessTree:
    """A process and everything below it, and below ``reaper``, which inherits what lost its parent.

    ``clock`` is monotonic seconds.
    """

    def __init__(self, pid: int, reaper: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._reaper = reaper
        self._clock = clock
        self._family: tuple[int, ...] = ()
        self._family_at = -FAMILY_S
        self._gpu: int | None = None
        self._gpu_at = -GPU_S
        self._share: GpuShare | None = None
        self._share_at = -GPU_S
        self._cpu = CpuTotal()

    def usage(self) -> ProcessUsage | None:
        """Counters of the whole tree now; ``None`` once its root is gone.

        CPU time of a descendant that ended counts from the moment its parent collected it, and never twice.
        """
        own = procfs.cpu_times(self._pid)
        if own is None:
            return None
        times = {self._pid: own}
        memory = procfs.memory(self._pid)
        private, file = memory.private, memory.file
        for pid in self.family():
            used = procfs.cpu_times(pid)
            if used is None:
                continue
            times[pid] = used
            memory = procfs.memory(pid)
            private += memory.private
            file += memory.file
        held, busy_s, joules = self._gpu_use()
        return ProcessUsage(
            cpu_s=self._cpu.read(times),
            memory_bytes=private + file,
            file_bytes=file,
            gpu_memory_bytes=held,
            gpu_busy_s=busy_s,
            gpu_joules=joules,
        )

    def family(self) -> tuple[int, ...]:
        """The other processes, a list ``FAMILY_S`` old."""
        now = self._clock()
        if now - self._family_at >= FAMILY_S:
            below = procfs.descendants(self._pid if self._reaper is None else self._reaper)
            self._family, self._family_at = tuple(pid for pid in below if pid != self._pid), now
        return self._family

    def _gpu_use(self) -> tuple[int | None, float | None, float | None]:
        """Bytes held, seconds used and joules drawn, as of a moment ago."""
        driver = nvml.opened()
        if driver is None:
            return None, None, None
        now = self._clock()
        ours = {self._pid, *self.family()}
        if now - self._gpu_at >= GPU_S:
            self._gpu, self._gpu_at = driver.used_by(ours), now
        if self._share is None:
            self._share = GpuShare(driver)
        if now - self._share_at >= GPU_SHARE_S:
            self._share.read(ours, now)
            self._share_at = now
        return self._gpu, self._share.busy_s, self._share.joules
