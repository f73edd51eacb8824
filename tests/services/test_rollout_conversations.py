"""Conversations that stay with the old version: they are answered, counted, and never hidden from whoever looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podium.domain.finding import Code
from podium.services.doctor import diagnose
from rollout_rig import Rig, open_rig


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.mark.requirement("SWP-4", "LRN-5")
async def test_one_long_conversation_that_keeps_the_candidate_hungry_is_told_by_the_report_and_the_doctor(rig: Rig):
    await rig.ask(2, session="s")
    rollout = await rig.on_canary()
    assert set(await rig.ask(25, session="s")) == {"m@1"}
    report = await rig.rollouts.report(rollout.id)
    assert (report.requests, report.stayed) == (25, 25)
    (found,) = [one for one in diagnose(rig.gateway.services).findings if one.code is Code.ROLLOUT_STARVED]
    assert "25 of 25 requests stayed with m@1" in found.says
    await rig.ask(30)
    later = await rig.rollouts.report(rollout.id)
    assert (later.requests, later.stayed) == (55, 25), "requests that were drawn are not counted as kept"
    assert all(one.code is not Code.ROLLOUT_STARVED for one in diagnose(rig.gateway.services).findings)
