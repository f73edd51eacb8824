"""Turns an error answer of a model's server into our own error: whose fault, which code, what to do."""

from __future__ import annotations

import msgspec

from podium.errors import ContextExceeded, Overloaded, PodiumError, ProviderError, ProviderRejected
from podium.services.redaction import MASKER

_any = msgspec.json.Decoder()
_CONTEXT = ("exceed_context_size_error", "context_length_exceeded")


def rejection(status: int, body: bytes, ref: str) -> PodiumError:
    """``status`` is not 200. A 4xx is the caller's own, except where it is about our key or our route."""
    message, kind, code, param = _read(body)
    said = MASKER.known(message) if message else f"HTTP {status} without a message"
    if kind in _CONTEXT or code in _CONTEXT or "maximum context length" in said:
        return ContextExceeded(f"{ref}: {said}; shorten the prompt or choose a model with a larger context")
    if status in (401, 403):
        return ProviderError(f"{ref}: its server refuses our key ({said}); check what the model's api_key names")
    if status == 404:
        return ProviderError(f"{ref}: its server does not know this model or route ({said})")
    if status in (408, 425, 429, 503):
        return Overloaded(f"{ref}: its server is busy ({said})", retry_after_s=1.0, status=503)
    if 400 <= status < 500:
        return ProviderRejected(f"{ref}: {said}", status=status, param=param, code=code or "provider_rejected")
    if status == 501:
        return ProviderRejected(f"{ref}: {said}", status=400, code="not_supported")
    return ProviderError(f"{ref}: its server failed with HTTP {status} ({said})")


def _read(body: bytes) -> tuple[str | None, str | None, str | None, str | None]:
    try:
        value = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[:200].decode("utf-8", "replace").strip()
        return text or None, None, None, None
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return str(error)[:500], None, None, None
    said = error.get("message") or error.get("detail")
    code = error.get("code")
    return (
        str(said)[:2000] if said else None,
        str(error.get("type")) if error.get("type") else None,
        code if isinstance(code, str) else None,
        error.get("param") if isinstance(error.get("param"), str) else None,
    )
