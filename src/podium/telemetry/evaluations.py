"""What judges and users say of answers, as ``gen_ai.evaluation.result`` events at the call that gave the answer.

Where a model judged, its call is a span below the judged one. Reasons quote answers: they are content.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from podium.domain.decision import Feedback
from podium.domain.judgment import OVERALL, RULES, STACK, Judgment
from podium.domain.model import ModelVersion
from podium.telemetry.names import (
    ERROR,
    INPUT_TOKENS,
    OPERATION,
    OUTPUT_TOKENS,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SCHEMA,
    SCOPE,
    TASK,
    Attributes,
    server_of,
)
from podium.telemetry.spans import SpanMaker, nanoseconds

EVENT = "gen_ai.evaluation.result"
REMEMBERED = 20_000
"""Calls whose spans are known; judgments of older answers carry the ids of request and decision alone."""
INVALID = "invalid_verdict"


class Evaluations:
    """``find`` knows versions by name; ``content`` says that reasons are wanted, too."""

    def __init__(
        self, provider: LoggerProvider, spans: SpanMaker, find: Callable[[str], ModelVersion | None], *, content: bool
    ) -> None:
        self._logger = provider.get_logger(SCOPE, schema_url=SCHEMA)
        self._spans = spans
        self._find = find
        self._content = content
        self._calls: OrderedDict[str, SpanContext] = OrderedDict()

    def remember(self, calls: Mapping[str, SpanContext]) -> None:
        """Spans of calls, by decision."""
        self._calls.update(calls)
        while len(self._calls) > REMEMBERED:
            self._calls.popitem(last=False)

    def judged(self, judgments: Sequence[Judgment]) -> None:
        """Judges said something of one answer."""
        for one in judgments:
            call = self._calls.get(one.decision_id)
            verdict = one.verdict
            said: Attributes = {
                "gen_ai.evaluation.name": verdict.criterion,
                "podium.evaluation.judge": verdict.judge,
                "podium.evaluation.calibrated": one.calibrated,
                **_about(one.request_id, one.decision_id, one.task, one.ref),
            }
            if one.score is not None:
                said["gen_ai.evaluation.score.value"] = one.score
                said["gen_ai.evaluation.score.label"] = "pass" if one.passed else "fail"
            if verdict.invalid is not None:
                said[ERROR] = INVALID
            if self._content and verdict.reason:
                said["gen_ai.evaluation.explanation"] = verdict.reason
            self._emit(said, one.at, call)
            if call is not None and call.trace_flags.sampled:
                self._judge_call(one, call)

    def _judge_call(self, one: Judgment, call: SpanContext) -> None:
        """Criteria are asked side by side: each call ends when the answer was judged."""
        verdict = one.verdict
        asked = verdict.latency_ms is not None and not verdict.cached
        if not asked or verdict.latency_ms is None or verdict.judge in (RULES, STACK, OVERALL):
            return
        attributes: Attributes = {
            OPERATION: "chat",
            REQUEST_MODEL: verdict.judge,
            RESPONSE_MODEL: verdict.judge,
            "podium.cause": "judge",
            "podium.evaluation.name": verdict.criterion,
            "podium.request.id": one.request_id,
            TASK: one.task,
            **server_of(self._find(verdict.judge)).attributes(),
        }
        if verdict.input_tokens is not None:
            attributes[INPUT_TOKENS] = verdict.input_tokens
        if verdict.output_tokens is not None:
            attributes[OUTPUT_TOKENS] = verdict.output_tokens
        if verdict.invalid is not None:
            attributes[ERROR] = INVALID
        start = one.at - verdict.latency_ms / 1000
        self._spans.below(call, f"chat {verdict.judge}", attributes, start, one.at)

    def scored(self, given: Feedback) -> None:
        """Somebody who is no judge gave a score."""
        if given.score is None or given.source == "judge":
            return
        said: Attributes = {
            "gen_ai.evaluation.name": "feedback",
            "gen_ai.evaluation.score.value": given.score,
            "podium.evaluation.source": given.source,
            **_about(given.request_id, given.decision_id, given.task, given.ref),
        }
        if self._content and given.comment:
            said["gen_ai.evaluation.explanation"] = given.comment
        self._emit(said, given.at, self._calls.get(given.decision_id))

    def _emit(self, said: Attributes, at: float, call: SpanContext | None) -> None:
        context = Context() if call is None else set_span_in_context(NonRecordingSpan(call), Context())
        self._logger.emit(
            timestamp=nanoseconds(at),
            context=context,
            severity_number=SeverityNumber.INFO,
            attributes=said,
            event_name=EVENT,
        )


def _about(request_id: str, decision_id: str, task: str, ref: str) -> Attributes:
    return {
        "podium.request.id": request_id,
        "podium.decision.id": decision_id,
        TASK: task,
        RESPONSE_MODEL: ref,
    }
