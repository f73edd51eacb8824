"""Builds the adapters and hands them to the services; the only place that knows both.

``Gateway.open`` is one running Podium: it owns the home directory (one process at a time), the store, the pool
and the background work, and gives all of it back when it closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from podium import seeds
from podium._version import __version__
from podium.config import Config, Difference, difference, prepare_home, reread
from podium.config.automation import standing_orders
from podium.core.belief_file import UnreadableBeliefs
from podium.domain.request import Ticket
from podium.domain.swap import Event
from podium.errors import ConfigError, PodiumError
from podium.host import Host
from podium.maintenance import Maintenance, keep_learned
from podium.ports import Recorded
from podium.providers.catalogue import Catalogue, ProviderContext
from podium.providers.leftovers import reap_stale
from podium.sandbox import Sandbox
from podium.server.http import HttpServer
from podium.server.limits import Limits
from podium.server.openai import DataPlane, random_prefix
from podium.services.automation import Automation
from podium.services.batch_rollouts import BatchRollouts
from podium.services.batches import Batches
from podium.services.benchmark import Benchmarks
from podium.services.benchmark_answers import PoolAnswers
from podium.services.classifier import TaskClassifier
from podium.services.directives import Directives
from podium.services.events import EventBus
from podium.services.gateway import Gateway as RequestGateway
from podium.services.learner import STATE, Learner
from podium.services.meter import Meter
from podium.services.onboarding import Onboarding, Registration
from podium.services.plane import Services
from podium.services.policy import Policy
from podium.services.pool import MB, Pool
from podium.services.recorder import Recorder
from podium.services.registry import Registry
from podium.services.rollouts.foresight import foresight
from podium.services.rollouts.service import Rollouts
from podium.services.rollouts.validation import Validator
from podium.services.schedules import Schedules
from podium.services.swap import Swapper
from podium.services.tasks import Tasks
from podium.services.webhooks import Webhooks
from podium.store import open_store
from podium.suites import SuiteLibrary
from podium.transport.webhook import WebhookPoster
from podium.tuning import gateway_limits, hooks, pool_limits

BENCHMARK = Ticket(caller="benchmark", priority=2)
LAST_WORDS_S = 2.0
"""Time to send errors to requests that had to be ended at shutdown."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Gateway:
    """One running Podium. Use ``async with Gateway.open(config) as gateway``."""

    def __init__(self, config: Config, services: Services, data_plane: DataPlane, host: Host) -> None:
        self.config = config
        self._host = host
        self.services = services
        self._data_plane = data_plane
        self._servers: list[HttpServer] = []
        self._published: Path | None = None
        self._reloading = asyncio.Lock()
        self.failed: set[str] = set()
        """Declared models that could not be made ready; the next reload tries them again."""
        self.url: str | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config) -> AsyncIterator[Gateway]:
        """Start everything but the listener. Raises ``ConfigError`` when the home is in use, ``StoreError``."""
        prepare_home(config.home)
        with _sole_owner(config.home):
            reap_stale(config.home)
            store = open_store(config.database)
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(store.close)
                yield await _assemble(cls, config, store, stack)

    async def serve(self, host: str | None = None, port: int | None = None) -> str:
        """Listen on a loopback address; returns the URL. Raises ``ConfigError`` (address refused or taken)."""
        host = host or self.config.server.host
        port = self.config.server.port if port is None else port
        if host not in LOOPBACK and not host.startswith("127."):
            raise ConfigError(f"refusing to listen on {host}: without keys Podium serves loopback only (127.0.0.1)")
        hosts = frozenset({host, *LOOPBACK, *self.config.server.allowed_hosts})
        server = HttpServer(limits=self._limits(), allowed_hosts=hosts, allowed_origins=hosts)
        await server.start(host, port, data_handler=self._data_plane.handle, asgi_app=self._control())
        self._servers.append(server)
        self.url = server.address
        self._publish()
        return self.url

    async def serve_unix(self, path: Path) -> None:
        """Listen on a unix socket in a directory only this user can enter."""
        server = HttpServer(limits=self._limits())
        await server.start(data_handler=self._data_plane.handle, asgi_app=self._control(), unix_path=path)
        self._servers.append(server)

    def _control(self) -> Any:
        from podium.server.control.app import create_app  # noqa: PLC0415 - FastAPI is half of the start-up time

        return create_app(self.services)

    def _limits(self) -> Limits:
        settings = self.config.server
        return Limits(
            head_bytes=settings.header_limit_kb * 1024,
            body_bytes=int(settings.body_limit_mb * MB),
            body_s=settings.request_timeout_s,
            keep_alive_s=settings.idle_timeout_s,
        )

    def _publish(self) -> None:
        """Let the command line find this server."""
        path = self.config.run_dir / "server.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = {"pid": os.getpid(), "url": self.url, "version": __version__, "started_at": self.services.started_at}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record))
        partial.replace(path)
        self._published = path

    async def stop_serving(self) -> None:
        """Stop accepting, let requests in flight end within the configured time."""
        self.services.events.close()
        servers, self._servers = self._servers, []
        drain_s = self.config.server.drain_s
        stopping = [asyncio.ensure_future(server.stop(drain_s + LAST_WORDS_S)) for server in servers]
        if stopping:
            _, late = await asyncio.wait(stopping, timeout=drain_s)
            if late:
                await self.services.pool.close()  # ends what still waits or runs, with an error that says why
            await asyncio.gather(*stopping)
        if self._published is not None:
            self._published.unlink(missing_ok=True)

    async def declare(self) -> list[str]:
        """Register what the configuration declares; returns what is wrong with it."""
        made = await apply_models(self.services, self.config, tuple(self.config.models))
        self.failed |= {name for name in self.config.models if f"model {name}" in made}
        return [f"{what}: {why}" for what, why in made.items()]

    async def reload(self, new: Config | None = None) -> dict[str, object]:
        """Apply the difference between the configuration in force and ``new`` (default: the file, read again).

        Unchanged models keep their process. Raises ``ConfigError`` for a bad file; the old one stays in force.
        """
        async with self._reloading:
            new = new or reread(self.config)
            check_strategies(self.services.selector, new)
            self.services.automation.check(standing_orders(new), declared_names(new))
            changes = difference(self.config, new)
            old, self.config = self.config, new
            try:
                return await self._apply(old, new, changes)
            except BaseException:
                self.config = old  # the next reload applies what is missing
                raise

    async def _apply(self, old: Config, new: Config, changes: Difference) -> dict[str, object]:
        self.services.pool.limits = pool_limits(new, self._host)
        self.services.gateway.limits = gateway_limits(new)
        self.services.selector.weigh(new.selection.weights)
        self.services.tasks.inherit(new.selection.strategy)
        for name in changes.models_removed:
            self.services.directives.withdraw(name)
        fresh = dict.fromkeys((*changes.models_added, *changes.models_changed, *sorted(self.failed & set(new.models))))
        made = await apply_models(self.services, new, tuple(fresh), changed=True)
        self.failed = {name for name in fresh if f"model {name}" in made}
        problems = [f"{what}: {why}" for what, why in made.items()]
        for name in (*changes.tasks_added, *changes.tasks_changed):
            await self.services.tasks.put(new.tasks[name].spec(name, new.selection.strategy))
        for name in changes.tasks_removed:
            await self.services.tasks.put(type(old.tasks[name])().spec(name, new.selection.strategy))
        self.services.classifier.learn = new.selection.learn_tasks
        self.services.recorder.knowledge.enhance = new.selection.enhance
        self.services.selector.refresh()
        self.services.schedules.windows = {name: entry.window(name) for name, entry in new.windows.items()}
        self.services.automation.configure(standing_orders(new))
        await self.services.webhooks.configure(hooks(new, os.environ))
        problems += self.services.webhooks.problems()
        summary = {name: list(getattr(changes, name)) for name in type(changes).__slots__}
        if changes.models_removed:
            problems.append(f"still registered: {', '.join(changes.models_removed)}; `podium models retire` ends them")
        self.services.events.emit(Event(kind="config.reloaded", at=time.time(), subject="config"))
        return {"changed": bool(changes), **summary, "problems": problems}


@contextlib.contextmanager
def _sole_owner(home: Path) -> Any:
    """One process per home: state has one owner."""
    handle: IO[str] = (home / "podium.lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise ConfigError(
            f"another Podium is using {home}; talk to it with PODIUM_URL or choose another PODIUM_HOME",
            code="home_in_use",
            status=409,
        ) from None
    try:
        yield
    finally:
        handle.close()


def check_strategies(policy: Policy, config: Config) -> None:
    """Raise ``ConfigError`` for a strategy that nobody knows: requests could not be answered by it."""
    named = {"selection": config.selection.strategy}
    named |= {f"tasks.{name}": entry.strategy for name, entry in config.tasks.items() if entry.strategy is not None}
    for where, strategy in named.items():
        try:
            policy.check_strategy(strategy, config.selection.weights)
        except PodiumError as error:
            raise ConfigError(f"{where}.strategy: {error.message}") from None


def declared_names(config: Config) -> tuple[str, ...]:
    """What the configuration makes: models, with their version where it says one, and tasks as ``task:NAME``."""
    models = [
        name if "@" in name or not one.version else f"{name}@{one.version}" for name, one in config.models.items()
    ]
    return (*models, *(f"task:{name}" for name in config.tasks))


async def apply_models(
    services: Services, config: Config, names: tuple[str, ...], *, changed: bool = False
) -> dict[str, str]:
    """Register the declared models; one that fails does not keep the others from serving. Returns what is wrong, by
    ``model NAME`` or ``task NAME``.
    """
    problems: dict[str, str] = {}
    for entry_name in names:
        entry = config.models[entry_name]
        name, _, version = entry_name.partition("@")
        order = Registration(
            name=name,
            version=entry.version or version or None,
            source=entry.source(),
            category=entry.category,
            tags=entry.tags,
            parent=entry.parent,
            activate=entry.activate,
        )
        try:
            made, _, problem = await services.onboarding.add(order, "config")
            await services.directives.declare(entry_name, made, entry.directive(), changed=changed)
        except PodiumError as error:
            problem = error
        if problem is not None:
            problems[f"model {entry_name}"] = problem.message
    for task, spec in config.tasks.items():
        if spec.binding and services.swapper.binding(task) is None:
            try:
                done = await services.swapper.swap(task, spec.binding, by="config", reason="declared binding")
                if done.error:
                    problems[f"task {task}"] = done.error
            except PodiumError as error:
                problems[f"task {task}"] = error.message
    return problems


def _tasks(config: Config, store: Any, recorded: Recorded) -> Tasks:
    """Declared, recorded and bound tasks; what the file says of one wins."""
    strategy = config.selection.strategy
    configured = tuple(entry.spec(name, strategy) for name, entry in config.tasks.items())
    named = {spec.name for spec in configured}
    tasks = Tasks(store, (*(s for s in recorded.tasks if s.name not in named), *configured), strategy)
    for seen in {binding.task for binding in recorded.bindings} | {task for task, _ in recorded.evidence}:
        tasks.ensure(seen)
    return tasks


def _learner(policy: Policy, registry: Registry, kept: Mapping[str, bytes]) -> tuple[Learner, tuple[str, ...]]:
    """The learner as it was when the last run ended, and what could not be taken over."""
    learner = Learner(policy.believe, registry.active_refs)
    if STATE not in kept:
        return learner, ()
    try:
        learner.resume(kept[STATE])
    except UnreadableBeliefs as error:
        return learner, (f"learning starts anew: {error}",)
    return learner, ()


async def _webhooks(
    config: Config, store: Any, clock: SystemClock, bus: EventBus, stack: contextlib.AsyncExitStack
) -> Webhooks:
    """Webhooks whose outbox fills from now on, and everybody who is told when an event is on record."""
    poster = WebhookPoster()
    stack.push_async_callback(poster.close)
    webhooks = Webhooks(store=store, poster=poster, clock=clock, publish=bus.publish, draw=random.random)
    stack.push_async_callback(webhooks.close)
    await webhooks.configure(hooks(config, os.environ))
    loop = asyncio.get_running_loop()

    def stored() -> None:
        bus.stored()
        webhooks.wake()

    store.notify(lambda: loop.call_soon_threadsafe(stored))
    return webhooks


async def _go_on(services: Services, recorded: Recorded, stack: contextlib.AsyncExitStack) -> None:
    """Take up what the last run left unfinished."""
    await services.swapper.settle(recorded.unfinished_swaps)
    services.directives.resume()
    stack.push_async_callback(services.rollouts.close)
    stack.callback(services.recorder.catch_up)  # what was answered last is evidence too
    await services.rollouts.resume()
    stack.push_async_callback(services.schedules.close)
    await services.schedules.resume()
    stack.push_async_callback(services.automation.close)
    services.webhooks.start()


def _both(*hearers: Callable[..., None]) -> Callable[..., None]:
    """One callback that tells each of them."""

    def tell(*facts: object) -> None:
        for hear in hearers:
            hear(*facts)

    return tell


async def _assemble(cls: type[Gateway], config: Config, store: Any, stack: contextlib.AsyncExitStack) -> Gateway:
    clock = SystemClock()
    recorded = await store.load()
    host = Host()
    catalogue = Catalogue(ProviderContext(home=config.home, environ=os.environ))
    registry = Registry(store, recorded, clock, keep_warm_s=config.pool.keep_warm_days * 86400)
    tasks = _tasks(config, store, recorded)

    def measured(ref: str) -> int | None:
        profile = registry.profile(ref)
        return profile.memory_bytes if profile is not None else None

    policy = Policy(
        registry=registry,
        tasks=tasks,
        recorded=recorded,
        weights=config.selection.weights,
        footprint=lambda version: measured(version.ref) or catalogue.footprint(version),
        context_length=catalogue.context_length,
        unavailable=catalogue.unavailable,
        hardware=host.kinds,
        memory_bytes=lambda: gateway_pool.limits.memory_bytes,
        clock=clock,
    )
    check_strategies(policy, config)
    learner, forgotten = _learner(policy, registry, recorded.learned)
    recorder = Recorder(
        store,
        clock,
        evidence=recorded.evidence,
        knowledge=recorded.knowledge,
        on_evidence=policy.learn,
        on_outcomes=_both(learner.outcomes, lambda ended: automation.outcomes(ended)),  # noqa: PLW0108 - as below
        on_pairs=lambda pairs: rollouts.observed(pairs),  # noqa: PLW0108 - they are built after the recorder
        on_feedback=_both(
            learner.feedback,
            lambda said: rollouts.scored(said),  # noqa: PLW0108 - as above
            lambda said: automation.scored(said),  # noqa: PLW0108 - as above
        ),
        on_revision=_both(
            learner.revised,
            lambda said, before: rollouts.scored(said, before),  # noqa: PLW0108 - as above
            lambda said, before: automation.scored(said, before),  # noqa: PLW0108 - as above
        ),
        flush_interval_s=config.recording.flush_ms / 1000,
        capacity=config.recording.buffer,
    )
    recorder.knowledge.enhance = config.selection.enhance
    bus = EventBus(recorder.event)
    webhooks = await _webhooks(config, store, clock, bus, stack)

    def emit(kind: str, subject: str, **data: str | float | bool | None) -> None:
        bus.emit(Event(kind=kind, at=clock.now(), subject=subject, data=tuple(data.items())))

    gateway_pool = Pool(
        catalogue.get, clock, pool_limits(config, host), emit, free_bytes=host.free_bytes, measured=measured
    )
    directives = Directives(store=store, pool=gateway_pool, registry=registry, ordered=recorded.directives)

    def versions_changed() -> None:
        policy.refresh()
        learner.meet(tuple(registry.versions()))

    versions_changed()
    learner.publish()  # the first request is answered by what was known when the last run ended
    stack.push_async_callback(catalogue.close)
    stack.push_async_callback(keep_learned, store, learner, clock)
    stack.push_async_callback(recorder.close)
    stack.push_async_callback(gateway_pool.close)
    recorder.start()
    meter = Meter(clock)
    classifier = TaskClassifier(store, clock, seeds, recorded.learned, learn=config.selection.learn_tasks)
    stack.push_async_callback(classifier.close)
    front = RequestGateway(
        registry=registry,
        selector=policy,
        tasks=tasks,
        pool=gateway_pool,
        meter=meter,
        recorder=recorder,
        clock=clock,
        limits=gateway_limits(config),
        id_prefix=random_prefix(),
        classifier=classifier,
    )
    onboarding = Onboarding(
        registry, gateway_pool, catalogue.get, clock, versions_changed, load_timeout_s=config.pool.load_timeout_s
    )
    benchmarks = Benchmarks(
        store=store,
        answers=PoolAnswers(lambda v: gateway_pool.lease(v, config.pool.load_timeout_s, BENCHMARK), clock),
        suites=SuiteLibrary(config.home / "suites"),
        sandbox=Sandbox(),
        resolve=registry.resolve,
        clock=clock,
        new_id=lambda: front.new_id("bench"),
        finished=lambda run: learner.expect_benchmarks(),
    )
    stack.push_async_callback(benchmarks.close)
    swapper = Swapper(
        registry=registry,
        selector=policy,
        tasks=tasks,
        pool=gateway_pool,
        onboarding=onboarding,
        store=store,
        clock=clock,
        new_id=front.new_id,
        publish=bus.publish,
        bindings={binding.task: binding for binding in recorded.bindings},
        load_timeout_s=config.pool.load_timeout_s,
        rollouts=lambda: rollouts.by_task,
    )
    rollouts = Rollouts(
        store=store,
        ledger=store,
        registry=registry,
        tasks=tasks,
        policy=policy,
        swapper=swapper,
        onboarding=onboarding,
        pool=gateway_pool,
        clock=clock,
        new_id=front.new_id,
        publish=bus.publish,
        load_timeout_s=config.pool.load_timeout_s,
        validator=Validator(benchmarks, store),
        detects=foresight(policy, recorder.knowledge.of),
        alone=True,  # this process holds the lock of the home
    )
    schedules = Schedules(
        store=store,
        at_once=Batches(
            swapper=swapper,
            registry=registry,
            pool=gateway_pool,
            onboarding=onboarding,
            store=store,
            clock=clock,
            publish=bus.publish,
            load_timeout_s=config.pool.load_timeout_s,
        ),
        gradually=BatchRollouts(swapper, rollouts),
        clock=clock,
        new_id=front.new_id,
        publish=bus.publish,
        windows={name: entry.window(name) for name, entry in config.windows.items()},
        known=tasks.ensure,
    )
    automation = Automation(
        swapper=swapper,
        rollouts=rollouts,
        policy=policy,
        registry=registry,
        tasks=tasks,
        knowledge=recorder.knowledge,
        host=host,
        pool=gateway_pool,
        store=store,
        clock=clock,
        emit=bus.emit,
        bindings=recorded.bindings,
        orders=standing_orders(config),
        declared=declared_names(config),
    )
    warnings: list[str] = [*store.warnings, *forgotten]

    services = Services(
        registry=registry,
        onboarding=onboarding,
        selector=policy,
        tasks=tasks,
        pool=gateway_pool,
        directives=directives,
        swapper=swapper,
        rollouts=rollouts,
        schedules=schedules,
        automation=automation,
        gateway=front,
        recorder=recorder,
        learner=learner,
        classifier=classifier,
        benchmarks=benchmarks,
        store=store,
        host=host,
        clock=clock,
        events=bus,
        event_log=store,
        webhooks=webhooks,
        providers=catalogue.get,
        provider_problems=lambda: catalogue.problems,
        reload=lambda: gateway.reload(),  # noqa: PLW0108 - it is built after the services
        version=__version__,
        started_at=clock.now(),
        warnings=lambda: (*warnings, *webhooks.problems(), *automation.problems()),
    )
    gateway = cls(config, services, DataPlane(front, registry), host)
    await _go_on(services, recorded, stack)
    maintenance = Maintenance(services, meter, config.recording)

    async def declared() -> None:
        warnings.extend(await gateway.declare())
        await maintenance.standing_orders()  # a declared binding comes before what a rule says

    await stack.enter_async_context(
        _background(
            maintenance.sweep(),
            maintenance.learned(),
            maintenance.hourly(),
            maintenance.rollouts(),
            schedules.run(),
            declared(),
            classifier.run(),
        )
    )
    stack.push_async_callback(gateway.stop_serving)
    return gateway


@asynccontextmanager
async def _background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Background work that ends with the gateway."""
    running = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
