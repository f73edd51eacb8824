"""Answers of a chat as OpenAI's response objects: whole ones, and the values both ways share."""

from __future__ import annotations

from typing import Any

from podium.errors import ProviderError
from podium.services.translation.chat import Choice, Usage, read_answer

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(identity: str, model: str, created: float, echo: dict[str, Any], *, store: bool) -> dict[str, Any]:
    """A response before its first word."""
    return {
        "id": identity,
        "object": "response",
        "created_at": int(created),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "service_tier": "default",
        "store": store,
        "usage": None,
        **echo,
    }


def whole_response(made: dict[str, Any], body: bytes) -> dict[str, Any]:
    """``made`` with the answer in it. Raises ``ProviderError`` when the server's answer is no chat completion."""
    answer = read_answer(body)
    choice = answer.first
    if choice is None or choice.message is None:
        raise ProviderError("the model's server sent an answer without a message", code="bad_answer")
    message, tail = choice.message, str(made["id"])[5:]
    ends = closing(choice.finish_reason)
    output: list[dict[str, Any]] = []
    if message.thought:
        output.append(reasoning_item(f"rs_{tail}", message.thought))
    if message.text:
        part = text_part(message.text, logprobs_of(choice))
        output.append(message_item(f"msg_{tail}", [part], ends["status"]))
    elif isinstance(message.refusal, str) and message.refusal:
        output.append(message_item(f"msg_{tail}", [{"type": "refusal", "refusal": message.refusal}], ends["status"]))
    for number, call in enumerate(message.tool_calls or ()):
        if not call.name:
            raise ProviderError("the model's server sent a tool call without a name", code="bad_answer")
        name, called = f"fc_{tail}_{number}", call.id or f"call_{tail}_{number}"
        output.append(call_item(name, called, call.name, call.arguments, "completed"))
    return made | ends | {"output": output, "usage": usage_of(answer.usage)}


def closing(finish: str | None) -> dict[str, Any]:
    """How a response ends that came to its end."""
    why = _INCOMPLETE.get(finish or "")
    if why is None:
        return {"status": "completed", "incomplete_details": None}
    return {"status": "incomplete", "incomplete_details": {"reason": why}}


def usage_of(usage: Usage | None) -> dict[str, Any] | None:
    """``None`` when the server counted nothing."""
    if usage is None or (usage.prompt_tokens is None and usage.completion_tokens is None):
        return None
    given, written = max(usage.prompt_tokens or 0, 0), max(usage.completion_tokens or 0, 0)
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": given + written,
    }


def message_item(identity: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """What the model says."""
    return {"id": identity, "type": "message", "role": "assistant", "status": status, "content": content}


def text_part(said: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    """Its words."""
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": logprobs or []}


def reasoning_item(identity: str, thought: str, status: str = "completed") -> dict[str, Any]:
    """How it came to them."""
    content = [{"type": "reasoning_text", "text": thought}] if thought else []
    return {"id": identity, "type": "reasoning", "status": status, "summary": [], "content": content}


def call_item(identity: str, called: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    """A function the caller is to run."""
    return {
        "id": identity,
        "type": "function_call",
        "status": status,
        "call_id": called,
        "name": name,
        "arguments": arguments,
    }


def logprobs_of(choice: Choice) -> list[Any]:
    """Of the tokens of this answer or chunk; empty without any."""
    found = choice.logprobs.get("content") if isinstance(choice.logprobs, dict) else None
    return found if isinstance(found, list) else []
