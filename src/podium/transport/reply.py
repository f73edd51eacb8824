"""One HTTP answer under way: owns its body, its consumer and how it ended. Knows no sockets and no pool.

A connection feeds it (``started``, ``feed``, ``flush``, ``finish``, ``fail``); the caller consumes it
(``read``, ``relay``). Everything happens on one event loop, without a task per answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from podium.errors import PodiumError, ProviderError

Headers = list[tuple[bytes, bytes]]
Sink = Callable[[bytes], None]

UNCLAIMED_BYTES = 256 * 1024
"""How much body is kept before anybody asks for it; then upstream waits."""


class Wire(Protocol):
    """What an answer may ask of the connection it arrives on."""

    def pause(self) -> None:
        """Stop reading."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def abandon(self) -> None:
        """Close at once; the rest of the answer is not wanted."""
        ...


class HttpReply:
    """``podium.ports.Reply`` over HTTP. Header names in ``headers`` are lower-case."""

    __slots__ = (
        "_error",
        "_held_back",
        "_max_body",
        "_over",
        "_parts",
        "_reading",
        "_sink",
        "_size",
        "_waiter",
        "_wire",
        "content_type",
        "headers",
        "status",
    )

    def __init__(self, wire: Wire, max_body: int) -> None:
        self.status = 0
        self.content_type = ""
        self.headers: Headers = []
        self._wire: Wire | None = wire
        self._max_body = max_body
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False
        self._reading = False
        self._held_back = False
        self._error: BaseException | None = None
        self._sink: Sink | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """True when the whole body has come or the answer has failed."""
        return self._over

    # ------------------------------------------------------------ consumer

    async def started(self) -> None:
        """Wait for status and headers. Raises ``ProviderError``."""
        if not self.status and not self._over:
            await self._wait()
        if not self.status and self._error is not None:
            raise self._error

    async def read(self) -> bytes:
        self._reading = True
        if self._size > self._max_body:
            self._too_large()
        elif not self._over:
            self._claim()
            await self._wait()
        if self._error is not None:
            raise self._error
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def relay(self, sink: Sink) -> None:
        self._sink = sink
        self._claim()
        self.flush()  # the sink may pause
        if not self._over:
            await self._wait()
        if self._error is not None:
            raise self._error

    def pause(self) -> None:
        if self._wire is not None:
            self._wire.pause()

    def resume(self) -> None:
        if self._wire is not None:
            self._wire.resume()

    def close(self) -> None:
        wire, self._wire = self._wire, None
        self._sink = None
        self._parts = []
        if wire is not None:
            self._over = True
            if self._error is None:
                self._error = ProviderError("the answer was closed before it was complete")
            self._wake()
            wire.abandon()

    def _claim(self) -> None:
        """Somebody takes the body now: undo our own pause, not the caller's."""
        if self._held_back:
            self._held_back = False
            self.resume()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except BaseException:  # cancelled: an answer nobody waits for must not go on
            self.close()
            raise
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ------------------------------------------------------------ producer

    def begin(self, status: int) -> None:
        """Status and headers are complete."""
        self.status = status
        if self._waiter is not None and not self._waiter.done():
            # the body often comes in the same read: waking is only scheduled here, so the reader finds it
            self._waiter.set_result(None)

    def feed(self, data: bytes) -> None:
        """One piece of the body; handed on by ``flush`` so that one read makes one call of the sink."""
        self._parts.append(data)
        self._size += len(data)
        if self._sink is None:
            if self._reading:
                if self._size > self._max_body:
                    self._too_large()
            elif self._size > UNCLAIMED_BYTES and not self._held_back:
                self._held_back = True
                self.pause()

    def flush(self) -> None:
        """Give what has come to the sink, if there is one."""
        parts = self._parts
        if parts and self._sink is not None:
            self._parts = []
            try:
                self._sink(parts[0] if len(parts) == 1 else b"".join(parts))
            except BaseException as err:  # noqa: BLE001 - raised again by relay(), in the task of the caller
                self._error = err
                self.close()

    def finish(self) -> None:
        """The body is complete; the connection is free again."""
        self.flush()
        self._wire = None
        self._over = True
        self._wake()

    def fail(self, error: PodiumError) -> None:
        """The answer ends here. What came before is still handed to the sink."""
        if self._over:
            return
        self.flush()
        self._wire = None
        self._over = True
        if self._error is None:
            self._error = error
        self._wake()

    def _too_large(self) -> None:
        self._error = ProviderError(
            f"the model's server sent more than {self._max_body} bytes; ask for less, or raise the limit",
            code="response_too_large",
        )
        self.close()
