"""Reads answers in the chat-completions format, whole or chunk by chunk, as they come from real servers.

Tolerant where servers differ (reasoning under two names, arguments as object, calls without index), strict where a
guess would lose words: what cannot be read raises ``ProviderError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from podium.errors import ProviderError


class Cached(msgspec.Struct):
    """``prompt_tokens_details``."""

    cached_tokens: int | None = None


class Reasoned(msgspec.Struct):
    """``completion_tokens_details``."""

    reasoning_tokens: int | None = None


class Usage(msgspec.Struct):
    """Tokens as the server counted them; what it does not say is ``None``."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Cached | None = None
    completion_tokens_details: Reasoned | None = None

    @property
    def cached(self) -> int:
        """Prompt tokens that were not computed again; never more than there are."""
        found = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None
        return max(min(found or 0, self.prompt_tokens or 0), 0)

    @property
    def reasoning(self) -> int:
        """Tokens of thinking, of those completed."""
        found = self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None
        return max(found or 0, 0)

    def joined(self, other: Usage) -> Usage:
        """The larger of each figure: some servers count up, some tell each figure once, some end with zeros."""
        return Usage(
            _larger(self.prompt_tokens, other.prompt_tokens),
            _larger(self.completion_tokens, other.completion_tokens),
            Cached(max(self.cached, other.cached)),
            Reasoned(max(self.reasoning, other.reasoning)),
        )


class Function(msgspec.Struct):
    """Name and arguments of a call; a fragment of them in a stream."""

    name: str | None = None
    arguments: Any = None


class Call(msgspec.Struct):
    """A tool call, or a fragment of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None

    @property
    def name(self) -> str:
        """Empty when this fragment does not say it."""
        return (self.function.name if self.function else None) or ""

    @property
    def arguments(self) -> str:
        """JSON text, or a piece of it."""
        found = self.function.arguments if self.function else None
        if found is None or isinstance(found, str):
            return found or ""
        return msgspec.json.encode(found).decode()


class Message(msgspec.Struct):
    """A message or a delta."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[Call] | None = None

    @property
    def text(self) -> str:
        """The words, also of content in parts."""
        return _words(self.content)

    @property
    def thought(self) -> str:
        """The reasoning, whatever the server calls it."""
        return _words(self.reasoning_content) or _words(self.reasoning)


class Choice(msgspec.Struct):
    """One answer."""

    message: Message | None = None
    delta: Message | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    logprobs: Any = None
    index: int | None = 0


class Answer(msgspec.Struct):
    """A whole answer or one chunk."""

    choices: list[Choice] | None = None
    usage: Usage | None = None

    @property
    def first(self) -> Choice | None:
        """The choice that is translated: other formats have only one."""
        return next((choice for choice in self.choices or () if not choice.index), None)


class Kind(StrEnum):
    """What one event of a stream is."""

    CHUNK = "chunk"
    COMMENT = "comment"
    ERROR = "error"
    DONE = "done"


_answer = msgspec.json.Decoder(Answer)


def read_answer(body: bytes) -> Answer:
    """Raises ``ProviderError`` for what is no answer of a chat."""
    try:
        return _answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderError(f"the model's server sent no chat completion ({error})", code="bad_answer") from None


def events(data: bytes) -> Iterator[tuple[Kind, bytes]]:
    """Whole events, as the gateway hands them on, with their payloads. Comments give their text."""
    for event in data.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = event.split(b"\n")
        payload = b"\n".join(line[5:].strip() for line in lines if line[:5] == b"data:")
        if payload == b"[DONE]":
            yield Kind.DONE, b""
        elif payload:
            yield (Kind.ERROR if b"event: error" in lines else Kind.CHUNK), payload
        else:
            for line in lines:
                if line[:1] == b":":
                    yield Kind.COMMENT, line[1:].strip()


def _larger(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_words(part.get("text")) for part in content if isinstance(part, dict))
    return ""
