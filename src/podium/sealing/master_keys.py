"""Where master keys are: the environment, else a file in the home, else the keyring of the operating system.

A place holds keys as lines (or words with commas) of 64 hexadecimal digits: the first seals, all of them open. So a new
key can come before an old one is gone, and whoever dies in between leaves everything readable. Messages hold no digit
of any key.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from podium.errors import ConfigError
from podium.services.redaction import MASKER

VARIABLE, FILE, KEYRING, SERVICE = "PODIUM_MASTER_KEY", "master.key", "keyring", "podium"
KEY_BYTES = 32
_MOST_BYTES = 4096
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_FORM = "a master key is 64 hexadecimal digits (`openssl rand -hex 32` prints one)"


class Place(Protocol):
    """Somewhere keys are kept, the current one first. Raises ``ConfigError``."""

    where: str
    """Its name for messages."""
    fixed: bool
    """Somebody else looks after it: nothing is written there."""

    def read(self) -> tuple[bytes, ...]:
        """What is there now; empty when there is nothing."""
        ...

    def write(self, keys: tuple[bytes, ...], *, only_first: bool = False) -> None:
        """Put these there, whole or not at all; with ``only_first`` unless there is something already."""
        ...

    def remove(self) -> None:
        """Leave nothing there."""
        ...


class MasterKeys:
    """The keys of one installation: those of ``place`` seal, those ``left`` in a place of earlier still open."""

    def __init__(self, place: Place, left: Place | None = None) -> None:
        self._place = place
        self._left = left
        self.where = place.where

    def read(self) -> tuple[bytes, ...]:
        """The current one first. Raises ``ConfigError``."""
        earlier = () if self._left is None else self._left.read()
        return tuple(dict.fromkeys((*self._place.read(), *earlier)))

    def make(self) -> tuple[bytes, ...]:
        """Put a key there unless somebody else did; what is there then. Raises ``ConfigError``."""
        if not self._place.fixed:
            self._place.write((secrets.token_bytes(KEY_BYTES),), only_first=True)
        return self.read()

    def renew(self) -> bytes | None:
        """Put a new key before the others; ``None`` where that is somebody else's to do and was not done."""
        if self._place.fixed or (self._left is not None and self._left.read()):
            found = self.read()  # the current one is new compared to those of earlier
            return found[0] if self._place.read() and len(found) > 1 else None
        made = secrets.token_bytes(KEY_BYTES)
        self._place.write((made, *self._place.read()))
        return made

    def retire(self) -> bool:
        """Leave the first one only; false where that is somebody else's to do."""
        if self._left is not None:
            self._left.remove()
        if self._place.fixed:
            return len(self._place.read()) == 1
        self._place.write(self._place.read()[:1])
        return True


def master_keys(home: Path, environ: Mapping[str, str]) -> MasterKeys:
    """As ``PODIUM_MASTER_KEY`` says: keys, the word ``keyring``, or nothing for the file of the home."""
    file = FromFile(home / FILE)
    said = environ.get(VARIABLE, "").strip()
    if not said:
        return MasterKeys(file)
    return MasterKeys(FromKeyring(home) if said == KEYRING else FromEnvironment(environ), file)


class FromEnvironment:
    """``PODIUM_MASTER_KEY``; whoever sets it looks after it."""

    where = f"the environment variable {VARIABLE}"
    fixed = True

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self) -> tuple[bytes, ...]:
        return keys_of(self._environ.get(VARIABLE, ""), self.where)

    def write(self, keys: tuple[bytes, ...], *, only_first: bool = False) -> None:
        raise ConfigError(f"{self.where} is not ours to change")

    def remove(self) -> None:
        raise ConfigError(f"{self.where} is not ours to change")


class FromKeyring:
    """The keyring of whoever runs the server: GNOME's or KDE's, macOS's Keychain, Windows's. Needs the extra ``keyring``."""

    where = "the operating system's keyring"
    fixed = False

    def __init__(self, home: Path) -> None:
        self._user = str(home)

    def read(self) -> tuple[bytes, ...]:
        return keys_of(self._ask(lambda ring: ring.get_password(SERVICE, self._user)) or "", self.where)

    def write(self, keys: tuple[bytes, ...], *, only_first: bool = False) -> None:
        if not (only_first and self.read()):
            text = ",".join(key.hex() for key in keys)
            self._ask(lambda ring: ring.set_password(SERVICE, self._user, text))

    def remove(self) -> None:
        self._ask(lambda ring: ring.delete_password(SERVICE, self._user))

    def _ask(self, work: Callable[[Any], str | None]) -> str | None:
        try:
            import keyring  # noqa: PLC0415 - an extra, and slow to import
        except ImportError:
            raise ConfigError(
                f"{VARIABLE}={KEYRING} needs the package keyring: pip install 'podium[keyring]'"
            ) from None
        try:
            return work(keyring)
        except keyring.errors.KeyringError as error:
            raise ConfigError(
                f"the keyring does not answer ({type(error).__name__}); unlock it, or use a file: unset {VARIABLE}"
            ) from None


class FromFile:
    """``master.key`` in the home, readable by its owner only."""

    fixed = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)

    def read(self) -> tuple[bytes, ...]:
        try:
            with self._path.open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                    raise ConfigError(
                        f"{self._path} can be read by others, so whatever it sealed may be known: chmod 600 "
                        f"{self._path}, then `podium secrets rekey`, and set new secrets if others could have read "
                        "the database, too"
                    )
                raw = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}; or set {VARIABLE}") from error
        if not raw.strip():
            raise ConfigError(
                f"{self._path} is empty: put the key back from a backup; if there is none, delete the file and run "
                "`podium secrets reset`",
                code="master_key_missing",
                status=409,
            )
        return keys_of(raw.decode("ascii", "replace"), self.where)

    def write(self, keys: tuple[bytes, ...], *, only_first: bool = False) -> None:
        draft = self._path.with_name(f"{FILE}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write("".join(f"{key.hex()}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
            if only_first:
                with contextlib.suppress(FileExistsError):
                    os.link(draft, self._path)
            else:
                draft.replace(self._path)
            self._sync_folder()
        except OSError as error:
            raise ConfigError(
                f"cannot write {self._path}: {error.strerror}; make the folder writable or set {VARIABLE}"
            ) from error
        finally:
            draft.unlink(missing_ok=True)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        """A rename is on the disk once its folder is."""
        handle = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def keys_of(text: str, where: str) -> tuple[bytes, ...]:
    """The keys in a text, without repetitions. Raises ``ConfigError`` that holds nothing of it."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if any(_KEY.fullmatch(word) is None for word in words):
        raise ConfigError(f"{where} holds something that is no master key; {_FORM}")
    for word in words:
        MASKER.learn(word)
    return tuple(dict.fromkeys(bytes.fromhex(word) for word in words))
