"""What telemetry costs a request: switched off, with a caller's trace to hand on, and switched on.

Each way answers the same chat by a scripted model, from the bytes of the request to the bytes of the answer, in this
process; CPU time, in rounds that take turns, each held against ``bare`` of the same round. ``bare`` leaves even the question out whether telemetry is on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from podium.config import Config
from podium.domain.model import Source
from podium.runtime import Gateway
from podium.server.exchange import Exchange
from podium.services.onboarding import Registration
from podium.services.tracing import Tracing
from podium.telemetry import exporting
from podium.telemetry.service import Telemetry

BODY = json.dumps({"model": "m@1", "messages": [{"role": "user", "content": "Say hello"}]}).encode()
CALLER = {b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Nowhere:
    """A client that throws away what it gets."""

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...
    def get_extra_info(self, _: str) -> None: ...


async def main(rounds: int, requests: int) -> None:
    for signal in exporting.SIGNALS:
        os.environ[f"OTEL_{signal}_EXPORTER"] = "none"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "m.json"
        script.write_text(json.dumps({"text": "fine"}))
        async with Gateway.open(Config(home=Path(folder) / "home")) as gateway:
            source = Source(provider="scripted", location=str(script), settings=MappingProxyType({}))
            await gateway.services.onboarding.add(
                Registration(name="m", version="1", source=source, activate=True), "bench"
            )
            await measure(gateway, rounds, requests)


async def measure(gateway: Gateway, rounds: int, requests: int) -> None:
    services = gateway.services
    inner = services.gateway
    providers = exporting.providers(os.environ, "bench", offline=True)
    telemetry = Telemetry(providers, services.registry.get)
    on = Tracing(services.clock, telemetry.sample, telemetry.keep)
    plain = type(inner).handle

    async def bare(self: Any, head: Any, criteria: Any, out: Any) -> None:
        self.idleness.entered()
        try:
            await self._serve(head, criteria, out)
        finally:
            self.idleness.left()

    async def ask(headers: dict[bytes, bytes]) -> None:
        for _ in range(requests):
            exchange = Exchange(
                Nowhere(), method="POST", path="/v1/chat/completions", query=b"", headers=dict(headers), body=BODY
            )  # type: ignore[arg-type] # Nowhere stands for a connection
            await gateway._data_plane.handle(exchange)  # noqa: SLF001 - the way in
            assert exchange.status == 200

    ways: dict[str, tuple[Callable[..., Awaitable[None]], Tracing | None, dict[bytes, bytes]]] = {
        "bare": (bare, None, {}),
        "off": (plain, None, {}),
        "off, a trace handed on": (plain, None, CALLER),
        "on": (plain, on, {}),
        "on, part of a trace": (plain, on, CALLER),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    made: list[float] = []
    for _ in range(rounds):
        for name, (handle, tracing, headers) in ways.items():
            type(inner).handle = handle  # type: ignore[method-assign,assignment] # each way in turn
            inner.tracing = tracing
            began = time.process_time()
            await ask(headers)
            taken[name].append((time.process_time() - began) / requests * 1e6)
            await services.recorder.flush()
            if tracing is not None:
                began = time.process_time()
                waiting = len(telemetry._waiting)  # noqa: SLF001 - what the background would do
                telemetry._some(waiting)  # noqa: SLF001 - the same
                made.append((time.process_time() - began) / waiting * 1e6)
    type(inner).handle = plain  # type: ignore[method-assign] # as it was
    inner.tracing = None
    print(
        f"{rounds} rounds of {requests} requests; CPU a request; more than bare, in the same round: median, quartiles"
    )
    for name, values in taken.items():
        low, middle, high = statistics.quantiles([one - base for one, base in zip(values, taken["bare"], strict=True)])
        print(f"  {name:<24} {min(values):7.1f} µs at least  {middle:+6.1f}  ({low:+.1f} to {high:+.1f})")
    print(f"  behind the request, spans and metrics: {statistics.median(made):.1f} µs")
    await telemetry.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=400)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds, arguments.requests))
