"""Carries out an order to unload a version: what is ready ends its requests first, what is loading for nobody is called off.

A load that requests or a swap wait for goes on until they are done; one that was only ordered (``podium load``, a validation,
a preload) ends at once, and whoever ordered it is told.
"""

from __future__ import annotations

import asyncio

from podium.domain.instance import InstanceState
from podium.domain.request import Ticket
from podium.errors import LoadFailed
from podium.services.pool import refusing
from podium.services.pool.loading import Loader
from podium.services.pool.slot import Slot

ORDER = Ticket()
"""The place in line of an order to load, which is no request."""


async def unload(slot: Slot, loader: Loader, reason: str) -> bool:
    """Returns when all copies are gone; false when there were none, and nobody waited for one."""
    slot.wish = False
    slot.scaled = 0
    slot.resting = True
    stopping, ended = [], _call_off(slot) if not slot.copies else False
    for copy in list(slot.copies):
        if copy.state is InstanceState.LOADING:
            if _requests(slot):
                await copy.settled.wait()
            else:
                _call_off(slot)
                ended = await loader.cancel(copy, reason) or ended
        if copy.state is InstanceState.READY:
            stopping.append(loader.drain(copy, reason))
        elif copy.state is InstanceState.DRAINING and copy.drained is not None:
            stopping.append(copy.drained)
    if stopping:
        await asyncio.wait(stopping)
    return bool(stopping) or ended


def _requests(slot: Slot) -> bool:
    return any(waiter.ticket is not ORDER for waiter in slot.waiters())


def _call_off(slot: Slot) -> bool:
    """Tell those who ordered a load that it will not come; whether there were any."""
    orders = [waiter for waiter in slot.waiters() if waiter.ticket is ORDER]
    for waiter in orders:
        refusing.tell(slot, waiter, LoadFailed(f"{slot.ref} was unloaded by order before it was ready"))
    return bool(orders)
