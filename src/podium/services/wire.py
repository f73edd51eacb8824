"""OpenAI's request format: reads the head of a body once and writes the body an instance gets.

Values Podium does not need stay undecoded bytes, so unknown fields reach the provider as they came. Knows
nothing of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from podium.core.balancing import prefix_key
from podium.core.executions import check_id
from podium.core.keep_alive import parse_keep_alive
from podium.domain.model import Capability
from podium.domain.principal import Principal
from podium.domain.request import Allowance, Endpoint, RequestHead
from podium.domain.trace import Trace
from podium.errors import InvalidRequest

MAX_TOKENS = 10_000_000
AFFINITY_BYTES = 4096
_PRIORITIES = {"high": 0, "normal": 1, "low": 2, "0": 0, "1": 1, "2": 2}
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
_USAGE = b'{"include_usage":true}'
_REQUIRED = {Endpoint.CHAT: "messages", Endpoint.COMPLETION: "prompt", Endpoint.EMBEDDING: "input"}
_EMPTY_LIST = re.compile(rb"\s*(\[\s*\]|null)\s*")
_IMAGE = re.compile(rb'"image_url"')
_EMPTY: frozenset[str] = frozenset()
_BASE = {
    Endpoint.CHAT: frozenset({Capability.CHAT.value}),
    Endpoint.COMPLETION: frozenset({Capability.COMPLETION.value}),
    Endpoint.EMBEDDING: frozenset({Capability.EMBEDDING.value}),
}


def parse(
    endpoint: Endpoint,
    body: bytes,
    *,
    request_id: str,
    task: str | None = None,
    session: str | None = None,
    caller: str = "",
    principal: Principal | None = None,
    priority: str | None = None,
    execution: str | None = None,
    allowance: Allowance | None = None,
    trace: Trace | None = None,
) -> RequestHead:
    """Read a request body. ``task`` comes from the ``x-podium-task`` header and wins over ``metadata.task``, and so does
    ``execution`` from ``x-podium-execution`` over ``metadata.execution``.

    Raises ``InvalidRequest`` naming the field that is wrong.
    """
    try:
        str(body, "utf-8")
        fields = _fields.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start}); send JSON encoded as UTF-8") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not a JSON object: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    required = _REQUIRED[endpoint]
    if required not in fields:
        raise InvalidRequest(f"missing field {required!r}", param=required, code="missing_required_parameter")
    if endpoint is Endpoint.CHAT and _EMPTY_LIST.fullmatch(fields[required]):
        raise InvalidRequest("messages is empty; send at least one message", param=required)
    model = _text(fields, "model") or "auto"
    stream = _flag(fields, "stream")
    if stream and endpoint is Endpoint.EMBEDDING:
        raise InvalidRequest("embeddings cannot be streamed", param="stream")
    include_usage = False
    if "stream_options" in fields and bytes(fields["stream_options"]) != b"null":
        options = _object(fields, "stream_options")
        include_usage = options.get("include_usage") is True
    if task is None and "metadata" in fields:
        found = _object(fields, "metadata").get("task")
        if found is not None and not isinstance(found, str):
            raise InvalidRequest("metadata.task must be a string", param="metadata.task")
        task = found
    return RequestHead(
        request_id=request_id,
        endpoint=endpoint,
        model=model,
        task=task,
        stream=stream,
        include_usage=include_usage,
        needs=_needs(endpoint, fields),
        fields=fields,
        size=len(body),
        max_tokens=_max_tokens(fields),
        session=session,
        caller=caller or (_text(fields, "user") or "" if "user" in fields else ""),
        principal=principal,
        priority=1 if priority is None else _priority(priority),
        keep_alive_s=_keep_alive(fields) if "keep_alive" in fields else None,
        execution=_execution(fields, execution),
        allowance=allowance,
        trace=trace,
    )


def affinity(head: RequestHead) -> int:
    """Equal for requests that share the beginning of their prompt: session, cache key, or the text up to the end of
    the first user message.
    """
    if head.session is not None:
        return prefix_key(head.session.encode())
    if "prompt_cache_key" in head.fields:
        return prefix_key(bytes(head.fields["prompt_cache_key"]))
    raw = bytes(head.fields[_REQUIRED[head.endpoint]])
    if head.endpoint is Endpoint.CHAT:
        user = raw.find(b'"user"')
        end = raw.find(b"}", user) if user >= 0 else -1
        raw = raw[: end if end >= 0 else len(raw)]
    return prefix_key(raw[:AFFINITY_BYTES])


def in_tool_loop(head: RequestHead) -> bool:
    """True when the request carries results of tools: the model that asked for them should go on."""
    if head.endpoint is not Endpoint.CHAT:
        return False
    raw = bytes(head.fields["messages"])
    return b'"tool_call_id"' in raw or b'"tool_calls"' in raw


def goes_on(head: RequestHead) -> bool:
    """True when the request continues a conversation: it holds an answer given earlier, or results of tools."""
    if head.endpoint is not Endpoint.CHAT:
        return False
    raw = bytes(head.fields["messages"])
    return b'"assistant"' in raw or b'"tool_call_id"' in raw or b'"tool_calls"' in raw


def compose(head: RequestHead, model: str) -> bytes:
    """The body for an instance: the caller's, with its own model name, and usage asked for in streams."""
    fields: dict[str, Any] = dict(head.fields)
    fields["model"] = model
    fields.pop("keep_alive", None)
    if head.stream and not head.include_usage:
        if "stream_options" in fields:
            options = _any.decode(fields["stream_options"]) or {}
            fields["stream_options"] = {**options, "include_usage": True}
        else:
            fields["stream_options"] = msgspec.Raw(_USAGE)
    metadata = fields.get("metadata")
    if metadata is not None and (head.task is not None or head.execution is not None):
        ours = {"task"} if head.execution is None else {"execution"} if head.task is None else {"task", "execution"}
        given = _any.decode(metadata)
        kept = {key: value for key, value in given.items() if key not in ours} if isinstance(given, dict) else given
        if kept:
            fields["metadata"] = kept
        else:
            del fields["metadata"]
    return _encoder.encode(fields)


def prompt_sample(head: RequestHead, limit: int = 8000) -> str:
    """The text that tells the task: the last user message, the prompt, or the input; head and tail if long."""
    raw = head.fields[_REQUIRED[head.endpoint]]
    try:
        value = _any.decode(raw)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"field {_REQUIRED[head.endpoint]!r} is not valid JSON: {error}") from None
    text = _last_user_text(value) if head.endpoint is Endpoint.CHAT else _flat(value)
    return text if len(text) <= limit else text[: limit // 2] + "\n" + text[-limit // 2 :]


def _last_user_text(messages: object) -> str:
    if not isinstance(messages, list):
        return ""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return _flat(message.get("content"))
    return ""


def _flat(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_flat(part.get("text") if isinstance(part, dict) else part) for part in value)
    return ""


def _execution(fields: Mapping[str, msgspec.Raw], header: str | None) -> str | None:
    if header is not None:
        return check_id(header, "x-podium-execution")
    if "metadata" not in fields or b'"execution"' not in bytes(fields["metadata"]):
        return None
    found = _object(fields, "metadata").get("execution")
    if found is None:
        return None
    if not isinstance(found, str):
        raise InvalidRequest("metadata.execution must be a string", param="metadata.execution")
    return check_id(found, "metadata.execution")


def _needs(endpoint: Endpoint, fields: Mapping[str, msgspec.Raw]) -> frozenset[str]:
    needs = _BASE[endpoint]
    extra = set()
    if "tools" in fields and bytes(fields["tools"]) not in (b"null", b"[]"):
        extra.add(Capability.TOOLS.value)
    if "response_format" in fields and b'"json_schema"' in bytes(fields["response_format"]):
        extra.add(Capability.JSON_SCHEMA.value)
    if "logprobs" in fields and bytes(fields["logprobs"]) not in (b"null", b"false", b"0"):
        extra.add(Capability.LOGPROBS.value)
    if "messages" in fields and _IMAGE.search(fields["messages"]):
        extra.add(Capability.VISION.value)
    return needs | extra if extra else needs


def _priority(text: str) -> int:
    found = _PRIORITIES.get(text.strip().lower())
    if found is None:
        raise InvalidRequest(
            f"x-podium-priority must be high, normal or low, not {text[:40]!r}", param="x-podium-priority"
        )
    return found


def _keep_alive(fields: Mapping[str, msgspec.Raw]) -> float | None:
    value = _value(fields, "keep_alive")
    if value is None:
        return None
    try:
        return parse_keep_alive(value)
    except ValueError as error:
        raise InvalidRequest(str(error), param="keep_alive") from None


def _max_tokens(fields: Mapping[str, msgspec.Raw]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if name not in fields:
            continue
        value = _value(fields, name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_TOKENS:
            raise InvalidRequest(f"{name} must be a whole number from 1 to {MAX_TOKENS}, not {value!r}", param=name)
        return value
    return None


def _value(fields: Mapping[str, msgspec.Raw], name: str) -> object:
    try:
        return _any.decode(fields[name])
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"field {name!r} is not valid JSON: {error}", param=name) from None


def _text(fields: Mapping[str, msgspec.Raw], name: str) -> str | None:
    if name not in fields:
        return None
    value = _value(fields, name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{name!r} must be a string", param=name)
    return value


def _flag(fields: Mapping[str, msgspec.Raw], name: str) -> bool:
    if name not in fields:
        return False
    value = _value(fields, name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"{name!r} must be true or false", param=name)
    return bool(value)


def _object(fields: Mapping[str, msgspec.Raw], name: str) -> dict[str, Any]:
    value = _value(fields, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name!r} must be an object", param=name)
    return value
