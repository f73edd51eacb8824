"""What callers are told who cannot have a place: at once where waiting is hopeless, or while they stand in line."""

from __future__ import annotations

import asyncio

from podium.core.waiting import retry_after_s
from podium.errors import LoadFailed, Overloaded, PodiumError, ProviderUnreachable
from podium.services.pool.lease import Lease
from podium.services.pool.slot import CRASHES_TOLERATED, Slot, Waiter

SHUTTING_DOWN = "the gateway is shutting down"


def hopeless(slot: Slot, now: float, *, closing: bool, queue_limit: int) -> PodiumError | None:
    """Why nobody should begin to wait for this version now; ``None`` when it is worth it."""
    if closing:
        return Overloaded(SHUTTING_DOWN, retry_after_s=5)
    if len(slot.queue) >= queue_limit:
        wait = retry_after_s(slot.expected_wait_s(now))
        return Overloaded(
            f"{len(slot.queue)} requests already wait for {slot.ref}", code="queue_full", retry_after_s=wait
        )
    left = slot.retry_at - now
    if left > 0 and not slot.live() and (slot.failures or slot.crashes > CRASHES_TOLERATED):
        return LoadFailed(slot.error or f"{slot.ref} could not be started", retry_after_s=left)
    if slot.live() == len(slot.ready):
        return failing(slot, now)
    return None


def failing(slot: Slot, now: float) -> ProviderUnreachable | None:
    """The error of a version none of whose ready copies may be tried now, else ``None``."""
    if not slot.ready or any(copy.admissible(now) for copy in slot.ready):
        return None
    wait = min(copy.retry_in_s(now) for copy in slot.ready)
    return ProviderUnreachable(
        f"{slot.ref} failed too often; it is tried again in {wait:.1f} s",
        code="circuit_open",
        status=503,
        retry_after_s=max(wait, 0.1),
    )


def dismiss(slot: Slot, error: PodiumError) -> None:
    """Tell everybody in line."""
    for waiter in slot.waiters():
        tell(slot, waiter, error)


def tell(slot: Slot, waiter: Waiter, error: PodiumError) -> None:
    """Take one out of the line, with the reason."""
    slot.queue.discard(waiter)
    if not waiter.future.done():
        waiter.future.set_exception(error)
        waiter.future.add_done_callback(_heard)


def _heard(future: asyncio.Future[Lease]) -> None:
    """An error told to somebody who has just left is no error of ours."""
    if not future.cancelled():
        future.exception()
