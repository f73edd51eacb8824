"""Ollama's answers as OpenAI's: one JSON object, or NDJSON lines as server-sent events. Pure: bytes in, bytes out.

Tokens come from ``prompt_eval_count`` and ``eval_count``; durations (nanoseconds there) are passed on as llama.cpp's
``timings``, in milliseconds. Source of the fields: Ollama's ``api/types.go``.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from podium.domain.request import Endpoint
from podium.errors import ProviderError
from podium.providers.ollama_wire import Order
from podium.providers.refusals import error_body

_LIMIT = 8 * 1024 * 1024
_CONTEXT = ("context length", "context size", "exceeds the available context", "context window")
_DONE = b"data: [DONE]\n\n"


class _Function(msgspec.Struct):
    name: str
    arguments: dict[str, Any] = {}


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[_Logprob] | None = None


class _Line(msgspec.Struct):
    """One object of ``/api/chat`` or ``/api/generate``; Go leaves zeros out."""

    error: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    done_reason: str | None = None
    logprobs: list[_Logprob] | None = None
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0


class _Embedded(msgspec.Struct):
    embeddings: list[list[float]]
    prompt_eval_count: int = 0


_line = msgspec.json.Decoder(_Line)
_embedded = msgspec.json.Decoder(_Embedded)
_any = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class Translator:
    """The answer to one order. ``feed`` takes the bytes of a stream, ``whole`` a complete body."""

    def __init__(self, order: Order, *, identity: str, created: int, model: str) -> None:
        self._order = order
        self._chat = order.endpoint is Endpoint.CHAT
        self._identity = identity
        self._head = {"id": f"{'chatcmpl' if self._chat else 'cmpl'}-{identity}", "created": created, "model": model}
        self._rest = b""
        self._calls = 0
        self._begun = False
        self._offset = 0
        self.done = False
        self.failed: ProviderError | None = None
        """Why the stream cannot go on; what came before it has been given out."""

    def whole(self, body: bytes) -> bytes:
        """Raises ``ProviderError`` for what is not a complete answer of Ollama's."""
        if self._order.endpoint is Endpoint.EMBEDDING:
            return self._embeddings(body)
        line = _read(body)
        if not line.done:
            raise ProviderError("Ollama's answer is not complete", code="bad_answer")
        text, thought, calls = self._content(line)
        if self._chat:
            message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
            if thought:
                message["reasoning_content"] = thought
            if calls:
                message["tool_calls"] = [{key: call[key] for key in ("id", "type", "function")} for call in calls]
            choice = {"index": 0, "message": message, "finish_reason": self._reason(line)}
            kind = "chat.completion"
        else:
            choice = {"index": 0, "text": text, "finish_reason": self._reason(line)}
            kind = "text_completion"
        choice["logprobs"] = self._logprobs(line.logprobs)
        return _encode(
            {**self._head, "object": kind, "choices": [choice], "usage": _usage(line), "timings": _timings(line)}
        )

    def feed(self, data: bytes) -> bytes:
        """Events for the lines that are complete, up to the one that sets ``failed`` or ``done``."""
        if self.done or self.failed:
            return b""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LIMIT:
            self.failed = ProviderError("Ollama sent a line without end", code="stream_broken")
        out: list[bytes] = []
        try:
            for raw in lines:
                if raw.strip() and not self.done:
                    self._event(_read(raw), out)
        except ProviderError as error:
            self.failed = error
        return b"".join(out)

    def end(self) -> bytes:
        """The body is complete: the last line may lack its newline. An answer that is not sets ``failed``."""
        out = self.feed(b"\n") if self._rest.strip() else b""
        if not self.done and self.failed is None:
            self.failed = ProviderError("Ollama ended the stream before the answer was complete", code="stream_broken")
        return out

    # ------------------------------------------------------------ parts

    def _event(self, line: _Line, out: list[bytes]) -> None:
        text, thought, calls = self._content(line)
        if thought:
            self._chunk(out, {"reasoning_content": thought}, None if text or calls else line.logprobs)
        if calls:
            self._chunk(out, {"tool_calls": calls}, None if text else line.logprobs)
        if text or (line.logprobs and not thought and not calls) or (not self._begun and not line.done):
            self._chunk(out, {"content": text}, line.logprobs)
        if not line.done:
            return
        if not self._begun:
            self._chunk(out, {"content": ""}, None)
        self.done = True
        last: dict[str, Any] = {"index": 0, "finish_reason": self._reason(line), "logprobs": None}
        last["delta" if self._chat else "text"] = {} if self._chat else ""
        out.append(self._sse({"choices": [last], "timings": _timings(line)}))
        if self._order.include_usage:
            out.append(self._sse({"choices": [], "usage": _usage(line)}))
        out.append(_DONE)

    def _chunk(self, out: list[bytes], delta: dict[str, Any], logprobs: Sequence[_Logprob] | None) -> None:
        choice: dict[str, Any] = {"index": 0, "finish_reason": None, "logprobs": self._logprobs(logprobs)}
        if self._chat:
            choice["delta"] = delta if self._begun else {"role": "assistant", **delta}
        else:
            choice["text"] = delta.get("content", "")
        self._begun = True
        out.append(self._sse({"choices": [choice]}))

    def _sse(self, more: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return b"data: " + _encode({**self._head, "object": kind, **more}) + b"\n\n"

    def _content(self, line: _Line) -> tuple[str, str, list[dict[str, Any]]]:
        """Text, thoughts and tool calls of a line; calls are counted over the whole answer."""
        if not self._chat:
            return line.response or "", "", []
        message = line.message or _Message()
        calls = []
        for call in message.tool_calls or ():
            if self._calls and self._order.one_tool_call:
                break
            function = {"name": call.function.name, "arguments": _encode(call.function.arguments).decode()}
            identity = call.id or f"call_{self._identity}_{self._calls}"
            calls.append({"index": self._calls, "id": identity, "type": "function", "function": function})
            self._calls += 1
        return message.content or "", message.thinking or "", calls

    def _reason(self, line: _Line) -> str:
        reason = line.done_reason or "stop"
        return "tool_calls" if reason == "stop" and self._calls else reason

    def _logprobs(self, found: Sequence[_Logprob] | None) -> dict[str, Any] | None:
        if not found:
            return None
        if self._chat:
            return {
                "content": [
                    {**_token(one), "top_logprobs": [_token(top) for top in one.top_logprobs or ()]} for one in found
                ]
            }
        offsets = []
        for one in found:
            offsets.append(self._offset)
            self._offset += len(one.token)
        return {
            "tokens": [one.token for one in found],
            "token_logprobs": [one.logprob for one in found],
            "top_logprobs": [{top.token: top.logprob for top in one.top_logprobs or ()} for one in found],
            "text_offset": offsets,
        }

    def _embeddings(self, body: bytes) -> bytes:
        try:
            made = _embedded.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _strange(error) from None
        rows: list[Any] = [_packed(each) for each in made.embeddings] if self._order.base64 else made.embeddings
        data = [{"object": "embedding", "index": number, "embedding": row} for number, row in enumerate(rows)]
        usage = {"prompt_tokens": made.prompt_eval_count, "total_tokens": made.prompt_eval_count}
        return _encode({"object": "list", "data": data, "model": self._head["model"], "usage": usage})


def refusal(status: int, body: bytes) -> tuple[int, bytes]:
    """Ollama's ``{"error": TEXT}`` in OpenAI's shape, with the status that tells whose fault it is."""
    try:
        error = _any.decode(body)["error"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        error = body[:300].decode("utf-8", "replace").strip()
    said = str(error) or f"HTTP {status} without a message"
    code = None
    if any(each in said for each in _CONTEXT) and status in (400, 413, 500):
        status, code = 400, "context_length_exceeded"
    elif status == 499:  # Ollama's own for a request whose caller it believes gone
        status = 502
    elif status == 404:
        code = "model_not_found"
    return status, error_body(said, code=code, kind="invalid_request_error" if status < 500 else "api_error")


def _read(raw: bytes) -> _Line:
    try:
        line = _line.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _strange(error) from None
    if line.error is not None:
        raise ProviderError(f"Ollama stopped in the middle of the answer: {line.error}", code="stream_broken")
    return line


def _strange(error: Exception) -> ProviderError:
    return ProviderError(f"the server does not answer like Ollama ({error})", code="bad_answer")


def _usage(line: _Line) -> dict[str, int]:
    read, made = line.prompt_eval_count, line.eval_count
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


def _timings(line: _Line) -> dict[str, float | int | None]:
    """llama.cpp's names; rates are tokens per second, ``None`` without a duration."""
    return {
        "prompt_n": line.prompt_eval_count,
        "prompt_ms": line.prompt_eval_duration / 1e6,
        "prompt_per_second": _rate(line.prompt_eval_count, line.prompt_eval_duration),
        "predicted_n": line.eval_count,
        "predicted_ms": line.eval_duration / 1e6,
        "predicted_per_second": _rate(line.eval_count, line.eval_duration),
        "load_ms": line.load_duration / 1e6,
        "total_ms": line.total_duration / 1e6,
    }


def _rate(count: int, nanoseconds: int) -> float | None:
    return count * 1e9 / nanoseconds if nanoseconds > 0 else None


def _token(one: _Logprob) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob, "bytes": one.bytes}


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
