"""A machine for the real pool on which time passes only when the test lets it.

``VirtualLoop`` takes its time from a ``FakeClock`` and jumps to the next timer when there is nothing else to do, so
deadlines, back-offs and time-outs cost no real seconds. ``Machine`` is the provider and the operating system in one:
it counts whose memory is held where, and ends loads and unloads after given seconds or when the test says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import selectors
from collections import defaultdict
from dataclasses import dataclass, field

from fakes import MB, FakeClock, version
from podium.domain.instance import ProcessUsage
from podium.domain.model import ModelVersion
from podium.domain.request import Ticket
from podium.errors import LoadFailed, PodiumError
from podium.ports import RAM, Characteristics
from podium.services.pool import Lease, Pool, PoolLimits

SWEEP_S = 0.25
LONGEST_S = 10_000.0
"""Virtual seconds a test may take: one that waits for ever fails soon."""


class _Jump(selectors.DefaultSelector):
    """Where the loop would sleep, its clock goes forward instead."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen again: something is awaited that nobody will end")
            self.clock.time += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        super().__init__(_Jump(clock))

    def time(self) -> float:
        return self.clock.time


async def settle(turns: int = 20) -> None:
    """Let everything that can run now do so; no time passes."""
    for _ in range(turns):
        await asyncio.sleep(0)


@dataclass(eq=False)
class Model:
    """How one version behaves."""

    size_mb: int = 100
    places: int = 2
    load_s: float = 1.0
    unload_s: float = 0.0
    devices: tuple[str, ...] = (RAM,)
    tags: frozenset[str] = frozenset()
    endpoint: str | None = None
    adaptive: bool = False
    measured_mb: int | None = None
    """What it really uses; ``None``: as estimated."""
    ready_s: float | None = None
    """How long it says that it may take to start."""
    fails: int = 0
    """So many loads fail from now on."""
    crashes: int = 0
    """So many instances end as soon as they are ready."""


class RigInstance:
    def __init__(self, machine: Machine, ref: str, device: str, number: int) -> None:
        self.machine, self.ref, self.device, self.number = machine, ref, device, number
        self.about = machine.models[ref]
        self.model = ref
        self.concurrency = self.about.places
        self.adaptive = self.about.adaptive
        self.pid = None if self.about.endpoint else 1000 + number
        self.dead = False
        self.healthy = True
        self.gone = False
        self.stopping: asyncio.Future[None] | None = None
        self.bytes = (self.about.measured_mb or self.about.size_mb) * MB
        self.probes = 0

    async def send(self, call):
        raise AssertionError("not used here")

    async def health(self) -> None:
        self.probes += 1
        if not self.healthy:
            raise PodiumError("it does not answer")

    async def warm_up(self) -> None:
        return None

    async def unload(self) -> None:
        if self.gone or self.dead:
            self.gone = True
            return
        if self.stopping is None or self.stopping.cancelled():
            self.stopping = asyncio.get_running_loop().create_future()
            if not self.machine.by_hand:
                asyncio.get_running_loop().call_later(self.about.unload_s, _end, self.stopping)
        await asyncio.shield(self.stopping)
        if not self.gone:
            self.gone = True
            self.machine.left(self)

    def usage(self) -> ProcessUsage | None:
        if self.gone or self.dead:
            return None
        if self.device == RAM:
            return ProcessUsage(cpu_s=0.0, memory_bytes=self.bytes)
        return ProcessUsage(cpu_s=0.0, memory_bytes=0, gpu_memory_bytes=self.bytes)

    def alive(self) -> bool:
        return not self.dead and not self.gone

    @property
    def runs(self) -> bool:
        return not self.dead and not self.gone


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@dataclass(eq=False)
class Loading:
    ref: str
    device: str
    done: asyncio.Future[bool]


@dataclass(eq=False)
class Machine:
    """Provider ``fake``; ``by_hand``: loads and unloads end when the test says so."""

    models: dict[str, Model]
    total_mb: dict[str, int] = field(default_factory=lambda: {RAM: 1_000_000})
    by_hand: bool = False
    lag_s: float | None = 0.0
    """How long memory takes to come back; ``None``: it never does."""
    others_mb: int = 0
    """What other programs hold of the main memory."""
    loads: list[Loading] = field(default_factory=list)
    instances: list[RigInstance] = field(default_factory=list)
    begun: list[tuple[float, str]] = field(default_factory=list)
    lagging: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """The most bytes that were held, by device."""
    name = "fake"
    characteristics = Characteristics(owns_process=True, streaming=True, continuous_batching=False, local=True)

    def context_length(self, version: ModelVersion) -> int | None:
        return None

    def footprint(self, version: ModelVersion) -> int:
        return self.models[version.ref].size_mb * MB

    def devices(self, version: ModelVersion) -> tuple[str, ...]:
        return self.models[version.ref].devices

    def endpoint(self, version: ModelVersion) -> str | None:
        return self.models[version.ref].endpoint

    def ready_within(self, version: ModelVersion) -> float | None:
        return self.models[version.ref].ready_s

    async def load(self, version: ModelVersion, instance_id: str, *, device: str = RAM) -> RigInstance:
        about = self.models[version.ref]
        loop = asyncio.get_running_loop()
        loading = Loading(version.ref, device, loop.create_future())
        self.loads.append(loading)
        self.begun.append((loop.time(), version.ref))
        self.note()
        try:
            if not self.by_hand:
                loop.call_later(about.load_s, self._loaded, loading)
            if not await loading.done:
                raise LoadFailed(f"{version.ref} would not start")
        finally:
            self.loads.remove(loading)
        instance = RigInstance(self, version.ref, device, len(self.instances))
        self.instances.append(instance)
        self.note()
        if about.crashes:
            about.crashes -= 1
            instance.dead = True
        return instance

    def _loaded(self, loading: Loading) -> None:
        about = self.models[loading.ref]
        if not loading.done.done():
            loading.done.set_result(about.fails <= 0)
            about.fails -= about.fails > 0

    def left(self, instance: RigInstance) -> None:
        """It was unloaded; its memory comes back when it does."""
        if self.lag_s == 0.0:
            return
        self.lagging[instance.device] += instance.bytes
        if self.lag_s is not None:
            asyncio.get_running_loop().call_later(self.lag_s, self._back, instance)

    def _back(self, instance: RigInstance) -> None:
        self.lagging[instance.device] -= instance.bytes

    def held(self, device: str) -> int:
        """Bytes that instances hold there, loading ones with all they will hold."""
        loading = sum(self.models[one.ref].size_mb * MB for one in self.loads if one.device == device)
        return loading + sum(one.bytes for one in self.instances if one.runs and one.device == device)

    def free_bytes(self, device: str) -> int | None:
        total = self.total_mb.get(device)
        if total is None:
            return None
        others = self.others_mb * MB if device == RAM else 0
        return total * MB - others - self.lagging[device] - self.held(device)

    def note(self) -> None:
        for device in self.total_mb:
            self.most[device] = max(self.most[device], self.held(device))

    def running(self, ref: str | None = None) -> list[RigInstance]:
        return [one for one in self.instances if one.runs and (ref is None or one.ref == ref)]

    def loads_of(self, ref: str) -> int:
        return sum(name == ref for _, name in self.begun)


class Rig:
    """A pool on a machine. ``limits`` are those of ``PoolLimits``, the budget in MB."""

    def __init__(self, clock: FakeClock, machine: Machine, budget_mb: int = 1000, **limits) -> None:
        self.clock, self.machine = clock, machine
        self.versions = {ref: _version(ref, about) for ref, about in machine.models.items()}
        self.events: list[tuple[float, str, str, dict]] = []
        defaults = {"linger_s": 0.0, "min_residency_s": 0.0, "residency_loads": 0.0}
        self.pool = Pool(
            lambda name: machine,
            clock,
            PoolLimits(memory_bytes=budget_mb * MB, **{**defaults, **limits}),
            lambda kind, subject, **data: self.events.append((clock.time, kind, subject, data)),
            free_bytes=machine.free_bytes,
            draw=lambda: 0.5,
        )

    def lease(self, ref: str, timeout_s: float = 1e6, **ticket) -> asyncio.Task[Lease]:
        return asyncio.get_running_loop().create_task(self.pool.lease(self.versions[ref], timeout_s, Ticket(**ticket)))

    async def use(self, ref: str, seconds: float = 0.0, timeout_s: float = 1e6, **ticket) -> float:
        """One request that is answered well; returns how long it waited."""
        began = self.clock.time
        lease = await self.pool.lease(self.versions[ref], timeout_s, Ticket(**ticket))
        waited = self.clock.time - began
        await asyncio.sleep(seconds)
        lease.succeeded(seconds / 10)
        lease.release()
        return waited

    async def sweeping(self) -> None:
        while True:
            self.pool.sweep()
            await asyncio.sleep(SWEEP_S)

    def state(self, ref: str) -> str:
        return next(view.state.value for view in self.pool.views() if view.ref == ref)

    def kinds(self, kind: str, ref: str | None = None) -> list[dict]:
        return [data for _, name, subject, data in self.events if name == kind and ref in {None, subject}]


def _version(ref: str, about: Model) -> ModelVersion:
    made = version(ref)
    return ModelVersion(
        name=made.name, version=made.version, source=made.source, facts=made.facts, status=made.status, tags=about.tags
    )


def rigged(models: dict[str, Model], budget_mb: int = 1000, *, machine: dict | None = None, **limits):
    """The test gets a ``Rig`` whose pool is swept four times a virtual second and closed in the end."""

    def decorate(test):
        @functools.wraps(test)
        def run(**fixtures):
            clock = FakeClock()
            made = Machine(models={ref: Model(**vars(about)) for ref, about in models.items()}, **(machine or {}))
            with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
                runner.run(_run(test, Rig(clock, made, budget_mb, **limits), fixtures))
            assert not made.running(), "an instance outlives the pool"
            assert not made.loads, "a load outlives the pool"

        signature = inspect.signature(test)
        del run.__wrapped__
        run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
        return run

    return decorate


async def _run(test, rig: Rig, fixtures: dict) -> None:
    sweeping = asyncio.create_task(rig.sweeping())
    try:
        async with asyncio.timeout(LONGEST_S):
            await test(rig, **fixtures)
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
        await rig.pool.close()
