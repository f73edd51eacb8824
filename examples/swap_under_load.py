"""Replace the version that serves a task while requests stream. Needs two active versions."""

from __future__ import annotations

import asyncio
from collections import Counter

from podium import Podium

TASK = "counting"
STREAMS = 4


async def ask(podium: Podium, served: Counter[str]) -> None:
    async with podium.stream("Count from one to ten.", task=TASK, max_tokens=24) as stream:
        pieces = [piece async for piece in stream]
    assert pieces, "a stream came back empty"
    served[stream.version] += 1


async def main() -> None:
    async with Podium.open() as podium:
        first, second = [model["ref"] for model in await podium.models(status="active", sort="created_at")][:2]
        await podium.set_task(TASK)
        assert (await podium.swap(TASK, first))["ok"]

        served: Counter[str] = Counter()
        running = [asyncio.create_task(ask(podium, served)) for _ in range(STREAMS)]
        record = await podium.swap(TASK, second)
        await asyncio.gather(*running)
        await ask(podium, served)

        print(f"{record['before']} -> {record['after']} in {record['swap_ms']:.1f} ms; served: {dict(served)}")
        assert record["ok"], record["error"]
        back = await podium.rollback(TASK, reason="only an example")
        print(f"rolled back to {back['after']}")


asyncio.run(main())
