"""Starts and stops instances: one load, one drain, and the proof that the memory came back.

Carries out what ``placing`` planned; decides nothing but what follows from a success or a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from podium.domain.instance import InstanceState
from podium.errors import LoadFailed, PodiumError
from podium.ports import RAM, Instance, OnDevices
from podium.services.pool.copy import Copy
from podium.services.pool.limits import MB
from podium.services.pool.slot import CRASHES_TOLERATED, Slot
from podium.services.pool.state import State

_LOOK_AGAIN_S = 0.02
_SETTLED_S = 0.3
"""Main memory comes back before a process is gone: what is free and has not grown for so long will not grow. The rest
went to others, and the planner looks at what is really free anyway.
"""
_CAME_BACK = 0.8
"""Share of what an instance held that has to be free again; the rest may be others' doing."""


class Loader:
    """``ready(slot)`` is called after a load, ``failed(slot, error)`` after one that failed, ``changed()`` whenever
    memory may have come free.
    """

    def __init__(
        self,
        state: State,
        *,
        ready: Callable[[Slot], None],
        failed: Callable[[Slot, PodiumError], None],
        changed: Callable[[], None],
    ) -> None:
        self._state = state
        self._ready = ready
        self._failed = failed
        self._changed = changed

    # ------------------------------------------------------------ load

    def start(self, slot: Slot, device: str, evicted: tuple[str, ...]) -> None:
        """Begin to load one more copy; its memory is taken at once."""
        if not slot.live():
            slot.keep_alive_s = None
        copy = self._state.new_copy(slot, device)
        copy.evicted = evicted
        slot.blocked = None
        self._state.emit("instance.loading", slot.ref, instance=copy.id, device=device)
        copy.loading = self._state.spawn(self._load(copy))

    async def _load(self, copy: Copy) -> None:
        slot, state = copy.slot, self._state
        limit = state.limits.load_timeout_s
        try:
            limit = state.load_limit(slot.version)
            async with asyncio.timeout(limit):
                instance = await self._provide(copy)
        except asyncio.CancelledError:
            self._gone(copy, InstanceState.STOPPED)
            raise
        except TimeoutError:
            self._load_failed(copy, LoadFailed(f"{slot.ref} was not ready within {limit:g} s"))
        except PodiumError as error:
            self._load_failed(copy, error)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the waiters must hear of it
            self._load_failed(copy, LoadFailed(f"{slot.ref}: {type(error).__name__}: {error}"))
        else:
            now = state.clock.monotonic()
            slot.load_s = now - copy.load_started
            slot.error = None
            slot.failures = 0
            slot.wish = False
            copy.became_ready(instance, now, state.clock.now())
            slot.places = copy.places
            copy.assess(now)
            slot.sort_out()
            copy.settled.set()
            state.emit("instance.ready", slot.ref, instance=copy.id, load_s=round(slot.load_s, 4))
            self._ready(slot)

    async def _provide(self, copy: Copy) -> Instance:
        version = copy.slot.version
        provider = self._state.provider(copy.slot)
        if copy.device == RAM:
            return await provider.load(version, copy.id)
        if not isinstance(provider, OnDevices):
            raise LoadFailed(f"{version.ref}: the provider {provider.name} cannot load on {copy.device}")
        return await provider.load(version, copy.id, device=copy.device)

    def _load_failed(self, copy: Copy, error: PodiumError) -> None:
        slot, limits = copy.slot, self._state.limits
        slot.failures += 1
        slot.error = error.message
        slot.wish = False
        pause = min(limits.backoff_s * 2 ** (slot.failures - 1), limits.backoff_max_s)
        if isinstance(error, LoadFailed):
            slot.retry_at = self._state.clock.monotonic() + pause
            error.retry_after_s = error.retry_after_s or pause
        else:
            slot.retry_at = 0.0
        self._gone(copy, InstanceState.FAILED)
        self._state.emit("instance.failed", slot.ref, instance=copy.id, error=error.message[:300])
        self._restore(copy)
        if not slot.live():
            self._failed(slot, error)
        self._changed()

    async def cancel(self, copy: Copy, reason: str) -> bool:
        """Call off a load that nobody waits for; returns when what it began is gone. False when it had ended before."""
        if copy.loading is None or not copy.loading.cancel():
            return False
        await asyncio.wait({copy.loading})
        if copy.state is not InstanceState.STOPPED:
            return False
        self._state.emit("instance.stopped", copy.slot.ref, instance=copy.id, reason=reason)
        self._restore(copy)
        self._changed()
        return True

    def _restore(self, copy: Copy) -> None:
        """What had to go for nothing comes back, if there is still room for it."""
        for ref in copy.evicted:
            other = self._state.slots.get(ref)
            if other is not None and not other.live() and not other.resting:
                other.wish = True

    def _gone(self, copy: Copy, state: InstanceState) -> None:
        copy.state = state
        copy.instance = None
        if copy in copy.slot.copies:
            copy.slot.copies.remove(copy)
        copy.slot.sort_out()
        copy.settled.set()
        copy.idle.set()

    # ------------------------------------------------------------ drain

    def drain(self, copy: Copy, reason: str) -> asyncio.Task[object]:
        """Give out no more leases, let the present ones end, stop. Only a ready copy can be drained."""
        assert copy.state is InstanceState.READY, copy.state
        copy.state = InstanceState.DRAINING
        copy.slot.sort_out()
        if not copy.slot.live():
            copy.slot.scaled = 0  # further copies come back with the demand for them
        self._state.emit("instance.draining", copy.slot.ref, instance=copy.id, reason=reason)
        copy.drained = self._state.spawn(self._drain(copy, reason))
        return copy.drained

    async def _drain(self, copy: Copy, reason: str) -> None:
        instance, state = copy.instance, self._state
        assert instance is not None
        if copy.active:
            copy.idle.clear()
            longest = state.limits.drain_timeout_s
            try:
                async with asyncio.timeout(longest):
                    await copy.idle.wait()
            except TimeoutError:
                copy.ended = f"{copy.slot.ref} was stopped; requests under way got {longest:g} s to end"
        if copy.instance is not instance:
            return  # it crashed meanwhile: whoever noticed has cleared it away
        copy.stopping = True
        held, before, began = self._held(copy), state.free_bytes(copy.device), state.clock.monotonic()
        try:
            await instance.unload()
            if held and before is not None:
                await self._verify(copy, before + int(held * _CAME_BACK), began)
        except asyncio.CancelledError:
            raise  # the pool closes: it stops what is still in the list, this one too
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; nobody may wait for this memory for ever
            state.emit("instance.failed", copy.slot.ref, instance=copy.id, error=f"unloading failed: {error}"[:300])
        self._gone(copy, InstanceState.STOPPED)
        state.emit("instance.stopped", copy.slot.ref, instance=copy.id, reason=reason)
        self._changed()

    def _held(self, copy: Copy) -> int:
        """Bytes that must come back: what is nobody else's. Pages of mapped files may rightly stay cached."""
        usage = copy.instance.usage() if copy.instance is not None else None
        if usage is None:
            return 0
        return usage.private_bytes if copy.device == RAM else usage.gpu_memory_bytes or 0

    async def _verify(self, copy: Copy, expected: int, began: float) -> None:
        """Wait until the operating system has the memory again; say so if it does not come back."""
        state = self._state
        now = asyncio.get_running_loop().time
        deadline = now() + state.limits.verify_s
        most, grown_at = 0, now()
        while True:
            free = state.free_bytes(copy.device)
            if free is None:
                return
            missing = expected - self._taken(copy, began) - free
            if missing <= 0:
                return
            if free > most + MB:
                most, grown_at = free, now()
            if now() >= deadline or state.closing or (copy.device == RAM and now() - grown_at >= _SETTLED_S):
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        state.emit("memory.missing", copy.slot.ref, instance=copy.id, device=copy.device, missing_mb=missing // MB)

    def _taken(self, copy: Copy, since: float) -> int:
        """Bytes that other instances may have taken on its device meanwhile: they do not come back to the system."""
        return sum(
            other.reserved_bytes
            for other in self._state.copies()
            if other is not copy
            and other.device == copy.device
            and (other.state is InstanceState.LOADING or other.ready_at >= since)
        )

    # ------------------------------------------------------------ crash

    def crashed(self, copy: Copy, why: str) -> None:
        """Its process is gone or has to go: forget it, and make sure that nothing of it is left."""
        if copy.state not in (InstanceState.READY, InstanceState.DRAINING) or copy.stopping:
            return
        slot, state = copy.slot, self._state
        now = state.clock.monotonic()
        dead = copy.instance
        busy = copy.active > 0 or len(slot.queue) > 0
        slot.crashes = slot.crashes + 1 if now - slot.crashed_at < 60.0 else 1
        slot.crashed_at = now
        limits = state.limits
        if slot.crashes > 1:
            slot.retry_at = now + min(limits.backoff_s * 2 ** (slot.crashes - 2), limits.backoff_max_s)
        slot.error = copy.ended = why
        if copy.state is InstanceState.READY and (busy or slot.directive.preload or slot.directive.pinned):
            slot.wish = True
        if dead is not None and dead.alive():
            copy.state, copy.stopping = InstanceState.DRAINING, True  # it hangs: its memory is free once it is killed
            slot.sort_out()
        else:
            copy.active = 0
            self._gone(copy, InstanceState.FAILED)
        state.emit("instance.crashed", slot.ref, instance=copy.id, error=why)
        if slot.crashes > CRASHES_TOLERATED and not slot.live():
            self._failed(slot, LoadFailed(why, retry_after_s=slot.retry_at - now))
        if dead is not None:
            state.dying.append(dead)
            state.spawn(self._bury(copy, dead))
        self._changed()

    async def _bury(self, copy: Copy, dead: Instance) -> None:
        with contextlib.suppress(Exception):  # it is given up already; whatever its provider says about that
            await dead.unload()
        self._state.dying.remove(dead)
        if copy.instance is dead:
            self._gone(copy, InstanceState.FAILED)
        self._changed()
