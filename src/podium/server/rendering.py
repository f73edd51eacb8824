"""How an error looks on the wire: OpenAI's JSON shape, or Anthropic's. Prints what the error tree says, decides nothing."""

from __future__ import annotations

import math

import msgspec

from podium.errors import PodiumError
from podium.services.redaction import MASKER

JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder(dict[str, dict[str, object]]).decode
_OVERLOADED = 529
"""The status that Anthropic's clients know for it."""
_TYPES = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error",
}  # fmt: skip
_BY_CODE = {
    "overloaded": "overloaded_error", "model_not_found": "not_found_error", "not_found": "not_found_error",
    "rate_limit_exceeded": "rate_limit_error", "insufficient_quota": "rate_limit_error", "provider_timeout": "timeout_error",
}  # fmt: skip


def render_for(
    path: bytes | str, err: PodiumError, request_id: str | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """As ``render_error``, in the format of whoever asks for ``path``."""
    start = path[:12].encode("latin-1", "replace") if isinstance(path, str) else path[:12]
    return render_anthropic(err, request_id) if start == b"/v1/messages" else render_error(err, request_id)


def render_anthropic(err: PodiumError, request_id: str | None = None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """``(status, headers, body)`` of an error answer to one of Anthropic's clients."""
    status, headers, _ = render_error(err, request_id)
    overloaded = err.type == "overloaded_error"
    if request_id is not None:
        headers.append((b"request-id", request_id.encode("latin-1", "replace")))
    kind = "overloaded_error" if overloaded else _TYPES.get(status)
    kind = kind or ("invalid_request_error" if status < 500 else "api_error")
    error: dict[str, object] = {
        "type": kind,
        "message": MASKER.known(err.message),
        "param": err.param,
        "code": err.code,
    }
    error["fault"] = err.fault.value
    if err.details:
        error["details"] = err.details
    body = _encode({"type": "error", "error": error, "request_id": request_id})
    return _OVERLOADED if overloaded else status, headers, body


def anthropic_event(error: bytes) -> bytes:
    """The last event of a broken stream; ``error`` is the same in OpenAI's JSON."""
    said = _decode(error)["error"]
    kind = _BY_CODE.get(str(said.get("code"))) or (
        "invalid_request_error" if said.get("fault") == "caller" else "api_error"
    )
    given = {"type": kind, **{name: said.get(name) for name in ("message", "param", "code", "fault")}}
    body = _encode({"type": "error", "error": given, "request_id": said.get("request_id")})
    return b"event: error\ndata: " + body + b"\n\n"


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
        "message": MASKER.known(err.message),
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
