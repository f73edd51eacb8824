"""Watches whether a tag still names the model that was registered: it may be pulled again at any moment.

Ollama resolves a tag when a request comes and does not say to what. So the list of models is read after each request was
sent and before its answer is handed on; requests that wait at the same time share one reading.
"""

from __future__ import annotations

import asyncio

from podium.errors import PodiumError
from podium.providers.ollama_api import OllamaServer, same


class Watch:
    """One per server."""

    def __init__(self, server: OllamaServer) -> None:
        self._server = server
        self._reading: asyncio.Task[dict[str, str]] | None = None
        self._next: asyncio.Task[dict[str, str]] | None = None

    async def changed(self, tag: str, digest: str) -> bool:
        """Whether the tag names something else, by a reading that began after this call. What cannot be read is no
        change.
        """
        found = await asyncio.shield(self._after_now())
        known = next((value for name, value in found.items() if same(name, tag)), None)
        return known is not None and known != digest

    def _after_now(self) -> asyncio.Task[dict[str, str]]:
        """A reading that has not begun yet, or begins now."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(None))
            return self._reading
        if self._next is None or self._next.done() or self._next is self._reading:
            self._next = asyncio.create_task(self._read(self._reading))
        return self._next

    async def _read(self, before: asyncio.Task[dict[str, str]] | None) -> dict[str, str]:
        if before is not None:
            await asyncio.wait({before})
            self._reading = asyncio.current_task()
            self._next = None
        try:
            rows = await self._server.tags()
        except PodiumError:
            return {}
        return {row.name: f"sha256:{row.digest.removeprefix('sha256:')}" for row in rows}
