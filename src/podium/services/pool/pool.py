"""The face of the warm pool: leases, orders and views. The one owner of instance state.

Nobody reads a state to decide; they ask for a lease and get it, wait, or are told why not. Loads are single flight,
``loading`` and ``draining`` instances are never evicted, a waiter that left holds nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from podium.core import balancing
from podium.domain.directive import Directive
from podium.domain.instance import InstanceState, InstanceView, ProcessUsage, QueueView
from podium.domain.model import ModelVersion
from podium.domain.request import Ticket
from podium.errors import Overloaded, PodiumError, ProviderTimeout
from podium.ports import Clock, Provider
from podium.services.pool import refusing, unloading, verdict, views
from podium.services.pool.copy import Copy
from podium.services.pool.health import Monitor
from podium.services.pool.lease import Lease
from podium.services.pool.limits import PoolLimits
from podium.services.pool.loading import Loader
from podium.services.pool.placing import Placer
from podium.services.pool.scaling import Autoscaler
from podium.services.pool.slot import Slot, Waiter
from podium.services.pool.state import State

_ANYONE = Ticket()
_LAST_LOOKS, _LOOK_AGAIN_S = 50, 0.005


class Pool:
    """Ensures that a version has a ready instance and hands out leases on it."""

    def __init__(
        self,
        providers: Callable[[str], Provider],
        clock: Clock,
        limits: PoolLimits,
        emit: Callable[..., None],
        *,
        free_bytes: Callable[[str], int | None] = lambda device: None,
        measured: Callable[[str], int | None] = lambda ref: None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._state = State(providers, clock, limits, emit, free_bytes, measured)
        self._slots = self._state.slots
        self._loader = Loader(self._state, ready=self._on_ready, failed=refusing.dismiss, changed=self._replan)
        self._placer = Placer(self._state, self._loader, self._refuse)
        self._monitor = Monitor(self._state, crashed=self._loader.crashed, changed=self._grant, failing=self._give_up)
        self._scaler = Autoscaler(self._state, self._loader, self._replan)

    # ------------------------------------------------------------ leases

    def lease_now(self, version: ModelVersion, affinity: int | None = None) -> Lease | None:
        """A lease if one is free this instant, without waiting and without a task switch."""
        slot = self._slots.get(version.ref)
        if slot is None or len(slot.queue) or self._state.closing:
            return None
        now = self._clock.monotonic()
        ready = slot.ready
        copy = ready[0] if len(ready) == 1 else self._pick(slot, affinity, now)
        if copy is None or copy.active >= copy.places or copy.instance is None:
            return None
        if not copy.instance.alive():
            self._loader.crashed(copy, f"the process of {slot.ref} ended on its own")
            return None
        if copy.troubled and not copy.admit(now):
            return None
        copy.active += 1
        return Lease(self, copy, copy.instance, now)

    async def lease(self, version: ModelVersion, timeout_s: float, ticket: Ticket = _ANYONE) -> Lease:
        """Wait for a place on a ready instance, loading one if needed.

        Raises ``Overloaded`` (queue full, no memory in time), ``LoadFailed`` (it could not be started),
        ``ProviderUnreachable`` (it failed too often to be tried now) or ``ProviderTimeout`` (the deadline passed).
        """
        ready = self.lease_now(version, ticket.affinity)
        if ready is not None:
            return ready
        slot = self._state.slot(version)
        now = self._clock.monotonic()
        refusal = refusing.hopeless(slot, now, closing=self._state.closing, queue_limit=self._state.limits.queue_limit)
        if refusal is not None:
            raise refusal
        waiter = Waiter(asyncio.get_running_loop().create_future(), ticket)
        first = slot.queue.best_priority()
        slot.queue.push(waiter, caller=ticket.caller, task=ticket.task, priority=ticket.priority, now=now)
        slot.resting = False
        self._grant(slot)
        if not slot.live() and (first is None or ticket.priority < first):  # else those before it have asked already
            self._placer.replan()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.future
        except TimeoutError:
            self._abandon(slot, waiter)
            message = (
                f"no place on {version.ref} within {timeout_s:g} s; it waited for {views.waits_for(self._state, slot)}"
            )
            raise ProviderTimeout(f"{message}; try again later or allow more time", code="queue_timeout") from None
        except BaseException:
            self._abandon(slot, waiter)
            raise

    def copies(self, ref: str) -> int:
        """Ready copies of a version: with more than one it matters which request goes where."""
        slot = self._slots.get(ref)
        return len(slot.ready) if slot is not None else 0

    def outlook(self, ref: str) -> tuple[str, float | None]:
        """What somebody who waits for a version waits for, and for about how many seconds (``None``: unknown)."""
        slot = self._slots.get(ref)
        if slot is None:
            return "its start", None
        return views.waits_for(self._state, slot), slot.expected_wait_s(self._clock.monotonic())

    def give_back(self, lease: Lease) -> None:
        """Called by ``Lease.release`` alone."""
        copy, slot = lease.copy, lease.copy.slot
        now = self._clock.monotonic()
        if lease.ok:
            copy.last_sign = now
        if lease.ok and not copy.troubled and copy.limit is None and slot.endpoint is None:
            copy.breaker.succeeded(now, ticket=0)
        else:
            self._learn(lease, now)
        if copy.instance is not lease.instance:
            return
        copy.last_used = now
        copy.active -= 1
        copy.served += 1
        slot.rate.observe(now - lease.since)
        if copy.state is InstanceState.READY and len(slot.queue):
            if lease.instance.alive():
                self._grant(slot)
            else:
                self._loader.crashed(copy, f"the process of {slot.ref} ended on its own")
        if copy.active == 0:
            copy.idle.set()
            if self._placer.waiting:
                self._placer.replan()
            if slot.keep_alive_s == 0 and not slot.directive.pinned:
                self._expire(copy, now)

    def _learn(self, lease: Lease, now: float) -> None:
        copy, before = lease.copy, lease.copy.troubled
        verdict.judge(lease, now)
        copy.assess(now)
        if copy.troubled == before:
            return
        kind = "breaker.opened" if copy.troubled else "breaker.closed"
        self._state.emit(kind, copy.slot.ref, instance=copy.id, error=lease.error.code if lease.error else None)
        for slot in (copy.slot,) if copy.slot.endpoint is None else list(self._slots.values()):
            if slot.endpoint is copy.slot.endpoint:  # what shares a server shares its fate
                for each in slot.ready:
                    each.assess(now)
                self._give_up(slot)
                self._grant(slot)

    def _pick(self, slot: Slot, affinity: int | None, now: float) -> Copy | None:
        """The copy a request goes to; ``None`` when all are full or failing."""
        ready = slot.ready
        if len(ready) == 1:
            return ready[0] if ready[0].active < ready[0].places and ready[0].admissible(now) else None
        slot.turn += 1
        facts = [copy.balancing_facts(now) for copy in ready]
        index = balancing.pick(self._state.limits.balancing, facts, key=affinity, draw=self._draw(), turn=slot.turn)
        return ready[index] if index is not None else None

    def _grant(self, slot: Slot) -> None:
        """Give out what places there are to those in line."""
        now = self._clock.monotonic()
        while len(slot.queue):
            if not any(copy.active < copy.places and copy.admissible(now) for copy in slot.ready):
                return
            waiter = slot.queue.peek(now)
            if waiter is None:
                return
            if waiter.future.done():
                slot.queue.discard(waiter)
                continue
            copy = self._pick(slot, waiter.ticket.affinity, now)
            if copy is None or copy.instance is None or not copy.admit(now):
                return
            slot.queue.pop(now)  # not discard: taking a turn sends the caller to the end of the rotation
            copy.active += 1
            waiter.future.set_result(Lease(self, copy, copy.instance, now))

    def _abandon(self, slot: Slot, waiter: Waiter) -> None:
        """A waiter left: it must hold neither a queue entry nor a place granted in the very moment it left."""
        future = waiter.future
        if future.done() and not future.cancelled():
            if future.exception() is None:
                future.result().release()
            return
        future.cancel()  # already so when the waiting task itself was cancelled; it is in the queue all the same
        slot.queue.discard(waiter)

    # ------------------------------------------------------------ refusals

    def _give_up(self, slot: Slot) -> None:
        """Those in line are told at once when nothing they wait for can be used."""
        if len(slot.queue):
            error = refusing.failing(slot, self._clock.monotonic())
            if error is not None:
                refusing.dismiss(slot, error)

    def _refuse(self, slot: Slot, error: PodiumError) -> None:
        slot.wish = False
        slot.scaled = min(slot.scaled, slot.live())
        slot.error = error.message
        if not slot.live():
            refusing.dismiss(slot, error)

    def _on_ready(self, slot: Slot) -> None:
        self._grant(slot)
        self._scaler.shrink(slot)  # orders may have changed while it loaded
        self._placer.replan()

    def _replan(self) -> None:
        if not self._state.closing:
            self._placer.replan()

    # ------------------------------------------------------------ upkeep

    async def lost(self, lease: Lease, *, closed: bool) -> bool:
        """A request failed: is the instance behind it gone? ``closed``: because its connection was closed, which a
        process that ends does some moments before it counts as ended.
        """
        copy, instance = lease.copy, lease.instance
        looks = _LAST_LOOKS if closed and instance.pid is not None else 1
        for look in range(looks):
            if copy.instance is not instance or not instance.alive():
                break
            if look == looks - 1:
                return False
            await asyncio.sleep(_LOOK_AGAIN_S)
        if copy.instance is instance and not self._state.closing:
            self._loader.crashed(copy, f"the process of {copy.slot.ref} ended on its own")
        return True

    def sweep(self) -> None:
        """Called several times a second: health, idle time-outs, number of copies."""
        if self._state.closing:
            return
        now = self._clock.monotonic()
        self._monitor.tick(now)
        for copy in list(self._state.copies()):
            if copy.troubled:
                copy.assess(now)
                self._grant(copy.slot)
            self._expire(copy, now)
        self._scaler.tick(now)
        self._placer.relieve(now)
        if self._placer.waiting or self._placer.hoping or any(slot.stands_still() for slot in self._slots.values()):
            self._placer.replan()

    def _expire(self, copy: Copy, now: float) -> None:
        """Unload what nobody used for as long as it should be kept."""
        ttl = copy.slot.idle_ttl_s
        if ttl is None or copy.state is not InstanceState.READY or copy.active or len(copy.slot.queue):
            return
        if now - copy.last_used >= ttl and copy.slot.live() > copy.slot.directive.min_copies:
            self._loader.drain(copy, "idle")
            copy.slot.scaled = min(copy.slot.scaled, copy.slot.live())

    async def close(self) -> None:
        """Refuse new work, stop every instance, wait until their processes are gone."""
        self._state.closing = True
        self._placer.stop()
        for copy in self._state.copies():
            copy.ended = refusing.SHUTTING_DOWN
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        mine = (copy.instance for copy in self._state.copies() if copy.instance is not None)
        running = {id(instance): instance for instance in (*mine, *self._state.dying)}
        for slot in self._slots.values():
            refusing.dismiss(slot, Overloaded(refusing.SHUTTING_DOWN, retry_after_s=5))
            slot.copies.clear()
            slot.sort_out()
        await asyncio.gather(*(instance.unload() for instance in running.values()), return_exceptions=True)

    # ------------------------------------------------------------ orders

    @property
    def limits(self) -> PoolLimits:
        """The limits in force."""
        return self._state.limits

    @limits.setter
    def limits(self, new: PoolLimits) -> None:
        self._state.limits = new
        for slot in self._slots.values():
            slot.limits = new
            slot.scaler.rules = slot.scale_rules()
            for copy in slot.copies:
                copy.breaker.rules = new.breaker
        for endpoint in self._state.endpoints.values():
            endpoint.breaker.rules = new.breaker
        self._replan()

    def direct(self, version: ModelVersion, directive: Directive) -> None:
        """Put standing orders for a version in force."""
        slot = self._state.slot(version)
        slot.directive = directive
        slot.resting = False
        slot.scaler.rules = slot.scale_rules()
        slot.scaled = min(slot.scaled, slot.scaler.rules.max_copies)
        if directive.preload and not slot.live():
            slot.wish = True
        self._scaler.shrink(slot)
        self._replan()

    def directive(self, ref: str) -> Directive:
        """The standing orders for a version."""
        slot = self._slots.get(ref)
        return slot.directive if slot is not None else Directive()

    def pin(self, version: ModelVersion, *, pinned: bool) -> None:
        """A pinned instance is never evicted and has no idle time-out."""
        self.direct(version, replace(self.directive(version.ref), pinned=pinned))

    async def warm(self, version: ModelVersion, timeout_s: float, *, gives_way: bool = False) -> float:
        """Load, check health, and do one real forward pass unless this instance has done one already.

        Returns the seconds this took (0.0 when it was warm). A version that says it takes longer to start is waited
        for longer than ``timeout_s``. ``gives_way``: an order to unload calls it off, as it does with no swap.
        """
        started = self._clock.monotonic()
        slot = self._slots.get(version.ref)
        if slot is not None:
            for copy in list(slot.ready):
                if copy.instance is not None and not copy.instance.alive():
                    self._loader.crashed(copy, f"the process of {slot.ref} ended on its own")
            if any(copy.warmed for copy in slot.ready):
                return 0.0
            slot.retry_at = 0.0  # an order overrides the pause after a failed load
        longest = max(timeout_s, self._state.load_limit(version))
        lease = await self.lease(version, longest, unloading.ORDER if gives_way else _ANYONE)
        try:
            async with asyncio.timeout(timeout_s):
                await lease.instance.health()
                await lease.instance.warm_up()
            lease.copy.warmed = True
            lease.succeeded()
        except TimeoutError:
            raise ProviderTimeout(f"{version.ref} did not generate within {timeout_s:g} s") from None
        finally:
            lease.release()
        return self._clock.monotonic() - started

    async def unload(self, ref: str, *, reason: str = "ordered") -> bool:
        """Drain and stop all copies; requests in flight and in line finish first, a load for nobody is called off. False
        when it was not loaded.
        """
        slot = self._slots.get(ref)
        if slot is None:
            return False
        return await unloading.unload(slot, self._loader, reason)

    def forget(self, ref: str) -> None:
        """Drop the slot of a version that is gone, if it is not loaded."""
        slot = self._slots.get(ref)
        if slot is not None and not slot.copies and not len(slot.queue):
            del self._slots[ref]

    # ------------------------------------------------------------ views

    def load_seconds(self, ref: str) -> float | None:
        """How long the last load of a version took."""
        slot = self._slots.get(ref)
        return slot.load_s if slot is not None else None

    def usage(self, ref: str) -> ProcessUsage | None:
        """Counters of a version's first instance; ``None`` when it is not running or not ours."""
        slot = self._slots.get(ref)
        if slot is None or not slot.copies or slot.copies[0].instance is None:
            return None
        return slot.copies[0].instance.usage()

    def views(self) -> tuple[InstanceView, ...]:
        """All instances, for people to look at; never to decide by."""
        return views.instances(self._state)

    def queues(self) -> tuple[QueueView, ...]:
        """Who waits for what."""
        return views.queues(self._state)
