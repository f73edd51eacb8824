"""An ASGI application that is built when somebody asks it something for the first time.

Owns when ``build`` runs, and that it runs once. It runs in a thread: what else the loop serves goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from podium.server.asgi import AsgiApp, Receive, Scope, Send


class LateApp:
    """``build()`` once; requests that come while it runs wait for it. What it raises goes to all who waited, and the next
    request tries again.
    """

    def __init__(self, build: Callable[[], AsgiApp]) -> None:
        self._build = build
        self._app: AsgiApp | None = None
        self._building: asyncio.Future[AsgiApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        app = self._app or await self._built()
        await app(scope, receive, send)

    async def _built(self) -> AsgiApp:
        if self._building is None:
            self._building = asyncio.ensure_future(asyncio.to_thread(self._build))
            self._building.add_done_callback(self._done)
        return await asyncio.shield(self._building)  # who leaves does not end it for the others

    def _done(self, building: asyncio.Future[AsgiApp]) -> None:
        self._building = None
        if not building.cancelled() and building.exception() is None:
            self._app = building.result()
