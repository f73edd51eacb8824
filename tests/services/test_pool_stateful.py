"""The real pool against a simple model of it: requests, loads, crashes, orders and time in any order.

The model knows who asked for what and who holds what, never how the pool decides. Loads and unloads end when a rule
says so, and no time passes but by a rule, so that every race that one event loop allows can come up.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fakes import MB, FakeClock
from podium.core.breaker import BreakerRules
from podium.domain.directive import Directive
from podium.domain.instance import InstanceState
from podium.errors import LoadFailed, Overloaded, PodiumError, ProviderTimeout, ProviderUnreachable
from podium.ports import RAM
from podium.services.pool import Lease
from pool_rig import SWEEP_S, Loading, Machine, Model, Rig, RigInstance, VirtualLoop, settle

GPU = "cuda:0"
MODELS = {
    "small@1": Model(size_mb=30, places=1),
    "large@1": Model(size_mb=70, places=2, measured_mb=60),
    "copied@1": Model(size_mb=25, places=1),
    "either@1": Model(size_mb=40, places=2, devices=(GPU, RAM)),
    "gpu@1": Model(size_mb=60, places=1, devices=(GPU,)),
    "remote@1": Model(size_mb=0, places=1, endpoint="http://127.0.0.1:9"),
    "judge@1": Model(size_mb=20, places=1, tags=frozenset({"helper"})),
}
REFS = sorted(MODELS)
BUDGET_MB, RESERVE_MB, GPU_MB = 120, 20, 90
WAIT_S = 400.0
refs = st.sampled_from(REFS)


@dataclass(eq=False)
class Request:
    ref: str
    task: asyncio.Task[Lease]
    asked_at: float
    lease: Lease | None = None
    over: bool = False
    error: PodiumError | None = None

    @property
    def waits(self) -> bool:
        return self.lease is None and not self.over


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.loop = VirtualLoop(self.clock)
        self.machine = Machine(
            models={ref: replace(about) for ref, about in MODELS.items()},
            total_mb={RAM: 10_000, GPU: 10_000},
            by_hand=True,
        )
        self.requests: list[Request] = []
        self.orders: list[asyncio.Task[bool]] = []
        self.directives = dict.fromkeys(REFS, Directive())
        self.budget = {RAM: BUDGET_MB * MB, GPU: GPU_MB * MB}
        self.allowed = dict(self.budget)
        """Where the budget was lowered: what is held may be more than it, and may only shrink."""
        self.copies_allowed = dict.fromkeys(REFS, 1)
        self.failed_loads: set[str] = set()
        self.failed_requests: set[str] = set()
        self.crashed: set[str] = set()
        self.seen_events = 0
        self.closed = False
        self.abrupt = False
        self.do(self._build())

    def do(self, work) -> None:
        self.loop.run_until_complete(self._step(work))

    async def _step(self, work) -> None:
        await work
        await settle()
        self.collect()

    async def _build(self) -> None:
        self.rig = Rig(
            self.clock,
            self.machine,
            BUDGET_MB,
            helper_reserve_bytes=RESERVE_MB * MB,
            gpu_bytes={GPU: GPU_MB * MB},
            min_residency_s=1.0,
            max_wait_s=5.0,
            residency_loads=1.0,
            idle_ttl_s=120.0,
            backoff_s=2.0,
            backoff_max_s=10.0,
            breaker=BreakerRules(failures=3, window_s=60.0, open_s=4.0, open_max_s=16.0),
            health_interval_s=2.0,
            hang_timeout_s=10.0,
            scale_up_after_s=5.0,
            scale_down_after_s=30.0,
            scale_cooldown_s=5.0,
            load_timeout_s=200.0,
            queue_limit=50,
        )
        self.pool = self.rig.pool
        self.rig.machine.note = self.check_memory  # at the very moment a load begins

    @initialize(abrupt=st.sampled_from([False, False, True]))
    def orders_to_begin_with(self, abrupt: bool) -> None:
        """``abrupt``: in the end the pool is closed without letting anything end first."""
        self.abrupt = abrupt
        self._direct("copied@1", replace(self.directives["copied@1"], max_copies=2))

    # ------------------------------------------------------------ requests

    @rule(
        ref=refs,
        count=st.integers(1, 4),
        caller=st.sampled_from(["x", "y"]),
        task=st.sampled_from(["", "t"]),
        priority=st.integers(0, 2),
    )
    def ask(self, ref: str, count: int, caller: str, task: str, priority: int) -> None:
        async def work() -> None:
            for _ in range(count):
                key = len(self.requests)
                asked = self.rig.lease(ref, WAIT_S, caller=caller, task=task, priority=priority, affinity=key)
                self.requests.append(Request(ref, asked, self.clock.time))

        self.do(work())

    @precondition(lambda self: any(request.waits for request in self.requests))
    @rule(data=st.data())
    def leave(self, data) -> None:
        request = data.draw(st.sampled_from([one for one in self.requests if one.waits]), label="who leaves")
        request.over = True

        async def work() -> None:
            request.task.cancel()

        self.do(work())

    @precondition(lambda self: any(request.lease for request in self.requests))
    @rule(data=st.data(), how=st.sampled_from(["ok", "ok", "ok", "failed", "lost", "left", "keep 0", "keep 30"]))
    def release(self, data, how: str) -> None:
        request = data.draw(st.sampled_from([one for one in self.requests if one.lease]), label="whose lease")
        self.do(self._release(request, how))

    async def _release(self, request: Request, how: str) -> None:
        lease, request.lease, request.over = request.lease, None, True
        assert lease is not None
        match how.split():
            case ["failed"]:
                self.failed_requests.add(request.ref)
                lease.failed(ProviderTimeout("no answer"))
            case ["lost"]:
                self.failed_requests.add(request.ref)
                lease.failed(ProviderUnreachable("the connection was closed"))
            case ["left"]:
                pass
            case ["keep", seconds]:
                lease.keep_alive(float(seconds))
                lease.succeeded(0.1)
            case _:
                lease.succeeded(0.1)
        lease.release()
        lease.release()  # again does nothing

    @precondition(lambda self: any(request.lease for request in self.requests))
    @rule()
    def everybody_is_answered(self) -> None:
        async def work() -> None:
            for request in [one for one in self.requests if one.lease]:
                await self._release(request, "ok")

        self.do(work())

    @precondition(lambda self: any(request.lease for request in self.requests))
    @rule(data=st.data())
    def release_and_leave_in_the_same_moment(self, data) -> None:
        """Whoever is next in line is granted the place and goes before it could run, and so do the others."""
        request = data.draw(st.sampled_from([one for one in self.requests if one.lease]), label="whose lease")
        others = [one for one in self.requests if one.waits and one.ref == request.ref]

        async def work() -> None:
            await self._release(request, "ok")
            for other in others:
                other.over = True
                other.task.cancel()

        self.do(work())

    # ------------------------------------------------------------ what instances do

    @precondition(lambda self: self.machine.loads)
    @rule(data=st.data(), well=st.sampled_from([True, True, True, False]))
    def load_ends(self, data, well: bool) -> None:
        loading: Loading = data.draw(st.sampled_from(self.machine.loads), label="which load")
        if not well:
            self.failed_loads.add(loading.ref)

        async def work() -> None:
            loading.done.set_result(well)

        self.do(work())

    @precondition(lambda self: self._stopping())
    @rule(data=st.data())
    def unload_ends(self, data) -> None:
        instance = data.draw(st.sampled_from(self._stopping()), label="which instance")

        async def work() -> None:
            instance.stopping.set_result(None)

        self.do(work())

    @precondition(lambda self: self.machine.loads or self._stopping())
    @rule(rounds=st.integers(1, 3))
    def what_began_ends_well(self, rounds: int) -> None:
        async def work() -> None:
            for _ in range(rounds):
                for instance in self._stopping():
                    instance.stopping.set_result(None)
                for loading in list(self.machine.loads):
                    loading.done.set_result(True)
                await settle()

        self.do(work())

    @precondition(lambda self: self._serving())
    @rule(data=st.data())
    def crash(self, data) -> None:
        instance = data.draw(st.sampled_from(self._serving()), label="which instance")
        self.crashed.add(instance.ref)

        async def work() -> None:
            instance.dead = True

        self.do(work())

    @precondition(lambda self: self._serving())
    @rule(data=st.data())
    def hang(self, data) -> None:
        instance = data.draw(st.sampled_from(self._serving()), label="which instance")
        self.crashed.add(instance.ref)
        instance.healthy = False

    @precondition(lambda self: any(not one.healthy for one in self.machine.running("remote@1")))
    @rule()
    def recover(self) -> None:
        for instance in self.machine.running("remote@1"):
            instance.healthy = True

    # ------------------------------------------------------------ orders

    @rule(ref=refs)
    def unload(self, ref: str) -> None:
        async def work() -> None:
            self.orders.append(asyncio.create_task(self.pool.unload(ref)))

        self.do(work())

    @rule(ref=st.sampled_from(["small@1", "judge@1", "gpu@1"]), pinned=st.booleans())
    def pin(self, ref: str, pinned: bool) -> None:
        self._direct(ref, replace(self.directives[ref], pinned=pinned))

    @rule(keep=st.sampled_from([None, 0.0, 5.0, float("inf")]), ref=refs, preload=st.booleans())
    def direct(self, keep: float | None, ref: str, preload: bool) -> None:
        self._direct(ref, replace(self.directives[ref], keep_alive_s=keep, preload=preload))

    @rule(copies=st.sampled_from([(0, 1), (0, 2), (1, 1), (2, 2), (1, 3)]))
    def copies(self, copies: tuple[int, int]) -> None:
        self._direct("copied@1", replace(self.directives["copied@1"], min_copies=copies[0], max_copies=copies[1]))

    def _direct(self, ref: str, directive: Directive) -> None:
        self.directives[ref] = directive
        ordered = max(1, directive.min_copies, directive.max_copies)
        self.copies_allowed[ref] = max(ordered, self._live(ref))

        async def work() -> None:
            self.pool.direct(self.rig.versions[ref], directive)

        self.do(work())

    @rule(budget_mb=st.sampled_from([BUDGET_MB, BUDGET_MB, 60, 180]))
    def change_the_budget(self, budget_mb: int) -> None:
        self.budget[RAM] = budget_mb * MB
        self.allowed[RAM] = max(self.budget[RAM], self.machine.held(RAM))

        async def work() -> None:
            self.pool.limits = replace(self.pool.limits, memory_bytes=budget_mb * MB)

        self.do(work())

    # ------------------------------------------------------------ time

    @rule(seconds=st.sampled_from([0.25, 1.5, 6.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(self._pass(seconds))

    @rule()
    def sweep(self) -> None:
        async def work() -> None:
            self.pool.sweep()

        self.do(work())

    async def _pass(self, seconds: float) -> None:
        slices = min(40, int(seconds / SWEEP_S))
        for _ in range(slices):
            await asyncio.sleep(seconds / slices)
            self.pool.sweep()
            await settle(4)
            self.collect()

    # ------------------------------------------------------------ what must always hold

    def _stopping(self) -> list[RigInstance]:
        return [one for one in self.machine.running() if one.stopping is not None and not one.stopping.done()]

    def _serving(self) -> list[RigInstance]:
        return [one for one in self.machine.running() if one.stopping is None and one.healthy]

    def _live(self, ref: str) -> int:
        states = (InstanceState.LOADING, InstanceState.READY)
        return sum(view.ref == ref and view.state in states for view in self.pool.views())

    def check_memory(self) -> None:
        for device, budget in self.budget.items():
            held = self.machine.held(device)
            self.allowed[device] = max(budget, min(self.allowed[device], held))
            assert held <= self.allowed[device], f"{held // MB} MB of {device} are held, the budget is {budget // MB}"

    def collect(self) -> None:
        """Who got what."""
        for request in self.requests:
            if not request.waits or not request.task.done():
                continue
            if request.task.cancelled():
                raise AssertionError("a waiter was cancelled by somebody else")
            error = request.task.exception()
            if error is None:
                request.lease = request.task.result()
                if not self.closed:
                    assert self._view(request.lease).state is not InstanceState.LOADING
                    assert request.lease.instance.alive() or request.ref in self.crashed, "a lease on nothing"
            else:
                assert isinstance(error, PodiumError), error
                request.error, request.over = error, True
                self._legitimate(request, error)

    def _view(self, lease: Lease):
        return next((view for view in self.pool.views() if view.id == lease.instance_id), lease.copy)

    def _legitimate(self, request: Request, error: PodiumError) -> None:
        """Nobody is refused without a cause that the model knows of."""
        ref = request.ref
        if isinstance(error, LoadFailed):
            assert ref in self.failed_loads | self.crashed, error
        elif isinstance(error, ProviderUnreachable):
            assert ref in self.failed_requests | self.crashed, error
        elif isinstance(error, ProviderTimeout):
            assert self.clock.time - request.asked_at >= WAIT_S, error
        else:
            assert isinstance(error, Overloaded), error
            if not self.closed:
                assert error.code == "model_does_not_fit", error
                assert min(self.budget[RAM], BUDGET_MB * MB) < BUDGET_MB * MB or ref in {"large@1", "gpu@1"}, error
            assert error.retry_after_s, "a refusal without a time to come back"

    @invariant()
    def promises_are_kept(self) -> None:
        self.check_memory()
        self.no_more_copies_than_were_ordered()
        self.leases_are_on_running_instances_of_their_version_and_within_their_places()
        self.the_queues_hold_those_who_wait_and_nobody_else()
        self.nobody_waits_while_there_is_a_place()
        self.evictions_follow_the_rules()

    def no_more_copies_than_were_ordered(self) -> None:
        for ref in REFS:
            directive = self.directives[ref]
            ordered = max(1, directive.min_copies, directive.max_copies)
            live = self._live(ref)
            self.copies_allowed[ref] = max(ordered, min(self.copies_allowed[ref], live))
            assert live <= self.copies_allowed[ref], f"{live} copies of {ref}"
            assert sum(one.ref == ref for one in self.machine.loads) <= self.copies_allowed[ref]

    def leases_are_on_running_instances_of_their_version_and_within_their_places(self) -> None:
        held: dict[str, int] = {}
        for request in self.requests:
            lease = request.lease
            if lease is None:
                continue
            instance = lease.instance
            assert isinstance(instance, RigInstance)
            assert instance.ref == request.ref, "a lease on another version"
            if instance.dead or not instance.healthy:
                continue
            assert instance.stopping is None, f"{instance.ref} is stopped while it serves"
            assert instance.runs
            held[lease.instance_id] = held.get(lease.instance_id, 0) + 1
            assert held[lease.instance_id] <= instance.concurrency, "more leases than places"
        for view in self.pool.views():
            if view.state in {InstanceState.READY, InstanceState.DRAINING} and not self._ill(view.id):
                assert view.active == held.get(view.id, 0), f"{view.id}: {view.active} active"
            elif view.state not in {InstanceState.READY, InstanceState.DRAINING}:
                assert view.active == 0, "a lease on an instance that is not ready"

    def _ill(self, instance_id: str) -> bool:
        return any(
            copy.id == instance_id
            and isinstance(copy.instance, RigInstance)
            and (copy.instance.dead or not copy.instance.healthy)
            for copy in self.pool._state.copies()
        )

    def the_queues_hold_those_who_wait_and_nobody_else(self) -> None:
        waiting = {row.ref: row.waiting for row in self.pool.queues()}
        for ref in REFS:
            assert waiting.get(ref, 0) == sum(one.waits for one in self.requests if one.ref == ref), ref

    def nobody_waits_while_there_is_a_place(self) -> None:
        waiting = {row.ref for row in self.pool.queues()}
        for view in self.pool.views():
            if view.ref in waiting and view.state is InstanceState.READY and view.healthy and not self._ill(view.id):
                assert view.active >= view.concurrency, f"{view.id} has a free place, and {view.ref} is waited for"

    def evictions_follow_the_rules(self) -> None:
        new, self.seen_events = self.rig.events[self.seen_events :], len(self.rig.events)
        for _, kind, ref, data in new:
            assert kind != "memory.missing", "memory was missed although it came back at once"
            if kind != "instance.draining" or " go to " not in data["reason"]:
                continue
            winner = data["reason"].rsplit(" go to ", 1)[1]
            assert winner != ref, "a version evicts itself"
            assert not self.directives[ref].pinned, "a pinned version is evicted"
            if winner == "judge@1":
                assert ref == "judge@1", f"{ref} is evicted for a helper"

    # ------------------------------------------------------------ and in the end

    def teardown(self) -> None:
        try:
            if not self.abrupt:
                self.do(self._finish())
                self.do(self._rest())
            self.closed = True
            self.do(self._close())
        finally:
            self._sweep_up()

    async def _finish(self) -> None:
        """Everything that began ends well: everybody gets a place or is told, and nothing is left behind."""
        for _ in range(60):
            for loading in list(self.machine.loads):
                if not loading.done.done():
                    loading.done.set_result(True)
            for instance in self._stopping():
                instance.stopping.set_result(None)
            await settle()
            self.collect()
            for request in self.requests:
                if request.lease is not None:
                    await self._release(request, "ok")
            await settle()
            self.collect()
            self.check_memory()
            if not any(one.waits or one.lease for one in self.requests) and all(one.done() for one in self.orders):
                break
            await self._pass(6.0)
        stuck = [one.ref for one in self.requests if one.waits]
        assert not stuck, f"waiting for ever for {stuck}: {self.pool.queues()}"
        assert all(one.done() for one in self.orders), "an order to unload never ends"
        assert not self.pool.queues(), "somebody is in line who is not there"
        assert sum(view.active for view in self.pool.views()) == 0, "a place is held by nobody"

    async def _rest(self) -> None:
        """Nothing is asked any more: what is too much has gone."""
        for _ in range(4):
            for instance in self._stopping():
                instance.stopping.set_result(None)
            for loading in list(self.machine.loads):
                loading.done.set_result(True)
            await self._pass(3.0)
        for ref in REFS:
            assert self._live(ref) <= max(1, self.directives[ref].min_copies, self.directives[ref].max_copies)
        pinned = sum(one.bytes for one in self.machine.running() if self.directives[one.ref].pinned)
        assert self.machine.held(RAM) <= max(self.budget[RAM], pinned), "more than the budget, and nobody goes"

    async def _close(self) -> None:
        closing = asyncio.create_task(self.pool.close())
        for _ in range(20):
            await settle(5)
            for instance in self._stopping():
                instance.stopping.set_result(None)
        assert closing.done(), "closing never ends"
        await closing
        await settle()
        self.collect()
        assert not any(one.waits for one in self.requests), "a waiter outlives the pool"
        for request in self.requests:
            if request.lease is not None:
                request.lease.release()
        assert not self.machine.running(), "an instance outlives the pool"
        assert not self.machine.loads, "a load outlives the pool"
        assert not self.pool._state.tasks, "a task outlives the pool"

    def _sweep_up(self) -> None:
        left = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        for task in left:
            task.cancel()
        with contextlib.suppress(Exception):
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        for task in (*(one.task for one in self.requests), *self.orders):
            if task.done() and not task.cancelled():
                task.exception()
        self.loop.close()


QUICK = settings(
    max_examples=150,
    stateful_step_count=35,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.requirement("POOL-1", "POOL-2", "POOL-3", "SWP-2")
@pytest.mark.no_cover
def test_whatever_happens_in_whatever_order_the_pool_keeps_its_promises():
    run_state_machine_as_test(PoolMachine, settings=QUICK)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.requirement("POOL-1", "POOL-2", "POOL-3", "SWP-2")
def test_whatever_happens_in_a_thousand_long_histories_the_pool_keeps_its_promises():
    run_state_machine_as_test(
        PoolMachine, settings=settings(QUICK, max_examples=1000, stateful_step_count=70, derandomize=False)
    )
