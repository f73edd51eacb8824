"""Looks after running instances: processes that ended, servers that answer no more, servers that came back.

Active probes generate nothing; what traffic shows counts as a sign of life. An own process that hangs is killed and
started again; a server that is not ours is left alone and gets no requests until it answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from podium.domain.instance import InstanceState
from podium.errors import PodiumError
from podium.ports import Instance
from podium.services.pool.copy import Copy
from podium.services.pool.slot import Slot
from podium.services.pool.state import State

_RUNS = (InstanceState.READY, InstanceState.DRAINING)


class Monitor:
    """``crashed(copy, why)`` ends a copy; ``changed(slot)`` is called when one may take requests again, and
    ``failing(slot)`` when one may not.
    """

    def __init__(
        self,
        state: State,
        *,
        crashed: Callable[[Copy, str], None],
        changed: Callable[[Slot], None],
        failing: Callable[[Slot], None],
    ) -> None:
        self._state = state
        self._crashed = crashed
        self._changed = changed
        self._failing = failing

    def tick(self, now: float) -> None:
        """Called several times a second."""
        limits = self._state.limits
        for copy in list(self._state.copies()):
            if copy.stopping or copy.state not in _RUNS or copy.instance is None:
                continue
            if not copy.instance.alive():
                self._crashed(copy, f"the process of {copy.slot.ref} ended on its own")
                continue
            quiet = now - max(copy.last_sign, copy.probe_at)
            if not copy.probing and quiet >= limits.health_interval_s:
                copy.probing = True
                copy.probe_at = now
                self._state.spawn(self._probe(copy, copy.instance))

    async def _probe(self, copy: Copy, instance: Instance) -> None:
        why: str | None = None
        try:
            async with asyncio.timeout(self._state.limits.health_timeout_s):
                await instance.health()
        except TimeoutError:
            why = f"no answer within {self._state.limits.health_timeout_s:g} s"
        except PodiumError as error:
            why = error.message
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the monitor must go on
            why = f"{type(error).__name__}: {error}"
        finally:
            copy.probing = False
        if copy.instance is not instance:
            return
        now = self._state.clock.monotonic()
        if why is None:
            self._healthy(copy, now)
        else:
            self._unhealthy(copy, why, now)

    def _healthy(self, copy: Copy, now: float) -> None:
        copy.probe_failures = 0
        copy.last_sign = now
        troubled = copy.troubled
        if copy.sick:
            copy.sick = False
            copy.assess(now)
            self._state.emit("instance.healthy", copy.slot.ref, instance=copy.id)
        if troubled:
            self._changed(copy.slot)

    def _unhealthy(self, copy: Copy, why: str, now: float) -> None:
        limits = self._state.limits
        copy.probe_failures += 1
        if copy.probe_failures < limits.health_failures:
            return
        if not copy.sick:
            # A server with one thread answers no probe while it generates: while it is busy that alone means nothing.
            if copy.active and now - copy.last_sign < limits.hang_timeout_s:
                return
            copy.sick = copy.troubled = True
            self._state.emit("instance.unhealthy", copy.slot.ref, instance=copy.id, error=why[:300])
        if copy.instance is not None and copy.instance.pid is not None:
            self._crashed(
                copy, f"{copy.slot.ref} was killed: its health check failed {copy.probe_failures} times ({why})"
            )
        else:
            self._failing(copy.slot)
