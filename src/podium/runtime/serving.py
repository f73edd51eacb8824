"""What answers a request: the pool, the gateway in front of it, and what brings versions into service."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from podium import seeds
from podium.domain.request import Ticket
from podium.domain.swap import Event
from podium.maintenance import keep_learned
from podium.runtime.foundation import Foundation
from podium.sandbox import Sandbox
from podium.server.openai import random_prefix
from podium.services.background import Background
from podium.services.benchmark import Benchmarks
from podium.services.benchmark_answers import PoolAnswers
from podium.services.charging import Charging
from podium.services.classifier import TaskClassifier
from podium.services.directives import Directives
from podium.services.gateway import Gateway
from podium.services.meter import Meter
from podium.services.onboarding import Onboarding
from podium.services.pool import Pool
from podium.services.tracker import Tracker
from podium.services.tracking_bridge import Bridge
from podium.suites import SuiteLibrary
from podium.tuning import gateway_limits, pool_limits

BENCHMARK = Ticket(caller="benchmark", priority=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """``background`` asks versions out of users' way."""

    pool: Pool
    directives: Directives
    meter: Meter
    classifier: TaskClassifier
    gateway: Gateway
    onboarding: Onboarding
    answers: PoolAnswers
    benchmarks: Benchmarks
    background: Background
    tracker: Tracker


def serve(base: Foundation, stack: AsyncExitStack) -> Serving:
    """Build it; the recorder runs from now on."""
    config, clock, registry = base.config, base.clock, base.registry

    def emit(kind: str, subject: str, **data: str | float | bool | None) -> None:
        base.bus.emit(Event(kind=kind, at=clock.now(), subject=subject, data=tuple(data.items())))

    limits = pool_limits(config, base.host)
    pool = Pool(base.catalogue.get, clock, limits, emit, free_bytes=base.host.free_bytes, measured=base.measured)
    base.budget.append(lambda: pool.limits.memory_bytes)
    directives = Directives(store=base.store, pool=pool, registry=registry, ordered=base.recorded.directives)

    def versions_changed() -> None:
        base.policy.refresh()
        base.learner.meet(tuple(registry.versions()))

    versions_changed()
    base.learner.publish()  # the first request is answered by what was known when the last run ended
    stack.push_async_callback(base.catalogue.close)
    stack.push_async_callback(keep_learned, base.store, base.learner, clock)
    stack.push_async_callback(base.recorder.close)
    tracker = Tracker(
        base.store,
        Bridge(base.recorder),
        clock,
        lambda: gateway.new_id("exe"),
        base.bus.emit,
        flush_interval_s=config.recording.flush_ms / 1000,
    )
    stack.push_async_callback(tracker.close)
    stack.push_async_callback(pool.close)
    base.recorder.start()
    meter = Meter(clock, base.power)
    classifier = TaskClassifier(base.store, clock, seeds, base.recorded.learned, learn=config.selection.learn_tasks)
    stack.push_async_callback(classifier.close)
    gateway = Gateway(
        registry=registry,
        selector=base.policy,
        tasks=base.tasks,
        pool=pool,
        meter=meter,
        recorder=base.recorder,
        clock=clock,
        limits=gateway_limits(config),
        id_prefix=random_prefix(),
        classifier=classifier,
    )
    gateway.tracking = tracker
    gateway.prices = base.pricing
    onboarding = Onboarding(
        registry, pool, base.catalogue.get, clock, versions_changed, load_timeout_s=config.pool.load_timeout_s
    )
    answers = PoolAnswers(lambda v: pool.lease(v, config.pool.load_timeout_s, BENCHMARK), clock)
    background = Background(
        pool, meter, gateway.idleness, clock, lambda v: base.catalogue.get(v.source.provider).characteristics.local
    )
    charging = Charging(base.recorder.operation, clock, lambda: gateway.new_id("op"), base.pricing)
    background.charging = answers.charging = charging
    answers.meter = meter
    benchmarks = Benchmarks(
        store=base.store,
        answers=answers,
        suites=SuiteLibrary(config.home / "suites"),
        sandbox=Sandbox(),
        resolve=registry.resolve,
        clock=clock,
        new_id=lambda: gateway.new_id("bench"),
        finished=lambda run: base.learner.expect_benchmarks(),
    )
    stack.push_async_callback(benchmarks.close)

    return Serving(
        pool=pool,
        directives=directives,
        meter=meter,
        classifier=classifier,
        gateway=gateway,
        onboarding=onboarding,
        answers=answers,
        benchmarks=benchmarks,
        background=background,
        tracker=tracker,
    )
