"""OpenAI's requests as Ollama's: chat, completions and embeddings to ``/api/chat``, ``/api/generate``, ``/api/embed``.

Pure. What Ollama cannot do is refused by name; nothing a caller asked for is dropped in silence. Sources: Ollama's
``api/types.go`` (fields and options) and ``server/routes.go`` (what it does with them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from podium.domain.request import Endpoint
from podium.errors import InvalidRequest
from podium.providers.ollama_messages import messages_of, tools_of

KEEP = -1
"""``keep_alive`` of everything sent: residency is decided by Podium's pool, never by a timer of Ollama's."""
RUNNER_OPTIONS = frozenset({"num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict"})
"""Options that reload the model when they change, beside ``num_ctx``."""
SAMPLING_OPTIONS = frozenset(
    {"num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature",
     "repeat_penalty", "presence_penalty", "frequency_penalty", "stop"}
)  # fmt: skip

_NUMBERS = ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
_WHOLE = ("seed", "top_k", "repeat_last_n")
_LIMITS = ("max_completion_tokens", "max_tokens")
_WITHOUT_EFFECT = frozenset(
    {"model", "stream", "stream_options", "user", "metadata", "store", "service_tier", "safety_identifier",
     "prompt_cache_key", "prompt_cache_retention", "prediction", "keep_alive"}
)  # fmt: skip
"""Fields that do not change the answer, or that others have acted on already."""
_SAMPLING = frozenset({*_NUMBERS, *_WHOLE, *_LIMITS, "stop", "n", "logit_bias", "logprobs", "top_logprobs"})
_FORMAT = frozenset({"response_format", "reasoning_effort", "reasoning"})
_CHAT = _SAMPLING | _FORMAT | {"messages", "tools", "tool_choice", "parallel_tool_calls", "modalities"}
_COMPLETION = _SAMPLING | {"prompt", "suffix", "best_of", "echo", "response_format"}
_EMBEDDING = frozenset({"input", "dimensions", "encoding_format"})
_KNOWN = {Endpoint.CHAT: _CHAT, Endpoint.COMPLETION: _COMPLETION, Endpoint.EMBEDDING: _EMBEDDING}
_THINK: dict[str, bool | str] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max",
}  # fmt: skip
_any = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One request to Ollama, and what its answer has to look like."""

    path: bytes
    body: bytes
    endpoint: Endpoint
    stream: bool
    include_usage: bool = False
    one_tool_call: bool = False
    """The caller allows one tool call at a time; Ollama cannot be told, so further ones are left out."""
    base64: bool = False
    """Embeddings as base64 of little-endian float32."""


def translate(
    endpoint: Endpoint, body: bytes, tag: str, *, options: Mapping[str, Any], runner: Mapping[str, Any]
) -> Order:
    """``options`` apply where the request does not say; ``runner`` (``num_ctx`` and what else loading needs) always.

    Raises ``InvalidRequest`` naming the field.
    """
    try:
        fields = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("the body is not a JSON object")
    fields = {name: value for name, value in fields.items() if value is not None}
    for name in fields:
        if name not in _KNOWN[endpoint] and name not in _WITHOUT_EFFECT:
            raise unsupported(name, "leave it out, or choose a model of another provider")
    given: dict[str, Any] = {"model": tag, "keep_alive": KEEP}
    if endpoint is Endpoint.EMBEDDING:
        given |= _embedding(fields) | {"options": dict(runner)}
        wants64 = fields.get("encoding_format", "float") == "base64"
        return Order(path=b"/api/embed", body=_json(given), endpoint=endpoint, stream=False, base64=wants64)
    stream = fields.get("stream") is True
    usage = fields.get("stream_options")
    given |= {"stream": stream, "truncate": False, "options": {**options, **_sampling(fields), **runner}}
    given |= _format(fields) | _logprobs(endpoint, fields)
    if endpoint is Endpoint.CHAT:
        path = b"/api/chat"
        given |= {"messages": messages_of(fields.get("messages"))} | _tools(fields) | _think(fields)
        if fields.get("modalities", ["text"]) != ["text"]:
            raise unsupported("modalities", "its answers are text")
    else:
        path = b"/api/generate"
        given |= _prompt(fields)
    return Order(
        path=path,
        body=_json(given),
        endpoint=endpoint,
        stream=stream,
        include_usage=isinstance(usage, dict) and usage.get("include_usage") is True,
        one_tool_call=fields.get("parallel_tool_calls") is False,
    )


def unsupported(name: str, remedy: str) -> InvalidRequest:
    """The error for what Ollama's API has no words for."""
    return InvalidRequest(f"Ollama does not support {name!r}: {remedy}", param=name, code="unsupported_parameter")


def _json(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        raise InvalidRequest("the request holds a number of more than 64 bits") from None


def _wrong(name: str, should: str) -> InvalidRequest:
    return InvalidRequest(f"{name!r} must be {should}", param=name)


def _sampling(fields: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("n", "best_of"):
        if fields.get(name, 1) != 1:
            raise unsupported(name, "it gives one answer per request; send the request again for another one")
    if fields.get("logit_bias"):
        raise unsupported("logit_bias", "leave it out, or choose a model of another provider")
    made: dict[str, Any] = {name: _number(fields, name) for name in _NUMBERS if name in fields}
    made |= {name: _whole(fields, name) for name in _WHOLE if name in fields}
    for name in _LIMITS:
        if name in fields:
            made.setdefault("num_predict", _whole(fields, name, least=1))
    if "stop" in fields:
        stop = [fields["stop"]] if isinstance(fields["stop"], str) else fields["stop"]
        if not isinstance(stop, list) or not all(isinstance(each, str) for each in stop):
            raise _wrong("stop", "a string or a list of strings")
        made["stop"] = stop
    return made


def _number(fields: Mapping[str, Any], name: str) -> int | float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a number")
    return value


def _whole(fields: Mapping[str, Any], name: str, least: int | None = None) -> int:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise _wrong(name, "a whole number" + (f" of at least {least}" if least is not None else ""))
    return value


def _format(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``format``: ``"json"`` or a JSON schema."""
    wanted = fields.get("response_format")
    if wanted is None:
        return {}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    match kind:
        case "text":
            return {}
        case "json_object":
            return {"format": "json"}
        case "json_schema":
            schema = wanted.get("json_schema")
            schema = schema.get("schema") if isinstance(schema, dict) else None
            if not isinstance(schema, dict):
                raise InvalidRequest("response_format.json_schema.schema is missing", param="response_format")
            return {"format": schema}
    raise InvalidRequest(
        "response_format.type must be text, json_object or json_schema", param="response_format", code="invalid_value"
    )


def _logprobs(endpoint: Endpoint, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Chat asks with a flag and ``top_logprobs``, completions with a number."""
    asked = fields.get("logprobs", False)
    if endpoint is Endpoint.COMPLETION and not isinstance(asked, bool) and isinstance(asked, int):
        return {"logprobs": True, "top_logprobs": _top(asked)}
    if not isinstance(asked, bool):
        raise _wrong("logprobs", "true or false")
    top = fields.get("top_logprobs", 0)
    if not asked:
        if top:
            raise InvalidRequest("top_logprobs needs logprobs: true", param="top_logprobs")
        return {}
    return {"logprobs": True, "top_logprobs": _top(top)}


def _top(count: object) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 20:
        raise _wrong("top_logprobs", "a whole number from 0 to 20")
    return count


def _tools(fields: Mapping[str, Any]) -> dict[str, Any]:
    tools = tools_of(fields.get("tools"))
    choice = fields.get("tool_choice", "auto")
    if choice == "none" or not tools:
        return {}
    if choice != "auto":
        raise unsupported(
            "tool_choice", "a call cannot be forced; use auto or none, and say in the prompt what to call"
        )
    return {"tools": tools}


def _think(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Left out, a model that can think does. Ollama refuses levels for models that cannot."""
    name = "reasoning_effort" if "reasoning_effort" in fields else "reasoning"
    effort = fields.get(name)
    if isinstance(effort, dict):
        effort = effort.get("effort")
    if effort is None:
        return {}
    if not isinstance(effort, str) or effort not in _THINK:
        raise InvalidRequest(f"{name} must be one of {', '.join(_THINK)}", param=name, code="invalid_value")
    return {"think": _THINK[effort]}


def _prompt(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A completion continues the text as it is; with ``suffix`` the model's own template for the gap is needed."""
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequest(
            "prompt must be one text that is not empty; Ollama takes no tokens and no lists", param="prompt"
        )
    if fields.get("echo"):
        raise unsupported("echo", "put the prompt in front yourself")
    suffix = fields.get("suffix")
    if suffix:
        if not isinstance(suffix, str):
            raise _wrong("suffix", "a string")
        return {"prompt": prompt, "suffix": suffix}
    return {"prompt": prompt, "raw": True, "think": False}


def _embedding(fields: Mapping[str, Any]) -> dict[str, Any]:
    given = fields.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(each, str) and each for each in texts):
        raise InvalidRequest(
            "input must be a text or a list of texts, none empty; Ollama takes no tokens", param="input"
        )
    if fields.get("encoding_format", "float") not in ("float", "base64"):
        raise _wrong("encoding_format", "float or base64")
    made: dict[str, Any] = {"input": texts, "truncate": False}
    if "dimensions" in fields:
        made["dimensions"] = _whole(fields, "dimensions", least=1)
    return made
