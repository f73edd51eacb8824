"""Rebuilds the errors of ``podium.errors`` from the JSON a server sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import msgspec

from podium import errors
from podium.errors import PodiumError


def _tree(cls: type[PodiumError]) -> Iterator[type[PodiumError]]:
    """``cls`` and everything below it, deepest first, so that the most exact class wins."""
    for child in cls.__subclasses__():
        yield from _tree(child)
    yield cls


_SPOKEN_FOR: dict[type[PodiumError], type[PodiumError]] = {
    errors.CallerError: errors.InvalidRequest,
    PodiumError: errors.InternalError,
}
"""Bases whose code their first child inherits: a caller wants the child."""


def _class_of(status: int, code: str, kind: str) -> type[PodiumError]:
    """The class that owns this code; else the one with this status and type; else this status' side."""
    known = [cls for cls in _tree(PodiumError) if cls.__module__ == errors.__name__]
    for cls in known:
        if cls.code == code and "code" in vars(cls):
            return _SPOKEN_FOR.get(cls, cls)
    for cls in known:
        if cls.status == status and cls.type == kind:
            return cls
    return errors.CallerError if 400 <= status < 500 else errors.InternalError


def rebuild(error: Mapping[str, object], status: int, retry_after: str | None = None) -> PodiumError:
    """The error a server described under ``error``."""
    code = str(error.get("code") or "internal_error")
    kind = str(error.get("type") or "api_error")
    details = error.get("details")
    param = error.get("param")
    wait = None
    with contextlib.suppress(TypeError, ValueError):
        wait = float(retry_after) if retry_after else None
    return _class_of(status, code, kind)(
        str(error.get("message") or f"the server answered {status} without a message"),
        param=str(param) if param is not None else None,
        code=code,
        status=status,
        retry_after_s=wait,
        details=dict(details) if isinstance(details, dict) else None,
    )


def from_reply(status: int, body: bytes, retry_after: str | None = None) -> PodiumError:
    """The error in a whole reply, whatever its body holds."""
    with contextlib.suppress(msgspec.DecodeError):
        data = msgspec.json.decode(body)
        if isinstance(data, dict) and isinstance(data.get("error"), dict):
            return rebuild(data["error"], status, retry_after)
    text = body[:200].decode("utf-8", "replace").strip() or "an empty body"
    return rebuild({"message": f"the server answered {status} with {text!r}; is this a Podium server?"}, status)
