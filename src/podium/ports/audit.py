"""The audit log and the history of configurations. Protocols; no implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from podium.core.audit_chain import Verdict
from podium.domain.audit import AppliedConfig, AuditEntry, AuditFilter, AuditRow, Head
from podium.ports.store import Page


class AuditStore(Protocol):
    """What was done, append only. Raises ``StoreError``."""

    async def append_audit(self, entries: Sequence[AuditEntry]) -> tuple[AuditRow, ...]:
        """Put entries behind the last row, all or none; on disk when it returns."""
        ...

    async def audit_actions(self, wanted: AuditFilter, page: Page) -> tuple[tuple[AuditRow, ...], ...]:
        """Actions, newest first, each with its rows."""
        ...

    async def audit_rows(self, after: int, limit: int) -> tuple[dict[str, Any], ...]:
        """Rows with greater numbers as they stand in the table, lowest number first."""
        ...

    async def audit_head(self) -> Head:
        """The last row."""
        ...

    async def check_audit(self, *known: Head) -> tuple[Verdict, str | None]:
        """Compute the chain anew from the first row; the second is what is wrong by the head that is kept beside the
        database, or by ``known``, heads that somebody noted.
        """
        ...

    async def unended_audit(self) -> tuple[AuditRow, ...]:
        """Actions that were begun and of which nothing more is known, by their first rows."""
        ...


class ConfigStore(Protocol):
    """Configurations that were in force. Raises ``StoreError``."""

    async def keep_config(self, applied: AppliedConfig, most: int) -> int:
        """Append one (its number is ignored) and forget the oldest beyond ``most``; returns its number."""
        ...

    async def configs(self, page: Page) -> tuple[AppliedConfig, ...]:
        """Newest first."""
        ...

    async def find_config(self, number: int) -> AppliedConfig | None:
        """One of them."""
        ...
