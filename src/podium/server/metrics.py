"""Metrics for Prometheus: what was recorded since the start, and how things stand when somebody asks.

Names follow Prometheus' conventions: base units, ``_total`` for counters. Nothing is counted on the request path: records
are counted in the rounds that learn from them. Labels are bounded, so that ten thousand task names, or as many versions,
cannot grow the page: see ``core/bounded_labels``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from podium.core.bounded_labels import MOST_TASKS, OTHER, Labels
from podium.domain.cost import Cost
from podium.domain.decision import Feedback, Outcome
from podium.domain.swap import Event
from podium.services.doctor import diagnose
from podium.services.plane import Services

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SCORES = tuple(number / 10 for number in range(1, 10))
EVENT_KINDS = 200

M = TypeVar("M", Counter, Histogram)

__all__ = ["MOST_TASKS", "OTHER", "Metrics"]


class Metrics:
    """Everything about one gateway. ``heard``, ``scored`` and ``event`` are told what is recorded."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._labels = Labels()
        both = ("task", "model")
        self._requests = Counter(
            "podium_requests", "Attempts at requests, by how they ended.", (*both, "result"), registry=registry
        )
        self._duration = Histogram(
            "podium_request_duration_seconds", "From the place on the model to the end.", both, registry=registry, buckets=SECONDS
        )  # fmt: skip
        self._first = Histogram(
            "podium_time_to_first_token_seconds", "Of streams.", both, registry=registry, buckets=SECONDS
        )
        self._tokens = Counter("podium_tokens", "Tokens read and written.", (*both, "direction"), registry=registry)
        self._cpu = Counter("podium_cpu_seconds", "Processor time of models.", both, registry=registry)
        self._gpu = Counter("podium_gpu_seconds", "Time of GPUs.", both, registry=registry)
        self._energy = Counter(
            "podium_energy_joules", "Energy, by how it was found.", (*both, "method"), registry=registry
        )
        self._price = Counter("podium_price_dollars", "Paid for hosted models.", both, registry=registry)
        self._scores = Histogram(
            "podium_quality_score", "What answers were worth.", (*both, "source"), registry=registry, buckets=SCORES
        )
        self._events = Counter("podium_events", "Events, by kind.", ("kind",), registry=registry)
        self._kinds: set[str] = set()
        self._series: dict[tuple[object, tuple[str, ...]], object] = {}
        """As many as there are labels, which are bounded."""

    def watch(self, services: Services, refused: Mapping[str, int]) -> None:
        """Add how things stand to the page; ``refused`` are requests by reason, counted elsewhere."""
        self._registry.register(Standing(services))
        self._registry.register(Refused(refused))

    def heard(self, outcomes: Iterable[Outcome]) -> None:
        """Requests ended."""
        amounts: dict[tuple[Counter, tuple[str, ...]], float] = {}

        def add(metric: Counter, labels: tuple[str, ...], amount: float) -> None:
            amounts[metric, labels] = amounts.get((metric, labels), 0.0) + amount

        for outcome in outcomes:
            pair = self._labels.pair(outcome.task, outcome.ref)
            add(self._requests, (*pair, "ok" if outcome.success else outcome.error or "error"), 1.0)
            self._of(self._duration, *pair).observe(outcome.latency_ms / 1000)
            if outcome.ttft_ms is not None:
                self._of(self._first, *pair).observe(outcome.ttft_ms / 1000)
            self._spent(pair, outcome.cost, add)
        for (metric, labels), amount in amounts.items():
            self._of(metric, *labels).inc(amount)

    def _spent(self, pair: tuple[str, str], cost: Cost, add: Callable[[Counter, tuple[str, ...], float], None]) -> None:
        if cost.input_tokens:
            add(self._tokens, (*pair, "input"), cost.input_tokens)
        if cost.output_tokens:
            add(self._tokens, (*pair, "output"), cost.output_tokens)
        if cost.cpu_ms:
            add(self._cpu, pair, cost.cpu_ms / 1000)
        if cost.gpu_ms:
            add(self._gpu, pair, cost.gpu_ms / 1000)
        if cost.energy_mwh:
            add(self._energy, (*pair, cost.energy_method.value), cost.energy_mwh * 3.6)
        if cost.price_microusd:
            add(self._price, pair, cost.price_microusd / 1e6)

    def _of(self, metric: M, *labels: str) -> M:
        """The series with these labels. ``labels`` of the library checks and writes each anew at every call."""
        found = self._series.get((metric, labels))
        if found is None:
            found = self._series[metric, labels] = metric.labels(*labels)
        return cast("M", found)

    def scored(self, given: Feedback, earlier: Feedback | None = None) -> None:
        """Somebody said what an answer is worth."""
        if given.score is not None:
            self._scores.labels(*self._labels.pair(given.task, given.ref), given.source).observe(given.score)

    def event(self, event: Event) -> None:
        """Something happened."""
        if len(self._kinds) < EVENT_KINDS:
            self._kinds.add(event.kind)
        self._events.labels(event.kind if event.kind in self._kinds else OTHER).inc()

    def page(self, accept: str) -> tuple[bytes, str]:
        """(body, content type), in the format that ``accept`` asks for."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


class Refused(Collector):
    """Requests that were refused, by reason."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """One family."""
        says = "Requests to models answered with an error, by kind."
        found = CounterMetricFamily("podium_refused_requests", says, labels=("reason",))
        for reason, number in sorted(self._counts.items()):
            found.add_metric((reason,), number)
        yield found


class Standing(Collector):
    """How things stand at the moment of asking. Asks no model and reads no disk."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        services = self._services
        yield _gauge("podium_start_time_seconds", "Unix time of the start.", services.started_at)
        yield from self._pool()
        yield from self._recording()
        yield from self._learning()
        running = len(services.rollouts.running())
        yield _gauge("podium_rollouts_running", "Rollouts that are not decided.", running)

    def _pool(self) -> Iterator[Metric]:
        count = GaugeMetricFamily("podium_instances", "Running copies of models.", labels=("model", "state"))
        active = GaugeMetricFamily("podium_instance_requests", "Requests on models now.", labels=("model",))
        memory = GaugeMetricFamily("podium_instance_memory_bytes", "Memory of models' processes.", labels=("model",))
        waiting = GaugeMetricFamily("podium_queue_length", "Requests that wait for a model.", labels=("model",))
        states: dict[tuple[str, str], int] = {}
        busy: dict[str, int] = {}
        held: dict[str, float] = {}
        for one in self._services.pool.views():
            states[one.ref, one.state.value] = states.get((one.ref, one.state.value), 0) + 1
            busy[one.ref] = busy.get(one.ref, 0) + one.active
            if one.memory_mb is not None:
                held[one.ref] = held.get(one.ref, 0.0) + one.memory_mb * 1024 * 1024
        for key, number in states.items():
            count.add_metric(key, number)
        for ref, number in busy.items():
            active.add_metric((ref,), number)
        for ref, size in held.items():
            memory.add_metric((ref,), size)
        for queue in self._services.pool.queues():
            waiting.add_metric((queue.ref,), queue.waiting)
        yield from (count, active, memory, waiting)

    def _recording(self) -> Iterator[Metric]:
        numbers = self._services.recorder.stats()
        yield _gauge("podium_record_pending_rows", "Rows not on disk yet.", numbers.pending)
        yield _counter("podium_record_written_rows", "Rows written.", numbers.written)
        yield _counter("podium_record_dropped_rows", "Rows lost because the disk did not take them.", numbers.dropped)

    def _learning(self) -> Iterator[Metric]:
        joined = self._services.recorder.feedback_stats()
        yield _counter("podium_feedback_joined", "Feedback that found its answer.", joined.joined)
        yield _counter("podium_feedback_unjoined", "Feedback that found no answer and taught nothing.", joined.unjoined)
        found = GaugeMetricFamily(
            "podium_findings", "What `podium doctor` finds, by kind.", labels=("code", "severity")
        )
        counts: dict[tuple[str, str], int] = {}
        for finding in diagnose(self._services).findings:
            key = (finding.code.value, finding.severity.value)
            counts[key] = counts.get(key, 0) + 1
        for key, number in counts.items():
            found.add_metric(key, number)
        yield found


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=value)


def _counter(name: str, says: str, value: float) -> Metric:
    return CounterMetricFamily(name, says, value=value)
