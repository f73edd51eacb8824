"""The head of a data-plane request: what Podium itself reads of it. The rest passes through untouched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Endpoint(StrEnum):
    """The data-plane operations, by their path under ``/v1``."""

    CHAT = "chat/completions"
    COMPLETION = "completions"
    EMBEDDING = "embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """What selection needs to know about one request."""

    request_id: str
    endpoint: Endpoint
    model: str
    """As the caller wrote it: ``auto``, ``task:NAME``, name, ``name@version`` or alias."""
    task: str | None
    """From ``x-podium-task`` or ``metadata.task``."""
    stream: bool
    include_usage: bool
    needs: frozenset[str]
    """Capabilities the body asks for (tools, json_schema, logprobs, vision)."""
    fields: Mapping[str, bytes]
    """The caller's JSON object, one undecoded value per top-level key: unknown keys survive as they came."""
    size: int
    """Bytes of the body."""
    max_tokens: int | None = None
    session: str | None = None
