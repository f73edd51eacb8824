"""A request to Anthropic's ``/v1/messages`` as the body of a chat completion.

Source: Anthropic's API reference. Fields of the chat's own that Anthropic does not have (``seed``, ``min_p``,
``keep_alive``, …) pass through, as they do on ``/v1/chat/completions``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podium.services.translation.fields import (
    flag,
    our_metadata,
    refused,
    rows,
    table,
    text,
    text_or_none,
    texts,
    wrong,
)
from podium.services.translation.messages_content import blocks_of, turns

_READ = frozenset(
    {"messages", "system", "stop_sequences", "tools", "tool_choice", "thinking", "metadata", "output_config", "output_format"}
)  # fmt: skip
_WITHOUT_EFFECT = frozenset(
    {"cache_control", "service_tier", "inference_geo", "speed", "context_management", "diagnostics", "betas",
     "stream_options", "n"}
)  # fmt: skip
"""Fields about Anthropic's own service, and those of a chat that this format cannot answer."""
_EFFORT = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_LITTLE, _MUCH = 4096, 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesOrder:
    """``chat``: the body for the gateway. The rest is what the answer has to look like."""

    chat: dict[str, Any]
    stream: bool
    thinks: bool
    """Whether the caller asked to see the model's reasoning."""
    stops: frozenset[str]


def read_messages(given: dict[str, Any], *, counting: bool = False) -> MessagesOrder:
    """Raises ``InvalidRequest`` naming the field. ``counting``: tokens are only counted, so no limit is needed."""
    for name, what in (("container", "containers"), ("mcp_servers", "MCP servers called by the gateway")):
        if given.get(name):
            raise refused(name, what, "run such tools in your client and send their results as tool_result")
    chat = {name: value for name, value in given.items() if name not in _READ and name not in _WITHOUT_EFFECT}
    if not counting and given.get("max_tokens") is None:
        raise wrong("max_tokens", "given: the most tokens to generate")
    stream = flag(given, "stream")
    if stream:
        chat["stream_options"] = {"include_usage": True}
    chat["messages"] = _system(given.get("system")) + turns(given.get("messages"))
    stops = texts(given["stop_sequences"], "stop_sequences") if given.get("stop_sequences") is not None else []
    if stops:
        chat["stop"] = stops
    metadata = table(given, "metadata")
    if (user := text_or_none(metadata, "user_id", "metadata")) is not None:
        chat["user"] = user
    if ours := our_metadata(metadata):
        chat["metadata"] = ours
    chat |= _tools(given) | _output(given)
    thinks, effort = _thinking(given)
    if effort is not None:
        chat["reasoning_effort"] = effort
    return MessagesOrder(chat=chat, stream=stream, thinks=thinks, stops=frozenset(stops))


def _system(given: object) -> list[dict[str, Any]]:
    if given is None:
        return []
    found = blocks_of(given, "system")
    said = [text(block, "text", where) for block, where in found]
    return [{"role": "system", "content": "\n".join(said)}] if said else []


def _tools(given: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if given.get("tools"):
        made["tools"] = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(rows(given["tools"], "tools"))]
    choice = table(given, "tool_choice")
    if not choice:
        return made
    match choice.get("type"):
        case "auto" | "none" as how:
            made["tool_choice"] = how
        case "any":
            made["tool_choice"] = "required"
        case "tool":
            made["tool_choice"] = {"type": "function", "function": {"name": text(choice, "name", "tool_choice")}}
        case _:
            raise wrong("tool_choice.type", "auto, any, tool or none")
    if choice.get("disable_parallel_tool_use") is True:
        made["parallel_tool_calls"] = False
    return made


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind is not None and kind != "custom":
        named = str(kind)[:60]
        raise refused(
            f"{where}.type", f"the tool {named!r}", "describe it as a tool with input_schema and run it yourself"
        )
    if not isinstance(tool.get("input_schema"), dict):
        raise wrong(f"{where}.input_schema", "an object (JSON Schema)")
    function: dict[str, Any] = {"name": text(tool, "name", where), "parameters": tool["input_schema"]}
    if (about := text_or_none(tool, "description", where)) is not None:
        function["description"] = about
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _output(given: dict[str, Any]) -> dict[str, Any]:
    """Structured answers, by the field of the API or the earlier one of its beta."""
    wanted = table(table(given, "output_config"), "format", "output_config") or table(given, "output_format")
    if not wanted:
        return {}
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise wrong("output_config.format", "of type json_schema, with a schema")
    schema = {"name": "answer", "schema": wanted["schema"], "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _thinking(given: dict[str, Any]) -> tuple[bool, str | None]:
    """Whether reasoning is shown, and how much is asked for, in the words of a chat; ``None``: as the model does."""
    wished = text_or_none(table(given, "output_config"), "effort", "output_config")
    if wished is not None and wished not in _EFFORT:
        raise wrong("output_config.effort", "low, medium, high, xhigh or max")
    effort = _EFFORT[wished] if wished is not None else None
    thinking = table(given, "thinking")
    match thinking.get("type"):
        case None if not thinking:
            return False, effort
        case "disabled":
            return False, "none"
        case "adaptive" | "between_tools":
            return thinking.get("display") != "omitted", effort
        case "enabled":
            budget = thinking.get("budget_tokens")
            if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
                raise wrong("thinking.budget_tokens", "a whole number above 0")
            spent = "low" if budget <= _LITTLE else "medium" if budget <= _MUCH else "high"
            return thinking.get("display") != "omitted", effort or spent
    raise wrong("thinking.type", "enabled, adaptive or disabled")
