"""Answers of Anthropic's Messages API as OpenAI's chat: one message, or its events as chunks. Pure: bytes in, bytes out.

Tokens read from a cache and written to it are prompt tokens in OpenAI's count; ``cached_tokens`` are those read. Source:
Anthropic's reference of the streaming events, version 2023-06-01.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.errors import ProviderError
from podium.providers.refusals import error_body

_LIMIT = 8 * 1024 * 1024
_STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_TOO_LONG = ("prompt is too long", "exceed context limit", "context window")
_DONE = b"data: [DONE]\n\n"
_any = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]


def whole(body: bytes, *, created: int, model: str) -> bytes:
    """A chat completion. Raises ``ProviderError`` for what is no message."""
    message = _read(body)
    content = message.get("content")
    if message.get("type") != "message" or not isinstance(content, list):
        raise ProviderError("the server does not answer like Anthropic's", code="bad_answer")
    blocks = [block for block in content if isinstance(block, dict)]
    said: Json = {"role": "assistant", "content": _joined(blocks, "text")}
    thought = _joined(blocks, "thinking")
    if thought:
        said["reasoning_content"] = thought
    calls = [
        {
            "id": block.get("id"),
            "type": "function",
            "function": {"name": block.get("name"), "arguments": _encode(block.get("input") or {}).decode()},
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    if calls:
        said["tool_calls"] = calls
        said["content"] = said["content"] or None
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": stop_of(message.get("stop_reason"))}
    return _encode(
        {
            "id": message.get("id"),
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [choice],
            "usage": usage_of(message.get("usage")),
        }
    )


def stop_of(reason: object) -> str:
    """``finish_reason`` for a ``stop_reason``."""
    return _STOPS.get(str(reason), "stop")


def usage_of(usage: object) -> Json:
    """OpenAI's counts."""
    given = usage if isinstance(usage, dict) else {}

    def count(name: str) -> int:
        value = given.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

    cached = count("cache_read_input_tokens")
    read = count("input_tokens") + cached + count("cache_creation_input_tokens")
    made = count("output_tokens")
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def refusal(status: int, body: bytes) -> tuple[int, bytes]:
    """An error of Anthropic's in OpenAI's shape, with the status that tells whose fault it is."""
    try:
        error = _any.decode(body)["error"]
        said, kind = str(error["message"]), str(error.get("type"))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        said, kind = body[:300].decode("utf-8", "replace").strip() or f"HTTP {status} without a message", "api_error"
    code = None
    if status == 400 and any(words in said.lower() for words in _TOO_LONG):
        code = "context_length_exceeded"
    elif status == 404:
        code = "model_not_found"
    elif status == 529:  # Anthropic's own for "overloaded"
        status = 503
    return status, error_body(said, code=code, kind=kind)


class Translator:
    """The events of one answer as chunks. ``feed`` takes bytes as they come, ``end`` is called when there are no more."""

    def __init__(self, *, created: int, model: str, include_usage: bool) -> None:
        self._created = created
        self._model = model
        self._include_usage = include_usage
        self._rest = b""
        self._id = ""
        self._usage: Json = {}
        self._stop: str | None = None
        self._calls: dict[int, int] = {}
        self._empty: set[int] = set()
        self.done = False
        self.failed: ProviderError | None = None
        """Why the stream cannot go on; what came before it has been given out."""

    def feed(self, data: bytes) -> bytes:
        """Chunks for the events that are complete."""
        if self.done or self.failed:
            return b""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LIMIT:
            self.failed = ProviderError("Anthropic sent an event without end", code="stream_broken")
        out: list[bytes] = []
        try:
            for line in lines:
                if line.startswith(b"data:") and not self.done:
                    self._event(_read(line[5:]), out)
        except ProviderError as error:
            self.failed = error
        return b"".join(out)

    def end(self) -> bytes:
        """The body is complete. An answer that is not sets ``failed``."""
        out = self.feed(b"\n") if self._rest.strip() else b""
        if not self.done and self.failed is None:
            self.failed = ProviderError(
                "Anthropic ended the stream before the answer was complete", code="stream_broken"
            )
        return out

    def _event(self, event: Json, out: list[bytes]) -> None:
        match event.get("type"):
            case "message_start":
                message = event.get("message") or {}
                self._id = str(message.get("id") or "")
                self._count(message.get("usage"))
                out.append(self._chunk({"role": "assistant", "content": ""}))
            case "content_block_start":
                self._begin(int(event.get("index") or 0), event.get("content_block") or {}, out)
            case "content_block_delta":
                self._delta(int(event.get("index") or 0), event.get("delta") or {}, out)
            case "content_block_stop":
                self._close(int(event.get("index") or 0), out)
            case "message_delta":
                self._stop = (event.get("delta") or {}).get("stop_reason") or self._stop
                self._count(event.get("usage"))
            case "message_stop":
                out.append(self._chunk({}, finish=stop_of(self._stop)))
                if self._include_usage:
                    out.append(self._sse({"choices": [], "usage": usage_of(self._usage)}))
                out.append(_DONE)
                self.done = True
            case "error":
                error = event.get("error") or {}
                raise ProviderError(
                    f"Anthropic stopped in the middle of the answer: {error.get('message') or error.get('type')}",
                    code="stream_broken",
                )
            case _:
                return  # pings, and kinds that are not known yet

    def _begin(self, index: int, block: Json, out: list[bytes]) -> None:
        if block.get("type") == "tool_use":
            number = self._calls[index] = len(self._calls)
            self._empty.add(index)
            function = {"name": block.get("name"), "arguments": ""}
            call = {"index": number, "id": block.get("id"), "type": "function", "function": function}
            out.append(self._chunk({"tool_calls": [call]}))
        elif block.get("type") == "text" and block.get("text"):
            out.append(self._chunk({"content": block["text"]}))

    def _delta(self, index: int, delta: Json, out: list[bytes]) -> None:
        match delta.get("type"):
            case "text_delta":
                out.append(self._chunk({"content": delta.get("text") or ""}))
            case "thinking_delta":
                out.append(self._chunk({"reasoning_content": delta.get("thinking") or ""}))
            case "input_json_delta" if index in self._calls and delta.get("partial_json"):
                self._empty.discard(index)
                out.append(self._arguments(index, delta["partial_json"]))
            case _:
                return  # signatures, citations

    def _close(self, index: int, out: list[bytes]) -> None:
        if index in self._empty:  # a call without arguments
            self._empty.discard(index)
            out.append(self._arguments(index, "{}"))

    def _arguments(self, index: int, text: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": text}}]})

    def _count(self, usage: object) -> None:
        """Counts are cumulative: the newest that is there wins."""
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _chunk(self, delta: Json, finish: str | None = None) -> bytes:
        return self._sse({"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})

    def _sse(self, more: Json) -> bytes:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model}
        return b"data: " + _encode({**head, **more}) + b"\n\n"


def _joined(blocks: list[Json], kind: str) -> str:
    return "".join(str(block.get(kind) or "") for block in blocks if block.get("type") == kind)


def _read(raw: bytes) -> Json:
    try:
        found = _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderError(f"the server does not answer like Anthropic's ({error})", code="bad_answer") from None
    if not isinstance(found, dict):
        raise ProviderError("the server does not answer like Anthropic's", code="bad_answer")
    return found
