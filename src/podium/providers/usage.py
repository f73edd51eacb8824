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

FAMILY_S = 0.5
"""How long the list of descendants is believed: finding them reads a file per thread."""
GPU_S = 1.0
"""How long an answer of the driver is believed: it may take milliseconds."""


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

    def usage(self) -> ProcessUsage | None:
        """Counters of the whole tree now; ``None`` once its root is gone.

        CPU time of a descendant that ended counts from the moment its parent collected it.
        """
        cpu_s = procfs.cpu_seconds(self._pid)
        if cpu_s is None:
            return None
        memory = procfs.memory(self._pid)
        private, file = memory.private, memory.file
        for pid in self.family():
            cpu_s += procfs.cpu_seconds(pid) or 0.0
            memory = procfs.memory(pid)
            private += memory.private
            file += memory.file
        return ProcessUsage(
            cpu_s=cpu_s, memory_bytes=private + file, file_bytes=file, gpu_memory_bytes=self._gpu_bytes()
        )

    def family(self) -> tuple[int, ...]:
        """The other processes, a list ``FAMILY_S`` old."""
        now = self._clock()
        if now - self._family_at >= FAMILY_S:
            below = procfs.descendants(self._pid if self._reaper is None else self._reaper)
            self._family, self._family_at = tuple(pid for pid in below if pid != self._pid), now
        return self._family

    def _gpu_bytes(self) -> int | None:
        driver = nvml.opened()
        if driver is None:
            return None
        now = self._clock()
        if now - self._gpu_at >= GPU_S:
            self._gpu, self._gpu_at = driver.used_by({self._pid, *self.family()}), now
        return self._gpu
