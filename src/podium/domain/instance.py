"""A warm, running copy of a version, as others may see it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from podium.domain.record import record


class InstanceState(StrEnum):
    """Owned by the pool alone."""

    STOPPED = "stopped"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """A snapshot of one instance for ``podium ps`` and the API."""

    id: str
    ref: str
    state: InstanceState
    pid: int | None
    active: int
    waiting: int
    concurrency: int
    memory_mb: float | None
    cpu_s: float | None
    loaded_at: float | None
    load_s: float | None
    last_used_at: float | None
    pinned: bool
    error: str | None = None
    device: str | None = None
    gpu_memory_mb: float | None = None
    healthy: bool | None = None
    """False while it gets no requests because of failures; ``None`` when it does not run."""
    served: int = 0
    """Requests since it was loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """Those who wait for one version."""

    ref: str
    waiting: int
    oldest_s: float
    """How long the first has waited."""
    waits_for: str
    """In words."""
    expected_s: float | None
    """About how long a newcomer would wait; ``None`` when nothing is known yet."""


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUsage:
    """Counters of the processes behind an instance, read from the kernel."""

    cpu_s: float
    memory_bytes: int
    """What counts for the RAM budget: ``private_bytes`` plus ``file_bytes``.

    Mapped weights count although the kernel may take their pages away: a model whose weights are not in memory
    reads them from the disk for every token.
    """
    file_bytes: int = 0
    """Resident pages of mapped files. Two instances of one file share them, and they stay cached after an unload."""
    gpu_memory_bytes: int | None = None
    """On all GPUs together; ``None`` when no driver can be asked."""
    gpu_busy_s: float | None = None
    """Seconds in which GPUs worked for it since it was first asked; ``None`` when no driver tells."""
    gpu_joules: float | None = None
    """What GPUs drew for it above idle since then; ``None`` when no driver tells."""

    @property
    def private_bytes(self) -> int:
        """Anonymous, shared and swapped memory: what comes back when the processes end, resident or not."""
        return self.memory_bytes - self.file_bytes
