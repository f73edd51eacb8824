"""A lease costs the same however many others there are: counted in calls, not in time."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from fakes import MB, FakeClock, FakeProvider, version
from podium.services.pool import Pool, PoolLimits

A = version("a@1")


def calls(work: Callable[[], object]) -> int:
    """Python and C functions called by ``work``."""
    count = 0

    def count_one(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(count_one)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.requirement("POOL-8")
async def test_taking_and_giving_back_a_place_costs_the_same_beside_a_thousand_others():
    pool = Pool(
        lambda name: FakeProvider(concurrency=2000),
        FakeClock(),
        PoolLimits(memory_bytes=1000 * MB),
        lambda *a, **b: None,
    )
    (await pool.lease(A, 5)).release()

    def once() -> None:
        lease = pool.lease_now(A)
        assert lease is not None
        lease.succeeded(0.1)
        lease.release()

    alone = calls(once)
    others = [pool.lease_now(A) for _ in range(1000)]
    assert None not in others
    for number in range(200):  # other versions in the pool do not matter either
        pool.pin(version(f"other-{number}@1"), pinned=False)
    assert calls(once) <= alone < 60
    await pool.close()
