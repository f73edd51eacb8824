"""A note of what this home has loaded into Ollama servers, so that the next start can unload what a crash left there.

Models are loaded to stay, so nobody else would ever unload them. Names the gateway by pid and start time: what
another gateway that still runs holds is left alone.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from podium.providers import procfs


class _Note(msgspec.Struct):
    gateway: int
    mark: str | None
    models: list[tuple[str, str]]


class Held:
    """(server's URL, model's name) of everything held, in ``run/ollama.held`` of the home."""

    def __init__(self, home: Path) -> None:
        self._path = home / "run" / "ollama.held"
        self._models: set[tuple[str, str]] = set()
        self._left: set[tuple[str, str]] | None = None

    def leftovers(self) -> set[tuple[str, str]]:
        """What a gateway that is gone had loaded and nobody has unloaded since; asked once, empty afterwards."""
        if self._left is None:
            self._left = self._read()
            return set(self._left)
        return set()

    def add(self, url: str, tag: str) -> None:
        """Before it is loaded."""
        if (url, tag) not in self._models:
            self._models.add((url, tag))
            self._write()

    def remove(self, url: str, tag: str) -> None:
        """Once it is out of memory."""
        if (url, tag) in self._models:
            self._models.discard((url, tag))
            self._write()

    def _read(self) -> set[tuple[str, str]]:
        try:
            note = msgspec.json.decode(self._path.read_bytes(), type=_Note)
        except (OSError, msgspec.DecodeError):
            return set()
        if note.mark is not None and procfs.start_mark(note.gateway) == note.mark:
            return set()
        return set(note.models)

    def _write(self) -> None:
        """A home that cannot be written is told about elsewhere; without the note only a crash leaves something."""
        note = _Note(os.getpid(), procfs.start_mark(os.getpid()), sorted(self._models))
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._path.with_suffix(".tmp")
            draft.write_bytes(msgspec.json.encode(note))
            draft.replace(self._path)
