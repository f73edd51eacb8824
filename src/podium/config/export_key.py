"""The secret key of pseudonyms in exports: the environment's, else a file in the home, made on first use.

The key is never a value of the configuration, and no message holds any of it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from podium.config.reading import prepare_home
from podium.core.pseudonyms import LEAST_KEY_BYTES
from podium.errors import ConfigError

VARIABLE, FILE = "PODIUM_EXPORT_KEY", "export.key"
_BYTES = 32
_MOST_BYTES = 4096


def export_key(home: Path, environ: Mapping[str, str]) -> bytes:
    """The key: the text of ``PODIUM_EXPORT_KEY``, else what ``export.key`` of the home holds, made when it is not there.

    The file is readable by its owner only. Raises ``ConfigError`` when it cannot be read or made, is readable by
    others, or is too short.
    """
    given = environ.get(VARIABLE)
    if given is not None:
        return _checked(given.encode().strip(), f"the environment variable {VARIABLE}")
    path = home / FILE
    try:
        return _checked(_read(path), str(path))
    except FileNotFoundError:
        prepare_home(home)
    try:
        _make(path)
        return _checked(_read(path), str(path))
    except OSError as error:
        raise ConfigError(
            f"cannot make {path}: {error.strerror}; make the folder writable or set {VARIABLE}"
        ) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"{path} can be read by others and is a secret: chmod 600 {path}")
            return file.read(_MOST_BYTES).strip()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; or set {VARIABLE}") from error


def _make(path: Path) -> None:
    """Put a whole new key there, unless another process did so first."""
    draft = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_hex(_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _checked(key: bytes, where: str) -> bytes:
    if len(key) < LEAST_KEY_BYTES:
        raise ConfigError(f"{where} holds {len(key)} bytes; a key for exports has at least {LEAST_KEY_BYTES}")
    return key
