"""How an error looks on the wire: OpenAI's JSON shape. Prints what the error tree says, decides nothing."""

from __future__ import annotations

import math

import msgspec

from podium.errors import PodiumError

JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder(enc_hook=str).encode


def render_error(err: PodiumError, request_id: str | None = None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """``(status, headers, body)`` of an error answer on ``/v1``; headers carry ``Retry-After`` in whole seconds."""
    headers = [JSON]
    if err.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(0, math.ceil(err.retry_after_s))))
    if request_id is not None:
        headers.append((b"x-request-id", request_id.encode("latin-1", "replace")))
    return err.status, headers, error_body(err, request_id)


def error_body(err: PodiumError, request_id: str | None = None) -> bytes:
    """The JSON document alone, for example for the last event of a stream."""
    error: dict[str, object] = {
        "message": err.message,
        "type": err.type,
        "param": err.param,
        "code": err.code,
        "fault": err.fault.value,
    }
    if request_id is not None:
        error["request_id"] = request_id
    if err.details:
        error["details"] = err.details
    return _encode({"error": error})
