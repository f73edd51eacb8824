"""The relay of server-sent events: whole events only, usage once, nothing after the end."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.services.sse import StreamRelay, says_something


def event(**chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def text(content: str, finish: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": finish}])


USAGE = event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 7})
DONE = b"data: [DONE]\n\n"
ANSWER = text("a") + text("b") + text("", "stop")


def relay(*pieces: bytes, hide: bool = True) -> tuple[StreamRelay, bytes]:
    found = StreamRelay(hide_usage=hide)
    out = b"".join(found.feed(piece) for piece in pieces)
    found.end()
    return found, out


@pytest.mark.requirement("API-4")
def test_usage_nobody_asked_for_is_read_and_kept_back():
    found, out = relay(ANSWER, USAGE, DONE)
    assert out == ANSWER + DONE
    assert (found.input_tokens, found.output_tokens, found.done, found.broken) == (5, 7, True, None)


@pytest.mark.requirement("API-4")
def test_usage_somebody_asked_for_passes():
    assert relay(ANSWER, USAGE, DONE, hide=False)[1] == ANSWER + USAGE + DONE


@pytest.mark.requirement("API-4")
def test_cumulative_usage_counts_once_as_its_maximum():
    chunks = [event(choices=[{}], usage={"prompt_tokens": 5, "completion_tokens": n}) for n in (1, 2, 3)]
    found, out = relay(*chunks, text("", "stop"), DONE)
    assert out == b"".join(chunks) + text("", "stop") + DONE
    assert found.output_tokens == 3


@pytest.mark.requirement("API-4")
def test_nothing_follows_done():
    found, out = relay(ANSWER + DONE + text("late"), text("later"))
    assert out == ANSWER + DONE
    assert found.done


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=60), st.booleans())
def test_any_fragmentation_gives_the_same_bytes(cuts, crlf):
    whole = ANSWER + b": comment\n\n" + USAGE + DONE
    if crlf:
        whole = whole.replace(b"\n\n", b"\r\n\r\n")
    pieces, rest = [], whole
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    found, out = relay(*pieces, rest)
    newline = b"\r\n\r\n" if crlf else b"\n\n"
    assert out == (ANSWER + b": comment\n\n" + DONE).replace(b"\n\n", newline)
    assert found.broken is None
    assert found.output_tokens == 7


def test_half_an_event_is_never_forwarded():
    found, out = relay(text("a"), b'data: {"choices": [{"del')
    assert out == text("a")
    assert "inside an event" in (found.broken or "")


def test_an_end_without_a_finish_reason_is_a_cut_answer():
    found, _ = relay(text("a"))
    assert "before the answer was complete" in (found.broken or "")


def test_an_end_without_done_but_with_a_finish_reason_is_complete():
    found, _ = relay(text("a", "stop"))
    assert found.broken is None
    assert not found.done


def test_an_error_event_breaks_the_stream_and_is_not_forwarded():
    found, out = relay(text("a"), event(error={"message": "out of memory"}), text("b"))
    assert out == text("a")
    assert found.broken == "out of memory"


def test_content_that_mentions_usage_and_done_passes():
    chunk = text('the "usage" of [DONE] and {"error"')
    assert relay(chunk, text("", "stop"))[1] == chunk + text("", "stop")


def test_an_endless_event_is_given_up():
    found = StreamRelay(hide_usage=True)
    for _ in range(9):
        found.feed(b"x" * 1024 * 1024)
    assert found.broken


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_break_the_relay(pieces):
    relay(*pieces)


def delta(**said: object) -> bytes:
    return event(choices=[{"index": 0, "delta": said, "finish_reason": None}])


@pytest.mark.requirement("COST-1", "REG-6")
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (delta(role="assistant"), False),
        (delta(role="assistant", content=""), False),
        (delta(content=None, role="assistant", tool_calls=[], reasoning_content=None), False),
        (delta(), False),
        (delta(role="assistant") + delta(content=""), False),
        (delta(role="assistant").replace(b" ", b""), False),
        (delta(role="assistant") + text("a"), True),
        (delta(role="assistant", content="Hi"), True),
        (delta(reasoning_content="hm"), True),
        (delta(tool_calls=[{"index": 0, "function": {"name": "f"}}]), True),
        (delta(some_new_field=""), True),
        (text("", "stop"), True),
        (event(choices=[{"index": 0, "text": "a", "finish_reason": None}]), True),
        (event(error={"message": "no"}), True),
        (b"data: {", True),
    ],
)
def test_an_event_that_only_names_the_speaker_is_no_first_token(data: bytes, says: bool):
    assert says_something(data) is says
