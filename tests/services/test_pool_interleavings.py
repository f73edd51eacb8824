"""Every interleaving of a small pool: what must never happen does not, and everybody is served or told."""

from __future__ import annotations

import pytest

from interleavings import explore

ONE_AT_A_TIME = {"sizes": {"a@1": 60, "b@1": 60}, "budget_mb": 100, "requests": 3}
THREE_FOR_TWO = {"sizes": {"a@1": 50, "b@1": 50, "c@1": 50}, "budget_mb": 100, "requests": 3}


@pytest.mark.requirement("POOL-1", "POOL-2", "SWP-2")
@pytest.mark.no_cover
async def test_two_models_that_do_not_fit_together_in_every_order():
    found = await explore(ONE_AT_A_TIME, depth=5)
    assert found.states > 300, found


@pytest.mark.slow
@pytest.mark.requirement("POOL-1", "POOL-2")
async def test_three_models_on_room_for_two_in_every_order():
    found = await explore({**THREE_FOR_TWO, "crashes": 0, "orders": 0}, depth=5)
    assert found.states > 200, found


@pytest.mark.slow
@pytest.mark.requirement("POOL-1", "POOL-2", "SWP-2")
@pytest.mark.parametrize("settings", [ONE_AT_A_TIME, THREE_FOR_TWO], ids=["two for one", "three for two"])
async def test_every_order_of_eight_steps(settings):
    found = await explore(settings, depth=8, most=60_000)
    assert found.deepest >= 7, found
