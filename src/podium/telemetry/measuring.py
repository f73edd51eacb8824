"""OpenTelemetry's metrics of GenAI clients and servers, recorded from requests that ended. Labels are bounded."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.sdk.metrics import MeterProvider

from podium.core.bounded_labels import Labels
from podium.domain.decision import Outcome
from podium.domain.model import ModelVersion
from podium.services.tracing import Traced
from podium.telemetry.names import (
    ERROR,
    GATEWAY,
    OPERATION,
    OPERATIONS,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SCHEMA,
    SCOPE,
    TASK,
    Attributes,
    server_of,
)

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKENS = tuple(4**power for power in range(14))


class Instruments:
    """Calls to models (``gen_ai.client.*``) and whole requests (``gen_ai.server.*``)."""

    def __init__(self, provider: MeterProvider, find: Callable[[str], ModelVersion | None]) -> None:
        meter = provider.get_meter(SCOPE, schema_url=SCHEMA)
        self._find = find
        self._labels = Labels()
        self._call = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "Calls to models, from the place on the model to the end.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Of streams, from the place on the model.",
            explicit_bucket_boundaries_advisory=FIRST,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens read and written.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._request = meter.create_histogram(
            "gen_ai.server.request.duration",
            "s",
            "Requests, waiting and further attempts included.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )

    def request(self, traced: Traced) -> None:
        """Record one that ended, and its calls."""
        operation = OPERATIONS[traced.endpoint]
        whole: Attributes = {OPERATION: operation, PROVIDER: GATEWAY}
        if traced.attempts:
            last = traced.attempts[-1][1]
            whole[TASK], whole[RESPONSE_MODEL] = self._labels.pair(last.task, last.ref)
        if traced.error is not None:
            whole[ERROR] = traced.error
        self._request.record(max(0.0, traced.ended_at - traced.trace.started_at), whole)
        for _, outcome in traced.attempts:
            self._attempt(operation, outcome)

    def _attempt(self, operation: str, outcome: Outcome) -> None:
        task, ref = self._labels.pair(outcome.task, outcome.ref)
        shared: Attributes = {OPERATION: operation, REQUEST_MODEL: ref, TASK: task}
        shared |= server_of(self._find(ref)).attributes()
        if outcome.success:
            shared[RESPONSE_MODEL] = ref
        timed = shared if outcome.error is None else {**shared, ERROR: outcome.error}
        self._call.record(outcome.latency_ms / 1000, timed)
        if outcome.ttft_ms is not None:
            self._first.record(outcome.ttft_ms / 1000, shared)
        for kind, tokens in (("input", outcome.cost.input_tokens), ("output", outcome.cost.output_tokens)):
            if tokens:
                self._tokens.record(tokens, {**shared, "gen_ai.token.type": kind})
