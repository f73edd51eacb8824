"""Live events: published synchronously, kept for the record, handed to whoever listens.

A listener that does not keep up loses its oldest events and is told how many; nobody waits for it. A follower is only
told that there is something new on record and reads it there, with ids, in order, as fast as it can.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from podium.domain.swap import Event

_BACKLOG = 1000


class Listener:
    """One subscriber's bounded queue."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque(maxlen=_BACKLOG)
        self._ready = asyncio.Event()
        self.lost = 0
        """Events dropped because this listener was too slow."""

    def put(self, event: Event) -> None:
        """Called by the bus."""
        if len(self._queue) == _BACKLOG:
            self.lost += 1
        self._queue.append(event)
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            self._ready.clear()
            await self._ready.wait()


class EventBus:
    """Hands events to listeners, and to ``record`` for those that are not stored with their own transaction."""

    def __init__(self, record: Callable[[Event], None]) -> None:
        self._record = record
        self._listeners: set[Listener] = set()
        self.hearers: list[Callable[[Event], None]] = []
        """Told of every event at once; must not block or raise."""
        self._followers: set[asyncio.Event] = set()
        self.closing = False
        """True once the gateway stops: followers should end."""

    def publish(self, event: Event) -> None:
        """Tell the listeners about an event that is stored already."""
        for hear in self.hearers:
            hear(event)
        for listener in self._listeners:
            listener.put(event)

    def emit(self, event: Event) -> None:
        """Store it (write-behind) and tell the listeners."""
        self._record(event)
        self.publish(event)

    def stored(self) -> None:
        """New events are on record."""
        for follower in self._followers:
            follower.set()

    def follow(self) -> asyncio.Event:
        """Set whenever there is something new on record, and when ``closing``; give it back with ``unfollow``."""
        follower = asyncio.Event()
        self._followers.add(follower)
        return follower

    def unfollow(self, follower: asyncio.Event) -> None:
        """Follow no more."""
        self._followers.discard(follower)

    @property
    def followers(self) -> int:
        """How many there are."""
        return len(self._followers)

    def close(self) -> None:
        """The gateway stops."""
        self.closing = True
        self.stored()

    def subscribe(self) -> Listener:
        """Begin to listen; give it back with ``unsubscribe``."""
        listener = Listener()
        self._listeners.add(listener)
        return listener

    def unsubscribe(self, listener: Listener) -> None:
        """Stop listening."""
        self._listeners.discard(listener)
