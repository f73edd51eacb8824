"""Reads processes from the kernel: identity, CPU time, memory, descendants. It must not signal anything."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_LINUX = sys.platform == "linux"
MARKER = "PODIUM_INSTANCE"
"""Environment variable that tells what belongs to one instance."""
_SIZES = re.compile(rb"^(RssAnon|RssFile|RssShmem|VmSwap):\s+(\d+) kB$", re.MULTILINE)
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


def marked(marker: str) -> list[int]:
    """Living processes of this user that were started with ``MARKER=marker`` in their environment, wherever they
    belong now. Reads the environment of every process: for rare occasions. Linux only.
    """
    if not _LINUX or not marker:
        return []
    entry = f"{MARKER}={marker}".encode()
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and living(pid):
                found.append(pid)
    return found


def cpu_times(pid: int) -> tuple[float, float] | None:
    """CPU seconds of ``pid`` itself, and of the children it has collected; ``None`` when it is gone."""
    own = _cpu_clock(pid)
    if own is None or not _LINUX:
        return None if own is None else (own, 0.0)
    stat = _stat(pid)
    if stat is None:
        return None
    return own, (int(stat[13]) + int(stat[14])) / _TICK


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process. ``private``: anonymous, shared between processes, and swapped out. ``file``: resident
    pages of files, which the kernel can read again.
    """

    private: int
    file: int


def memory(pid: int) -> Memory:
    """What ``pid`` holds now; nothing when it is gone. Off Linux there is only the resident size, as ``private``.

    Source: Documentation/filesystems/proc.rst, ``RssAnon``, ``RssFile``, ``RssShmem``, ``VmSwap`` (in KiB).
    """
    if not _LINUX:
        with contextlib.suppress(psutil.Error):
            return Memory(int(psutil.Process(pid).memory_info().rss), 0)
        return Memory(0, 0)
    with contextlib.suppress(OSError):
        raw = _read(f"/proc/{pid}/status")
        sizes = {name: int(size) * 1024 for name, size in _SIZES.findall(raw)}
        private = sizes.get(b"RssAnon", 0) + sizes.get(b"RssShmem", 0) + sizes.get(b"VmSwap", 0)
        return Memory(private, sizes.get(b"RssFile", 0))
    return Memory(0, 0)


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


def _stat(pid: int) -> list[str] | None:
    """Fields of ``/proc/PID/stat`` after the name: state first."""
    with contextlib.suppress(OSError):
        return _read(f"/proc/{pid}/stat").rpartition(b")")[2].decode().split()
    return None


def _read(path: str) -> bytes:
    """A whole small file of the kernel's in one system call; pathlib and text would double the time."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
