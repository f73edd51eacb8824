"""Knows whether users are being served, so that background work keeps out of their way.

Work that shares this machine with the models begins only while no user's request is under way, and is called off when
one arrives. Owns a count; knows nothing of the work.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """The work was called off because a user came; try again later."""


class Idleness:
    """``entered`` and ``left`` are called by the request path, once each per request."""

    def __init__(self) -> None:
        self._users = 0
        self._left_at = -math.inf
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._working: set[asyncio.Future[Any]] = set()

    @property
    def users(self) -> int:
        """Requests of users under way."""
        return self._users

    async def calm(self, for_s: float) -> None:
        """Return when no user's request has been under way for so long: work that is called off at once is only churn."""
        while True:
            await self.quiet()
            left_s = self._left_at + for_s - time.monotonic()
            if left_s <= 0:
                return
            await asyncio.sleep(left_s)

    def entered(self) -> None:
        """A user's request begins."""
        self._users += 1
        if self._users == 1:
            self._quiet.clear()
            for work in tuple(self._working):
                work.cancel()

    def left(self) -> None:
        """A user's request ended."""
        self._users -= 1
        if self._users == 0:
            self._left_at = time.monotonic()
            self._quiet.set()

    async def quiet(self) -> None:
        """Return when no user's request is under way."""
        while self._users:
            await self._quiet.wait()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` now that it is quiet. Raises ``Interrupted`` when a user came (the work is cancelled then)."""
        running = asyncio.ensure_future(work)
        if self._users:
            running.cancel()
        self._working.add(running)
        try:
            return await running
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                running.cancel()
                raise
            raise Interrupted from None
        finally:
            self._working.discard(running)

    @asynccontextmanager
    async def user(self) -> AsyncIterator[None]:
        """One user's request."""
        self.entered()
        try:
            yield
        finally:
            self.left()
