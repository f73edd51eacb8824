"""Reads and writes W3C Trace Context headers (https://www.w3.org/TR/trace-context-2/). Pure.

A header that is not understood is as if it was not there: tracing must never be a reason to refuse a request.
"""

from __future__ import annotations

import re

from podium.domain.trace import Trace

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
_STATE = re.compile(rb"[\x20-\x7e\t]*")
_KNOWN_FLAGS = 0x03
"""Sampled, and that the trace id is random; others are not passed on."""
STATE_BYTES = 512
"""Of a ``tracestate``; a longer one is left out whole, as the recommendation allows."""

Headers = tuple[tuple[bytes, bytes], ...]


def read_trace(parent: bytes, state: bytes | None = None) -> Trace | None:
    """The caller's place in its trace, from ``traceparent`` and ``tracestate``; ``None`` for what is none."""
    found = _PARENT.fullmatch(parent.strip())
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    known = state is not None and len(state) <= STATE_BYTES and _STATE.fullmatch(state) is not None
    return Trace(
        trace_id=trace_id,
        span_id=span_id,
        flags=int(flags, 16) & _KNOWN_FLAGS,
        state=state.decode("ascii").strip() if known and state else "",
    )


def headers_for(trace: Trace, span_id: int) -> Headers:
    """What tells a server that it works for ``span_id``."""
    parent = (b"traceparent", b"00-%032x-%016x-%02x" % (trace.trace_id, span_id, trace.flags & _KNOWN_FLAGS))
    return (parent, (b"tracestate", trace.state.encode())) if trace.state else (parent,)
