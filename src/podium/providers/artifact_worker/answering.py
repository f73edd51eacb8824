"""Writes what the worker made in OpenAI's wire format. Pure.

Source: the OpenAI API reference; ``timings`` are llama-server's.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

from .asking import Ask
from .backend import Refused, Token
from .engine import Piece, Totals

DONE = b"data: [DONE]\n\n"
TextOf = Callable[[int], str]


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(value) + b"\n\n"


def error_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body: 400 for what was refused, 500 for the rest."""
    if isinstance(error, Refused):
        kind, status, code, param = "invalid_request_error", 400, error.code, error.param
    else:
        kind, status, code, param = "server_error", 500, "internal_error", None
    message = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {str(error)[:500]}"
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Writer:
    """Writes the answer to one request. ``text_of`` gives the text of a single token, for log-probabilities."""

    def __init__(self, ask: Ask, *, id_: str, created: int, model: str, text_of: TextOf) -> None:
        self._ask = ask
        self._text_of = text_of
        self._wants_logprobs = ask.sampling.logprobs is not None
        kind = "chat.completion" if ask.chat else "text_completion"
        named = ("chatcmpl-" if ask.chat else "cmpl-") + id_
        self._base = {"id": named, "object": kind, "created": created, "model": model}
        self._begun = False
        self._offset = 0

    def chunk(self, piece: Piece) -> bytes:
        """One event of a stream."""
        return self._event(piece.text, self._logprobs(piece.tokens), None)

    def last(self, totals: Totals) -> bytes:
        """The end of a stream: why it ended, the usage where it was asked for, and ``[DONE]``."""
        end = self._event("", None, totals.finish)
        if self._ask.include_usage:
            end += event({**self._stream_base(), "choices": [], "usage": usage(totals), "timings": timings(totals)})
        return end + DONE

    def whole(self, pieces: Sequence[Piece], totals: Totals) -> dict[str, Any]:
        """A complete answer."""
        text = "".join(each.text for each in pieces)
        logprobs = self._logprobs([token for each in pieces for token in each.tokens])
        choice: dict[str, Any] = {"index": 0, "finish_reason": totals.finish, "logprobs": logprobs}
        if self._ask.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        return {**self._base, "choices": [choice], "usage": usage(totals), "timings": timings(totals)}

    def _stream_base(self) -> dict[str, Any]:
        return {**self._base, "object": self._base["object"] + (".chunk" if self._ask.chat else "")}  # type: ignore[operator]  # a text, as built above

    def _event(self, text: str, logprobs: dict[str, Any] | None, finish: str | None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": logprobs}
        if self._ask.chat:
            choice["delta"] = {} if finish else {"content": text}
            if not self._begun:
                choice["delta"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        self._begun = True
        return event({**self._stream_base(), "choices": [choice]})

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if not self._wants_logprobs:
            return None
        if self._ask.chat:
            return {"content": [self._one(token) for token in tokens]}
        made: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            text = self._text_of(token.id)
            made["tokens"].append(text)
            made["token_logprobs"].append(token.logprob)
            made["top_logprobs"].append({self._text_of(other): value for other, value in token.top})
            made["text_offset"].append(self._offset)
            self._offset += len(text)
        return made

    def _one(self, token: Token) -> dict[str, Any]:
        top = [self._entry(other, value) for other, value in token.top]
        return {**self._entry(token.id, token.logprob), "top_logprobs": top}

    def _entry(self, token: int, logprob: float | None) -> dict[str, Any]:
        text = self._text_of(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}


def usage(totals: Totals) -> dict[str, int]:
    """Tokens, as the tokenizer counted them; the one that ended the answer is one of them."""
    both = totals.prompt_tokens + totals.completion_tokens
    return {
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "total_tokens": both,
    }


def timings(totals: Totals) -> dict[str, float]:
    """Milliseconds of the prompt (up to the first token) and of the rest."""
    later = max(totals.completion_tokens - 1, 0)
    rate = later / totals.answer_s if later and totals.answer_s > 0 else 0.0
    return {
        "prompt_n": totals.prompt_tokens,
        "prompt_ms": round(totals.prompt_s * 1000, 3),
        "predicted_n": totals.completion_tokens,
        "predicted_ms": round(totals.answer_s * 1000, 3),
        "predicted_per_second": round(rate, 3),
    }


def embeddings(vectors: Sequence[Sequence[float]], tokens: int, model: str, *, as_base64: bool) -> dict[str, Any]:
    """Vectors as numbers, or as base64 of 32-bit floats, the lowest byte first."""
    rows = []
    for index, vector in enumerate(vectors):
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if as_base64 else list(vector)
        rows.append({"object": "embedding", "index": index, "embedding": packed})
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": model, "usage": used}
