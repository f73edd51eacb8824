"""The store's verbs about sealed secrets. See ``ports.SecretStore``; ``SqliteStore`` inherits them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from podium.domain.secret import SealedSecret
from podium.store import secrets
from podium.store.writer import Writer

T = TypeVar("T")


class SecretTable(ABC):
    """Works through the writer and reader of the store it is part of."""

    _writer: Writer

    @abstractmethod
    async def _read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds over the reading connection. Raises ``StoreError``."""

    async def secrets(self) -> tuple[SealedSecret, ...]:
        return await self._read(secrets.every)

    async def change_secrets(self, kept: Sequence[SealedSecret], removed: Sequence[str] = ()) -> None:
        await self._writer.run(lambda connection: secrets.change(connection, kept, removed))
