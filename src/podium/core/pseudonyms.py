"""Stands a keyed hash in the place of an id: the same id gets the same name, and nobody without the key gets back. Pure.

Owns the hash (HMAC-SHA-256, RFC 2104) and what it covers. Must not read or make the key.
"""

from __future__ import annotations

import hmac

LEAST_KEY_BYTES = 16
_HEX = 32
"""128 bits: two of a billion ids share a name with a chance of 1.5e-21."""


class Pseudonyms:
    """Names for ids of several kinds. The key is secret bytes, at least 16; raises ``ValueError`` below."""

    def __init__(self, key: bytes) -> None:
        if len(key) < LEAST_KEY_BYTES:
            raise ValueError(f"the key for pseudonyms has {len(key)} bytes; {LEAST_KEY_BYTES} are the least")
        self._key = key
        self.key_id = self.of("key", "id")[:8]
        """Tells keys apart and tells nothing of the key: exports with the same one can be joined by their ids."""

    def of(self, kind: str, value: str) -> str:
        """The name of an id, 32 hex digits. An id of another kind with the same text has another name."""
        return hmac.digest(self._key, f"{kind}:{value}".encode(), "sha256").hex()[:_HEX]
