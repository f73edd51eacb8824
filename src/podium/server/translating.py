"""Between the gateway and an exchange when the caller speaks another wire format than chat completions.

The gateway answers as always; what it writes is translated on its way out, event by event. Decides nothing and buffers
nothing: fallbacks, records and observers never learn of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from podium.server.exchange import Exchange, RawHeaders
from podium.services.translation.chat import events

_ERROR = b"event: error\n"


class Dialect(Protocol):
    """Answers of a chat in another format. ``served`` is the version that answers."""

    def whole(self, body: bytes, served: str) -> bytes:
        """A complete answer. Raises ``ProviderError`` for what is no chat completion."""
        ...

    def opened(self, served: str) -> bytes:
        """What a stream begins with at once, if anything."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Whole events in, whole events out. Raises ``ProviderError`` as ``whole`` does."""
        ...

    def end(self) -> bytes:
        """What follows the last event of a complete answer."""
        ...

    def broken(self, error: bytes) -> bytes:
        """The one event that says why the answer is not complete; ``error`` is OpenAI's JSON of it."""
        ...


class Translated:
    """The caller's end of a request, as the gateway sees it. ``extra`` are more headers by the request's id."""

    __slots__ = ("_dialect", "_exchange", "_extra", "_over")

    def __init__(self, exchange: Exchange, dialect: Dialect, extra: tuple[bytes, ...] = ()) -> None:
        self._exchange = exchange
        self._dialect = dialect
        self._extra = extra
        self._over = False

    @property
    def bytes_started(self) -> bool:
        """True once any byte of the answer was handed to the socket."""
        return self._exchange.bytes_started

    @bytes_started.setter
    def bytes_started(self, value: bool) -> None:
        self._exchange.bytes_started = value

    @property
    def on_pause(self) -> Callable[[], None] | None:
        """Called when the caller reads slowly."""
        return self._exchange.on_pause

    @on_pause.setter
    def on_pause(self, value: Callable[[], None] | None) -> None:
        self._exchange.on_pause = value

    @property
    def on_resume(self) -> Callable[[], None] | None:
        """Called when the caller has caught up."""
        return self._exchange.on_resume

    @on_resume.setter
    def on_resume(self, value: Callable[[], None] | None) -> None:
        self._exchange.on_resume = value

    def respond(self, status: int, headers: RawHeaders, body: bytes) -> None:
        made = self._dialect.whole(body, _served(headers))
        self._exchange.respond(status, self._headers(headers), made)

    def start_stream(self, status: int, headers: RawHeaders) -> None:
        made = self._dialect.opened(_served(headers))
        self._exchange.start_stream(status, self._headers(headers))
        self._exchange.write(made)

    def write(self, data: bytes) -> None:
        if self._over:
            return
        if data.startswith(_ERROR):
            self._over = True
            self._exchange.write(self._dialect.broken(next(events(data))[1]))
        else:
            self._exchange.write(self._dialect.feed(data))

    def finish(self) -> None:
        if not self._over:
            made = self._dialect.end()
            self._over = True
            self._exchange.write(made)
        self._exchange.finish()

    def _headers(self, headers: RawHeaders) -> RawHeaders:
        request_id = next((value for name, value in headers if name == b"x-request-id"), b"")
        return (*headers, *((name, request_id) for name in self._extra))


def _served(headers: RawHeaders) -> str:
    return next((value.decode() for name, value in headers if name == b"x-podium-model"), "")
