"""Secrets: where they are kept, what seals them, who asks for them. Protocols; no implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from podium.domain.secret import Sealed, SealedSecret, Secret


class SecretStore(Protocol):
    """The record of sealed secrets. Raises ``StoreError``."""

    async def secrets(self) -> tuple[SealedSecret, ...]:
        """All of them, by name."""
        ...

    async def change_secrets(self, kept: Sequence[SealedSecret], removed: Sequence[str] = ()) -> None:
        """Insert or replace by name, and delete, all or none; durable when it returns."""
        ...


class Sealer(Protocol):
    """Seals with the newest master key and opens with every one it has. Raises ``ConfigError`` for a key it may not use."""

    def current(self, *, make: bool) -> str | None:
        """Fingerprint of the key that seals, made first if told to; ``None`` when there is none."""
        ...

    def knows(self, key_id: str) -> bool:
        """Whether the key with this fingerprint is there."""
        ...

    def seal(self, text: Secret, bound_to: bytes) -> Sealed:
        """With the current key. Raises ``ConfigError`` when there is none."""
        ...

    def open(self, sealed: Sealed, bound_to: bytes) -> Secret:
        """Raises ``ConfigError`` when its key is not there, or when it was altered."""
        ...

    def renew(self) -> str:
        """Put a new key before the ones there are, which still open; its fingerprint. Raises ``Conflict`` where keys
        come from outside and there is no new one.
        """
        ...

    def retire(self) -> bool:
        """Forget all keys but the current one; false where somebody else has to."""
        ...


class Secrets(Protocol):
    """What providers and webhooks ask."""

    def reveal(self, name: str) -> Secret:
        """The secret of a name, as it is now. Raises ``InvalidRequest`` when there is none, ``ConfigError`` when it
        cannot be opened.
        """
        ...
