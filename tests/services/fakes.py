"""A provider whose every step the test controls; no time passes unless the test lets it."""

from __future__ import annotations

import asyncio
from types import MappingProxyType

from podium.domain.instance import ProcessUsage
from podium.domain.model import Facts, Lifecycle, ModelVersion, Source
from podium.errors import LoadFailed
from podium.ports import Characteristics

MB = 1024 * 1024


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class FakeInstance:
    def __init__(self, provider: FakeProvider, ref: str) -> None:
        self.provider = provider
        self.ref = self.model = ref
        self.concurrency = provider.concurrency
        self.pid = None
        self.dead = False
        self.unloaded = False
        self.warmed = 0

    async def send(self, call):
        raise AssertionError("not used here")

    async def health(self) -> None:
        return None

    async def warm_up(self) -> None:
        self.warmed += 1

    async def unload(self) -> None:
        self.unloaded = True
        self.provider.running.discard(self)

    def usage(self) -> ProcessUsage | None:
        return ProcessUsage(cpu_s=1.0, memory_bytes=self.provider.size)

    def alive(self) -> bool:
        return not self.dead


class FakeProvider:
    """``gate`` holds loads back until it is set; ``fail`` makes the next loads fail."""

    name = "fake"
    characteristics = Characteristics(owns_process=False, streaming=True, continuous_batching=False, local=True)

    def __init__(self, size_mb: int = 100, concurrency: int = 2) -> None:
        self.size = size_mb * MB
        self.concurrency = concurrency
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail = 0
        self.loads: list[str] = []
        self.running: set[FakeInstance] = set()
        self.most_running = 0

    async def inspect(self, source: Source) -> Facts:
        return Facts(digest="sha256:0")

    def context_length(self, version: ModelVersion) -> int | None:
        return None

    def footprint(self, version: ModelVersion) -> int:
        return self.size

    async def load(self, version: ModelVersion, instance_id: str) -> FakeInstance:
        self.loads.append(version.ref)
        await self.gate.wait()
        if self.fail:
            self.fail -= 1
            raise LoadFailed(f"{version.ref} would not start")
        instance = FakeInstance(self, version.ref)
        self.running.add(instance)
        self.most_running = max(self.most_running, len(self.running))
        return instance


def version(ref: str) -> ModelVersion:
    name, number = ref.split("@")
    return ModelVersion(
        name=name,
        version=number,
        source=Source(provider="fake", location="x", settings=MappingProxyType({})),
        facts=Facts(digest="sha256:0"),
        status=Lifecycle.ACTIVE,
    )
