"""One managed child process: started under the guard, logged, measured, stopped, and never left behind.

Owns the guard, the control pipe, the log files and the note in ``PODIUM_HOME/run``. It must not know what the
command serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from podium.domain.instance import ProcessUsage
from podium.errors import LoadFailed
from podium.providers import guard, procfs
from podium.providers.leftovers import Note, write_note
from podium.providers.usage import ProcessTree

LOG_BYTES = 512 * 1024
TAIL_LINES = 30
_START_S = 20.0
_GUARD_MARGIN_S = 3.0
_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. ``stdin`` carries secrets: neither other users nor logs see it. ``keep`` are inherited fds."""

    argv: Sequence[str]
    env: Mapping[str, str]
    stdin: bytes = b""
    keep: tuple[int, ...] = ()
    folder: Path | None = None
    """A private directory (named ``podium-…``) that lives as long as the process."""
    log_bytes: int = field(default=LOG_BYTES)


class ManagedProcess:
    """A running command. ``pid`` is the command itself, not its guard."""

    def __init__(
        self, process: asyncio.subprocess.Process, pid: int, log: Path, note: Path, folder: Path | None
    ) -> None:
        self._guard = process
        self.pid = pid
        self._tree = ProcessTree(pid, reaper=process.pid)
        self._log = log
        self._note = note
        self._folder = folder

    @classmethod
    async def start(cls, home: Path, instance_id: str, command: Command) -> ManagedProcess:
        """Start ``command``. Raises ``LoadFailed`` when it cannot be executed. The caller must ``stop`` it."""
        logs = home / "logs"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = logs / f"{instance_id}.log"
        log.with_name(log.name + ".1").unlink(missing_ok=True)
        order = msgspec.json.encode(
            {
                "argv": list(command.argv),
                "log": str(log),
                "log_bytes": command.log_bytes,
                "keep": list(command.keep),
                "stdin_bytes": len(command.stdin),
            }
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            guard.__file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=dict(command.env),
            pass_fds=command.keep,
            start_new_session=True,
        )
        try:
            # Noted before the command starts: from here on a crash of the gateway leaves nothing unknown.
            note = write_note(home, _note(instance_id, process.pid, command.folder))
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(order + b"\n" + command.stdin)
            await process.stdin.drain()
            report = (await asyncio.wait_for(process.stdout.readline(), _START_S)).decode().strip()
        except BaseException:
            with contextlib.suppress(OSError):
                process.kill()
            await process.wait()
            raise
        word, _, rest = report.partition(" ")
        started = cls(process, int(rest) if word == "started" else 0, log, note, command.folder)
        if word != "started":
            await started.stop(grace_s=0.0)
            raise LoadFailed(f"{command.argv[0]} could not be started: {rest or started.log_tail()}")
        return started

    def alive(self) -> bool:
        """False once the command ended, although its guard may still be about to tell."""
        return self._guard.returncode is None and procfs.living(self.pid)

    async def wait(self) -> int:
        """Exit status of the command (128 + signal when a signal ended it)."""
        return await self._guard.wait()

    async def stop(self, grace_s: float = 5.0) -> None:
        """SIGTERM, wait ``grace_s``, SIGKILL, for the whole group; returns when all of it is gone. Idempotent."""
        if self._guard.returncode is None:
            assert self._guard.stdin is not None
            with contextlib.suppress(OSError, RuntimeError):
                self._guard.stdin.write(f"stop {grace_s}\n".encode())
            try:
                await asyncio.wait_for(asyncio.shield(self._guard.wait()), grace_s + _GUARD_MARGIN_S)
            except TimeoutError:
                self._kill_session()
                await self._guard.wait()
        deadline = asyncio.get_running_loop().time() + _GUARD_MARGIN_S
        while self._kill_session() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(_PAUSE_S)
        self._forget()

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines the command printed."""
        text = b""
        for path in (self._log.with_name(self._log.name + ".1"), self._log):
            with contextlib.suppress(OSError):
                text += path.read_bytes()
        return "\n".join(text.decode("utf-8", "replace").splitlines()[-lines:])

    def usage(self) -> ProcessUsage | None:
        """CPU time and memory of all that runs below the guard; the guard is not counted."""
        return self._tree.usage() if self.pid and self._guard.returncode is None else None

    def _kill_session(self) -> bool:
        """Signal what is left when the guard itself was killed; True when there was something.

        A collected guard's number may belong to a stranger by now; then nothing of ours is left (see ``leftovers``).
        """
        if self._guard.returncode is not None and procfs.start_mark(self._guard.pid) is not None:
            return False
        members = procfs.session_members(self._guard.pid)
        for pid in members:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return bool(members)

    def _forget(self) -> None:
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._note.unlink(missing_ok=True)
        if self._folder is not None:
            for path in self._folder.glob("*"):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._folder.rmdir()


def _note(instance_id: str, guard_pid: int, folder: Path | None) -> Note:
    return Note(
        instance_id=instance_id,
        guard=guard_pid,
        guard_mark=procfs.start_mark(guard_pid) or "",
        gateway=os.getpid(),
        gateway_mark=procfs.start_mark(os.getpid()) or "",
        folder=None if folder is None else str(folder),
    )
