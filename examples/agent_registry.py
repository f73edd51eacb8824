"""Agents backed by models: a registry always shows which version backs each agent and how its work goes.

Needs two active versions; uses the running server when there is one. The registry here is a small HTTP server in this
program; any that takes the same three calls (PUT and DELETE /agents/NAME, GET /agents) does.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from podium import Podium
from podium.client import find_server
from podium.integrations import Agent, AgentCard, BackedAgents, HttpAgentRegistry

CARDS: dict[str, dict[str, object]] = {}


class Registry(BaseHTTPRequestHandler):
    """Somebody else's registry of agents."""

    def do_PUT(self) -> None:
        CARDS[self.path.rpartition("/")[2]] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer(204)

    def do_DELETE(self) -> None:
        self._answer(204 if CARDS.pop(self.path.rpartition("/")[2], None) else 404)

    def do_GET(self) -> None:
        self._answer(200, json.dumps(list(CARDS.values())).encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - the name the base class gives it
        """Say nothing."""


async def until(registry: HttpAgentRegistry, name: str, true: Callable[[AgentCard], bool]) -> AgentCard:
    async with asyncio.timeout(20):
        while True:
            cards = {card.name: card for card in await registry.cards()}
            if name in cards and true(cards[name]):
                return cards[name]
            await asyncio.sleep(0.05)


async def main(url: str) -> None:
    registry = HttpAgentRegistry(url)
    async with Podium.connect() if find_server() else Podium.open() as podium:
        agents = BackedAgents(podium, registry)
        await podium.set_task("summaries")
        card = await agents.add(Agent(name="editor", task="summaries", instructions="Answer in one sentence."))
        print(f"{card.name} is backed by {card.backed_by}: {card.why}")
        async with agents.kept_true():
            for _ in range(3):
                await agents.run(
                    "editor", "What is 2+2?", quality=lambda text: 1.0 if "4" in text else 0.0, max_tokens=16
                )
            seen = await until(registry, "editor", lambda found: found.executions >= card.executions + 3)
            print(f"{seen.executions} executions, success {seen.success_rate}, quality {seen.quality}")
            other = next(
                model["ref"] for model in await podium.models(status="active") if model["ref"] != card.backed_by
            )
            await podium.swap("summaries", other)
            seen = await until(registry, "editor", lambda found: found.backed_by == other)
            print(f"after the swap the registry says {seen.backed_by}")
        await agents.remove("editor")
        assert await registry.cards() == ()
    await registry.aclose()


server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
threading.Thread(target=server.serve_forever, daemon=True).start()
try:
    asyncio.run(main(f"http://127.0.0.1:{server.server_port}"))
finally:
    server.shutdown()
    server.server_close()
