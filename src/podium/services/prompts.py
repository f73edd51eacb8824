"""Reads a request for whoever judges the answer to it: the prompt as text, and the schema it asked for. Off the hot path."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from podium.domain.request import Endpoint, RequestHead

LONGEST = 200_000
"""Characters of a prompt that are read; the middle of a longer one is left out."""
_any = msgspec.json.Decoder()


def prompt_text(head: RequestHead) -> str:
    """The prompt; of a conversation its messages one after another, each behind its role. Empty for what is no text."""
    if head.endpoint is Endpoint.CHAT:
        messages = _value(head, "messages")
        spoken = [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
        if len(spoken) == 1:
            return _short(_flat(spoken[0].get("content")))
        return _short("\n\n".join(f"{one.get('role', 'user')}: {_flat(one.get('content'))}" for one in spoken))
    return _short(_flat(_value(head, "prompt")))


def asked_schema(head: RequestHead) -> Mapping[str, object] | None:
    """The JSON Schema of ``response_format``; ``None`` without one."""
    wanted = _value(head, "response_format")
    described = wanted.get("json_schema") if isinstance(wanted, dict) else None
    schema = described.get("schema") if isinstance(described, dict) else None
    return schema if isinstance(schema, dict) else None


def _value(head: RequestHead, name: str) -> object:
    raw = head.fields.get(name)
    if raw is None:
        return None
    try:
        return _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _flat(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_flat(part.get("text") if isinstance(part, dict) else part) for part in value)
    return ""


def _short(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}\n[…]\n{text[-half:]}"
