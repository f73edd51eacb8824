"""A rough count of the tokens of a request when no tokenizer can be asked."""

from __future__ import annotations

from typing import Any

from podium.services.translation.fields import write

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
"""Role and marks around a message, in usual templates."""


def estimate_tokens(chat: dict[str, Any]) -> int:
    """A quarter of the bytes of all text, tools and calls, and 4 for every message; images are not counted."""
    size = 0
    for message in chat["messages"]:
        content = message.get("content") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        size += sum(len(part["text"].encode()) for part in parts if part["type"] == "text")
        size += len(write(message["tool_calls"])) if message.get("tool_calls") else 0
        size += len(message.get("reasoning_content", "").encode())
    size += len(write(chat["tools"])) if chat.get("tools") else 0
    return -(-size // BYTES_PER_TOKEN) + PER_MESSAGE * len(chat["messages"])
