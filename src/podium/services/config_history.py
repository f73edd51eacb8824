"""The configurations that were in force: kept, listed, compared. Knows no files; ``restore`` is done by the runtime."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from podium.domain.audit import AppliedConfig
from podium.errors import NotFound, StoreError
from podium.ports import Clock, ConfigStore, Page

MOST = 200
"""Configurations kept; older ones are forgotten."""
PRESENT = "file"
"""In a comparison: the file as it is on disk now."""
Restore = Callable[[int, bool, str], Awaitable[Mapping[str, object]]]


class ConfigHistory:
    """One per gateway. ``present`` reads the file as it is now, without what looks like a secret; ``schema`` is the JSON
    Schema of the file.
    """

    def __init__(
        self,
        store: ConfigStore,
        clock: Clock,
        *,
        present: Callable[[], str],
        restore: Restore,
        schema: Callable[[], Mapping[str, object]],
    ) -> None:
        self.schema = schema
        self._store = store
        self._clock = clock
        self._present = present
        self._restore = restore
        self.problem: str | None = None
        """Why the newest could not be kept."""

    async def applied(self, made: AppliedConfig) -> int | None:
        """Keep what was put in force just now, unless it is what was in force before; returns its number.

        Never raises: a configuration is in force whether it could be kept or not.
        """
        try:
            newest = await self._store.configs(Page(limit=1))
            if newest and _same(newest[0], made):
                return newest[0].number
            number = await self._store.keep_config(replace(made, at=self._clock.now()), MOST)
        except StoreError as error:
            self.problem = f"the configuration in force could not be kept in its history: {error.message}"
            return None
        self.problem = None
        return number

    async def listed(self, page: Page) -> tuple[AppliedConfig, ...]:
        """Newest first; the first one is in force."""
        return await self._store.configs(page)

    async def find(self, number: int) -> AppliedConfig:
        """One of them. Raises ``NotFound``."""
        found = await self._store.find_config(number)
        if found is None:
            raise NotFound(f"there is no configuration {number}; `podium config history` lists those that are kept")
        return found

    async def newest(self) -> AppliedConfig:
        """The one in force. Raises ``NotFound`` when none could be kept."""
        found = await self._store.configs(Page(limit=1))
        if not found:
            raise NotFound("no configuration was kept yet; `podium doctor` says why")
        return found[0]

    async def compare(self, a: int, b: int | None) -> str:
        """What was changed from ``a`` to ``b`` (the present file), as a unified diff; empty for nothing."""
        first = await self.find(a)
        name, text = (PRESENT, self._present()) if b is None else (str(b), (await self.find(b)).content)
        before, after = first.content.splitlines(), text.splitlines()
        return "\n".join(
            difflib.unified_diff(before, after, f"configuration {a}", f"configuration {name}", lineterm="")
        )

    async def restore(self, number: int, *, force: bool, by: str) -> Mapping[str, object]:
        """Write a kept configuration into the file and put it in force. Raises as the runtime does."""
        return await self._restore(number, force, by)


def _same(kept: AppliedConfig, made: AppliedConfig) -> bool:
    return (kept.digest, kept.environment, kept.file) == (made.digest, made.environment, made.file)
