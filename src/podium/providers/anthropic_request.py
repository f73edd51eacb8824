"""A chat in OpenAI's format as a request of Anthropic's Messages API. Pure: bytes in, bytes out.

What that API cannot do is refused with the name of the field, never left out in silence. Source: Anthropic's reference
of ``POST /v1/messages``, version 2023-06-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from podium.errors import InvalidRequest

_any = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
_NOT_THERE = ("logit_bias", "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "audio", "functions")
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_EMPTY: tuple[object, ...] = (None, False, 0, 0.0, [], {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send, and how the answer is wanted."""

    body: bytes
    stream: bool
    include_usage: bool


def translate(body: bytes, model: str, *, max_tokens: int) -> Order:
    """``max_tokens`` is used where the request says none: the API wants one. Raises ``InvalidRequest``."""
    try:
        given = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise InvalidRequest("the body is not a JSON object")
    for name in _NOT_THERE:
        if given.get(name) not in _EMPTY:
            raise _refused(name)
    if given.get("n") not in (None, 1):
        raise _refused("n", "one answer per request")
    system, messages = _turns(given.get("messages"))
    limit = given.get("max_completion_tokens") or given.get("max_tokens") or max_tokens
    made: dict[str, Any] = {"model": model, "max_tokens": limit, "messages": messages}
    if system:
        made["system"] = system
    made |= _sampling(given)
    made |= _tools(given)
    output = _output(given)
    if output:
        made["output_config"] = output
    if isinstance(given.get("user"), str) and given["user"]:
        made["metadata"] = {"user_id": given["user"][:256]}
    stream = given.get("stream") is True
    if stream:
        made["stream"] = True
    options = given.get("stream_options")
    return Order(
        body=_encode(made),
        stream=stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _sampling(given: dict[str, Any]) -> dict[str, Any]:
    made = {name: given[name] for name in ("temperature", "top_p", "top_k") if given.get(name) is not None}
    heat = made.get("temperature")
    if isinstance(heat, int | float) and heat > 1:
        raise InvalidRequest("temperature must be at most 1 for this model", param="temperature")
    stop = given.get("stop")
    if stop:
        made["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    return made


def _tools(given: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    tools = given.get("tools") or []
    if tools:
        made["tools"] = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    choice = given.get("tool_choice")
    found: dict[str, Any] | None = None
    if isinstance(choice, str):
        kinds = {"auto": "auto", "required": "any", "none": "none"}
        if choice not in kinds:
            raise InvalidRequest("tool_choice must be auto, required, none or a function", param="tool_choice")
        found = {"type": kinds[choice]}
    elif isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        if not isinstance(name, str):
            raise InvalidRequest("tool_choice must name a function", param="tool_choice")
        found = {"type": "tool", "name": name}
    if given.get("parallel_tool_calls") is False and tools:
        found = found or {"type": "auto"}
        if found["type"] != "none":
            found["disable_parallel_tool_use"] = True
    if found is not None and tools:
        made["tool_choice"] = found
    return made


def _tool(tool: Any, where: str) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{where}: must be a function with a name", param=where)
    made: dict[str, Any] = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        made["description"] = function["description"]
    if function.get("strict") is True:
        made["strict"] = True
    return made


def _output(given: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    wanted = given.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        assert isinstance(wanted, dict)
        schema = (wanted.get("json_schema") or {}).get("schema")
        if not isinstance(schema, dict):
            raise InvalidRequest("response_format.json_schema.schema must be an object", param="response_format")
        made["format"] = {"type": "json_schema", "schema": schema}
    elif kind not in (None, "text"):
        raise _refused("response_format", "text and json_schema")
    effort = given.get("reasoning_effort")
    if effort not in (None, "none"):
        if effort not in _EFFORTS:
            raise InvalidRequest(f"reasoning_effort must be one of {', '.join(_EFFORTS)}", param="reasoning_effort")
        made["effort"] = _EFFORTS[effort]
    return made


def _turns(given: Any) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt, and turns that alternate: results of tools begin the user's turn they belong to."""
    if not isinstance(given, list) or not given:
        raise InvalidRequest("messages must be a list with at least one message", param="messages")
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(given):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"{where}: must be an object", param=where)
        if message.get("role") in ("system", "developer"):
            system.append(_text_of(message.get("content"), where))
            continue
        role, blocks = _turn(message, where)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise InvalidRequest("messages must hold something else than the system prompt", param="messages")
    return "\n\n".join(each for each in system if each), turns


def _turn(message: dict[str, Any], where: str) -> tuple[str, list[dict[str, Any]]]:
    match message.get("role"):
        case "user":
            return "user", _content(message.get("content"), where)
        case "assistant":
            return "assistant", _said(message, where)
        case "tool":
            return "user", [_result(message, where)]
        case _:
            raise InvalidRequest(f"{where}.role: must be system, user, assistant or tool", param=f"{where}.role")


def _content(content: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise InvalidRequest(f"{where}.content: must be a string or a list of parts", param=f"{where}.content")
    return [_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)]


def _part(part: Any, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        if not isinstance(url, str):
            raise InvalidRequest(f"{where}.image_url.url: must be a string", param=where)
        return {"type": "image", "source": _source(url, where)}
    raise InvalidRequest(f"{where}: this model takes text and image_url", param=where, code="unsupported_parameter")


def _source(url: str, where: str) -> dict[str, str]:
    if url.startswith("data:"):
        head, comma, data = url.partition(",")
        media = head.removeprefix("data:").removesuffix(";base64")
        if not comma or not head.endswith(";base64") or not media:
            raise InvalidRequest(f"{where}: write data:image/png;base64,…", param=where)
        return {"type": "base64", "media_type": media, "data": data}
    if not url.startswith("https://"):
        raise InvalidRequest(f"{where}: an image must be data: or https://", param=where)
    return {"type": "url", "url": url}


def _said(message: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Text and calls of the model. Thoughts are left out: without their signature the API refuses them."""
    content = message.get("content")
    blocks = [] if content is None else _content(content, where)
    for number, call in enumerate(message.get("tool_calls") or ()):
        at = f"{where}.tool_calls[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f"{at}: must be a call of a function", param=at)
        try:
            arguments = _any.decode(function.get("arguments") or "{}")
        except (msgspec.DecodeError, TypeError):
            arguments = None
        if not isinstance(arguments, dict):
            raise InvalidRequest(f"{at}.function.arguments: must be a JSON object as text", param=at)
        blocks.append({"type": "tool_use", "id": str(call.get("id")), "name": function["name"], "input": arguments})
    return blocks


def _result(message: dict[str, Any], where: str) -> dict[str, Any]:
    identity = message.get("tool_call_id")
    if not isinstance(identity, str):
        raise InvalidRequest(f"{where}.tool_call_id: must be a string", param=where)
    content = message.get("content")
    return {
        "type": "tool_result",
        "tool_use_id": identity,
        "content": content if isinstance(content, str) else _content(content, where),
    }


def _text_of(content: Any, where: str) -> str:
    return "\n".join(str(part.get("text", "")) for part in _content(content, where))


def _refused(name: str, instead: str | None = None) -> InvalidRequest:
    told = f"; it does {instead}" if instead else ""
    return InvalidRequest(
        f"Anthropic's models take no {name} like that{told}; leave it out", param=name, code="unsupported_parameter"
    )
