"""Reads what Podium's own headers say about a request; the same on every wire format."""

from __future__ import annotations

from podium.core.balancing import prefix_key
from podium.core.trace_context import read_trace
from podium.domain.request import Endpoint, RequestHead
from podium.domain.task import Criteria
from podium.server.criteria import read_criteria
from podium.server.exchange import Exchange
from podium.services import wire


def read_head(exchange: Exchange, endpoint: Endpoint, body: bytes, request_id: str) -> RequestHead:
    """``body`` is in OpenAI's format. Raises ``InvalidRequest`` naming the field."""
    headers = exchange.headers
    task = headers.get(b"x-podium-task")
    session = headers.get(b"x-podium-session")
    priority = headers.get(b"x-podium-priority")
    execution = headers.get(b"x-podium-execution")
    principal = exchange.principal
    parent = headers.get(b"traceparent")
    return wire.parse(
        endpoint,
        body,
        request_id=request_id,
        task=task.decode("latin-1") if task else None,
        session=session.decode("latin-1") if session else None,
        caller=caller_of(exchange),
        principal=principal,
        priority=priority.decode("latin-1") if priority else None,
        execution=execution.decode("latin-1") if execution else None,
        allowance=exchange.grant,
        trace=None if parent is None else read_trace(parent, headers.get(b"tracestate")),
    )


def caller_of(exchange: Exchange) -> str:
    """Account of the key, its id unless it was rotated; where nobody needs one, a fingerprint of what was sent as one; empty without any."""
    if exchange.principal is not None:
        return exchange.principal.account or exchange.principal.id
    key = exchange.headers.get(b"authorization") or exchange.headers.get(b"x-api-key")
    return f"{prefix_key(key):016x}" if key else ""


def criteria_of(exchange: Exchange) -> Criteria | None:
    """Limits of this request alone. Raises ``InvalidRequest``."""
    limits = exchange.headers.get(b"x-podium-criteria")
    return read_criteria(limits) if limits else None
