"""Answers of a chat as Anthropic's messages: whole ones, and the values both ways share."""

from __future__ import annotations

from typing import Any

import msgspec

from podium.errors import ProviderError
from podium.services.translation.calls import read_arguments
from podium.services.translation.chat import Choice, Usage, read_answer

_STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal"}
_encoder = msgspec.json.Encoder()


def whole_message(body: bytes, *, identity: str, model: str, thinks: bool, stops: frozenset[str]) -> bytes:
    """The body of a message. Raises ``ProviderError`` when the server's answer is no chat completion."""
    answer = read_answer(body)
    choice = answer.first
    if choice is None or choice.message is None:
        raise ProviderError("the model's server sent an answer without a message", code="bad_answer")
    message = choice.message
    content: list[dict[str, Any]] = []
    if thinks and message.thought:
        content.append({"type": "thinking", "thinking": message.thought, "signature": ""})
    said = message.text or (message.refusal if isinstance(message.refusal, str) else "")
    if said:
        content.append({"type": "text", "text": said})
    for number, call in enumerate(message.tool_calls or ()):
        if not call.name:
            raise ProviderError("the model's server sent a tool call without a name", code="bad_answer")
        found = read_arguments(call.arguments)
        given = {"INVALID_JSON": call.arguments} if found is None else found
        named = call.id or f"toolu_{identity[4:]}_{number}"
        content.append({"type": "tool_use", "id": named, "name": call.name, "input": given})
    reason, sequence = stop_of(choice, stops, called=bool(message.tool_calls))
    made = skeleton(identity, model) | {"content": content, "stop_reason": reason, "stop_sequence": sequence}
    return _encoder.encode(made | {"usage": usage_of(answer.usage)})


def skeleton(identity: str, model: str) -> dict[str, Any]:
    """A message before its first word."""
    return {
        "id": identity,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def stop_of(choice: Choice, stops: frozenset[str], *, called: bool) -> tuple[str, str | None]:
    """``stop_reason`` and ``stop_sequence``. Few servers say which sequence ended it; without that it is ``end_turn``."""
    if isinstance(choice.stop_reason, str) and choice.stop_reason in stops:
        return "stop_sequence", choice.stop_reason
    reason = _STOPS.get(choice.finish_reason or "", "end_turn")
    return ("tool_use" if called and reason == "end_turn" else reason), None


def usage_of(usage: Usage | None) -> dict[str, Any]:
    """Anthropic counts what came from a cache apart from ``input_tokens``. The format demands numbers: where the server
    counted nothing they are 0 and ``reported`` is false.
    """
    if usage is None or (usage.prompt_tokens is None and usage.completion_tokens is None):
        return {"input_tokens": 0, "output_tokens": 0, "reported": False}
    return {
        "input_tokens": max((usage.prompt_tokens or 0) - usage.cached, 0),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": max(usage.completion_tokens or 0, 0),
    }
