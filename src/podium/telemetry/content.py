"""What was asked and answered, in the form of the GenAI conventions. Only where the owner switched it on.

Held from the end of a call until its span is made, a bounded amount of it; pictures and sound are named and left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from podium.domain.decision import Decision
from podium.domain.request import Endpoint, RequestHead
from podium.services.observing import Answered

MOST_CALLS = 512
MOST_PROMPT_BYTES = 256 * 1024
_REQUIRED = {Endpoint.CHAT: "messages", Endpoint.COMPLETION: "prompt", Endpoint.EMBEDDING: "input"}


class Content:
    """An ``Observer`` of the gateway."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Answered] = OrderedDict()

    def wants(self, head: RequestHead, decision: Decision) -> bool:
        """Those whose spans are wanted."""
        return head.trace is not None and head.trace.recording and head.trace.sampled

    def take(self, answered: Answered) -> None:
        """Hold it; decoded later."""
        self._held[answered.decision.id] = answered
        if len(self._held) > MOST_CALLS:
            self._held.popitem(last=False)

    def of(self, decision_id: str) -> Mapping[str, str]:
        """Attributes of one call; gone after that."""
        answered = self._held.pop(decision_id, None)
        if answered is None:
            return {}
        found = {}
        prompt = bytes(answered.head.fields[_REQUIRED[answered.head.endpoint]])
        if len(prompt) <= MOST_PROMPT_BYTES:
            found["gen_ai.input.messages"] = _encoded(_input(answered.head.endpoint, prompt))
        if answered.outcome.success and answered.head.endpoint is not Endpoint.EMBEDDING:
            said = answered.text()
            message = {"role": "assistant", "parts": [{"type": "text", "content": said.text}]}
            found["gen_ai.output.messages"] = _encoded([{**message, "finish_reason": said.finish or ""}])
        return found


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _input(endpoint: Endpoint, raw: bytes) -> list[dict[str, object]]:
    value = msgspec.json.decode(raw)
    if endpoint is not Endpoint.CHAT or not isinstance(value, list):
        texts = value if isinstance(value, list) else [value]
        return [{"role": "user", "parts": [_text(text) for text in texts]}]
    return [_message(one) for one in value if isinstance(one, dict)]


def _message(message: dict[str, Any]) -> dict[str, object]:
    content = message.get("content")
    if message.get("role") == "tool":
        parts = [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
        return {"role": "tool", "parts": parts}
    pieces = content if isinstance(content, list) else [] if content is None else [content]
    parts = [_part(piece) for piece in pieces]
    for call in message.get("tool_calls") or ():
        function = call.get("function", {}) if isinstance(call, dict) else {}
        name, arguments = function.get("name"), function.get("arguments")
        parts.append({"type": "tool_call", "id": call.get("id"), "name": name, "arguments": arguments})
    return {"role": str(message.get("role")), "parts": parts}


def _part(piece: object) -> dict[str, object]:
    if isinstance(piece, dict) and piece.get("type", "text") != "text":
        return {"type": str(piece["type"])}
    return _text(piece.get("text") if isinstance(piece, dict) else piece)


def _text(value: object) -> dict[str, object]:
    return {"type": "text", "content": value if isinstance(value, str) else _encoded(value)}
