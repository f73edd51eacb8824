"""``podium`` commands and gateways as processes forked from one that has imported Podium (see ``fork_server``).

For tests of what a command or gateway does. A test of how one starts (imports, arguments of the interpreter, its memory,
its environment as the kernel sees it) starts one anew: ``subprocess`` with ``sys.executable -m podium``.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

SCRIPT = Path(__file__).with_name("fork_server.py")


class _Forks:
    """The process that forks for this process of pytest, from its first use on."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._orders: socket.socket | None = None

    def start(
        self, words: tuple[str, ...], env: Mapping[str, str], cwd: Path | str, streams: tuple[int, int, int]
    ) -> int:
        """Fork a process; the descriptor returned is told its id and then how it ended, a line each."""
        with self._starting:
            if self._orders is None:
                self._orders = self._served()
        order = json.dumps({"words": words, "env": dict(env), "cwd": str(cwd)}).encode()
        hears, tells = os.pipe()
        try:
            socket.send_fds(self._orders, [order], [*streams, tells])
        except BaseException:
            os.close(hears)
            raise
        finally:
            os.close(tells)
        return hears

    def _served(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(SCRIPT), str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()

        def end() -> None:
            ours.close()
            process.wait(30)

        atexit.register(end)
        return ours


_forks = _Forks()


class Process:
    """A ``podium`` command under way; as much of ``subprocess.Popen`` as the tests use."""

    def __init__(
        self,
        words: tuple[str, ...],
        *,
        stdout: IO[bytes] | int,
        stderr: IO[bytes] | int,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        stdin: IO[bytes] | None = None,
        program: tuple[str, ...] = ("-m", "podium"),
    ) -> None:
        out, err = (given if isinstance(given, int) else given.fileno() for given in (stdout, stderr))
        with Path(os.devnull).open("rb") as nothing:
            streams = ((stdin or nothing).fileno(), out, out if err == subprocess.STDOUT else err)
            self._ends = _forks.start(
                (*program, *words), os.environ if env is None else env, cwd or Path.cwd(), streams
            )
        self.returncode: int | None = None
        self._heard = b""
        while b"\n" not in self._heard:
            assert self._hear(None), "the process that forks has ended"
        pid, self._heard = self._heard.split(b"\n", 1)
        self.pid = int(pid)

    def _hear(self, timeout_s: float | None) -> bool:
        """Read what is there within that time. Returns whether there may be more."""
        if not select.select([self._ends], [], [], timeout_s)[0]:
            return True
        some = os.read(self._ends, 64)
        self._heard += some
        return bool(some)

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, as ``Popen.returncode`` says it. Raises ``subprocess.TimeoutExpired``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if deadline is None else deadline - time.monotonic()
            more = self._hear(None if left is None else max(0.0, left))
            if self._heard.endswith(b"\n"):
                self.returncode = int(self._heard)
                os.close(self._ends)
            elif not more:
                raise RuntimeError("the process that forks has ended")
            elif left is not None and left <= 0:
                raise subprocess.TimeoutExpired("podium", timeout or 0)
        return self.returncode

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def podium(
    *words: str, env: Mapping[str, str] | None = None, cwd: Path | str | None = None, timeout: float = 60,
    check: bool = False, stdin: IO[bytes] | None = None, program: tuple[str, ...] = ("-m", "podium"),
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a command to its end, or another ``program``: what follows ``python``. Raises as ``subprocess.run`` does."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = Process(words, stdout=out, stderr=err, env=env, cwd=cwd, stdin=stdin, program=program)
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            raise
        out.seek(0)
        err.seek(0)
        done = subprocess.CompletedProcess((*program, *words), code, out.read().decode(), err.read().decode())
    if check:
        done.check_returncode()
    return done
