"""What a call of the client is on the wire: addresses, path segments, headers, bodies of chat requests. Pure."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from podium.domain.task import Criteria
from podium.errors import InvalidRequest
from podium.transport.client import Origin
from podium.transport.reply import HttpReply

Json = dict[str, Any]
Messages = str | Sequence[Mapping[str, Any]]


def origin_of(url: str) -> Origin:
    """Where ``http(s)://HOST[:PORT]`` or ``unix:PATH`` listens. Raises ``InvalidRequest``."""
    if url.startswith("unix:"):
        return Origin(unix_path=Path(url.removeprefix("unix:")))
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise InvalidRequest(f"{url!r} is not the address of a server: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(f"{url!r} is not the address of a server; write http://HOST:PORT")
    return Origin(host=parts.hostname, port=port, tls=ssl.create_default_context() if parts.scheme == "https" else None)


def header_map(reply: HttpReply) -> dict[str, str]:
    """Header values by lower-case name."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reply.headers}


def part_of(text: str) -> str:
    """One path segment."""
    return quote(text, safe="@:")


def chat_of(
    prompt: Messages,
    task: str | None,
    model: str | None,
    criteria: Criteria | None,
    params: Mapping[str, Any],
    *,
    stream: bool,
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a chat request."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    body: Json = {"model": model or "auto", "messages": messages, **params}
    if stream:
        body["stream"] = True
        body.setdefault("stream_options", {"include_usage": True})
    headers = {}
    if task is not None:
        headers["x-podium-task"] = task
    if criteria is not None:
        given = {key: value for key, value in msgspec.to_builtins(criteria).items() if value is not None}
        headers["x-podium-criteria"] = msgspec.json.encode(given).decode()
    return msgspec.json.encode(body), headers
