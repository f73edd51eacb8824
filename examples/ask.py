"""Ask one question, see who answered and why. Needs one active model (`podium models add …`)."""

from __future__ import annotations

import asyncio

from podium import Criteria, Podium


async def main() -> None:
    async with Podium.open() as podium:
        result = await podium.execute(
            "What is 2+2? Answer with the number.",
            task="math",
            criteria=Criteria(max_latency_ms=60_000),
            max_tokens=16,
            temperature=0,
        )
        print(result.text.strip())
        print(f"{result.version} answered: {result.decision.reason}")
        for candidate in result.decision.candidates:
            print(f"  {candidate.ref}: score {candidate.score}, {candidate.dropped or 'eligible'}")
        await podium.feedback(result.request_id, 1.0 if "4" in result.text else 0.0)


asyncio.run(main())
