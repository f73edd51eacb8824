"""Reads processes from the kernel: identity, CPU time, memory, descendants. It must not signal anything."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import psutil

from podium.domain.instance import ProcessUsage

_LINUX = sys.platform == "linux"
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def start_mark(pid: int) -> str | None:
    """Something no other process that ever gets this pid will share; ``None`` when there is no such process."""
    if _LINUX:
        stat = _stat(pid)
        if stat is None or stat[0] == "Z":
            return None
        return f"{stat[19]}@{_boot_id()}"
    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.2f}"
    return None


def living(pid: int) -> bool:
    """Whether the process still runs; a zombie that nobody has collected yet does not."""
    if _LINUX:
        stat = _stat(pid)
        return stat is not None and stat[0] not in ("Z", "X")
    return bool(psutil.pid_exists(pid))


def session_members(session: int) -> list[int]:
    """Processes of the session led by ``session``, living ones only."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session and start_mark(pid) is not None:
                found.append(pid)
    return found


def tree_usage(pid: int) -> ProcessUsage | None:
    """CPU seconds and memory of ``pid`` with everything below it; ``None`` once it is gone.

    CPU time of descendants that ended counts as soon as their parent collected them.
    """
    own = _cpu_clock(pid)
    if own is None:
        return None
    cpu_s, memory = own, _memory(pid)
    if _LINUX:
        stat = _stat(pid)
        if stat is None:
            return None
        cpu_s += (int(stat[13]) + int(stat[14])) / _TICK
    for child in descendants(pid):
        cpu_s += _cpu_clock(child) or 0.0
        memory += _memory(child)
    return ProcessUsage(cpu_s=cpu_s, memory_bytes=memory)


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    if not _LINUX:
        with contextlib.suppress(psutil.Error):
            return [each.pid for each in psutil.Process(pid).children(recursive=True)]
        return []
    found: list[int] = []
    queue = [pid]
    while queue:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{queue.pop()}/task").iterdir():
                below = [int(each) for each in (task / "children").read_text().split()]
                found += below
                queue += below
    return found


def _cpu_clock(pid: int) -> float | None:
    """CPU seconds used by all threads of ``pid``, exact to the nanosecond where the kernel has a clock for it."""
    if _LINUX:
        with contextlib.suppress(OSError):
            return time.clock_gettime((~pid << 3) | 2)
        return None
    with contextlib.suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return None


def _memory(pid: int) -> int:
    """Anonymous, shared and file pages in memory plus what is swapped out, in bytes; 0 when gone."""
    if not _LINUX:
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    total = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("VmRSS:", "VmSwap:")):
                total += int(line.split()[1]) * 1024
    return total


def _stat(pid: int) -> list[str] | None:
    """Fields of ``/proc/PID/stat`` after the name: state first."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
