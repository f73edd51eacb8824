"""Notes of the processes this home started, so that the next start can end those a crash left behind.

A note names processes by pid and start time, so a pid that the kernel gave to somebody else is never touched, and
names its gateway, so another gateway that still runs on this home keeps its children.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from podium.providers import procfs

_KILL_WAIT_S = 3.0


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One started instance, as written to ``run/ID.json``."""

    instance_id: str
    guard: int
    guard_mark: str
    gateway: int
    gateway_mark: str
    folder: str | None = None
    """The private socket directory to remove."""
    marker: str = ""
    """In the environment of everything this instance started (``procfs.MARKER``), and nowhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What a start found: instances whose processes were ended, and notes whose processes were gone already."""

    killed: tuple[str, ...]
    stale: tuple[str, ...]


def file_stem(instance_id: str) -> str:
    """The name of an instance's files; names of models may have slashes (``Qwen/Qwen2.5-0.5B``)."""
    return quote(instance_id, safe="@#+: ")


def write_note(home: Path, note: Note) -> Path:
    """Write atomically; returns the file."""
    folder = home / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = _path(home, note)
    draft = path.with_name(path.name + ".tmp")
    draft.write_bytes(msgspec.json.encode(note))
    draft.replace(path)
    return path


def forget(home: Path, note: Note) -> None:
    """Remove the note and the private directory; idempotent."""
    with contextlib.suppress(OSError):
        _path(home, note).unlink(missing_ok=True)
    if note.folder and Path(note.folder).name.startswith("podium-"):
        shutil.rmtree(note.folder, ignore_errors=True)


def _path(home: Path, note: Note) -> Path:
    return home / "run" / f"{file_stem(note.instance_id)}.json"


def reap_stale(home: Path) -> Reaped:
    """End what an earlier gateway of this home left running. Blocking, three seconds at most per instance."""
    killed: list[str] = []
    stale: list[str] = []
    for path in sorted((home / "run").glob("*.json")):
        try:
            note = msgspec.json.decode(path.read_bytes(), type=Note)
        except (OSError, msgspec.MsgspecError):
            path.unlink(missing_ok=True)
            continue
        if procfs.start_mark(note.gateway) == note.gateway_mark:
            continue
        (killed if _end(note) else stale).append(note.instance_id)
        forget(home, note)
    return Reaped(killed=tuple(killed), stale=tuple(stale))


def _end(note: Note) -> bool:
    """Kill what the note's instance started; True when something was still running."""
    deadline = time.monotonic() + _KILL_WAIT_S
    members = _members(note)
    found = bool(members)
    while members and time.monotonic() < deadline:
        for pid in members:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        members = _members(note)
    return found


def _members(note: Note) -> set[int]:
    """The session of the guard, and what left it but carries its marker.

    The kernel keeps a session's number out of use while any member lives. So when the number belongs to another
    process now, no member of ours is left.
    """
    marked = set(procfs.marked(note.marker))
    mark = procfs.start_mark(note.guard)
    if (mark is not None and mark != note.guard_mark) or (mark is None and not note.guard_mark.endswith(_boot())):
        return marked
    return marked | set(procfs.session_members(note.guard))


def _boot() -> str:
    return (procfs.start_mark(os.getpid()) or "").partition("@")[2]
