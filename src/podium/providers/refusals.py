"""Answers that are errors in OpenAI's shape, made here: for what a server of another format says or cannot do."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


def error_body(
    message: str, *, code: str | None, kind: str = "invalid_request_error", param: str | None = None
) -> bytes:
    """An error as OpenAI's clients read it."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


class Refusal:
    """``podium.ports.Reply`` that is such an error."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.content_type = "application/json"
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        sink(self._body)

    def pause(self) -> None:
        """Nothing is under way."""

    def resume(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is under way."""
