"""Who a gateway answers to, and who it tells: protocols, and the words that keep a waiting stream alive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from podium.domain.decision import Decision, Outcome
from podium.errors import PodiumError

Headers = Sequence[tuple[bytes, bytes]]


class Responder(Protocol):
    """The caller's end of a request. ``on_pause``/``on_resume`` are called when the caller reads slowly."""

    bytes_started: bool
    on_pause: Callable[[], None] | None
    on_resume: Callable[[], None] | None

    def respond(self, status: int, headers: Headers, body: bytes) -> None: ...
    def start_stream(self, status: int, headers: Headers) -> None: ...
    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...


class Tracking(Protocol):
    """Is told of attempts of requests that name an execution; must be quick and must not raise."""

    def began(self, execution_id: str, decision: Decision) -> None: ...
    def ended(self, execution_id: str, outcome: Outcome) -> None: ...


def waiting_comment(ref: str, what: str, seconds: float | None) -> bytes:
    """A line that stream readers ignore and people understand."""
    left = "" if seconds is None else f"; about {seconds:.1f} s left"
    text = f": waiting for {ref}: {what}{left}"
    return text.replace("\n", " ").replace("\r", " ").encode() + b"\n\n"


def error_event(error: PodiumError, request_id: str) -> bytes:
    """The last event of a stream that cannot go on."""
    body = {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
            "fault": error.fault,
            "request_id": request_id,
        }
    }
    return b"event: error\ndata: " + msgspec.json.encode(body) + b"\n\n"
