"""The gateway's side of the sandbox: starts one confined child per job, bounds what it may take, ends it.

Blocking on purpose: call it in a thread. What the child does to itself is in ``child.py`` and ``kernel.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from podium.domain.benchmark import Grade
from podium.errors import InternalError

MB = 1024 * 1024
LAYERS = ("namespaces", "landlock", "seccomp", "hook")
"""Linux namespaces, file rules and system call filter, and Python's audit events where there is nothing better."""
_CHILD = Path(__file__).with_name("child.py")
_KEPT_REPORT = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one job. ``disk_bytes`` bounds all files together where an own file system can be mounted."""

    wall_s: float = 20.0
    cpu_s: int = 4
    memory_bytes: int = 512 * MB
    file_bytes: int = 4 * MB
    disk_bytes: int = 16 * MB
    output_bytes: int = 1 * MB


@dataclass(slots=True)
class _Ended:
    reports: list[dict[str, object]]
    status: int | None = None
    cut: str = ""
    """Why it was killed, empty if it was not."""


class Sandbox:
    """Confines jobs by every layer of ``layers`` that this machine offers; ``confinement`` says which hold."""

    def __init__(self, limits: Limits | None = None, layers: tuple[str, ...] = LAYERS) -> None:
        self.limits = limits or Limits()
        self._layers = layers
        self._found: Mapping[str, str] | None = None
        self._lock = threading.Lock()
        self._running: dict[int, bool] = {}
        """By process group: whether it was told to end."""
        self._jobs = threading.Lock()

    def close(self) -> None:
        """End every job; whoever waits for one gets a grade of 0. Jobs can be started again afterwards."""
        with self._jobs:
            for pid in self._running:
                self._running[pid] = True
                _kill(pid)

    def confinement(self) -> Mapping[str, str]:
        """What confines network, processes, files, disk and resources here, found by a trial. Blocks ~50 ms once."""
        with self._lock:
            if self._found is None:
                ended = self._run({"mode": "search", "pattern": "a", "text": "a"}, self.limits)
                self._found = next((_texts(one["confinement"]) for one in ended.reports if "confinement" in one), None)
            if self._found is None:
                raise InternalError("the sandbox does not start on this machine; suites with code cannot be graded")
            return self._found

    def run_tests(self, code: str, tests: str) -> Grade:
        """1 when ``tests`` run to their end after ``code``, else 0 with the reason. Never raises for what code does."""
        ended = self._run({"mode": "tests", "code": code, "tests": tests}, self.limits)
        verdict = next((one for one in ended.reports if "passed" in one), None)
        if verdict is not None and not ended.cut:
            return Grade(score=1.0 if verdict["passed"] is True else 0.0, why=str(verdict["why"])[:200])
        return Grade(score=0.0, why=self._why(ended))

    def search(self, pattern: str, text: str, cpu_s: int = 1) -> bool | None:
        """Whether the pattern is found in the text; ``None`` when that took longer than allowed."""
        limits = Limits(wall_s=self.limits.wall_s, cpu_s=cpu_s, memory_bytes=self.limits.memory_bytes)
        ended = self._run({"mode": "search", "pattern": pattern, "text": text}, limits)
        verdict = next((one for one in ended.reports if "passed" in one), None)
        return None if verdict is None else verdict["passed"] is True

    def _why(self, ended: _Ended) -> str:
        if ended.cut:
            return ended.cut
        if not any("confinement" in one for one in ended.reports):
            raise InternalError("the sandbox did not start; run `podium bench ls` to see what this machine offers")
        if ended.status is not None and os.WIFSIGNALED(ended.status):
            number = os.WTERMSIG(ended.status)
            if number == signal.SIGKILL:
                return f"used more than {self.limits.cpu_s} s of CPU"
            return f"ended by {signal.Signals(number).name}"
        return "ended before its tests did"

    def _run(self, job: Mapping[str, object], limits: Limits) -> _Ended:
        folder = tempfile.mkdtemp(prefix="podium-sandbox-")
        report_read, report_write = os.pipe()
        token = secrets.token_hex(8)
        order = {
            **asdict(limits), **job, "folder": folder, "report": report_write, "token": token,
            "layers": list(self._layers), "home": str(_CHILD.parent), "parent": os.getpid(),
        }  # fmt: skip
        try:
            process = subprocess.Popen(  # noqa: S603 # our own interpreter and script
                [sys.executable, "-I", "-S", "-B", str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(report_write,),
                cwd=folder,
                env={},
                start_new_session=True,
            )
        except OSError as error:
            os.close(report_read)
            os.close(report_write)
            shutil.rmtree(folder, ignore_errors=True)
            raise InternalError(f"the sandbox cannot start a process: {error}") from error
        os.close(report_write)
        self._running[process.pid] = False
        try:
            ended = _watch(process, json.dumps(order).encode() + b"\n", report_read, token, limits)
            ended.cut = ended.cut or ("ended because the gateway closes" if self._running[process.pid] else "")
            return ended
        finally:
            with self._jobs:
                del self._running[process.pid]
            _kill(process.pid)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            os.close(report_read)
            shutil.rmtree(folder, ignore_errors=True)


def _kill(group: int) -> None:
    """The launcher leads the group; the worker dies with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _watch(process: subprocess.Popen[bytes], order: bytes, report: int, token: str, limits: Limits) -> _Ended:
    """Feed the order, count the output, collect reports, until the child is done or out of time."""
    assert process.stdin is not None
    assert process.stdout is not None
    deadline = time.monotonic() + limits.wall_s
    stdin, stdout = process.stdin.fileno(), process.stdout.fileno()
    ended = _Ended([])
    printed, lines, left = 0, b"", order
    with selectors.DefaultSelector() as selector:
        os.set_blocking(stdin, False)
        selector.register(stdin, selectors.EVENT_WRITE)
        selector.register(stdout, selectors.EVENT_READ)
        selector.register(report, selectors.EVENT_READ)
        while report in selector.get_map():
            rest = deadline - time.monotonic()
            if rest <= 0:
                ended.cut = f"took longer than {limits.wall_s:g} s"
                break
            for key, _ in selector.select(rest):
                if key.fd == stdin:
                    left = _feed(stdin, left)
                    if not left:
                        selector.unregister(stdin)
                elif not (data := os.read(key.fd, 65536)):
                    selector.unregister(key.fd)
                elif key.fd == stdout:
                    printed += len(data)
                elif len(lines) < _KEPT_REPORT:
                    lines += data
            if printed > limits.output_bytes:
                ended.cut = f"printed more than {limits.output_bytes} bytes"
                break
    ended.reports.extend(_reports(lines, token))
    status = next((one["status"] for one in ended.reports if "status" in one), None)
    ended.status = status if isinstance(status, int) else None
    return ended


def _reports(lines: bytes, token: str) -> list[dict[str, object]]:
    """What the child itself said; other lines were written by the code."""
    found = []
    for line in lines.splitlines():
        with contextlib.suppress(ValueError):
            report = json.loads(line)
            if isinstance(report, dict) and report.get("token") == token:
                found.append(report)
    return found


def _feed(fd: int, left: bytes) -> bytes:
    try:
        return left[os.write(fd, left) :]
    except BlockingIOError:
        return left
    except OSError:
        return b""


def _texts(value: object) -> Mapping[str, str]:
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, Mapping) else {}
