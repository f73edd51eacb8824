"""Follows one request for telemetry: its place in the caller's trace, its attempts, and how it ended.

Nothing is exported here and nothing is known of OpenTelemetry: whoever keeps what ended makes spans of it later. A gateway
without one hands the caller's trace on to the model's server as it came, and looks no further.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from podium.core.trace_context import Headers, headers_for
from podium.domain.decision import Decision, Outcome
from podium.domain.request import Endpoint, RequestHead
from podium.domain.task import Criteria
from podium.domain.trace import SAMPLED, Trace
from podium.errors import PodiumError
from podium.ports import Clock
from podium.services.responder import Responder

Serve = Callable[[RequestHead, Criteria | None, Responder], Awaitable[None]]
CLIENT_LEFT = "client_left"
RANDOM = 0x02
"""The flag that says that a trace id was drawn at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A request that ended. ``error``: the code of the error that went to the caller; ``None`` when it got an answer."""

    trace: Trace
    request_id: str
    endpoint: Endpoint
    model: str
    """As the caller wrote it."""
    stream: bool
    max_tokens: int | None
    session: str | None
    ended_at: float
    error: str | None

    @property
    def attempts(self) -> list[tuple[Decision, Outcome]]:
        """In the order in which they were made; none when no version could be chosen."""
        return self.trace.attempts


class Tracing:
    """``sample`` says whether somebody wants to see the spans of a trace; ``keep`` takes requests that ended. Both must be
    quick and must not raise.
    """

    def __init__(self, clock: Clock, sample: Callable[[Trace], bool], keep: Callable[[Traced], None]) -> None:
        self._clock = clock
        self._sample = sample
        self._keep = keep

    async def serve(self, serve: Serve, head: RequestHead, criteria: Criteria | None, out: Responder) -> None:
        """Let ``serve`` answer the request, and keep what became of it."""
        trace = self._begin(head.trace)
        error: str | None = None
        try:
            await serve(replace(head, trace=trace), criteria, out)
        except PodiumError as raised:
            error = raised.code
            raise
        except asyncio.CancelledError:
            error = CLIENT_LEFT
            raise
        except BaseException:
            error = "internal_error"
            raise
        finally:
            self._keep(self._ended(head, trace, error))

    def _begin(self, caller: Trace | None) -> Trace:
        trace = Trace(
            trace_id=new_id(128) if caller is None else caller.trace_id,
            span_id=new_id(64),
            flags=RANDOM if caller is None else caller.flags,
            state="" if caller is None else caller.state,
            parent_id=None if caller is None else caller.span_id,
            recording=True,
            started_at=self._clock.now(),
        )
        trace.flags = trace.flags | SAMPLED if self._sample(trace) else trace.flags & ~SAMPLED
        return trace

    def _ended(self, head: RequestHead, trace: Trace, error: str | None) -> Traced:
        if error is None and trace.attempts:
            error = trace.attempts[-1][1].error  # a stream that broke ends without an exception
        elif error == CLIENT_LEFT and trace.attempts and trace.attempts[-1][1].success:
            error = None  # it left with the whole answer
        return Traced(
            trace=trace,
            request_id=head.request_id,
            endpoint=head.endpoint,
            model=head.model,
            stream=head.stream,
            max_tokens=head.max_tokens,
            session=head.session,
            ended_at=self._clock.now(),
            error=error,
        )


def upstream(trace: Trace | None, decision_id: str) -> Headers:
    """What the model's server is told of the trace; the call for this decision gets a span of its own."""
    if trace is None:
        return ()
    if not trace.recording:
        return headers_for(trace, trace.span_id)
    span_id = trace.calls[decision_id] = new_id(64)
    return headers_for(trace, span_id)


def new_id(bits: int) -> int:
    """Of a trace or a span: never 0. They are names, not secrets."""
    return random.getrandbits(bits) or 1
