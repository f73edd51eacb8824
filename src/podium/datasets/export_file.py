"""Where an export goes, and whether one that came back is whole. Owns the choice of the format.

A file appears under its name when all of it is on disk. Until then it is ``NAME.XXXXXXXX.partial``, which is removed
when the export fails; one that is still there belongs to an export that was killed, or is still running.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from podium.core.hash_chain import Checker, Verdict
from podium.datasets.table import PARQUET
from podium.errors import Conflict, InvalidRequest, StoreError
from podium.services.export import Sealed

FORMATS = ("jsonl", "parquet", "vw")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SHARED = b"shared '"


class RowWriter(Protocol):
    """Writes rows in one format."""

    rows: int
    """Rows (for ``vw``: examples) taken so far."""
    left_out: int
    """Rows the format has no use for."""

    @property
    def last(self) -> str:
        """The hash of the newest row written."""
        ...

    def write(self, sealed: Sealed) -> None:
        """One row. Raises ``OSError``."""
        ...

    def close(self) -> None:
        """Write what is left. The file stays open."""
        ...


def writer(kind: str, file: BinaryIO) -> RowWriter:
    """The writer of a format. Raises ``InvalidRequest`` for an unknown one, and where pyarrow is missing."""
    if kind == "jsonl":
        from podium.datasets.export_jsonl import JsonlWriter  # noqa: PLC0415 - only the format that is wanted

        return JsonlWriter(file)
    if kind == "parquet":
        from podium.datasets.export_parquet import ParquetWriter  # noqa: PLC0415 - optional and slow to import

        return ParquetWriter(file)
    if kind == "vw":
        from podium.datasets.export_vw import VwWriter  # noqa: PLC0415 - only the format that is wanted

        return VwWriter(file)
    raise InvalidRequest(f"unknown format {kind!r}: use one of {', '.join(FORMATS)}", param="format")


@contextlib.contextmanager
def whole_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file for one user to write, which gets its name at the end and is gone when anything goes wrong.

    Raises ``Conflict`` when there is one of that name (unless ``force``), ``InvalidRequest`` when it cannot be made,
    ``StoreError`` when the disk is full.
    """
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder; name a file in it", param="out")
    _free(path, force=force)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        file = os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=1 << 20)
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror or error}", param="out") from error
    try:
        with full_disk_told(path, "nothing of the export was left there"):
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            finally:
                with contextlib.suppress(OSError):  # what could not be written fails again; the first error tells
                    file.close()
        _free(path, force=force)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def full_disk_told(what: object, left: str) -> Iterator[None]:
    """Turns a write that failed into ``StoreError``; a reader that went away stays what it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(f"the disk with {what} is full; {left}; free some space or write elsewhere") from error
        raise StoreError(f"cannot write {what}: {error.strerror or error}; {left}") from error


def verify(
    path: Path, expected: str | None = None, progress: Callable[[float], None] = lambda done: None
) -> tuple[str, Verdict]:
    """(format, what is wrong with its chain). Raises ``InvalidRequest`` for a file that cannot be read."""
    try:
        kind = _kind(path)
        if kind == "parquet":
            from podium.datasets.export_parquet import check_parquet  # noqa: PLC0415 - optional and slow to import

            checker = Checker("row")
            check_parquet(path, checker, progress)
        elif kind == "vw":
            from podium.datasets.export_vw import check_vw  # noqa: PLC0415 - only when needed

            checker = Checker("example")
            check_vw(path, checker, progress)
        else:
            from podium.datasets.export_jsonl import check_jsonl  # noqa: PLC0415 - only when needed

            checker = Checker("line")
            check_jsonl(path, checker, progress)
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}") from error
    return kind, checker.finish(expected)


def _kind(path: Path) -> str:
    """By the first bytes; by the name where they are damaged."""
    with path.open("rb") as file:
        head = file.read(len(_SHARED))
    if not head:
        raise InvalidRequest(f"{path} is empty: an export has at least one row")
    suffix = path.suffix.lower()
    if head.startswith(PARQUET) or suffix in {".parquet", ".pq"}:
        return "parquet"
    return "vw" if head == _SHARED or (suffix == ".vw" and head[:1] != b"{") else "jsonl"


def _free(path: Path, *, force: bool) -> None:
    if not force and path.exists():
        raise Conflict(f"{path} is there already; --force replaces it")
