"""Reads a judge's answer as its server sent it: the text, its tokens with their probabilities, and what it took."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from podium.core.judging.marks import Token


class _Likely(msgspec.Struct):
    token: str
    logprob: float | None = None


class _Said(msgspec.Struct):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Likely] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Said] | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Text(msgspec.Struct):
    """The same without what only some servers send, for those that send it in another shape."""

    message: _Message | None = None
    finish_reason: str | None = None


class _TextBody(msgspec.Struct):
    choices: list[_Text] = []


_body = msgspec.json.Decoder(_Body)
_text_body = msgspec.json.Decoder(_TextBody)


@dataclass(frozen=True, slots=True)
class Said:
    """``text`` is ``None`` when the answer is no answer of a chat at all."""

    text: str | None
    tokens: tuple[Token, ...] = ()
    finish: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def read_said(raw: bytes) -> Said:
    """The first choice. Never raises."""
    try:
        body = _body.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _read_text(raw)
    if not body.choices:
        return Said(None)
    first, usage = body.choices[0], body.usage or _Usage()
    content = first.message.content if first.message is not None else None
    said = (first.logprobs.content or []) if first.logprobs is not None else []
    tokens = tuple(Token(one.token, _top(one)) for one in said)
    return Said(content or "", tokens, first.finish_reason, usage.prompt_tokens, usage.completion_tokens)


def _top(said: _Said) -> dict[str, float]:
    likely = [*(said.top_logprobs or ()), _Likely(said.token, said.logprob)]
    return {one.token: one.logprob for one in likely if one.logprob is not None}


def _read_text(raw: bytes) -> Said:
    try:
        choices = _text_body.decode(raw).choices
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Said(None)
    if not choices:
        return Said(None)
    message = choices[0].message
    return Said((message.content if message is not None else None) or "", finish=choices[0].finish_reason)
