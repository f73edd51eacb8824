"""A plan of steps, each with a model assigned by Podium, which learns from how they went.

Needs one active model; uses the running server when there is one.
"""

from __future__ import annotations

import asyncio

from podium import Podium
from podium.client import find_server
from podium.integrations import PodiumAssigner, Step, run_plan

PLAN = (
    Step(name="facts", task="question-answering", prompt="What is 2+2?", params={"max_tokens": 16}),
    Step(name="joke", task="poetry", prompt="One line about numbers.", params={"max_tokens": 16}),
    Step(
        name="report",
        task="summarisation",
        prompt="Put together: {facts} And: {joke}",
        after=("facts", "joke"),
        agent="reporter",
        params={"max_tokens": 24},
    ),
)


async def main() -> None:
    async with Podium.connect() if find_server() else Podium.open() as podium:
        results = await run_plan(PLAN, podium, PodiumAssigner(podium))
        for name, result in results.items():
            assert result.answer is not None, result.error
            assert result.assignment is not None
            print(f"{name}: {result.assignment.ref} ({result.assignment.why}) -> {result.answer.text.strip()!r}")

        for execution in await podium.tracker.executions():
            cost = execution["cost"]
            print(f"{execution['agent']}: {execution['ref']}, {cost['wall_ms']:.1f} ms, {cost['output_tokens']} tokens")
        print("what the assigner learned from:", [row["ref"] for row in await podium.tracker.standings("reporter")])


asyncio.run(main())
