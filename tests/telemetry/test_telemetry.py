"""Spans, metrics and events in memory: what is in them, what is not, and what is bounded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ledger_samples import attempt
from podium.config import Config, Telemetry
from podium.domain.cost import Cost
from podium.domain.decision import Decision, Outcome
from podium.domain.judgment import Judgment, Verdict
from podium.domain.model import ModelVersion, Source
from podium.domain.request import Endpoint, RequestHead
from podium.domain.trace import Trace
from podium.errors import ConfigError, NoCandidate
from podium.runtime.telemetry import telemetry as build
from podium.services.observing import Answered
from podium.services.responder import Responder
from podium.services.tracing import Traced, Tracing, upstream
from podium.telemetry import exporting, service
from podium.telemetry.content import MOST_CALLS, Content
from podium.telemetry.names import server_of

pytestmark = pytest.mark.requirement("OPS-7")


class Kept:
    """Telemetry whose exporters keep everything."""

    def __init__(self, *, content: bool = False) -> None:
        self.reader = InMemoryMetricReader()
        self.providers = exporting.assembled(Resource({}), [self.reader])
        self._spans, self._logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
        self.providers.traces.add_span_processor(SimpleSpanProcessor(self._spans))
        self.providers.logs.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        self.telemetry = service.Telemetry(self.providers, lambda ref: None, content=content)

    def spans(self) -> list[Any]:
        self.telemetry._some(service.CAPACITY)
        return list(self._spans.get_finished_spans())

    def events(self) -> list[Any]:
        self.telemetry._some(service.CAPACITY)
        return [one.log_record for one in self._logs.get_finished_logs()]

    def points(self) -> dict[str, list[Any]]:
        self.telemetry._some(service.CAPACITY)
        found = self.reader.get_metrics_data()
        assert found is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in found.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def traced(pairs: list[tuple[Decision, Outcome]], *, sampled: bool = True, error: str | None = None) -> Traced:
    trace = Trace(trace_id=1, span_id=2, flags=int(sampled), recording=True, started_at=99.0, attempts=pairs)
    return Traced(
        trace=trace, request_id="req-0", endpoint=Endpoint.CHAT, model="auto", stream=False, max_tokens=None, session=None,
        ended_at=101.0, error=error,
    )  # fmt: skip


async def test_what_nobody_measured_is_not_there_and_no_zero_stands_for_it() -> None:
    kept = Kept()
    decision, outcome = attempt(cost=Cost(wall_ms=5), ttft_ms=None)
    kept.telemetry.keep(traced([(decision, outcome)]))
    call, request = kept.spans()
    names = set(call.attributes)
    assert not {name for name in names if name.startswith(("gen_ai.usage", "podium.cost", "server."))}
    assert "gen_ai.response.time_to_first_chunk" not in names
    assert request.name == "chat auto"
    assert (request.context.trace_id, request.context.span_id, request.parent) == (1, 2, None)
    assert "gen_ai.client.token.usage" not in kept.points()


async def test_a_trace_that_nobody_wants_to_see_has_metrics_and_no_spans() -> None:
    kept = Kept()
    kept.telemetry.keep(traced([attempt()], sampled=False))
    assert kept.spans() == []
    assert kept.points()["gen_ai.server.request.duration"][0].count == 1


async def test_the_sampler_of_the_environment_decides_for_the_whole_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    kept = Kept()
    assert not kept.telemetry.sample(Trace(trace_id=1, span_id=2))
    assert kept.telemetry.sample(Trace(trace_id=1, span_id=2, parent_id=3, flags=1)), "the caller wants it"
    assert not kept.telemetry.sample(Trace(trace_id=1, span_id=2, parent_id=3, flags=0))


async def test_thousands_of_tasks_leave_the_number_of_series_bounded_and_lose_no_count() -> None:
    kept = Kept()
    for number in range(3_000):
        _, outcome = attempt(number)
        named = replace(outcome, task=f"task-{number}", ref=f"m@{number % 7}")
        kept.telemetry._request(traced([(attempt()[0], named)], sampled=False))
    points = kept.points()["gen_ai.client.operation.duration"]
    assert len(points) <= 1_001
    assert len({point.attributes["podium.task"] for point in points}) == 101
    assert sum(point.count for point in points) == 3_000


async def test_a_judgment_of_an_answer_that_is_not_known_any_more_says_which_request_it_is_about() -> None:
    kept = Kept()
    verdict = Verdict(criterion="relevance", judge="j@1", score=None, invalid="no number", reason="quotes the answer")
    about = {"request_id": "req-9", "decision_id": "dec-9", "task": "code", "ref": "m@1"}
    one = Judgment(id="j", verdict=verdict, score=None, calibrated=False, at=5.0, probability=1.0, **about)
    kept.telemetry.judged([one])
    (event,) = kept.events()
    assert event.event_name == "gen_ai.evaluation.result"
    assert event.attributes["podium.request.id"] == "req-9"
    assert event.attributes["error.type"] == "invalid_verdict"
    assert not {"gen_ai.evaluation.score.value", "gen_ai.evaluation.explanation"} & set(event.attributes)
    assert event.span_id == 0


def head(**more: Any) -> RequestHead:
    fields = {
        "messages": b'[{"role":"user","content":[{"type":"text","text":"why?"},{"type":"image_url","image_url":{"url":"data:x"}}]}]'
    }
    given = {
        "request_id": "r", "endpoint": Endpoint.CHAT, "model": "auto", "task": None, "stream": False, "include_usage": False,
        "needs": frozenset(), "fields": MappingProxyType(fields), "size": 1,
    }  # fmt: skip
    return RequestHead(**{**given, **more})


async def test_content_is_in_the_form_of_the_conventions_where_the_owner_switched_it_on() -> None:
    kept = Kept(content=True)
    decision, outcome = attempt()
    raw = b'{"choices":[{"message":{"content":"because"},"finish_reason":"stop"}]}'
    assert kept.telemetry.content is not None
    answer = Answered(head=head(), decision=decision, outcome=replace(outcome, streamed=False, success=True), raw=raw)
    kept.telemetry.content.take(answer)
    kept.telemetry.keep(traced([(decision, outcome)]))
    call = kept.spans()[0]
    assert call.attributes["gen_ai.input.messages"] == (
        '[{"role":"user","parts":[{"type":"text","content":"why?"},{"type":"image_url"}]}]'
    )
    assert call.attributes["gen_ai.output.messages"] == (
        '[{"role":"assistant","parts":[{"type":"text","content":"because"}],"finish_reason":"stop"}]'
    )
    assert kept.telemetry.content.of(decision.id) == {}, "it is not kept after that"


async def test_content_that_waits_is_bounded_and_not_wanted_of_traces_nobody_sees() -> None:
    content = Content()
    decision, outcome = attempt()
    for number in range(MOST_CALLS + 10):
        named = replace(decision, id=f"dec-{number}")
        content.take(Answered(head=head(), decision=named, outcome=outcome, raw=b"{}"))
    assert content.of("dec-0") == {}
    assert content.of(f"dec-{MOST_CALLS + 9}")
    assert not content.wants(head(), decision)
    assert not content.wants(head(trace=Trace(trace_id=1, span_id=1, flags=1)), decision)
    assert content.wants(head(trace=Trace(trace_id=1, span_id=1, flags=1, recording=True)), decision)
    assert Kept().telemetry.content is None


async def test_too_much_that_waits_is_dropped_and_counted_and_a_failure_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "CAPACITY", 5)
    kept = Kept()
    for _ in range(8):
        kept.telemetry.keep(traced([attempt()]))
    assert kept.telemetry.dropped == 3
    kept.telemetry._waiting[0] = lambda: 1 / 0  # type: ignore[assignment,return-value]  # what must not happen
    assert len(kept.spans()) == 8


class Clock:
    def now(self) -> float:
        return 50.0

    def monotonic(self) -> float:
        return 1.0


def tracing(kept: list[Traced]) -> Tracing:
    return Tracing(Clock(), lambda trace: True, kept.append)  # type: ignore[arg-type]  # of a clock the two that are asked


async def test_what_became_of_a_request_is_kept_however_it_ends() -> None:
    kept: list[Traced] = []
    decision, outcome = attempt()

    async def broken(head: RequestHead, criteria: object, out: Responder) -> None:
        assert head.trace is not None
        head.trace.attempts.append((decision, replace(outcome, success=False, error="stream_broken")))

    async def refused(head: RequestHead, criteria: object, out: Responder) -> None:
        raise NoCandidate("nobody", details={})

    async def left(head: RequestHead, criteria: object, out: Responder) -> None:
        raise asyncio.CancelledError

    async def left_with_it(head: RequestHead, criteria: object, out: Responder) -> None:
        assert head.trace is not None
        head.trace.attempts.append((decision, replace(outcome, success=True, error=None)))
        raise asyncio.CancelledError

    follow = tracing(kept)
    await follow.serve(broken, head(), None, None)  # type: ignore[arg-type]  # nobody answers here
    for serve, raised in (
        (refused, NoCandidate),
        (left, asyncio.CancelledError),
        (left_with_it, asyncio.CancelledError),
    ):
        with pytest.raises(raised):
            await follow.serve(serve, head(), None, None)  # type: ignore[arg-type]  # nobody answers here
    assert [one.error for one in kept] == ["stream_broken", "no_candidate", "client_left", None]


async def test_without_telemetry_the_callers_trace_goes_on_as_it_came_and_no_other_is_made_up() -> None:
    assert upstream(None, "d") == ()
    caller = Trace(trace_id=7, span_id=9, flags=1, state="a=b")
    assert upstream(caller, "d") == ((b"traceparent", b"00-%032x-%016x-01" % (7, 9)), (b"tracestate", b"a=b"))
    assert caller.calls == {}


def version(provider: str, location: str) -> ModelVersion:
    from ledger_samples import version as made

    return made(source=Source(provider=provider, location=location, settings=MappingProxyType({})))


@pytest.mark.parametrize(
    ("made", "provider", "address", "port"),
    [
        (version("openai", "https://api.openai.com/v1"), "openai", "api.openai.com", 443),
        (version("anthropic", "https://api.anthropic.com"), "anthropic", "api.anthropic.com", 443),
        (version("openai", "http://10.0.0.7:8000/v1"), "openai_compatible", "10.0.0.7", 8000),
        (version("openai", "http://[::1]:80a/v1"), "openai", None, None),
        (version("llamacpp", "/models/x.gguf"), "llamacpp", None, None),
        (None, "_OTHER", None, None),
    ],
)
def test_the_provider_is_named_by_where_it_answers(
    made: ModelVersion | None, provider: str, address: str | None, port: int | None
) -> None:
    found = server_of(made)
    assert (found.provider, found.address, found.port) == (provider, address, port)


@pytest.mark.parametrize(
    ("environ", "offline", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "pigeon"}, False, "pigeon"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, False, "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4318"}, True, "offline"),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://10.0.0.1:4318"}, True, "10.0.0.1"),
    ],
)
def test_what_cannot_be_sent_as_it_is_set_is_said_at_the_start(
    environ: dict[str, str], offline: bool, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        exporting.providers(environ, "1", offline=offline)


def test_offline_a_collector_on_this_machine_and_no_exporter_at_all_are_fine() -> None:
    none = {f"OTEL_{signal}_EXPORTER": "none" for signal in exporting.SIGNALS}
    exporting.providers(none, "1", offline=True).shut(5)
    local = {**none, "OTEL_TRACES_EXPORTER": "console"}
    exporting.providers(local, "1", offline=True).shut(5)


def test_the_service_has_a_name_and_the_environment_may_give_another() -> None:
    assert exporting.resource_of({}, "1.2").attributes["service.name"] == "podium"
    assert exporting.resource_of({}, "1.2").attributes["service.version"] == "1.2"
    assert "service.version" in exporting.resource_of({"OTEL_SERVICE_NAME": "mine"}, "1").attributes


def test_it_is_off_and_without_content_unless_somebody_says_otherwise() -> None:
    assert Config.__dataclass_fields__["telemetry"].default_factory() == Telemetry(enabled=False, content=False)  # type: ignore[misc]  # it has one


def test_a_gateway_that_has_it_off_does_not_load_the_sdk() -> None:
    looks = "import sys, podium.runtime, podium.server.control.app; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    ran = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, timeout=100, check=True)
    assert ran.stdout.strip() == "[]"


def test_where_the_extra_is_missing_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("podium.telemetry.exporting", "podium.telemetry.service"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk._logs", None)
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    base = SimpleNamespace(config=SimpleNamespace(telemetry=Telemetry(enabled=True)))
    with pytest.raises(ConfigError, match=r"pip install 'podium\[otel\]'"):
        build(base, None, None, None)  # type: ignore[arg-type]  # it does not get as far
    base.config.telemetry = Telemetry()
    assert build(base, None, None, None) is None  # type: ignore[arg-type]  # off


def test_the_environment_can_switch_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    base = SimpleNamespace(config=SimpleNamespace(telemetry=Telemetry(enabled=True)))
    assert build(base, None, None, None) is None  # type: ignore[arg-type]  # it does not get as far
