"""Makes spans of requests that ended: one for the request, below it one for each call to a model.

They get the ids that the servers of models were told while the request ran, and the times that were recorded; nothing of
this happens on the request path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision as Decided
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.span import TraceState
from opentelemetry.trace.status import Status, StatusCode

from podium.domain.cost import Cost
from podium.domain.decision import Decision, Outcome
from podium.domain.model import ModelVersion
from podium.domain.trace import Trace
from podium.services.tracing import CLIENT_LEFT, Traced, new_id
from podium.telemetry.names import (
    ERROR,
    GATEWAY,
    INPUT_TOKENS,
    OPERATION,
    OPERATIONS,
    OUTPUT_TOKENS,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SCHEMA,
    SCOPE,
    TASK,
    Attributes,
    server_of,
)


class GivenIds(IdGenerator):
    """Hands out the ids that were promised; used from one thread only."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 0

    def generate_span_id(self) -> int:
        """The one that was set."""
        return self.span_id

    def generate_trace_id(self) -> int:
        """The one that was set."""
        return self.trace_id

    def is_trace_id_random(self) -> bool:
        """All of them are drawn at random."""
        return True


class SpanMaker:
    """``find`` knows versions by name; ``content`` gives what a call said, where that is wanted."""

    def __init__(
        self,
        provider: TracerProvider,
        ids: GivenIds,
        find: Callable[[str], ModelVersion | None],
        content: Callable[[str], Mapping[str, str]],
    ) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SCOPE, schema_url=SCHEMA)
        self._ids = ids
        self._find = find
        self._content = content

    def sample(self, trace: Trace) -> bool:
        """Whether spans of this trace are wanted, by the sampler that the environment sets."""
        made = self._provider.sampler.should_sample(_caller(trace), trace.trace_id, SCOPE, SpanKind.SERVER)
        return made.decision is Decided.RECORD_AND_SAMPLE

    def request(self, traced: Traced) -> dict[str, SpanContext]:
        """Make its spans; returns those of the calls, by decision."""
        trace, operation = traced.trace, OPERATIONS[traced.endpoint]
        self._ids.trace_id, self._ids.span_id = trace.trace_id, trace.span_id
        root = self._tracer.start_span(
            f"{operation} {traced.model}",
            _caller(trace),
            SpanKind.SERVER,
            attributes=_of_request(traced),
            start_time=nanoseconds(trace.started_at),
        )
        _outcome(root, traced.error)
        below = set_span_in_context(root)
        calls = {decision.id: self._call(traced, decision, outcome, below) for decision, outcome in traced.attempts}
        root.end(nanoseconds(traced.ended_at))
        return calls

    def _call(self, traced: Traced, decision: Decision, outcome: Outcome, below: Context) -> SpanContext:
        attributes = _of_call(traced, decision, outcome)
        attributes |= server_of(self._find(outcome.ref)).attributes()
        attributes |= self._content(decision.id)
        self._ids.span_id = traced.trace.calls.get(decision.id) or new_id(64)
        span = self._tracer.start_span(
            f"{OPERATIONS[traced.endpoint]} {outcome.ref}",
            below,
            SpanKind.CLIENT,
            attributes=attributes,
            start_time=nanoseconds(max(decision.at, outcome.at - outcome.latency_ms / 1000)),
        )
        _outcome(span, outcome.error)
        span.end(nanoseconds(outcome.at))
        return span.get_span_context()

    def below(self, parent: SpanContext, name: str, attributes: Attributes, start: float, end: float) -> None:
        """One more call to a model, below a span that was made earlier. Unix seconds."""
        self._ids.span_id = new_id(64)
        context = set_span_in_context(NonRecordingSpan(parent))
        span = self._tracer.start_span(
            name, context, SpanKind.CLIENT, attributes=attributes, start_time=nanoseconds(start)
        )
        error = attributes.get(ERROR)
        _outcome(span, error if isinstance(error, str) else None)
        span.end(nanoseconds(end))


def nanoseconds(seconds: float) -> int:
    """Of Unix seconds."""
    return int(seconds * 1e9)


def _caller(trace: Trace) -> Context:
    """The context with the caller's span; an empty one for the beginning of a trace."""
    if trace.parent_id is None:
        return Context()
    state = TraceState.from_header([trace.state]) if trace.state else None
    parent = SpanContext(trace.trace_id, trace.parent_id, True, TraceFlags(trace.flags), state)
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _outcome(span: Span, error: str | None) -> None:
    if error is None:
        return
    span.set_attribute(ERROR, error)
    if error != CLIENT_LEFT:
        span.set_status(Status(StatusCode.ERROR, error))


def _of_request(traced: Traced) -> Attributes:
    found: Attributes = {
        OPERATION: OPERATIONS[traced.endpoint],
        PROVIDER: GATEWAY,
        REQUEST_MODEL: traced.model,
        "gen_ai.request.stream": traced.stream,
        "podium.request.id": traced.request_id,
        "podium.attempts": len(traced.attempts),
    }
    if traced.session is not None:
        found["gen_ai.conversation.id"] = traced.session
    if traced.attempts:
        decision, outcome = traced.attempts[-1]
        found |= {RESPONSE_MODEL: outcome.ref, **_of_decision(decision)}
    return found


def _of_decision(decision: Decision) -> Attributes:
    choice = decision.choice
    found: Attributes = {
        TASK: choice.task,
        "podium.task.classified_by": decision.classified_by,
        "podium.task.confidence": decision.task_confidence,
        "podium.decision.id": decision.id,
        "podium.decision.strategy": choice.strategy,
        "podium.decision.reason": choice.reason,
        "podium.decision.propensity": decision.propensity,
    }
    if decision.parent is not None:
        found["podium.decision.parent"] = decision.parent
    return found


def _of_call(traced: Traced, decision: Decision, outcome: Outcome) -> Attributes:
    found: Attributes = {
        OPERATION: OPERATIONS[traced.endpoint],
        REQUEST_MODEL: outcome.ref,
        "gen_ai.request.stream": traced.stream,
        "podium.request.id": traced.request_id,
        "podium.cause": outcome.cost.cause.value,
        "podium.wait_ms": max(0.0, (outcome.at - decision.at) * 1000 - outcome.latency_ms),
        **_of_decision(decision),
    }
    if outcome.success:
        found[RESPONSE_MODEL] = outcome.ref
    if traced.max_tokens is not None:
        found["gen_ai.request.max_tokens"] = traced.max_tokens
    if traced.session is not None:
        found["gen_ai.conversation.id"] = traced.session
    if outcome.ttft_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = outcome.ttft_ms / 1000
    return found | _of_cost(outcome.cost)


def _of_cost(cost: Cost) -> Attributes:
    """What is known; what is an estimate is named as one."""
    figures: dict[str, float | None] = {
        INPUT_TOKENS: cost.input_tokens,
        "gen_ai.usage.cache_read.input_tokens": cost.cached_tokens,
        OUTPUT_TOKENS: cost.output_tokens,
        "podium.cost.cpu_seconds": None if cost.cpu_ms is None else cost.cpu_ms / 1000,
        "podium.cost.gpu_seconds": None if cost.gpu_ms is None else cost.gpu_ms / 1000,
        "podium.cost.energy_joules": None if cost.energy_mwh is None else cost.energy_mwh * 3.6,
        "podium.cost.price_dollars": None if cost.price_microusd is None else cost.price_microusd / 1e6,
    }
    found: Attributes = {name: value for name, value in figures.items() if value is not None}
    if cost.estimated:
        found["podium.cost.estimated"] = sorted(cost.estimated)
    return found
