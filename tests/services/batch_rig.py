"""A real gateway with scripted models, for tests of batches and schedules."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from podium.domain.model import Source
from podium.domain.rollout import RolloutPlan
from podium.domain.schedule import PlannedSwap
from podium.runtime import Gateway
from podium.services.onboarding import Registration

TASKS = ("t1", "t2", "t3", "t4", "t5")
SLOW_RAMP = RolloutPlan(step_s=3600.0, validate=False)


async def add(gateway: Gateway, folder: Path, ref: str, *, ready: bool = True, **script: Any) -> None:
    path = folder / f"{ref}.json"
    path.write_text(json.dumps({"text": ref, **script}))
    name, _, version = ref.partition("@")
    source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
    order = Registration(name=name, version=version, source=source, activate=ready)
    _, _, problem = await gateway.services.onboarding.add(order, "test")
    assert problem is None


def to(ref: str, *tasks: str) -> tuple[PlannedSwap, ...]:
    return tuple(PlannedSwap(task=task, to=ref) for task in tasks or TASKS)


def bound(gateway: Gateway, *tasks: str) -> dict[str, str | None]:
    found = {task: gateway.services.swapper.binding(task) for task in tasks or TASKS}
    return {task: binding.ref if binding else None for task, binding in found.items()}


async def eventually(check: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, f"{what} within {within_s:g} s"
        await asyncio.sleep(0.01)
