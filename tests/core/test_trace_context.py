"""W3C Trace Context: what is read of the headers, and what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.trace_context import STATE_BYTES, headers_for, read_trace
from podium.domain.trace import Trace

pytestmark = pytest.mark.requirement("OPS-7")
GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_example_of_the_recommendation_is_understood_and_written_again_as_it_was() -> None:
    trace = read_trace(GOOD, b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert trace is not None
    assert (trace.trace_id, trace.span_id) == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert trace.sampled
    assert headers_for(trace, trace.span_id) == (
        (b"traceparent", GOOD),
        (b"tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    )


@pytest.mark.parametrize(
    "given_up",
    [
        b"",
        b"00",
        GOOD.upper(),
        GOOD + b"-more",
        GOOD.replace(b"00-", b"ff-", 1),
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        GOOD + b", " + GOOD,
        GOOD[:-1] + b"\n",
    ],
)
def test_what_is_no_traceparent_is_as_if_it_was_not_there(given_up: bytes) -> None:
    assert read_trace(given_up) is None


def test_a_later_version_is_read_as_far_as_it_is_known_and_unknown_flags_are_not_passed_on() -> None:
    trace = read_trace(GOOD.replace(b"00-", b"cc-", 1)[:-2] + b"ff-what-comes-later")
    assert trace is not None
    assert headers_for(trace, trace.span_id)[0][1] == GOOD[:-2] + b"03"


def test_a_state_that_is_too_long_or_no_text_is_left_out_and_the_parent_stays() -> None:
    for state in (b"a=" + b"x" * STATE_BYTES, b"a=\xff", b"a=\x01"):
        trace = read_trace(GOOD, state)
        assert trace is not None
        assert headers_for(trace, 1) == ((b"traceparent", GOOD.replace(b"b7ad6b7169203331", b"%016x" % 1)),)


@given(st.binary(max_size=120), st.binary(max_size=40) | st.none())
def test_no_bytes_raise_and_what_is_written_has_no_line_break(parent: bytes, state: bytes | None) -> None:
    trace = read_trace(parent, state)
    assert trace is None or b"\n" not in headers_for(trace, 1)[-1][1]


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_what_is_written_is_read_back(trace_id: int, span_id: int, flags: int) -> None:
    wanted = Trace(trace_id=trace_id, span_id=span_id, flags=flags)
    assert read_trace(headers_for(wanted, span_id)[0][1]) == wanted
