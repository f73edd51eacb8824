"""The warm pool: the one owner of instance state.

Nobody reads a state to decide; they ask for a lease and get it, wait, or are told why not. Loads are single
flight, ``loading`` and ``draining`` instances are never evicted, a waiter that left holds nothing. What to
load or evict is decided by ``core/placement``; this module carries it out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from podium.core import placement
from podium.domain.instance import InstanceState, InstanceView, ProcessUsage
from podium.domain.model import ModelVersion
from podium.errors import LoadFailed, Overloaded, PodiumError, ProviderTimeout
from podium.ports import Clock, Instance, Provider
from podium.services.slot import Slot

MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """``memory_bytes`` is the budget for all local instances together; times are seconds."""

    memory_bytes: int
    queue_limit: int = 1000
    load_timeout_s: float = 300.0
    drain_timeout_s: float = 600.0
    idle_ttl_s: float | None = None
    backoff_s: float = 1.0
    backoff_max_s: float = 30.0


class Lease:
    """The right to send one request to an instance. Release exactly once; releasing again does nothing."""

    __slots__ = ("_pool", "_slot", "instance")

    def __init__(self, pool: Pool, slot: Slot, instance: Instance) -> None:
        self._pool: Pool | None = pool
        self._slot = slot
        self.instance = instance

    @property
    def instance_id(self) -> str:
        """Identifies the instance in the meter and in ``podium ps``."""
        return self._slot.instance_id

    def release(self) -> None:
        """Give the place back; the next waiter gets it at once."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool._release(self._slot, self.instance)  # noqa: SLF001 - a lease is the pool's own hand


class Pool:
    """Ensures that a version has a ready instance and hands out leases on it."""

    def __init__(
        self,
        providers: Callable[[str], Provider],
        clock: Clock,
        limits: PoolLimits,
        emit: Callable[..., None],
    ) -> None:
        self._providers = providers
        self._clock = clock
        self.limits = limits
        self._emit = emit
        self._slots: dict[str, Slot] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._room = asyncio.Event()
        self._making_room = asyncio.Lock()
        self._closing = False
        self._serial = 0

    # ------------------------------------------------------------ leases

    def lease_now(self, version: ModelVersion) -> Lease | None:
        """A lease if one is free this instant, without waiting and without a task switch."""
        slot = self._slots.get(version.ref)
        if slot is None or slot.state is not InstanceState.READY or slot.waiters:
            return None
        instance = slot.instance
        if instance is None or slot.active >= instance.concurrency:
            return None
        if not instance.alive():
            self._crashed(slot)
            return None
        slot.active += 1
        return Lease(self, slot, instance)

    async def lease(self, version: ModelVersion, timeout_s: float) -> Lease:
        """Wait for a place on a ready instance, loading one if needed.

        Raises ``Overloaded`` (queue full, no memory in time), ``LoadFailed`` (it could not be started) or
        ``ProviderTimeout`` (the deadline passed while waiting).
        """
        ready = self.lease_now(version)
        if ready is not None:
            return ready
        slot = self._slot(version)
        self._refuse_hopeless(slot)
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        slot.waiters.append(waiter)
        self._ensure_loading(slot)
        self._grant(slot)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except TimeoutError:
            self._abandon(slot, waiter)
            message = f"no place on {version.ref} within {timeout_s:g} s ({slot.state}, {slot.active} active)"
            raise ProviderTimeout(f"{message}; try again later or allow more time", code="queue_timeout") from None
        except BaseException:
            self._abandon(slot, waiter)
            raise

    def _refuse_hopeless(self, slot: Slot) -> None:
        if self._closing:
            raise Overloaded("the gateway is shutting down", retry_after_s=5)
        if len(slot.waiters) >= self.limits.queue_limit:
            wait = slot.expected_wait_s()
            raise Overloaded(f"{len(slot.waiters)} requests already wait for {slot.ref}", retry_after_s=wait)
        left = slot.retry_at - self._clock.monotonic()
        if slot.state is InstanceState.FAILED and left > 0:
            raise LoadFailed(slot.error or f"{slot.ref} could not be started", retry_after_s=left)

    def _abandon(self, slot: Slot, waiter: asyncio.Future[Lease]) -> None:
        """A waiter left: it must hold neither a queue entry nor a place granted in the very moment it left."""
        if waiter.done() and not waiter.cancelled():
            if waiter.exception() is None:
                waiter.result().release()
            return
        waiter.cancel()  # already so when the waiting task itself was cancelled; it is in the queue all the same
        with contextlib.suppress(ValueError):
            slot.waiters.remove(waiter)

    def _grant(self, slot: Slot) -> None:
        instance = slot.instance
        if slot.state is not InstanceState.READY or instance is None:
            return
        while slot.waiters and slot.active < instance.concurrency:
            waiter = slot.waiters.popleft()
            if waiter.done():
                continue
            slot.active += 1
            lease = Lease(self, slot, instance)
            waiter.set_result(lease)
            waiter.add_done_callback(_keep)

    def _release(self, slot: Slot, instance: Instance) -> None:
        slot.last_used = self._clock.monotonic()
        if slot.instance is not instance:
            return
        slot.active -= 1
        slot.served += 1
        if slot.state is InstanceState.READY and slot.waiters:
            if instance.alive():
                self._grant(slot)
            else:
                self._crashed(slot)
        if slot.active == 0:
            slot.idle.set()
            self._room.set()

    # ------------------------------------------------------------ loading

    def _slot(self, version: ModelVersion) -> Slot:
        slot = self._slots.get(version.ref)
        if slot is None:
            slot = self._slots[version.ref] = Slot(version)
        return slot

    def _ensure_loading(self, slot: Slot) -> None:
        if slot.state in (InstanceState.STOPPED, InstanceState.FAILED):
            slot.state = InstanceState.LOADING
            slot.load_started = self._clock.monotonic()
            self._spawn(self._load(slot))

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, slot: Slot) -> None:
        self._serial += 1
        slot.instance_id = f"{slot.ref}#{self._serial}"
        try:
            async with asyncio.timeout(self.limits.load_timeout_s):
                await self._make_room(slot)
                slot.load_started = started = self._clock.monotonic()
                self._emit("instance.loading", slot.ref, instance=slot.instance_id)
                provider = self._providers(slot.version.source.provider)
                slot.instance = await provider.load(slot.version, slot.instance_id)
        except asyncio.CancelledError:
            slot.state = InstanceState.STOPPED
            self._fail_waiters(slot, Overloaded("the gateway is shutting down", retry_after_s=5))
            raise
        except TimeoutError:
            self._load_failed(slot, LoadFailed(f"{slot.ref} was not ready within {self.limits.load_timeout_s:g} s"))
        except PodiumError as error:
            self._load_failed(slot, error)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the waiters must hear of it
            self._load_failed(slot, LoadFailed(f"{slot.ref}: {type(error).__name__}: {error}"))
        else:
            now = self._clock.monotonic()
            slot.load_s = now - started
            slot.loaded_at = self._clock.now()
            slot.last_used = now
            slot.error = None
            slot.failures = 0
            slot.active = 0
            slot.warmed = False
            slot.state = InstanceState.READY
            self._emit("instance.ready", slot.ref, instance=slot.instance_id, load_s=round(slot.load_s, 4))
            self._grant(slot)

    def _load_failed(self, slot: Slot, error: PodiumError) -> None:
        slot.failures += 1
        slot.error = error.message
        slot.state = InstanceState.FAILED
        slot.instance = None
        slot.holds_room = False
        pause = min(self.limits.backoff_s * 2 ** (slot.failures - 1), self.limits.backoff_max_s)
        slot.retry_at = self._clock.monotonic() + (pause if isinstance(error, LoadFailed) else 0.0)
        self._emit("instance.failed", slot.ref, error=error.message[:300])
        self._fail_waiters(slot, error)
        self._room.set()

    def _fail_waiters(self, slot: Slot, error: PodiumError) -> None:
        waiters, slot.waiters = slot.waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
                waiter.add_done_callback(_keep)

    async def _make_room(self, slot: Slot) -> None:
        """Evict until ``slot`` fits, as the plan says; waits while the plan says so. First come, first served."""
        async with self._making_room:
            await self._find_room(slot)
            slot.holds_room = True

    async def _find_room(self, slot: Slot) -> None:
        while True:
            steps = placement.plan(self._snapshot(slot), slot.ref)
            evictions = [step for step in steps if isinstance(step, placement.Evict)]
            refusal = next((step for step in steps if isinstance(step, placement.Refuse)), None)
            if refusal is not None:
                raise Overloaded(refusal.reason, code="model_does_not_fit", retry_after_s=60)
            for step in evictions:
                await self.unload(step.ref, reason=f"makes room for {slot.ref}")
            if any(isinstance(step, placement.Load) for step in steps):
                return
            if not evictions:
                self._room.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._room.wait()

    def _snapshot(self, wanted: Slot) -> placement.PoolSnapshot:
        now = self._clock.monotonic()
        return placement.PoolSnapshot(
            budget_bytes=self.limits.memory_bytes,
            instances=tuple(
                placement.InstanceFact(
                    ref=slot.ref,
                    state=slot.state,
                    footprint_bytes=self.footprint(slot),
                    active=slot.active,
                    waiting=len(slot.waiters),
                    idle_s=max(0.0, now - slot.last_used),
                    pinned=slot.pinned,
                    load_s=slot.load_s,
                )
                for slot in self._slots.values()
                if slot.holds_room or slot is wanted
            ),
        )

    def footprint(self, slot: Slot) -> int:
        """Bytes: the estimate before it runs, the larger of estimate and measurement afterwards."""
        estimate = self._providers(slot.version.source.provider).footprint(slot.version) or 0
        usage = slot.instance.usage() if slot.instance is not None else None
        return max(estimate, usage.memory_bytes) if usage is not None else estimate

    # ------------------------------------------------------------ failure, unload, shutdown

    def _crashed(self, slot: Slot) -> None:
        """Its process is gone: forget it, tell the log, and start another one if somebody waits."""
        dead, slot.instance = slot.instance, None
        slot.state = InstanceState.FAILED
        slot.active = 0
        slot.holds_room = False
        slot.failures += 1
        slot.retry_at = 0.0
        slot.error = f"the process of {slot.ref} ended on its own"
        slot.idle.set()
        self._emit("instance.crashed", slot.ref, instance=slot.instance_id)
        if dead is not None:
            self._spawn(dead.unload())
        if slot.waiters:
            self._ensure_loading(slot)

    def notice(self, instance_id: str) -> None:
        """A request met a dead connection: look whether the process behind it still lives."""
        for slot in self._slots.values():
            if slot.instance_id == instance_id and slot.instance is not None and not slot.instance.alive():
                self._crashed(slot)

    def sweep(self) -> None:
        """Called regularly: notices dead processes and unloads what has been idle for too long."""
        now = self._clock.monotonic()
        ttl = self.limits.idle_ttl_s
        for slot in self._slots.values():
            if slot.state is not InstanceState.READY or slot.instance is None:
                continue
            if not slot.instance.alive():
                self._crashed(slot)
            elif ttl is not None and not slot.pinned and not slot.active and now - slot.last_used > ttl:
                self._spawn(self.unload(slot.ref, reason="idle"))

    async def unload(self, ref: str, *, reason: str = "ordered") -> bool:
        """Drain and stop; requests in flight finish first. False when it was not loaded."""
        slot = self._slots.get(ref)
        if slot is None:
            return False
        if slot.state is InstanceState.LOADING:
            await self._settled(slot)
        if slot.state is not InstanceState.READY or slot.instance is None:
            return False
        slot.state = InstanceState.DRAINING
        self._emit("instance.draining", ref, instance=slot.instance_id, reason=reason)
        instance = slot.instance
        slot.idle.clear()
        if slot.active:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.drain_timeout_s):
                    await slot.idle.wait()
        try:
            await instance.unload()
        finally:
            if slot.instance is instance:
                slot.instance = None
                slot.active = 0
                slot.state = InstanceState.STOPPED
                slot.holds_room = False
            self._emit("instance.stopped", ref, instance=slot.instance_id, reason=reason)
            self._room.set()
            if slot.waiters and not self._closing:
                self._ensure_loading(slot)
        return True

    async def _settled(self, slot: Slot) -> None:
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        slot.waiters.append(waiter)
        try:
            (await waiter).release()
        except PodiumError:
            return
        except BaseException:
            self._abandon(slot, waiter)
            raise

    async def close(self) -> None:
        """Refuse new work, stop every instance, wait until their processes are gone."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        running = [slot for slot in self._slots.values() if slot.instance is not None]
        for slot in self._slots.values():
            self._fail_waiters(slot, Overloaded("the gateway is shutting down", retry_after_s=5))
            slot.state = InstanceState.STOPPED
        await asyncio.gather(*(s.instance.unload() for s in running if s.instance), return_exceptions=True)

    # ------------------------------------------------------------ orders and views

    async def warm(self, version: ModelVersion, timeout_s: float) -> float:
        """Load, check health, and do one real forward pass unless this instance has done one already.

        Returns the seconds this took (0.0 when it was warm).
        """
        started = self._clock.monotonic()
        slot = self._slots.get(version.ref)
        if slot is not None and slot.warmed and slot.state is InstanceState.READY and slot.instance is not None:
            if slot.instance.alive():
                return 0.0
            self._crashed(slot)
        if slot is not None and slot.state is InstanceState.FAILED:
            slot.retry_at = 0.0  # an order overrides the pause after a failed load
        lease = await self.lease(version, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await lease.instance.health()
                await lease.instance.warm_up()
            self._slots[version.ref].warmed = True
        except TimeoutError:
            raise ProviderTimeout(f"{version.ref} did not generate within {timeout_s:g} s") from None
        finally:
            lease.release()
        return self._clock.monotonic() - started

    def pin(self, version: ModelVersion, *, pinned: bool) -> None:
        """A pinned instance is never evicted and has no idle time-out."""
        self._slot(version).pinned = pinned

    def forget(self, ref: str) -> None:
        """Drop the slot of a version that is gone, if it is not loaded."""
        slot = self._slots.get(ref)
        if slot is not None and slot.instance is None and not slot.waiters:
            del self._slots[ref]

    def load_seconds(self, ref: str) -> float | None:
        """How long the last load of a version took."""
        slot = self._slots.get(ref)
        return slot.load_s if slot is not None else None

    def usage(self, ref: str) -> ProcessUsage | None:
        """Counters of a version's instance; ``None`` when it is not running or not ours."""
        slot = self._slots.get(ref)
        return slot.instance.usage() if slot is not None and slot.instance is not None else None

    def views(self) -> tuple[InstanceView, ...]:
        """All instances, for people to look at; never to decide by."""
        return tuple(slot.view(self._clock) for slot in self._slots.values())


def _keep(future: asyncio.Future[Lease]) -> None:
    """A result nobody took: give the place back. An exception nobody took: it was told to all waiters."""
    if not future.cancelled():
        future.exception()
