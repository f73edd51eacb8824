"""The store's verbs about keys. See ``ports.KeyStore``; ``SqliteStore`` inherits them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TypeVar

from sqlalchemy import Connection

from podium.domain.principal import ApiKey
from podium.store import keys
from podium.store.writer import Writer

T = TypeVar("T")


class KeyTable(ABC):
    """Works through the writer and reader of the store it is part of."""

    _writer: Writer

    @abstractmethod
    async def _read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds over the reading connection. Raises ``StoreError``."""

    async def keys(self) -> tuple[ApiKey, ...]:
        return await self._read(keys.every)

    async def save_keys(self, *changed: ApiKey) -> None:
        await self._writer.run(lambda connection: keys.put(connection, *changed))

    async def keys_used(self, seen: Mapping[str, float]) -> None:
        await self._writer.run(lambda connection: keys.used(connection, seen))
