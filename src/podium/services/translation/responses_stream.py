"""Chunks of a chat as the events of OpenAI's responses stream, one by one as they come, numbered in order.

Order: ``response.created``, ``response.in_progress``, then per item ``output_item.added``, its parts and deltas,
``output_item.done``, and last ``response.completed`` (or ``response.incomplete``) with the whole object.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.services.translation.calls import Calls, OpenCall
from podium.services.translation.chat import Call, Kind, Usage, events, read_answer
from podium.services.translation.responses_answer import (
    call_item,
    closing,
    logprobs_of,
    message_item,
    reasoning_item,
    text_part,
    usage_of,
)

_encoder = msgspec.json.Encoder()
_TEXT, _REASONING, _REFUSAL = "output_text", "reasoning_text", "refusal"
_KEY = {_TEXT: "text", _REASONING: "text", _REFUSAL: "refusal"}


class ResponseStream:
    """One stream. ``made`` is the response object before its first word; ``result`` is it at the end."""

    def __init__(self, made: dict[str, Any]) -> None:
        self.result = made
        self._tail = str(made["id"])[5:]
        self._number = 0
        self._output: list[dict[str, Any] | None] = []
        self._calls = Calls(f"call_{self._tail}_")
        self._kind: str | None = None
        self._place = -1
        self._words: list[str] = []
        self._logprobs: list[Any] = []
        self._finish: str | None = None
        self._usage: Usage | None = None

    def opened(self) -> bytes:
        """The first two events."""
        return self._event("response.created", response=self.result) + self._event(
            "response.in_progress", response=self.result
        )

    def feed(self, data: bytes) -> bytes:
        """Raises ``ProviderError`` for what is no chunk of a chat."""
        out: list[bytes] = []
        for kind, payload in events(data):
            if kind is Kind.COMMENT:
                out.append(b": %b\n\n" % payload)
            elif kind is Kind.CHUNK:
                self._chunk(payload, out)
        return b"".join(out)

    def end(self) -> bytes:
        """The answer is complete."""
        out: list[bytes] = []
        ends = closing(self._finish)
        self._close(out, ends["status"])
        self._calls.check()
        for call in self._calls.all:
            self._finished(call, out, ends["status"])
        output = [item for item in self._output if item is not None]
        self.result = self.result | ends | {"output": output, "usage": usage_of(self._usage)}
        out.append(self._event(f"response.{ends['status']}", response=self.result))
        return b"".join(out)

    def error(self, said: dict[str, Any]) -> bytes:
        """The one event after which nothing follows."""
        return self._event(
            "error", **{name: said.get(name) for name in ("code", "message", "param", "fault", "request_id")}
        )

    def _chunk(self, payload: bytes, out: list[bytes]) -> None:
        chunk = read_answer(payload)
        if chunk.usage is not None:
            self._usage = chunk.usage if self._usage is None else self._usage.joined(chunk.usage)
        choice = chunk.first
        if choice is None:
            return
        if (delta := choice.delta or choice.message) is not None:
            if delta.thought:
                self._say(_REASONING, delta.thought, [], out)
            if delta.text:
                self._say(_TEXT, delta.text, logprobs_of(choice), out)
            elif isinstance(delta.refusal, str) and delta.refusal:
                self._say(_REFUSAL, delta.refusal, [], out)
            for fragment in delta.tool_calls or ():
                self._call(fragment, out)
        self._finish = choice.finish_reason or self._finish

    # ------------------------------------------------------------ words

    def _say(self, kind: str, words: str, logprobs: list[Any], out: list[bytes]) -> None:
        if self._kind != kind:
            self._close(out, "completed")
            self._kind, self._words, self._logprobs = kind, [], []
            self._place = len(self._output)
            self._add(self._item("in_progress", []), out)
            out.append(self._part_event("response.content_part.added", part=self._part("", [])))
        self._words.append(words)
        self._logprobs += logprobs
        more = {"logprobs": logprobs} if kind == _TEXT else {}
        out.append(self._part_event(f"response.{kind}.delta", delta=words, **more))

    def _close(self, out: list[bytes], status: str) -> None:
        """The item of words that is open, if one is."""
        kind = self._kind
        if kind is None:
            return
        said = "".join(self._words)
        more: dict[str, Any] = {_KEY[kind]: said}
        if kind == _TEXT:
            more["logprobs"] = self._logprobs
        out.append(self._part_event(f"response.{kind}.done", **more))
        part = self._part(said, self._logprobs)
        out.append(self._part_event("response.content_part.done", part=part))
        self._done(self._place, self._item(status, [part]), out)
        self._kind = None

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        if self._kind == _REASONING:
            return reasoning_item(self._identity(), "", status) | {"content": content}
        return message_item(self._identity(), content, status)

    def _part(self, said: str, logprobs: list[Any]) -> dict[str, Any]:
        if self._kind == _TEXT:
            return text_part(said, logprobs)
        return {"type": self._kind, _KEY[str(self._kind)]: said}

    def _identity(self) -> str:
        return f"{'rs' if self._kind == _REASONING else 'msg'}_{self._tail}_{self._place}"

    def _part_event(self, kind: str, **data: Any) -> bytes:
        return self._event(kind, item_id=self._identity(), output_index=self._place, content_index=0, **data)

    # ------------------------------------------------------------ calls

    def _call(self, fragment: Call, out: list[bytes]) -> None:
        call = self._calls.take(fragment)
        if call.block is None:
            if not call.name:
                return
            self._close(out, "completed")
            for other in self._calls.all:
                if other is not call and other.whole:
                    self._finished(other, out, "completed")
            call.block = len(self._output)
            self._add(call_item(self._call_id(call), call.id, call.name, "", "in_progress"), out)
        if not call.ended and (news := call.news()):
            out.append(
                self._event(
                    "response.function_call_arguments.delta",
                    item_id=self._call_id(call),
                    output_index=call.block,
                    delta=news,
                )
            )

    def _finished(self, call: OpenCall, out: list[bytes], status: str) -> None:
        if call.block is None or call.ended:
            return
        call.ended = True
        identity, arguments = self._call_id(call), call.text
        out.append(
            self._event(
                "response.function_call_arguments.done",
                item_id=identity,
                output_index=call.block,
                name=call.name,
                arguments=arguments,
            )
        )
        self._done(call.block, call_item(identity, call.id, call.name, arguments, status), out)

    def _call_id(self, call: OpenCall) -> str:
        return f"fc_{self._tail}_{call.block}"

    # ------------------------------------------------------------ items

    def _add(self, item: dict[str, Any], out: list[bytes]) -> None:
        out.append(self._event("response.output_item.added", output_index=len(self._output), item=item))
        self._output.append(None)

    def _done(self, place: int, item: dict[str, Any], out: list[bytes]) -> None:
        self._output[place] = item
        out.append(self._event("response.output_item.done", output_index=place, item=item))

    def _event(self, kind: str, **data: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        body = _encoder.encode({"type": kind, "sequence_number": number, **data})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)
