"""Reads OpenAI's requests into what the worker does. What it cannot do is refused by name, never dropped in silence.

Source: the OpenAI API reference, chat completions, completions and embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from .backend import Refused, Sampling

_MOST_STOPS, _MOST_LOGPROBS = 16, 20
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "response_format": (None, {"type": "text"}),
}
"""Fields that are taken only when they ask for nothing."""
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 10.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 10.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
_EXTRAS = ("top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed")


@dataclass(frozen=True)
class Ask:
    """One generation. Either ``messages`` or ``text`` or ``tokens`` is the prompt."""

    chat: bool
    sampling: Sampling
    limit: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    messages: tuple[dict[str, Any], ...] = ()
    text: str | None = None
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class EmbeddingAsk:
    """Texts, or lists of tokens, to turn into vectors."""

    inputs: tuple[str | tuple[int, ...], ...]
    base64: bool
    dimensions: int | None


def read(body: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises ``Refused``."""
    try:
        made = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("the body is not JSON") from None
    if not isinstance(made, dict):
        raise Refused("the body is not a JSON object")
    return made


def read_generation(body: Mapping[str, Any], defaults: Sampling, knows: frozenset[str], *, chat: bool) -> Ask:
    """A chat completion or completion. Raises ``Refused`` naming the field."""
    for name, neutral in _NEUTRAL.items():
        if body.get(name) not in neutral:
            raise Refused(f"this model's worker does not support {name!r}; leave it out", name, "unsupported_parameter")
    ask = Ask(
        chat=chat,
        sampling=_sampling(body, defaults, knows, chat=chat),
        limit=_limit(body),
        stop=_stops(body.get("stop")),
        stream=_flag(body, "stream"),
        include_usage=_usage(body),
    )
    if chat:
        return replace(ask, messages=_messages(body.get("messages")))
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return replace(ask, text=prompt)
    if _are_tokens(prompt):
        return replace(ask, tokens=tuple(prompt))
    raise Refused("'prompt' must be one text, or one list of tokens", "prompt")


def read_embedding(body: Mapping[str, Any]) -> EmbeddingAsk:
    """An embeddings request. Raises ``Refused`` naming the field."""
    given = body.get("input")
    rows = given if isinstance(given, list) and not _are_tokens(given) else [given]
    if not rows or len(rows) > 2048:
        raise Refused("'input' must be between 1 and 2048 texts", "input")
    inputs: list[str | tuple[int, ...]] = []
    for row in rows:
        if isinstance(row, str) and row:
            inputs.append(row)
        elif _are_tokens(row):
            inputs.append(tuple(row))
        else:
            raise Refused("each 'input' must be a text that is not empty, or a list of tokens", "input")
    encoding = body.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise Refused("'encoding_format' must be float or base64", "encoding_format")
    return EmbeddingAsk(tuple(inputs), encoding == "base64", _whole(body, "dimensions", 1, 1 << 20))


def _sampling(body: Mapping[str, Any], defaults: Sampling, knows: frozenset[str], *, chat: bool) -> Sampling:
    fields: dict[str, Any] = {name: _number(body, name, *ends) for name, ends in _RANGES.items()}
    fields["top_k"] = _whole(body, "top_k", 0, 1 << 31)
    fields["seed"] = _whole(body, "seed", -(1 << 63), (1 << 64) - 1)
    for name in _EXTRAS:
        if fields[name] not in (None, 0) and name not in knows:
            raise Refused(
                f"this model's framework does not support {name!r}; leave it out", name, "unsupported_parameter"
            )
    wanted = body.get("logprobs")
    if chat:
        count = _whole(body, "top_logprobs", 0, _MOST_LOGPROBS)
        fields["logprobs"] = (count or 0) if _flag(body, "logprobs") else None
    else:
        fields["logprobs"] = None if wanted in (None, False) else _whole(body, "logprobs", 0, _MOST_LOGPROBS)
    if fields["logprobs"] is not None and "logprobs" not in knows:
        raise Refused("this model's framework gives no 'logprobs'; leave it out", "logprobs", "unsupported_parameter")
    return replace(defaults, **{name: value for name, value in fields.items() if value is not None})


def _limit(body: Mapping[str, Any]) -> int | None:
    newer = _whole(body, "max_completion_tokens", 1, 1 << 31)
    return newer if newer is not None else _whole(body, "max_tokens", 1, 1 << 31)


def _stops(given: object) -> tuple[str, ...]:
    listed = [given] if isinstance(given, str) else given
    if listed is None:
        return ()
    if not isinstance(listed, list) or len(listed) > _MOST_STOPS or not all(isinstance(each, str) for each in listed):
        raise Refused(f"'stop' must be a text or up to {_MOST_STOPS} of them", "stop")
    return tuple(each for each in listed if each)


def _messages(given: object) -> tuple[dict[str, Any], ...]:
    if not isinstance(given, list) or not given:
        raise Refused("'messages' must be a list with at least one message", "messages")
    made = []
    for index, message in enumerate(given):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refused(f"'messages[{index}]' must have a role", "messages")
        role = "system" if message["role"] == "developer" else message["role"]
        made.append({**message, "role": role, "content": _content(message.get("content"), index)})
    return tuple(made)


def _content(given: object, index: int) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    parts = []
    for part in given if isinstance(given, list) else [given]:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise Refused(f"'messages[{index}].content' has a part that is not text; this model reads text", "messages")
        parts.append(part["text"])
    return "".join(parts)


def _usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _flag(body: Mapping[str, Any], name: str) -> bool:
    given = body.get(name)
    if given is not None and not isinstance(given, bool):
        raise Refused(f"{name!r} must be true or false", name)
    return bool(given)


def _number(body: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    given = body.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
        raise Refused(f"{name!r} must be a number from {least:g} to {most:g}", name)
    return float(given)


def _whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    given = body.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        raise Refused(f"{name!r} must be a whole number, {least} or more", name)
    return given


def _are_tokens(given: object) -> TypeGuard[list[int]]:
    return isinstance(given, list) and bool(given) and all(type(each) is int and each >= 0 for each in given)
