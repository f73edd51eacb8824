"""A model checker for the real pool: every order in which loads, drains, requests, crashes and time may happen.

``explore`` runs the pool on a provider whose every load and unload ends only when the explorer says so. From each
reached state it tries every possible next step (breadth first, equal states once) and checks what must always hold.
From each state it also lets everything end fairly and checks that nobody is left waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from fakes import MB, FakeClock, version
from podium.domain.instance import InstanceState, ProcessUsage
from podium.errors import LoadFailed, PodiumError
from podium.ports import Characteristics
from podium.services.pool import Lease, Pool, PoolLimits

TICK_S = 6.0
Step = tuple[str, int]


class StepInstance:
    def __init__(self, world: World, ref: str) -> None:
        self.world = world
        self.ref = self.model = ref
        self.concurrency = 1
        self.pid = 1
        self.dead = False
        self.healthy = True
        self.stopping: asyncio.Future[None] | None = None
        self.gone = False

    async def health(self) -> None:
        return None

    async def warm_up(self) -> None:
        return None

    async def unload(self) -> None:
        if self.dead:
            self.gone = True
            return
        if self.stopping is None or self.stopping.cancelled():
            self.stopping = asyncio.get_running_loop().create_future()
        await self.stopping
        self.gone = True

    def usage(self) -> ProcessUsage:
        return ProcessUsage(cpu_s=0.0, memory_bytes=self.world.sizes[self.ref] * MB)

    def alive(self) -> bool:
        return not self.dead


class StepProvider:
    name = "steps"
    characteristics = Characteristics(owns_process=True, streaming=True, continuous_batching=False, local=True)

    def __init__(self, world: World) -> None:
        self.world = world

    def context_length(self, version):
        return None

    def footprint(self, version) -> int:
        return self.world.sizes[version.ref] * MB

    async def load(self, version, instance_id: str) -> StepInstance:
        world = self.world
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        world.loads.append((version.ref, done))
        world.check_memory()
        try:
            if not await done:
                raise LoadFailed(f"{version.ref} would not start")
        finally:
            world.loads.remove((version.ref, done))
        instance = StepInstance(world, version.ref)
        world.instances.append(instance)
        return instance


@dataclass
class Request:
    ref: str
    task: asyncio.Task[Lease]
    lease: Lease | None = None
    over: bool = False
    refused: PodiumError | None = None


@dataclass
class World:
    """One run of the pool under a list of steps."""

    sizes: dict[str, int]
    budget_mb: int
    requests: int
    """Requests there may be in all."""
    failures: int = 1
    crashes: int = 1
    orders: int = 1
    """Unload orders there may be."""
    ticks: int = 2
    loads: list[tuple[str, asyncio.Future[bool]]] = field(default_factory=list)
    instances: list[StepInstance] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    ordered: list[asyncio.Task[bool]] = field(default_factory=list)
    max_wait_s: float = 5.0

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.versions = {ref: version(ref) for ref in self.sizes}
        self.pool = Pool(
            lambda name: StepProvider(self),
            self.clock,
            PoolLimits(
                memory_bytes=self.budget_mb * MB,
                min_residency_s=1.0,
                max_wait_s=self.max_wait_s,
                residency_loads=0.0,
                backoff_s=TICK_S / 2,
                health_interval_s=1e9,
            ),
            lambda kind, subject, **data: None,
            draw=lambda: 0.0,
        )

    # ------------------------------------------------------------ what may happen next

    def possible(self) -> Iterator[Step]:
        refs = sorted(self.sizes)
        if len(self.asked) < self.requests:
            yield from (("ask", index) for index in range(len(refs)))
        for index, request in enumerate(self.asked):
            if request.over:
                continue
            yield ("release" if request.lease is not None else "leave", index)
        for index in range(len(self.loads)):
            yield ("loaded", index)
            if self.failures:
                yield ("load fails", index)
        yield from self._with_instances()
        if self.orders:
            yield from (("unload", index) for index in range(len(refs)))
        if self.ticks:
            yield ("tick", 0)

    def _with_instances(self) -> Iterator[Step]:
        for index, instance in enumerate(self.instances):
            if instance.gone or instance.dead:
                continue
            if instance.stopping is not None:
                if not instance.stopping.done():
                    yield ("stopped", index)
            elif self.crashes:
                yield ("crash", index)
                yield ("hang", index)

    async def do(self, step: Step) -> None:  # noqa: C901 - one case per kind of step
        kind, index = step
        refs = sorted(self.sizes)
        match kind:
            case "ask":
                work = asyncio.create_task(self.pool.lease(self.versions[refs[index]], 1e6))
                self.asked.append(Request(refs[index], work))
            case "leave":
                self.asked[index].over = True
                self.asked[index].task.cancel()
            case "release":
                request = self.asked[index]
                request.over = True
                assert request.lease is not None
                request.lease.succeeded()
                request.lease.release()
            case "loaded":
                self.loads[index][1].set_result(True)
            case "load fails":
                self.failures -= 1
                self.loads[index][1].set_result(False)
            case "crash":
                self.crashes -= 1
                self.instances[index].dead = True
                self.pool.sweep()
            case "hang":
                self.crashes -= 1
                hung = self.instances[index]
                hung.healthy = False
                copy = next(copy for copy in self.pool._state.copies() if copy.instance is hung)
                self.pool._loader.crashed(copy, "its health checks failed")
            case "stopped":
                stopping = self.instances[index].stopping
                assert stopping is not None
                stopping.set_result(None)
            case "unload":
                self.orders -= 1
                self.ordered.append(asyncio.create_task(self.pool.unload(refs[index])))
            case "tick":
                self.ticks -= 1
                self.clock.time += TICK_S
                self.pool.sweep()
        await self.settle()
        self.check()

    async def settle(self) -> None:
        """Let everything that can run do so, then see who got what."""
        for _ in range(12):
            await asyncio.sleep(0)
        for request in self.asked:
            if request.over or request.lease is not None or not request.task.done():
                continue
            if request.task.cancelled():
                request.over = True
            elif (error := request.task.exception()) is not None:
                assert isinstance(error, PodiumError), error
                request.refused, request.over = error, True
            else:
                request.lease = request.task.result()

    # ------------------------------------------------------------ what must always hold

    def running(self) -> list[StepInstance]:
        return [instance for instance in self.instances if not instance.gone and not instance.dead]

    def check_memory(self) -> None:
        held = sum(self.sizes[instance.ref] for instance in self.running()) + sum(
            self.sizes[ref] for ref, _ in self.loads
        )
        assert held <= self.budget_mb, f"{held} MB are held, the budget is {self.budget_mb}"

    def check(self) -> None:
        self.check_memory()
        for ref in self.sizes:
            assert sum(loading == ref for loading, _ in self.loads) <= 1, f"two loads of {ref} at once"
        held: dict[int, int] = {}
        for request in self.asked:
            if request.lease is None or request.over:
                continue
            instance = request.lease.instance
            assert isinstance(instance, StepInstance)
            assert instance.ref == request.ref, "a lease on another version"
            if instance.stopping is not None:
                assert not instance.healthy, f"{instance.ref} is stopped while it serves"
                continue
            held[id(instance)] = held.get(id(instance), 0) + 1
        for instance in self.running():
            assert held.get(id(instance), 0) <= instance.concurrency, "more leases than places"
        for view in self.pool.views():
            assert view.active >= 0
            if view.state is InstanceState.LOADING:
                assert view.active == 0, "a lease on an instance that is not ready"

    # ------------------------------------------------------------ and in the end

    async def finish(self) -> None:
        """Everything that began ends: nobody may wait for ever, and nothing may be left behind."""
        for _ in range(12 * (self.requests + 2)):
            for _, done in list(self.loads):
                done.set_result(True)
            for instance in self.instances:
                if instance.stopping is not None and not instance.stopping.done():
                    instance.stopping.set_result(None)
            await self.settle()
            for request in self.asked:
                if request.lease is not None and not request.over:
                    request.over = True
                    request.lease.release()
            await self.settle()
            self.check()
            if all(request.over for request in self.asked) and all(order.done() for order in self.ordered):
                break
            self.clock.time += TICK_S
            self.pool.sweep()
            await self.settle()
        stuck = [request.ref for request in self.asked if not request.over]
        assert not stuck, f"waiting for ever for {stuck}; queues: {self.pool.queues()}"
        assert all(order.done() for order in self.ordered), "an order to unload never ended"
        assert not self.pool.queues(), "somebody is in line who is not there"
        assert sum(view.active for view in self.pool.views()) == 0, "a place is held by nobody"

    async def close(self) -> None:
        closing = asyncio.create_task(self.pool.close())
        for _ in range(50):
            await asyncio.sleep(0)
            for instance in self.instances:
                if instance.stopping is not None and not instance.stopping.done():
                    instance.stopping.set_result(None)
            if closing.done():
                break
        assert closing.done(), "closing never ends"
        await closing
        for order in self.ordered:
            order.cancel()
        for request in self.asked:
            request.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self.ordered, *(request.task for request in self.asked), return_exceptions=True)
        assert not self.running(), "an instance outlives the pool"

    def state(self) -> tuple[object, ...]:
        """What the future depends on; equal states are explored once."""
        now = self.clock.time
        slots = []
        for ref in sorted(self.sizes):
            slot = self.pool._slots.get(ref)
            if slot is None:
                slots.append(None)
                continue
            oldest = slot.queue.oldest_at()
            copies = tuple(
                (copy.state, copy.active, now - copy.ready_at >= 1.0, now > copy.last_used, copy.evicted)
                for copy in slot.copies
            )
            waiting = (len(slot.queue), None if oldest is None else now - oldest >= self.max_wait_s)
            slots.append(
                (copies, waiting, slot.wish, slot.failures, slot.crashes, slot.retry_at > now, slot.measured_bytes)
            )
        requests = tuple(
            (request.ref, request.over or request.lease is not None, request.over) for request in self.asked
        )
        instances = tuple(
            (one.ref, one.dead, one.gone, one.stopping is not None) for one in self.instances if not one.gone
        )
        loads = tuple(ref for ref, _ in self.loads)
        left = (self.failures, self.crashes, self.orders, self.ticks)
        return (tuple(slots), requests, instances, loads, left, tuple(order.done() for order in self.ordered))


@dataclass
class Explored:
    states: int = 0
    steps: int = 0
    deepest: int = 0


async def explore(settings: dict[str, object], depth: int, most: int = 1_000_000) -> Explored:
    """Try everything up to ``depth`` steps. An ``AssertionError`` names the steps that lead to it."""
    seen: set[tuple[object, ...]] = set()
    todo: deque[tuple[Step, ...]] = deque([()])
    found = Explored()
    while todo and found.states < most:
        path = todo.popleft()
        world = World(**settings)  # type: ignore[arg-type] - the caller's keywords are World's
        try:
            for step in path:
                await world.do(step)
            found.steps += len(path)
            state = world.state()
            if state not in seen:
                seen.add(state)
                found.states += 1
                found.deepest = max(found.deepest, len(path))
                if len(path) < depth:
                    todo.extend((*path, step) for step in world.possible())
                await world.finish()
            await world.close()
        except AssertionError as wrong:
            said = " → ".join(f"{kind} {index}" for kind, index in path)
            raise AssertionError(f"{wrong}\nafter: {said}") from wrong
    return found
