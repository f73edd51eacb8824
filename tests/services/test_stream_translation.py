"""Whatever a chat says, in whatever pieces, the translated events say the same, in their own order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.services.translation.messages_stream import MessageStream, message_start
from podium.services.translation.responses_answer import response
from podium.services.translation.responses_stream import ResponseStream

pytestmark = pytest.mark.requirement("API-1", "API-4")

ARGUMENTS = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=8), max_size=3)
TURNS = st.tuples(
    st.text(max_size=20),
    st.lists(st.tuples(st.sampled_from(["weather", "time"]), ARGUMENTS), max_size=3),
    st.integers(1, 7),
    st.sampled_from(["index", "zero", "none"]),
    st.booleans(),
)


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def event(delta: dict[str, Any], finish: str | None = None, end: str = "\n\n") -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(chunk)}{end}".encode()


def chat(turn: tuple[Any, ...]) -> Iterator[bytes]:
    """The events of a server; with ``together`` several come in one piece."""
    text, calls, size, numbering, together = turn
    made = [event({"content": piece}) for piece in cut(text, size)]
    for number, (name, arguments) in enumerate(calls):
        index = {} if numbering == "none" else {"index": 0 if numbering == "zero" else number}
        made.append(event({"tool_calls": [{**index, "id": f"c{number}", "function": {"name": name, "arguments": ""}}]}))
        made += [
            event({"tool_calls": [{**index, "function": {"arguments": p}}]}) for p in cut(json.dumps(arguments), size)
        ]
    made.append(event({}, "tool_calls" if calls else "stop"))
    yield from [b"".join(made)] if together else made


def told(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(one.partition(b"data: ")[2]) for one in raw.split(b"\n\n") if one]


@given(TURNS)
def test_messages_say_what_the_chat_said_and_every_block_begins_and_ends_once(turn):
    stream = MessageStream("msg_1", thinks=False, stops=frozenset())
    raw = message_start("msg_1", "m@1") + b"".join(stream.feed(piece) for piece in chat(turn)) + stream.end()
    blocks: list[dict[str, Any]] = []
    open_: set[int] = set()
    for one in told(raw):
        if one["type"] == "content_block_start":
            assert one["index"] == len(blocks)
            blocks.append({**one["content_block"], "said": ""})
            open_.add(one["index"])
        elif one["type"] == "content_block_delta":
            assert one["index"] in open_
            blocks[one["index"]]["said"] += one["delta"].get("text", one["delta"].get("partial_json"))
        elif one["type"] == "content_block_stop":
            open_.remove(one["index"])
    assert not open_
    assert "".join(b["said"] for b in blocks if b["type"] == "text") == turn[0]
    assert [(b["name"], json.loads(b["said"])) for b in blocks if b["type"] == "tool_use"] == turn[1]
    assert told(raw)[-2]["delta"]["stop_reason"] == ("tool_use" if turn[1] else "end_turn")


@given(TURNS)
def test_responses_say_what_the_chat_said_and_the_last_event_holds_it_all(turn):
    stream = ResponseStream(response("resp_1", "m@1", 1.0, {}, store=True))
    raw = stream.opened() + b"".join(stream.feed(piece) for piece in chat(turn)) + stream.end()
    events = told(raw)
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    output = events[-1]["response"]["output"]
    assert output == stream.result["output"]
    assert "".join(part["text"] for item in output if item["type"] == "message" for part in item["content"]) == turn[0]
    assert [(i["name"], json.loads(i["arguments"])) for i in output if i["type"] == "function_call"] == turn[1]
    added = [one["item"]["id"] for one in events if one["type"] == "response.output_item.added"]
    done = [one["item"]["id"] for one in events if one["type"] == "response.output_item.done"]
    assert sorted(added) == sorted(done)
    assert len(set(added)) == len(added)
