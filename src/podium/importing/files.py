"""GGUF files in the folders where other tools keep them, as proposals. Bounded in depth, in time and in number.

Reads the first bytes of a file. Follows links, each folder once, so that loops end.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from podium.errors import PodiumError
from podium.importing.report import Proposal, Report, usable_name
from podium.providers.gguf import read_head

DEEPEST = 6
MOST_FOLDERS = 20_000
TIME_S = 5.0
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_SKIPPED = frozenset({".git", "node_modules", "__pycache__", ".venv", "venv", ".Trash", "proc", "sys"})


def usual_folders(environ: Mapping[str, str], home: Path, current: Path) -> dict[Path, str]:
    """Where GGUF files usually are, and whose folder that is."""
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = environ.get("HF_HUB_CACHE") or (Path(environ["HF_HOME"]) / "hub" if environ.get("HF_HOME") else None)
    named = {
        home / ".lmstudio" / "models": "LM Studio",
        cache / "lm-studio" / "models": "LM Studio",
        Path(environ.get("LLAMA_CACHE") or cache / "llama.cpp"): "llama.cpp",
        home / "Library" / "Caches" / "llama.cpp": "llama.cpp",
        Path(hub or cache / "huggingface" / "hub"): "Hugging Face",
        home / "jan" / "models": "Jan",
        current: "this folder",
    }
    return {folder.expanduser(): whose for folder, whose in named.items()}


def find_files(folders: Mapping[Path, str], report: Report, clock: Callable[[], float] = time.monotonic) -> None:
    """Propose every model in them; say what could not be looked into, and what was left out."""
    seen: set[tuple[int, int]] = set()
    for path, whose in _walk(folders, report, clock):
        try:
            stat = path.stat()
        except OSError as error:
            report.note(f"cannot be read: {error.strerror}", str(path))
            continue
        if (stat.st_dev, stat.st_ino) in seen:
            continue
        seen.add((stat.st_dev, stat.st_ino))
        made = _propose(path, whose, report)
        if made is not None:
            report.add(made)


def _propose(path: Path, whose: str, report: Report) -> Proposal | None:
    part = _PART.search(path.stem)
    if part is not None and part[1] != "00001":
        return None
    try:
        head = read_head(path)
    except (PodiumError, OSError) as error:
        report.note(f"is no GGUF file that can be used: {error}", str(path))
        return None
    architecture = head.metadata.get("general.architecture")
    if architecture == "clip" or path.stem.lower().startswith("mmproj"):
        return None
    stem = path.stem[: part.start()] if part is not None else path.stem
    return Proposal(
        name=usable_name(stem),
        provider="llamacpp",
        location=str(path.absolute()),
        origin=whose,
        about=f"{architecture if isinstance(architecture, str) else 'a model'}, {head.size_bytes / 1e6:.0f} MB",
    )


def _walk(folders: Mapping[Path, str], report: Report, clock: Callable[[], float]) -> Iterable[tuple[Path, str]]:
    until = clock() + TIME_S
    been: set[tuple[int, int]] = set()
    left = deque((folder, whose, 0) for folder, whose in folders.items() if folder.is_dir())
    while left:
        folder, whose, depth = left.popleft()
        if clock() > until or len(been) >= MOST_FOLDERS:
            report.note(
                f"looking was given up after {TIME_S:g} s or {MOST_FOLDERS} folders; name folders by --path",
                str(folder),
            )
            return
        try:
            stat = folder.stat()
            if (stat.st_dev, stat.st_ino) in been:
                continue
            been.add((stat.st_dev, stat.st_ino))
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            report.note(f"cannot be looked into: {error.strerror}", str(folder))
            continue
        for entry in inside:
            if entry.name.lower().endswith(".gguf") and _is(entry, file=True):
                yield Path(entry.path), whose
            elif depth < DEEPEST and entry.name not in _SKIPPED and _is(entry, file=False):
                left.append((Path(entry.path), whose, depth + 1))


def _is(entry: os.DirEntry[str], *, file: bool) -> bool:
    try:
        return entry.is_file() if file else entry.is_dir()
    except OSError:
        return False
