"""The head of a data-plane request: what Podium itself reads of it. The rest passes through untouched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from podium.domain.principal import Principal
from podium.domain.record import record
from podium.domain.trace import Trace


class Endpoint(StrEnum):
    """The data-plane operations, by their path under ``/v1``."""

    CHAT = "chat/completions"
    COMPLETION = "completions"
    EMBEDDING = "embeddings"


class Allowance(Protocol):
    """What the caller may use of tokens at a time. One attempt after the other: ``take``, then ``spent``."""

    def take(self, read: int, written: int, *, known: bool) -> None:
        """Reserve what an attempt may need; not ``known``: what it writes is a guess. Raises ``RateLimited``."""
        ...

    def spent(self, tokens: int | None) -> None:
        """It ended; ``None``: nobody can tell what it used."""
        ...


@record
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
    caller: str = ""
    """Who asks, for fairness between callers: a fingerprint of the key, or the ``user`` field. Never shown."""
    priority: int = 1
    """0 high, 1 normal, 2 low; see ``Ticket``."""
    keep_alive_s: float | None = None
    """How long the model stays loaded after this request; ``inf`` for ever, ``None``: as configured."""
    principal: Principal | None = None
    """Whose key it came with; ``None`` where nobody needs one."""
    execution: str | None = None
    """The execution it is part of, from ``x-podium-execution`` or ``metadata.execution``."""
    allowance: Allowance | None = None
    """Where tokens of its key are limited."""
    trace: Trace | None = None
    """The trace it is part of, from ``traceparent``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Who waits for a place on an instance, and how the queue may treat it."""

    caller: str = ""
    task: str = ""
    priority: int = 1
    """0 is served before 1, 1 before 2; waiting long lifts any of them."""
    affinity: int | None = None
    """Hash of the session or of the prompt's beginning: equal ones go to the same copy where that is possible."""
