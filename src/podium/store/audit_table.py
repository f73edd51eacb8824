"""The store's verbs about the audit log and applied configurations. See ``ports.AuditStore``, ``ports.ConfigStore``;
``SqliteStore`` inherits them.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from podium.core.audit_chain import Checker, Verdict, against
from podium.domain.audit import AppliedConfig, AuditEntry, AuditFilter, AuditRow, Head
from podium.ports import Page
from podium.store import audit, engine
from podium.store.audit_head import NAME, HeadFile
from podium.store.writer import Writer

T = TypeVar("T")


class AuditTable(ABC):
    """Works through the writer and reader of the store it is part of."""

    path: Path
    _writer: Writer

    @abstractmethod
    async def _read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds over the reading connection. Raises ``StoreError``."""

    async def append_audit(self, entries: Sequence[AuditEntry]) -> tuple[AuditRow, ...]:
        return await self._writer.run(lambda connection: audit.append(connection, entries))

    async def audit_actions(self, wanted: AuditFilter, page: Page) -> tuple[tuple[AuditRow, ...], ...]:
        return await self._read(lambda connection: audit.actions(connection, wanted, page))

    async def audit_rows(self, after: int, limit: int) -> tuple[dict[str, Any], ...]:
        return await self._read(lambda connection: tuple(islice(audit.raw_rows(connection, after), limit)))

    async def audit_head(self) -> Head:
        return await self._read(audit.head)

    async def unended_audit(self) -> tuple[AuditRow, ...]:
        return await self._read(audit.unended)

    async def check_audit(self, *known: Head) -> tuple[Verdict, str | None]:
        """In a thread and on a connection of its own: it may take seconds, and nobody else's reads wait for it."""
        return await asyncio.to_thread(self._check, known)

    def _check(self, known: Sequence[Head]) -> tuple[Verdict, str | None]:
        try:
            kept, problem = HeadFile(self.path).read(), None
        except ValueError as error:
            kept, problem = None, str(error)
        reading = engine.reading(self.path)
        try:
            with reading.connect() as connection:
                verdict = check(connection)
                if kept is None and problem is None and verdict.head.seq:
                    problem = f"{NAME} is gone: whether rows are missing at the end cannot be told"
                heads = [(kept, NAME), *((head, "what you noted") for head in known)]
                for head, where in heads if verdict.problem is None else ():
                    problem = problem or against(verdict, head, partial(audit.hash_at, connection), where)
        except SQLAlchemyError as error:
            raise engine.translate(error, self.path) from error
        finally:
            reading.dispose()
        return verdict, problem

    async def keep_config(self, applied: AppliedConfig, most: int) -> int:
        return await self._writer.run(lambda connection: audit.keep_config(connection, applied, most))

    async def configs(self, page: Page) -> tuple[AppliedConfig, ...]:
        return await self._read(lambda connection: audit.configs(connection, page))

    async def find_config(self, number: int) -> AppliedConfig | None:
        return await self._read(lambda connection: audit.find_config(connection, number))


def check(connection: Connection) -> Verdict:
    """Compute the chain anew, up to the first wrong row."""
    checker = Checker()
    for row in audit.raw_rows(connection, -(1 << 63)):
        if not checker.add(row):
            break
    return checker.finish()
