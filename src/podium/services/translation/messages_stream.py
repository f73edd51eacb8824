"""Chunks of a chat as the events of Anthropic's stream, one by one as they come.

Order: ``message_start``, then blocks (``content_block_start``, deltas, ``content_block_stop``), ``message_delta`` with why
it stopped and the usage, ``message_stop``. What keeps a connection alive becomes ``ping``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from podium.services.translation.calls import Calls, OpenCall
from podium.services.translation.chat import Call, Choice, Kind, Usage, events, read_answer
from podium.services.translation.messages_answer import skeleton, stop_of, usage_of

_encoder = msgspec.json.Encoder()


def message_start(identity: str, model: str) -> bytes:
    """The first event."""
    return _event("message_start", message=skeleton(identity, model))


_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_START, _STOP = "content_block_start", "content_block_stop"


class MessageStream:
    """What follows ``message_start``. ``feed`` takes whole events of a chat; ``end`` gives what closes the message."""

    __slots__ = ("_block", "_blocks", "_calls", "_ending", "_kind", "_stops", "_thinks", "_usage")

    def __init__(self, identity: str, *, thinks: bool, stops: frozenset[str]) -> None:
        self._thinks = thinks
        self._stops = stops
        self._kind: str | None = None
        self._block = -1
        self._blocks = 0
        self._calls = Calls(f"toolu_{identity[4:]}_")
        self._ending: tuple[str, str | None] | None = None
        self._usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """Raises ``ProviderError`` for what is no chunk of a chat."""
        out: list[bytes] = []
        for kind, payload in events(data):
            if kind is Kind.COMMENT:
                out.append(_PING)
            elif kind is Kind.CHUNK:
                self._chunk(payload, out)
        return b"".join(out)

    def end(self) -> bytes:
        """The answer is complete."""
        out: list[bytes] = []
        self._close(out)
        self._calls.check()
        for call in self._calls.all:
            self._finish(call, out)
        called = bool(self._calls.all)
        reason, sequence = self._ending or (("tool_use" if called else "end_turn"), None)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        out.append(_event("message_delta", delta=delta, usage=usage_of(self._usage)))
        out.append(_event("message_stop"))
        return b"".join(out)

    def _chunk(self, payload: bytes, out: list[bytes]) -> None:
        chunk = read_answer(payload)
        if chunk.usage is not None:
            self._usage = chunk.usage if self._usage is None else self._usage.joined(chunk.usage)
        choice = chunk.first
        if choice is None:
            return
        if (delta := choice.delta or choice.message) is not None:
            if self._thinks and delta.thought:
                self._say("thinking", delta.thought, out)
            said = delta.text or (delta.refusal if isinstance(delta.refusal, str) else "")
            if said:
                self._say("text", said, out)
            for fragment in delta.tool_calls or ():
                self._call(fragment, out)
        if choice.finish_reason is not None:
            self._stop(choice)

    def _say(self, kind: str, words: str, out: list[bytes]) -> None:
        if self._kind != kind:
            self._close(out)
            self._kind, self._block = (
                kind,
                self._open(out, {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {})),
            )
        out.append(_delta(self._block, {"type": f"{kind}_delta", kind: words}))

    def _call(self, fragment: Call, out: list[bytes]) -> None:
        call = self._calls.take(fragment)
        if call.block is None:
            if not call.name:
                return
            self._close(out)
            for other in self._calls.all:
                if other is not call and other.whole:
                    self._finish(other, out)
            call.block = self._open(out, {"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        if not call.ended and (news := call.news()):
            out.append(_delta(call.block, {"type": "input_json_delta", "partial_json": news}))

    def _open(self, out: list[bytes], block: dict[str, Any]) -> int:
        index = self._blocks
        self._blocks += 1
        out.append(_event(_START, index=index, content_block=block))
        return index

    def _close(self, out: list[bytes]) -> None:
        """The block of words that is open, if one is."""
        if self._kind is not None:
            if self._kind == "thinking":
                out.append(_delta(self._block, {"type": "signature_delta", "signature": ""}))
            out.append(_event(_STOP, index=self._block))
            self._kind = None

    @staticmethod
    def _finish(call: OpenCall, out: list[bytes]) -> None:
        if call.block is not None and not call.ended:
            call.ended = True
            out.append(_event(_STOP, index=call.block))

    def _stop(self, choice: Choice) -> None:
        self._ending = stop_of(choice, self._stops, called=bool(self._calls.all))


def _event(kind: str, **data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encoder.encode({"type": kind, **data}))


def _delta(index: int, delta: dict[str, str]) -> bytes:
    return _event("content_block_delta", index=index, delta=delta)
