"""AES-256-GCM with keys from a ``MasterKeys``. Implements ``ports.Sealer``.

A nonce is 96 random bits (NIST SP 800-38D, 8.2.2): collisions are out of reach for the few secrets of an installation.
``cryptography`` is imported when something is sealed or opened for the first time.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from podium.domain.secret import Sealed, Secret
from podium.errors import ConfigError, Conflict

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from podium.sealing.master_keys import MasterKeys

_NONCE_BYTES = 12
LOST = (
    "put the key back from a backup ({where}); if it is gone for good, `podium secrets reset` removes what cannot be "
    "opened any more, and `podium secrets set` makes it anew. Everything else goes on working"
)


class AesSealer:
    """Keeps nothing: keys are read from where they are when they are needed."""

    def __init__(self, keys: MasterKeys) -> None:
        self._keys = keys

    def current(self, *, make: bool) -> str | None:
        found = self._keys.read()
        if not found and make:
            found = self._keys.make()
        return fingerprint(found[0]) if found else None

    def knows(self, key_id: str) -> bool:
        return self._key(key_id) is not None

    def seal(self, text: Secret, bound_to: bytes) -> Sealed:
        found = self._keys.read()
        if not found:
            raise ConfigError(f"there is no master key; it is expected in {self._keys.where}")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        content = _cipher(found[0]).encrypt(nonce, text.reveal().encode(), bound_to)
        return Sealed(key_id=fingerprint(found[0]), nonce=nonce, content=content)

    def open(self, sealed: Sealed, bound_to: bytes) -> Secret:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - costs 10 ms and 5 MB, most starts need none

        key = self._key(sealed.key_id)
        if key is None:
            raise ConfigError(
                f"the master key {sealed.key_id} that sealed it is not there: " + LOST.format(where=self._keys.where),
                code="master_key_missing",
                status=409,
            )
        try:
            return Secret(_cipher(key).decrypt(sealed.nonce, sealed.content, bound_to).decode())
        except (InvalidTag, ValueError):
            raise ConfigError(
                "its row in the database was altered or is damaged; set it again with `podium secrets set`",
                code="secret_damaged",
                status=409,
            ) from None

    def renew(self) -> str:
        made = self._keys.renew()
        if made is None:
            raise Conflict(
                f"the master key is the one in {self._keys.where}, which only you can change: put a new one "
                "before it (NEW,OLD), restart, run `podium secrets rekey`, then take the old one away"
            )
        return fingerprint(made)

    def retire(self) -> bool:
        return self._keys.retire()

    def _key(self, key_id: str) -> bytes | None:
        return next((key for key in self._keys.read() if fingerprint(key) == key_id), None)


def fingerprint(key: bytes) -> str:
    """Which key it is, without telling anything of it."""
    return hashlib.sha256(b"podium master key\0" + key).hexdigest()[:16]


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see open

    return AESGCM(key)
