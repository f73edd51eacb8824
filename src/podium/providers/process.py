"""One managed child process: started under the guard, logged, measured, stopped, and never left behind.

Owns the guard, the control pipe, the log files and the note in ``PODIUM_HOME/run``. It must not know what the
command serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from podium.domain.instance import ProcessUsage
from podium.errors import LoadFailed
from podium.providers import guard, procfs
from podium.providers.leftovers import Note, file_stem, forget, write_note
from podium.providers.usage import ProcessTree
from podium.services.redaction import MASKER

LOG_BYTES = 512 * 1024
KEPT_LOGS = 100
"""Files of instances that ran, beside those of running ones; every load writes new ones."""
TAIL_LINES = 30
TAIL_BYTES, TAIL_COLUMNS = 32 * 1024, 500
_START_S = 20.0
_GUARD_MARGIN_S = 3.0
_PAUSE_S = 0.005
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. ``stdin`` carries secrets: neither other users nor logs see it. ``keep`` are inherited fds."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    stdin: bytes = field(default=b"", repr=False)
    keep: tuple[int, ...] = ()
    folder: Path | None = None
    """A private directory (named ``podium-…``) that lives as long as the process."""
    log_bytes: int = field(default=LOG_BYTES)


class ManagedProcess:
    """A running command. ``pid`` is the command itself, not its guard."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, home: Path, note: Note) -> None:
        self._guard = process
        self.pid = 0
        self._tree: ProcessTree | None = None
        self._log = log
        self._home = home
        self._note = note

    @classmethod
    async def start(cls, home: Path, instance_id: str, command: Command) -> ManagedProcess:
        """Start ``command``. Raises ``LoadFailed`` when it cannot be executed. The caller must ``stop`` it."""
        marker = secrets.token_hex(16)
        try:
            log = _fresh_log(home, instance_id)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                guard.__file__,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**command.env, procfs.MARKER: marker},
                pass_fds=command.keep,
                start_new_session=True,
            )
        except OSError as error:
            raise LoadFailed(f"{command.argv[0]} could not be started: {error.strerror or error}") from error
        # Noted before the command starts: from here on a crash of the gateway leaves nothing unknown.
        note = _note(instance_id, process.pid, marker, command.folder)
        started = cls(process, log, home, note)
        try:
            write_note(home, note)
            report = await asyncio.wait_for(started._order(command), _START_S)
        except TimeoutError:
            await started.stop(grace_s=0.0)
            raise LoadFailed(
                f"{command.argv[0]} could not be started within {_START_S:g} s; is its file system or this machine "
                "overloaded?"
            ) from None
        except OSError as error:
            await started.stop(grace_s=0.0)
            raise LoadFailed(f"{command.argv[0]} could not be started: {error.strerror or error}") from error
        except BaseException:
            await started.stop(grace_s=0.0)
            raise
        word, _, rest = report.partition(" ")
        if word != "started":
            await started.stop(grace_s=0.0)
            raise LoadFailed(
                f"{command.argv[0]} could not be started: {rest or started.log_tail() or 'no reason given'}"
            )
        started.pid = int(rest)
        started._tree = ProcessTree(started.pid, reaper=process.pid)
        return started

    async def _order(self, command: Command) -> str:
        """Tell the guard what to run; what it reports."""
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        order = {
            "argv": list(command.argv),
            "log": str(self._log),
            "log_bytes": command.log_bytes,
            "keep": list(command.keep),
            "stdin_bytes": len(command.stdin),
        }
        self._guard.stdin.write(msgspec.json.encode(order) + b"\n" + command.stdin)
        with contextlib.suppress(ConnectionError):  # the guard is gone; its report, if any, says more
            await self._guard.stdin.drain()
        return (await self._guard.stdout.readline()).decode("utf-8", "replace").strip()

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
        """The last lines the command printed, without what a terminal would obey; ``TAIL_BYTES`` at most."""
        raw = b""
        for path in (self._log, self._log.with_name(self._log.name + ".1")):
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(-min(TAIL_BYTES - len(raw), file.seek(0, os.SEEK_END)), os.SEEK_END)
                raw = file.read() + raw
            if len(raw) >= TAIL_BYTES:
                break
        text = MASKER.text(_UNPRINTABLE.sub("", _ESCAPES.sub("", raw.decode("utf-8", "replace"))))
        return "\n".join(each[-TAIL_COLUMNS:] for each in text.splitlines()[-lines:])

    def family(self) -> tuple[int, ...]:
        """The processes below the guard other than the command, a moment ago."""
        return self._tree.family() if self._tree is not None else ()

    def usage(self) -> ProcessUsage | None:
        """CPU time and memory of all that runs below the guard; the guard is not counted."""
        return self._tree.usage() if self._tree is not None and self._guard.returncode is None else None

    def _kill_session(self) -> bool:
        """Signal what is left when the guard itself was killed; True when there was something.

        A collected guard's number may belong to a stranger by now; then nothing of ours is left (see ``leftovers``).
        """
        if self._guard.returncode is not None and procfs.start_mark(self._guard.pid) is not None:
            return False
        members = set(procfs.session_members(self._guard.pid))
        if self._guard.returncode is not None and self._guard.returncode < 0:
            # A guard that was killed could not end what left its session.
            members |= set(procfs.marked(self._note.marker))
        for pid in members:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return bool(members)

    def _forget(self) -> None:
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        forget(self._home, self._note)


def _fresh_log(home: Path, instance_id: str) -> Path:
    """The file to log to, without what an earlier instance of this name left, and not too many others beside it."""
    logs = home / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = logs / f"{file_stem(instance_id)}.log"
    for path in (log, log.with_name(log.name + ".1")):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _prune(logs, {path.stem for path in (home / "run").glob("*.json")})
    return log


def _prune(logs: Path, running: set[str]) -> None:
    """Remove the oldest files of instances that do not run."""
    with os.scandir(logs) as entries:
        ages = [
            (entry.stat().st_mtime, entry.path)
            for entry in entries
            if entry.name.removesuffix(".1").removesuffix(".log") not in running
        ]
    for _, path in sorted(ages)[: -KEPT_LOGS + 1]:
        Path(path).unlink(missing_ok=True)


def _note(instance_id: str, guard_pid: int, marker: str, folder: Path | None) -> Note:
    return Note(
        instance_id=instance_id,
        guard=guard_pid,
        marker=marker,
        guard_mark=procfs.start_mark(guard_pid) or "",
        gateway=os.getpid(),
        gateway_mark=procfs.start_mark(os.getpid()) or "",
        folder=None if folder is None else str(folder),
    )
