"""Styles and scripts: read once from the package, served compressed under an address that changes with their content.

One hash stands for all of them, so that modules may import each other by relative addresses.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent / "static"
PREFIX = "/static/"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file as it is sent."""

    content_type: str
    plain: bytes
    packed: bytes | None
    """Compressed with gzip; ``None`` where that makes nothing smaller."""


class Assets:
    """All of them, from the first time one is asked for."""

    @cached_property
    def files(self) -> dict[str, Asset]:
        """By name below ``static/``."""
        found = {}
        for path in sorted(ROOT.rglob("*")):
            if path.is_file() and path.suffix != ".LICENSE":
                kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                plain = path.read_bytes()
                packed = gzip.compress(plain, 9, mtime=0)
                found[path.relative_to(ROOT).as_posix()] = Asset(
                    content_type=kind, plain=plain, packed=packed if len(packed) < len(plain) else None
                )
        return found

    @cached_property
    def version(self) -> str:
        """The hash in their addresses."""
        digest = hashlib.sha256()
        for name, asset in self.files.items():
            digest.update(name.encode() + b"\0" + hashlib.sha256(asset.plain).digest())
        return digest.hexdigest()[:12]

    def url(self, name: str) -> str:
        """The address of a file. Raises ``KeyError`` for one that is not there."""
        assert name in self.files, name
        return f"{PREFIX}{self.version}/{name}"

    def find(self, path: str) -> Asset | None:
        """The file at an address of this version."""
        version, _, name = path.removeprefix(PREFIX).partition("/")
        return self.files.get(name) if version == self.version else None
