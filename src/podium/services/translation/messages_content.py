"""The content blocks of Anthropic's messages as messages of a chat.

Order within a turn: results of tools first (each a message of its own), then what the user says. Thinking goes along as
``reasoning_content``; ``cache_control`` and citations settings have no counterpart and change no answer.
"""

from __future__ import annotations

from typing import Any

from podium.services.translation.fields import flat, refused, rows, text, write, wrong

_ROLES = ("user", "assistant", "system")
_WITHOUT = "send its text as a text block"


def turns(given: object) -> list[dict[str, Any]]:
    """``messages``: at least one; turns of one role that follow each other are one turn."""
    found = rows(given, "messages")
    if not found:
        raise wrong("messages", "a list with at least one message")
    merged: list[tuple[str, list[tuple[dict[str, Any], str]]]] = []
    for number, message in enumerate(found):
        where = f"messages[{number}]"
        role = message.get("role")
        if role not in _ROLES:
            raise wrong(f"{where}.role", "user or assistant")
        blocks = blocks_of(message.get("content"), f"{where}.content")
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(blocks)
        else:
            merged.append((role, blocks))
    made: list[dict[str, Any]] = []
    for role, blocks in merged:
        made += _assistant(blocks) if role == "assistant" else _user(role, blocks)
    return made


def blocks_of(content: object, where: str) -> list[tuple[dict[str, Any], str]]:
    """Blocks with the place each stands at; a string is one block of text."""
    if isinstance(content, str):
        return [({"type": "text", "text": content}, where)]
    if not isinstance(content, list):
        raise wrong(where, "a string or a list of blocks")
    return [(block, f"{where}[{number}]") for number, block in enumerate(rows(content, where))]


def parts_of(block: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """What the user says or a tool returns: text and images. Raises ``InvalidRequest`` for what no model here reads."""
    kind = block.get("type")
    if kind == "text":
        return [_text(text(block, "text", where))]
    if kind == "image":
        return [_image(block.get("source"), f"{where}.source")]
    if kind == "document":
        return _document(block, where)
    if kind == "search_result":
        head = f"{text(block, 'title', where)} ({text(block, 'source', where)})"
        inner = blocks_of(block.get("content"), f"{where}.content")
        return [_text("\n".join([head, *(text(one, "text", at) for one, at in inner)]))]
    if not isinstance(kind, str):
        raise wrong(f"{where}.type", "the name of a block type")
    raise refused(where, f"blocks of type {kind[:60]!r}", _WITHOUT)


def _user(role: str, blocks: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block, where in blocks:
        if block.get("type") == "tool_result" and role == "user":
            message, images = _result(block, where)
            results.append(message)
            parts += images
        else:
            parts += parts_of(block, where)
    if parts or not results:
        results.append({"role": role, "content": flat(parts)})
    return results


def _result(block: dict[str, Any], where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The message of a tool's result, and its images, which only a user's message may carry."""
    content = block.get("content")
    inner = [] if content is None else blocks_of(content, f"{where}.content")
    parts = [part for one, at in inner for part in parts_of(one, at)]
    said = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if block.get("is_error") is True and not said.lower().startswith("error"):
        said = f"Error: {said}"
    message = {"role": "tool", "tool_call_id": text(block, "tool_use_id", where), "content": said}
    return message, [part for part in parts if part["type"] != "text"]


def _assistant(blocks: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    said: list[str] = []
    thought: list[str] = []
    calls: list[dict[str, Any]] = []
    for block, where in blocks:
        kind = block.get("type")
        if kind == "text":
            said.append(text(block, "text", where))
        elif kind == "thinking":
            thought.append(text(block, "thinking", where))
        elif kind == "tool_use":
            calls.append(_call(block, where))
        elif kind != "redacted_thinking":  # written for another service's eyes only
            said += [part["text"] for part in parts_of(block, where) if part["type"] == "text"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said)}
    if calls:
        message["tool_calls"] = calls
    if thought:
        message["reasoning_content"] = "".join(thought)
    return [message]


def _call(block: dict[str, Any], where: str) -> dict[str, Any]:
    given = block.get("input", {})
    if not isinstance(given, dict):
        raise wrong(f"{where}.input", "an object")
    function = {"name": text(block, "name", where), "arguments": write(given).decode()}
    return {"id": text(block, "id", where), "type": "function", "function": function}


def _document(block: dict[str, Any], where: str) -> list[dict[str, Any]]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise wrong(f"{where}.source", "an object")
    head = [_text(block[name]) for name in ("title", "context") if isinstance(block.get(name), str)]
    if source.get("type") == "text":
        return [*head, _text(text(source, "data", f"{where}.source"))]
    if source.get("type") == "content":
        inner = blocks_of(source.get("content"), f"{where}.source.content")
        return head + [part for one, at in inner for part in parts_of(one, at)]
    raise refused(f"{where}.source", "reading of PDF and uploaded files", _WITHOUT)


def _image(source: object, where: str) -> dict[str, Any]:
    match source:
        case {"type": "base64", "media_type": str(media), "data": str(data)}:
            return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}
        case {"type": "url", "url": str(url)}:
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "file"}:
            raise refused(where, "uploaded files", "send the image as base64")
    raise wrong(where, "base64 with media_type and data, or url")


def _text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}
