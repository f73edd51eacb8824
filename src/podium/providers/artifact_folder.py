"""What lies in the folder of a custom artifact, and what of it is safe to open. Reads names, sizes and small JSON.

A link that leaves the folder, a pipe or a device is refused before anything is opened. It must not read weights.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from podium.errors import InvalidRequest

MOST_FILES = 10_000
MOST_JSON_BYTES = 32 * 1024 * 1024
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_LEFT_BY_TRAINING = (
    "training_args.",
    "optimizer.",
    "scheduler.",
    "scaler.",
    "rng_state",
    "trainer_state.",
    "global_step",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """``files`` are paths below ``root`` with ``/``, and their sizes in bytes; hidden ones are not listed."""

    root: Path
    files: Mapping[str, int]

    def top(self, *endings: str) -> tuple[str, ...]:
        """Files directly in the folder with one of ``endings``, sorted."""
        return tuple(sorted(name for name in self.files if "/" not in name and name.lower().endswith(endings)))

    def packages(self) -> tuple[str, ...]:
        """Core ML packages, which are folders."""
        first = {name.partition("/")[0] for name in self.files if "/" in name}
        return tuple(sorted(name for name in first if name.endswith((".mlpackage", ".mlmodelc"))))

    def pickles(self) -> tuple[str, ...]:
        """Files that hold weights as pickles, without what training leaves beside them."""
        return tuple(
            name
            for name in self.top(*PICKLES)
            if not name.startswith(_LEFT_BY_TRAINING) and name != "training_args.bin"
        )

    def json(self, name: str) -> dict[str, Any]:
        """The object in a file; empty when there is none. Raises ``InvalidRequest`` when it is something else."""
        if name not in self.files:
            return {}
        if self.files[name] > MOST_JSON_BYTES:
            raise refuse(f"{name} has {self.files[name]:,} bytes; a description of a model has not")
        try:
            made = msgspec.json.decode((self.root / name).read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise refuse(f"{name} cannot be read as JSON ({error})") from None
        if not isinstance(made, dict):
            raise refuse(f"{name} holds no JSON object")
        return made

    def text(self, name: str, most: int = 1 << 20) -> str:
        """The beginning of a text file; empty when there is none."""
        if name not in self.files:
            return ""
        with (self.root / name).open("rb") as file:
            return file.read(most).decode("utf-8", "replace")

    def need(self, names: Iterable[str], why: str) -> None:
        """Raises ``InvalidRequest`` naming every file that is missing."""
        missing = [name for name in names if name not in self.files]
        if missing:
            raise refuse(f"{', '.join(missing[:10])} is missing in {self.root}: {why}")


def read_folder(location: str) -> Folder:
    """List a folder. Raises ``InvalidRequest`` when it is not safe to hand to a framework."""
    root = Path(location).expanduser().absolute()
    if not root.is_dir():
        raise refuse(f"{root} is no folder; give the folder that holds the model's files")
    allowed = _allowed(root)
    files: dict[str, int] = {}
    pending = [root]
    try:
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    _safe(entry, root, allowed)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                    elif entry.is_file():
                        files[Path(entry.path).relative_to(root).as_posix()] = entry.stat().st_size
                    if len(files) > MOST_FILES:
                        raise refuse(f"{root} holds more than {MOST_FILES:,} files; give the folder of one model")
    except OSError as error:
        raise refuse(f"{error.filename or root} cannot be read: {error.strerror or error}") from error
    return Folder(root=root, files=files)


def _allowed(root: Path) -> tuple[Path, ...]:
    """Where links may lead: into the folder, and from a snapshot of a Hugging Face cache into its ``blobs``."""
    real = root.resolve()
    if real.parent.name == "snapshots" and (real.parent.parent / "blobs").is_dir():
        return (real, real.parent.parent / "blobs")
    return (real,)


def _safe(entry: os.DirEntry[str], root: Path, allowed: tuple[Path, ...]) -> None:
    name = Path(entry.path).relative_to(root).as_posix()
    if entry.is_symlink():
        target = Path(entry.path).resolve()
        if not any(target.is_relative_to(each) for each in allowed):
            raise refuse(
                f"{name} is a link out of the folder, to {target}; put the file itself there (cp -rL copies so)"
            )
        if not target.exists():
            raise refuse(f"{name} is a link to {target}, which is not there")
    kind = entry.stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise refuse(f"{name} is neither a file nor a folder")


def refuse(message: str) -> InvalidRequest:
    """What is wrong with an artifact."""
    return InvalidRequest(message, param="source.location")
