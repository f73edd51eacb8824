"""What the end of a request says about the instance that served it and about the server behind that."""

from __future__ import annotations

from podium.core.breaker import Breaker
from podium.errors import Overloaded, PodiumError, ProviderUnreachable
from podium.services.pool.lease import Lease


def judge(lease: Lease, now: float) -> None:
    """Tell breakers and concurrency limit. A client that left says nothing; it only frees the place of a probe."""
    slot, error = lease.copy.slot, lease.error
    if isinstance(error, Overloaded):  # busy is not broken
        lease.copy.breaker.abandoned(now, ticket=lease.ticket)
    else:
        _report(lease.copy.breaker, lease.ok, error, lease.ticket, now)
    if slot.endpoint is not None:
        there = lease.ok or (error is not None and not isinstance(error, ProviderUnreachable))
        _report(slot.endpoint.breaker, there, None if there else error, lease.endpoint_ticket, now)
    _limit(lease, now)


def _report(breaker: Breaker, good: bool, error: PodiumError | None, ticket: int, now: float) -> None:
    if good:
        breaker.succeeded(now, ticket=ticket)
    elif error is not None:
        breaker.failed(now, ticket=ticket)
    else:
        breaker.abandoned(now, ticket=ticket)


def _limit(lease: Lease, now: float) -> None:
    copy, error = lease.copy, lease.error
    if copy.limit is None:
        return
    if lease.ok:
        copy.limit.finished(lease.token, in_flight=copy.active, latency_s=lease.first_byte_s, now=now)
    elif isinstance(error, Overloaded) or (error is not None and error.code == "provider_timeout"):
        copy.limit.overloaded(lease.token, now=now)
    copy.places = copy.limit.limit
