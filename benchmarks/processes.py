"""Processes under measurement: start them pinned to one CPU, read what they really used, end them."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """CPU seconds of the tree from the scheduler's nanosecond accounting, all threads."""
    total = 0
    for pid in tree(root):
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1e9


def rss_mb(root: int) -> float:
    """Resident memory of the tree in MB."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    total += int(line.split()[1])
    return round(total / 1024, 1)


def core_busy_s(cpu: int) -> float:
    """Seconds the CPU was not idle since boot; the difference to what we started is foreign work."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            ticks = [int(v) for v in line.split()[1:9]]
            return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    raise LookupError(f"no CPU {cpu}")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


class Process:
    """One pinned child with its log."""

    def __init__(self, name: str, command: str, cpu: int, folder: Path, env: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        environ = {**os.environ, **(env or {})}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        with self.log.open("wb") as out:
            self._child = subprocess.Popen(
                ["taskset", "-c", str(cpu), *shlex.split(command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environ,
                cwd=folder,
                start_new_session=True,
            )
        self.pid = self._child.pid

    def wait_listening(self, port: int, limit_s: float) -> float:
        """Seconds until the port accepts."""
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            if self._child.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return time.monotonic() - began
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not listen on {port}:\n{self.log.read_text(errors='replace')[-1500:]}")

    def stop(self) -> None:
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(OSError):
                os.killpg(self.pid, sig)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(5)
                return
