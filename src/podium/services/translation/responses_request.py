"""A request to OpenAI's ``/v1/responses`` as the body of a chat completion.

Source: OpenAI's API reference. What needs OpenAI's own service (hosted tools, files, background runs, stored prompts) is
refused by name. Fields of the chat that this format does not have pass through.
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
from podium.services.translation.responses_items import items_of, messages_of

_READ = frozenset(
    {"input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "metadata", "store",
     "previous_response_id", "include", "top_logprobs", "truncation", "stream_options", "parallel_tool_calls"}
)  # fmt: skip
_WITHOUT_EFFECT = frozenset(
    {"service_tier", "safety_identifier", "prompt_cache_retention", "prompt_cache_options", "max_tool_calls", "background",
     "context_management", "n", "messages"}
)  # fmt: skip
_REFUSED = {
    "conversation": ("conversations kept by the service", "use previous_response_id, or send the items"),
    "prompt": ("prompts stored by the service", "send the text as instructions and input"),
    "moderation": ("moderation by the service", "leave it out"),
}
_LOGPROBS = "message.output_text.logprobs"
_KNOWN_INCLUDES = (_LOGPROBS, "reasoning.encrypted_content")
_ECHOED = ("temperature", "top_p", "max_output_tokens", "top_logprobs", "user", "prompt_cache_key", "safety_identifier")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesOrder:
    """``chat`` is the body for the gateway but for its messages; the rest is what the answer repeats or depends on."""

    chat: dict[str, Any]
    items: list[dict[str, Any]]
    stream: bool
    store: bool | None
    """``None``: the caller did not say."""
    previous: str | None
    instructions: str | None
    echo: dict[str, Any]
    """Fields of the response object that repeat the request."""

    def messages(self, earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The conversation: ``earlier`` items of it, then those of this request. Raises ``InvalidRequest``."""
        old = [(item, f"previous_response_id[{number}]") for number, item in enumerate(earlier)]
        new = [(item, f"input[{number}]") for number, item in enumerate(self.items)]
        found = messages_of([*old, *new], self.instructions)
        if not found:
            raise wrong("input", "a string or a list with at least one item")
        return found


def read_responses(given: dict[str, Any]) -> ResponsesOrder:
    """Raises ``InvalidRequest`` naming the field."""
    for name, (what, instead) in _REFUSED.items():
        if given.get(name) is not None:
            raise refused(name, what, instead)
    if flag(given, "background"):
        raise refused("background", "runs in the background", "wait for the answer, or stream it")
    if given.get("truncation") not in (None, "disabled"):
        raise refused("truncation", "cutting of long conversations", "send a shorter one, or choose a larger context")
    chat = {name: value for name, value in given.items() if name not in _READ and name not in _WITHOUT_EFFECT}
    stream = flag(given, "stream")
    if stream:
        chat["stream_options"] = {"include_usage": True}
    if given.get("max_output_tokens") is not None:
        chat["max_tokens"] = given["max_output_tokens"]
    metadata = table(given, "metadata")
    if ours := our_metadata(metadata):
        chat["metadata"] = ours
    chat |= _tools(given) | _format(given) | _logprobs(given)
    reasoning = table(given, "reasoning")
    if (effort := text_or_none(reasoning, "effort", "reasoning")) is not None:
        chat["reasoning_effort"] = effort
    instructions = text_or_none(given, "instructions")
    parallel = flag(given, "parallel_tool_calls", default=True)
    if not parallel and "tools" in chat:
        chat["parallel_tool_calls"] = False
    store = None if given.get("store") is None else flag(given, "store")
    previous = text_or_none(given, "previous_response_id")
    echo = {name: given.get(name) for name in _ECHOED} | {
        "instructions": instructions,
        "metadata": metadata,
        "parallel_tool_calls": parallel,
        "previous_response_id": previous,
        "reasoning": {"effort": effort, "summary": None},
        "text": {"format": table(table(given, "text"), "format", "text") or {"type": "text"}},
        "tool_choice": given.get("tool_choice") or "auto",
        "tools": given.get("tools") or [],
        "truncation": "disabled",
    }
    items = items_of(given["input"]) if given.get("input") is not None else []
    return ResponsesOrder(
        chat=chat,
        items=items,
        stream=stream,
        store=store,
        previous=previous,
        instructions=instructions,
        echo=echo,
    )


def _tools(given: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if given.get("tools"):
        made["tools"] = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(rows(given["tools"], "tools"))]
    choice = given.get("tool_choice")
    match choice:
        case None:
            pass
        case "auto" | "none" | "required":
            if "tools" in made:
                made["tool_choice"] = choice
        case {"type": "function", "name": str(name)}:
            made["tool_choice"] = {"type": "function", "function": {"name": name}}
        case {"type": str(kind)}:
            raise refused("tool_choice", f"a choice of type {kind[:60]!r}", "name a function")
        case _:
            raise wrong("tool_choice", "auto, none, required or a function")
    return made


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind != "function":
        raise refused(
            f"{where}.type", f"the tool {str(kind)[:60]!r}", "give a tool of type function and run it yourself"
        )
    function: dict[str, Any] = {"name": text(tool, "name", where)}
    if (about := text_or_none(tool, "description", where)) is not None:
        function["description"] = about
    if tool.get("parameters") is not None:
        function["parameters"] = table(tool, "parameters", where)
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _format(given: dict[str, Any]) -> dict[str, Any]:
    wanted = table(given, "text")
    made: dict[str, Any] = {}
    if (verbosity := text_or_none(wanted, "verbosity", "text")) is not None and verbosity != "medium":
        made["verbosity"] = verbosity
    format_ = table(wanted, "format", "text")
    match format_.get("type"):
        case None | "text":
            pass
        case "json_object":
            made["response_format"] = {"type": "json_object"}
        case "json_schema":
            schema = {name: format_[name] for name in ("name", "schema", "strict", "description") if name in format_}
            if not isinstance(schema.get("schema"), dict):
                raise wrong("text.format.schema", "an object (JSON Schema)")
            made["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", **schema}}
        case _:
            raise wrong("text.format.type", "text, json_object or json_schema")
    return made


def _logprobs(given: dict[str, Any]) -> dict[str, Any]:
    included = texts(given["include"], "include") if given.get("include") is not None else []
    for name in included:
        if name not in _KNOWN_INCLUDES:
            raise refused("include", f"{name[:60]!r}", "leave it out")
    top = given.get("top_logprobs")
    if top is not None and (not isinstance(top, int) or isinstance(top, bool) or not 0 <= top <= 20):
        raise wrong("top_logprobs", "a whole number from 0 to 20")
    if _LOGPROBS not in included and not top:
        return {}
    return {"logprobs": True, "top_logprobs": top or 1}  # streams of llama.cpp have none without
