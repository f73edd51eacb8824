"""Shows finished answers to whoever wants to look at them: what judges, and what compares versions in the shadow.

The request path asks ``wants`` before it sends and hands over the bytes as they went out; what an observer makes of them
is its own work, later. Nothing is kept for anybody who did not ask, and never more than ``MOST_BYTES`` of one answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from podium.domain.decision import Decision, Outcome
from podium.domain.request import RequestHead

MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One attempt that ended, well or not. ``raw``: the body, or the events of a stream, as far as they were kept."""

    head: RequestHead
    decision: Decision
    outcome: Outcome
    raw: bytes
    cut: bool = False
    """The answer was longer than what is kept."""

    def text(self) -> AnswerText:
        """What the model wrote. Decodes; call it off the request path."""
        return read_stream(self.raw) if self.outcome.streamed else read_body(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerText:
    """The words of an answer. ``finish``: why the model stopped, as its server said it."""

    text: str
    finish: str | None = None
    tool_calls: int = 0


class Observer(Protocol):
    """Must be quick and must not raise; both are called on the request path."""

    def wants(self, head: RequestHead, decision: Decision) -> bool:
        """Whether the answer to this request is to be handed over."""
        ...

    def take(self, answered: Answered) -> None:
        """The answer, when it has ended."""
        ...


class Keeping:
    """Holds the beginning of one answer while it goes out, for those that want it."""

    __slots__ = ("_parts", "_room", "cut", "observers")

    def __init__(self, observers: tuple[Observer, ...]) -> None:
        self.observers = observers
        self._parts: list[bytes] = []
        self._room = MOST_BYTES
        self.cut = False

    def add(self, data: bytes) -> None:
        """The next bytes of the answer."""
        if len(data) <= self._room:
            self._parts.append(data)
            self._room -= len(data)
        else:
            self._parts.append(data[: self._room])
            self._room, self.cut = 0, True

    def hand_over(self, head: RequestHead, decision: Decision, outcome: Outcome) -> None:
        """It ended."""
        answered = Answered(head=head, decision=decision, outcome=outcome, raw=b"".join(self._parts), cut=self.cut)
        for observer in self.observers:
            observer.take(answered)


class _Message(msgspec.Struct):
    content: str | list[object] | None = None
    tool_calls: list[object] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    index: int = 0


class _Body(msgspec.Struct):
    choices: list[_Choice] = []


_body = msgspec.json.Decoder(_Body)


def read_body(raw: bytes) -> AnswerText:
    """The first choice of a whole answer; an empty text for what is none."""
    try:
        choices = _body.decode(raw).choices
    except (msgspec.DecodeError, UnicodeDecodeError):
        return AnswerText(text="")
    if not choices:
        return AnswerText(text="")
    first = choices[0]
    message = first.message
    calls = len(message.tool_calls or ()) if message is not None else 0
    return AnswerText(text=_words(message, first.text), finish=first.finish_reason, tool_calls=calls)


def read_stream(raw: bytes) -> AnswerText:
    """The first choice of a stream, its pieces put together; events that are no chunks are passed over."""
    parts: list[str] = []
    finish: str | None = None
    calls: set[object] = set()
    for line in raw.splitlines():
        if not line.startswith(b"data:") or line.endswith(b"[DONE]"):
            continue
        try:
            choices = _body.decode(line[5:]).choices
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        for choice in choices:
            if choice.index != 0:
                continue
            parts.append(_words(choice.delta, choice.text))
            finish = choice.finish_reason or finish
            for call in (choice.delta.tool_calls or ()) if choice.delta is not None else ():
                calls.add(call.get("index", 0) if isinstance(call, dict) else 0)
    return AnswerText(text="".join(parts), finish=finish, tool_calls=len(calls))


def _words(message: _Message | None, text: str | None) -> str:
    content = message.content if message is not None else text
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content or ""
