"""A gateway that sends OpenTelemetry to a real collector and logs at debug: what arrives, what hangs together, and that no
word of a prompt or an answer is anywhere in it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from otlp_receiver import Collector, attributes, collector
from server import Server

pytestmark = pytest.mark.requirement("OPS-7")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "rojo=00f067aa0ba902b7"}
ASKED, SAID = "canary-question-kolibri", "canary-answer-pelikan"
SETTINGS = """
[telemetry]
enabled = true
[logging]
level = "debug"
[judging]
enabled = true
sample = 1.0
judge = "j@1"
criteria = ["relevance"]
[fallbacks]
"broken@1" = ["m@1"]
"""
QUICKLY = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_BLRP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "300"}


def until(condition: Callable[[], object], timeout_s: float = 45) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Upstream(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that remembers the headers it was sent."""

    seen: list[dict[str, str]] = []  # noqa: RUF012 - one server, one list

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "far", "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        message = {"role": "assistant", "content": "far away"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        self._send({"id": "c", "object": "chat.completion", "model": "far", "choices": [choice], "usage": usage})

    def _send(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def sent() -> Iterator[Collector]:
    with collector() as kept:
        yield kept


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, sent: Collector, upstream: int) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("traced") / "home"
    home.mkdir()
    (home / "podium.toml").write_text(SETTINGS)
    server = Server(home, env={"OTEL_EXPORTER_OTLP_ENDPOINT": sent.url, **QUICKLY}).start()
    server.script("m@1", text=f"Well, {SAID} it is.")
    server.script("broken@1", faults=[{"kind": "error", "match": "fallback|canary"}])
    server.script("garbage@1", faults=[{"kind": "garbage", "match": "canary"}])
    server.script("j@1", text='{"score": 4}')
    server.add("far@1", "openai", f"http://127.0.0.1:{upstream}/v1", remote="far", capabilities=["chat"], concurrency=4)
    yield server
    server.stop()


def spans_of(sent: Collector, request_id: str, number: int) -> list[Any]:
    until(lambda: len(sent.of_request(request_id)) >= number)
    return sent.of_request(request_id)


def test_a_request_and_its_call_are_spans_below_the_callers_and_the_models_server_hears_of_it(
    traced: Server, sent: Collector
):
    Upstream.seen.clear()
    answer = traced.chat("far@1", "hello", headers={"x-request-id": "far-1", "x-podium-task": "trips", **CALLER})
    assert answer.status == 200
    request, call = spans_of(sent, "far-1", 2)[:2]
    assert (request.name, request.kind) == ("chat far@1", request.SPAN_KIND_SERVER)
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert (call.trace_id.hex(), call.parent_span_id) == (TRACE, request.span_id)
    assert request.start_time_unix_nano <= call.start_time_unix_nano < call.end_time_unix_nano
    assert call.end_time_unix_nano <= request.end_time_unix_nano
    (heard,) = Upstream.seen
    assert heard["traceparent"] == f"00-{TRACE}-{call.span_id.hex()}-01"
    assert heard["tracestate"] == CALLER["tracestate"]
    said = attributes(call)
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == "openai_compatible"
    assert (said["gen_ai.request.model"], said["gen_ai.response.model"]) == ("far@1", "far@1")
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (7, 2)
    assert said["server.address"] == "127.0.0.1"
    assert said["podium.task"] == "trips"
    assert said["podium.decision.id"] == answer.headers["x-podium-decision"]
    assert said["podium.decision.reason"]
    assert {"service.name": "podium"}.items() <= sent.resources[0].items()


def test_each_attempt_is_a_call_of_its_own_and_says_what_went_wrong(traced: Server, sent: Collector):
    answer = traced.chat("broken@1", "fall back: fallback", headers={"x-request-id": "twice"})
    assert answer.status == 200, answer.body
    assert answer.headers["x-podium-model"] == "m@1"
    request, first, second = spans_of(sent, "twice", 3)[:3]
    assert request.parent_span_id == b""
    assert first.parent_span_id == second.parent_span_id == request.span_id
    assert attributes(first)["error.type"] == "provider_error"
    assert first.status.code == first.status.STATUS_CODE_ERROR
    assert attributes(second)["podium.decision.parent"] == attributes(first)["podium.decision.id"]
    assert attributes(second)["podium.cause"] == "retry"
    assert "error.type" not in attributes(second)
    assert "error.type" not in attributes(request)
    assert attributes(request)["gen_ai.response.model"] == "m@1"


def test_a_request_nobody_can_answer_is_a_span_with_its_error_and_no_calls(traced: Server, sent: Collector):
    assert traced.chat("nobody@7", headers={"x-request-id": "lost"}).status == 404
    (request,) = spans_of(sent, "lost", 1)
    assert attributes(request)["error.type"] == "model_not_found"
    assert attributes(request)["podium.attempts"] == 0


def test_what_the_judge_says_is_an_event_at_the_judged_call_and_its_own_call_a_span(traced: Server, sent: Collector):
    traced.chat("m@1", "What is it?", headers={"x-request-id": "judged"})
    call = spans_of(sent, "judged", 2)[1]

    def events() -> list[Any]:
        return [one for one in sent.events if attributes(one)["podium.request.id"] == "judged"]

    until(lambda: len(events()) >= 3)
    by_judge = {
        (attributes(one)["gen_ai.evaluation.name"], attributes(one)["podium.evaluation.judge"]): one for one in events()
    }
    model = by_judge["relevance", "j@1"]
    assert model.event_name == "gen_ai.evaluation.result"
    assert (model.trace_id, model.span_id) == (call.trace_id, call.span_id)
    assert 0 <= attributes(model)["gen_ai.evaluation.score.value"] <= 1
    assert attributes(model)["gen_ai.evaluation.score.label"] in ("pass", "fail")
    assert "gen_ai.evaluation.explanation" not in attributes(model), "reasons quote answers"
    (judge,) = [span for span in spans_of(sent, "judged", 3) if span.name == "chat j@1"]
    assert judge.parent_span_id == call.span_id
    assert attributes(judge)["podium.evaluation.name"] == "relevance"
    traced.ok("POST", "/api/v1/feedback", {"request_id": "judged", "score": 0.25})
    until(lambda: any(attributes(one)["gen_ai.evaluation.name"] == "feedback" for one in events()))


def test_metrics_of_the_conventions_arrive(traced: Server, sent: Collector):
    list(traced.stream("m@1", "and as a stream"))
    wanted = {
        "gen_ai.client.operation.duration": "s",
        "gen_ai.client.operation.time_to_first_chunk": "s",
        "gen_ai.client.token.usage": "{token}",
        "gen_ai.server.request.duration": "s",
    }
    until(lambda: wanted.keys() <= sent.metrics.keys())
    assert {name: sent.metrics[name].unit for name in wanted} == wanted
    points = [attributes(point) for point in sent.metrics["gen_ai.client.token.usage"].histogram.data_points]
    assert {"input", "output"} == {point["gen_ai.token.type"] for point in points}
    assert all(
        {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"} <= set(point) for point in points
    )


def test_no_word_of_what_was_asked_or_answered_is_sent_or_logged_even_at_debug(traced: Server, sent: Collector):
    tool = {"type": "function", "function": {"name": "look", "description": ASKED, "parameters": {"type": "object"}}}
    asked = [
        {"model": "m@1", "text": ASKED},
        {"model": "m@1", "text": ASKED, "stream": True},
        {"model": "m@1", "text": "x", "tools": [tool]},
        {"model": "broken@1", "text": ASKED},
        {"model": "garbage@1", "text": ASKED},
        {"model": "nobody@1", "text": ASKED},
        {"model": "m@1", "text": ASKED, "max_tokens": -1},
    ]
    for number, one in enumerate(asked):
        traced.chat(one.pop("model"), one.pop("text"), headers={"x-request-id": f"secret-{number}"}, **one)
    traced.call("POST", "/v1/chat/completions", f'{{"model": "m@1", "messages": {ASKED}'.encode())
    traced.call(
        "POST", "/v1/messages", {"model": "m@1", "max_tokens": 5, "messages": [{"role": "user", "content": ASKED}]}
    )
    traced.call("POST", "/v1/responses", {"model": "m@1", "input": ASKED})
    traced.call("POST", "/v1/embeddings", {"model": "m@1", "input": ASKED})
    traced.call("POST", "/v1/completions", {"model": "m@1", "prompt": ASKED})
    traced.ok("POST", "/api/v1/feedback", {"request_id": "secret-0", "score": 1, "comment": ASKED, "correction": SAID})
    until(lambda: any(attributes(one)["podium.request.id"] == "secret-1" for one in sent.events))
    spans_of(sent, "secret-5", 1)
    log = Path(f"{traced.home}.log").read_text()
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    mine = [one for one in entries if str(one.get("request_id", "")).startswith("secret-")]
    assert {"secret-0", "secret-1", "secret-3", "secret-5", "secret-6"} <= {one["request_id"] for one in mine}
    attempts = [one for one in mine if one["event"] == "attempt"]
    assert attempts
    assert all(one["decision_id"].startswith("dec_") and one["model"] and one["level"] for one in attempts)
    assert {one["level"] for one in attempts} == {"debug", "info"}, "failures are info"
    kept = "".join(path.read_text(errors="replace") for path in (traced.home / "logs").rglob("*") if path.is_file())
    for canary in (ASKED, SAID, "pelikan", "kolibri"):
        assert canary not in log
        assert canary not in kept
        assert not any(canary.encode() in body for body in sent.raw)
