"""The record of keys. Protocols; no implementation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from podium.domain.principal import ApiKey


class KeyStore(Protocol):
    """Every key there ever was, without its secret. Raises ``StoreError``."""

    async def keys(self) -> tuple[ApiKey, ...]:
        """Oldest first, revoked ones too."""
        ...

    async def save_keys(self, *changed: ApiKey) -> None:
        """Insert or replace by id, all or none; durable when it returns."""
        ...

    async def keys_used(self, seen: Mapping[str, float]) -> None:
        """When keys were last used, by id; Unix seconds."""
        ...
