"""OpenAI's messages and tools as Ollama's. Pure: raises ``InvalidRequest`` naming the message that is wrong.

Differences: content is one text with images beside it, arguments of a call are an object and not text, and the
result of a tool names the tool.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from podium.errors import InvalidRequest

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_IMAGE = re.compile(r"data:(?:image/(?:jpeg|jpg|png|webp))?;base64,([A-Za-z0-9+/]+={0,2})\Z")


def messages_of(given: object) -> list[dict[str, Any]]:
    """``messages`` of a chat; at least one."""
    if not isinstance(given, list) or not given:
        raise InvalidRequest("messages must be a list with at least one message", param="messages")
    called: dict[str, str] = {}
    return [_message(each, f"messages[{number}]", called) for number, each in enumerate(given)]


def tools_of(given: object) -> list[Any]:
    """``tools``: functions only."""
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(tool, dict) for tool in given):
        raise InvalidRequest("tools must be a list of objects", param="tools")
    for tool in given:
        if tool.get("type", "function") != "function" or not isinstance(tool.get("function"), dict):
            raise InvalidRequest(
                "Ollama knows tools of type function only", param="tools", code="unsupported_parameter"
            )
    return given


def _message(given: object, where: str, called: dict[str, str]) -> dict[str, Any]:
    role = given.get("role") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(role, str) or role not in _ROLES:
        raise InvalidRequest(f"{where}.role must be one of {', '.join(_ROLES)}", param=where)
    made = {"role": _ROLES[role], **_content(given, where)}
    thought = given.get("reasoning_content") or given.get("reasoning")
    if isinstance(thought, str):
        made["thinking"] = thought
    if given.get("tool_calls"):
        made["tool_calls"] = _calls(given["tool_calls"], where, called)
    if made["role"] == "tool":
        identity = given.get("tool_call_id")
        name = given.get("name") or called.get(str(identity))
        named = {"tool_name": name, "tool_call_id": identity}
        made |= {key: str(value) for key, value in named.items() if value}
    return made


def _content(given: dict[str, Any], where: str) -> dict[str, Any]:
    content = given.get("content")
    if isinstance(content, str):
        return {"content": content}
    if isinstance(content, list):
        texts, images = _parts(content, where)
        return {"content": "\n".join(texts), **({"images": images} if images else {})}
    if content is not None:
        raise InvalidRequest(f"{where}.content must be text or a list of parts", param=where)
    if not given.get("tool_calls"):
        raise InvalidRequest(f"{where} has no content", param=where)
    return {"content": ""}


def _parts(parts: Sequence[object], where: str) -> tuple[list[str], list[str]]:
    texts, images = [], []
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
                found = _IMAGE.match(url)
                if found is None:
                    raise InvalidRequest(
                        f"{where}: Ollama takes images as data:image/png;base64,… (or jpeg, webp), not by address",
                        param=where,
                    )
                images.append(found[1])
            case _:
                kind = part.get("type") if isinstance(part, dict) else type(part).__name__
                raise InvalidRequest(
                    f"{where}: Ollama takes parts of type text and image_url, not {kind!r}",
                    param=where,
                    code="unsupported_parameter",
                )
    return texts, images


def _calls(given: object, where: str, called: dict[str, str]) -> list[dict[str, Any]]:
    """Calls the assistant made; remembers their names for the results that follow."""
    made = []
    for each in given if isinstance(given, list) else [None]:
        match each:
            case {"function": {"name": str(name), "arguments": arguments}, **rest}:
                if isinstance(arguments, str):
                    arguments = _object(arguments)
                if not isinstance(arguments, dict):
                    raise InvalidRequest(f"{where}: arguments of {name!r} are no JSON object", param=where)
                identity = str(rest.get("id") or "")
                called[identity] = name
                call: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
                made.append({"id": identity, **call} if identity else call)
            case _:
                raise InvalidRequest(f"{where}.tool_calls: each needs function.name and arguments", param=where)
    return made


def _object(text: str) -> object:
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
