"""Items of OpenAI's responses as messages of a chat.

An assistant's turn may come as several items (reasoning, message, calls); they become one message again. What only
OpenAI's own service can run or read is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podium.services.translation.fields import flat, refused, rows, text, wrong

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_OWN = "run it in your client and send the result as text"


def items_of(given: object) -> list[dict[str, Any]]:
    """``input``, a string or a list of items, as items."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    if not isinstance(given, list):
        raise wrong("input", "a string or a list of items")
    return list(rows(given, "input"))


def messages_of(items: Iterable[tuple[dict[str, Any], str]], instructions: str | None) -> list[dict[str, Any]]:
    """``items`` with the place each stands at. System messages at the beginning become one, as most templates want."""
    made: list[dict[str, Any]] = []
    leading = [instructions] if instructions else []
    for item, where in items:
        message = _message(item, where)
        if message["role"] == "system" and not made and isinstance(message["content"], str):
            leading.append(message["content"])
        elif message["role"] == "assistant" and made and made[-1]["role"] == "assistant":
            _join(made[-1], message)
        else:
            made.append(message)
    for message in made:
        if message["role"] == "assistant":
            message.setdefault("content", "")
    return [{"role": "system", "content": "\n\n".join(leading)}, *made] if leading else made


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise wrong(f"{where}.role", "user, assistant, system or developer")
        return {"role": _ROLES[role], "content": _content(item.get("content"), f"{where}.content")}
    if kind == "function_call":
        function = {"name": text(item, "name", where), "arguments": text(item, "arguments", where)}
        call = {"id": text(item, "call_id", where), "type": "function", "function": function}
        return {"role": "assistant", "tool_calls": [call]}
    if kind == "function_call_output":
        output = item.get("output")
        said = output if isinstance(output, str) else _content(output, f"{where}.output")
        if not isinstance(said, str):
            raise refused(f"{where}.output", "images as results of tools", "send them in a message of the user")
        return {"role": "tool", "tool_call_id": text(item, "call_id", where), "content": said}
    if kind == "reasoning":
        return {"role": "assistant", "reasoning_content": _reasoning(item)}
    if not isinstance(kind, str):
        raise wrong(f"{where}.type", "the name of an item type")
    raise refused(where, f"items of type {kind[:60]!r}", _OWN)


def _content(given: object, where: str) -> str | list[dict[str, Any]]:
    if isinstance(given, str):
        return given
    parts = []
    for number, part in enumerate(rows(given, where)):
        at = f"{where}[{number}]"
        kind = part.get("type")
        if kind in ("input_text", "output_text", "text"):
            parts.append({"type": "text", "text": text(part, "text", at)})
        elif kind == "refusal":
            parts.append({"type": "text", "text": text(part, "refusal", at)})
        elif kind == "input_image":
            parts.append(_image(part, at))
        elif isinstance(kind, str):
            raise refused(at, f"content of type {kind[:60]!r}", "send its text as input_text")
        else:
            raise wrong(f"{at}.type", "the name of a content type")
    return flat(parts)


def _image(part: dict[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(part.get("image_url"), str):
        raise refused(where, "uploaded files", "send the image as image_url, an address or data:…;base64,…")
    image: dict[str, Any] = {"url": part["image_url"]}
    if isinstance(part.get("detail"), str):
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _reasoning(item: dict[str, Any]) -> str:
    """The words of it, if there are any; what is encrypted is for its author alone."""
    found = item.get("content") or item.get("summary") or []
    parts = found if isinstance(found, list) else []
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def _join(last: dict[str, Any], more: dict[str, Any]) -> None:
    if "tool_calls" in more:
        last["tool_calls"] = [*last.get("tool_calls", []), *more["tool_calls"]]
    if more.get("reasoning_content"):
        last["reasoning_content"] = last.get("reasoning_content", "") + more["reasoning_content"]
    if (said := more.get("content")) is not None:
        before = last.get("content")
        if before is None or (isinstance(before, str) and isinstance(said, str)):
            last["content"] = said if not before else f"{before}\n{said}"
        else:
            last["content"] = [*_parts(before), *_parts(said)]


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
